"""Keys of which so many environments are to be had at any time: which are short of some, and which must wait. Pure.

What is wrong with one environment is most likely wrong with the next, so that after a failure a key pauses; the pause
doubles from failure to failure. What fails together counts once, and what comes long after, anew.
"""

import heapq

from runtime.core.groups import Group
from runtime.core.line import Line

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds before what is kept is launched again after a failure."""
STEADY = 60.0
"""Seconds after which the end of a kept environment is no sign of something wrong with it."""
OVERDUE = 2.0
"""Seconds without a launch after which one that is short comes before those that invocations wait for."""


class Keeping:
    """See the module's text."""

    def __init__(self) -> None:
        self._short: Line[Group] = Line()
        #: Groups with fewer environments than are to be kept,
        self._paused: list[tuple[float, int, Group]] = []
        #: and those that wait for the end of a pause; a heap.
        self._pauses = 0
        self._waits_since: float | None = None
        #: Since when any is short, or was last launched while others were.

    def __bool__(self) -> bool:
        """Whether any is short and need not wait."""
        return bool(self._short)

    def next(self, memory: int) -> Group | None:
        """Of which one is to be launched, among those that need no more than `memory`."""
        return self._short.next(memory)

    def is_overdue(self, now: float) -> bool:
        """Whether those that are short have waited for long enough."""
        return self._waits_since is not None and now - self._waits_since >= OVERDUE

    def launched(self, now: float) -> None:
        """One is on its way: the others wait anew."""
        self._waits_since = now if self._short else None

    def note(self, group: Group, now: float) -> None:
        """A group's count has changed: it is short, or waits for the end of a pause, or neither."""
        is_due = group.is_short and now >= group.not_before
        if is_due and not group.in_line:
            self._short.join(group)
        elif group.in_line and not is_due:
            self._short.leave(group)
        group.in_line = is_due
        if not self._short:
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = now
        if group.is_short and not is_due and not group.paused:
            self._pauses += 1
            heapq.heappush(self._paused, (group.not_before, self._pauses, group))
            group.paused = True

    def resume(self, now: float) -> None:
        """Pauses that are over by now end."""
        while self._paused and self._paused[0][0] <= now:
            group = heapq.heappop(self._paused)[2]
            group.paused = False
            self.note(group, now)

    def pause(self, group: Group, now: float) -> None:
        """Something is wrong with what is kept."""
        if now < group.not_before:
            return
        if now - group.not_before > STEADY:
            group.failures = 0
        group.not_before = now + min(LONGEST_PAUSE, FIRST_PAUSE * 2**group.failures)
        group.failures += 1

    def check(self, group: Group) -> None:
        """AssertionError where it has lost sight of a group."""
        assert (self._waits_since is not None) == bool(self._short)
        assert group.in_line == any(each is group for each in self._short)
        assert group.in_line <= group.is_short <= (group.in_line or group.paused)
