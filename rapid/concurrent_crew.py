"""A crew whose environments serve many invocations at once (`rapid.concurrent_environment`).

An environment offers places, one for each of its runtime's workers that waits. Another one is launched when somebody
waits for a place and no worker is still to come. It does not know what a worker is made of.
"""

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from rapid.crew import Closed, Crew, Member
from rapid.exchange import Ticket
from rapid.invocation import Fault, Invocation
from rapid.streams import Stream

STRAGGLERS = 1.0
"""Seconds at the least that the other workers are waited for when the first has come; as long as that took, if longer."""


class InitialisationFailed(Exception):
    """There is no environment for the invocation: the function cannot be initialised."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class ConcurrentMember(Member, Protocol):
    """An environment. Only one that `is_open` takes invocations, as many as it has offered."""

    @property
    def is_open(self) -> bool: ...


class ConcurrentCrew(Crew):
    """See the module's text. `slots`: the invocations that one environment serves at once, at the most."""

    def __init__(
        self, launch: Callable[[int], Awaitable[ConcurrentMember]], *, slots: int, **common: Any
    ) -> None:
        super().__init__(launch, **common)
        self._slots = slots
        self._free: Counter[int] = Counter()
        #: Places that are offered and not taken, by environment; below 0 for a moment when a worker leaves.
        self._busy: Counter[int] = Counter()
        #: Invocations without an answer, by environment.
        self._missing: dict[int, int] = {}
        #: Workers that are still to come, by environment; all of them where it is not said.
        self._begun: dict[int, float] = {}
        #: When it was launched, until its first worker has come.

    async def run(self, invocation: Invocation, limit: float, stream: Stream | None = None) -> Ticket:
        """Hand in an invocation as soon as there is a place. Raises `InitialisationFailed` too."""
        while not self._closing:
            number = self._take() if self._idle and not self._waiting else await self._wait()
            member: Any = self._members.get(number)
            if member is not None and member.is_open:  # else it has come to its end meanwhile
                ticket: Ticket = member.invoke(invocation, limit, stream)
                ticket.outcome.add_done_callback(partial(self._answered, number, member))
                return ticket
        raise Closed

    def offer(self, number: int, change: int) -> None:
        """An environment can take more invocations, or fewer, than it had offered."""
        self._starting.discard(number)
        if (begun := self._begun.pop(number, None)) is not None:
            patience = max(STRAGGLERS, time.monotonic() - begun)
            self._loop.call_later(patience, self._expect_no_more, number, self._members[number])
        self._missing[number] = max(0, self._missing.get(number, self._slots) - max(0, change))
        self._free[number] += change
        while self._waiting and self._free[number] > 0:
            future = self._waiting.popleft()
            if not future.done():  # else whoever waited has left
                self._grant(number)
                future.set_result(number)
        self._idle.pop(number, None)
        if self._free[number] > 0:
            self._rest(number)
        self._consider()

    def idle(self, number: int) -> None:
        """Whoever got a place has left."""
        self._busy[number] -= 1
        self.offer(number, 1)

    def ended(self, number: int, failure: Fault | None = None) -> None:
        """An environment is no more; `failure` is what its initialisation failed of, for those who waited for it."""
        if failure is not None:
            for _ in range(self._slots):
                self._fail_one(InitialisationFailed(failure))
        for known in (self._free, self._busy, self._missing, self._begun):
            known.pop(number, None)
        super().ended(number)

    def _take(self) -> int:
        number = next(reversed(self._idle))
        self._grant(number)
        return number

    def _grant(self, number: int) -> None:
        self._free[number] -= 1
        self._busy[number] += 1
        if self._free[number] <= 0:
            self._idle.pop(number, None)

    def _rest(self, number: int) -> None:
        self._idle[number] = time.monotonic()
        self._relieve_later(number)

    def _answered(self, number: int, member: ConcurrentMember, _: object) -> None:
        if self._members.get(number) is member:
            self._busy[number] -= 1

    def _expected(self) -> int:
        return sum(self._missing.get(number, self._slots) for number in self._members)

    def _expect_no_more(self, number: int, member: Member | None) -> None:
        """The runtime may have fewer workers than it should."""
        if self._members.get(number) is member:
            self._missing[number] = 0
            self._consider()

    async def _add(self, number: int) -> None:
        self._begun[number] = time.monotonic()
        await super()._add(number)

    def _relieve(self, number: int) -> None:
        if self._busy[number] <= 0:
            super()._relieve(number)
