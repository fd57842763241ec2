"""Events on their way to the runtime, and which of them it has never read, should it end or its sandbox be lost.

An invocation of which nobody has heard can begin anew elsewhere; any other must not, for it may have had effects. An event
that was written but not read when its reader died is told by the system (`rapid.partings`). What comes of it is for
others to say.
"""

import asyncio
from asyncio import Future
from collections.abc import Callable

from rapid.partings import Receiver

LOSS = 1.0
"""Seconds to wait for the word of a reader's end where its sandbox is lost: the system is killing what is in it."""
EXIT = 0.1
"""The same where the reader has ended: what it started may hold its connection open."""


class Handovers:
    """Of one environment."""

    __slots__ = ("_events",)

    def __init__(self) -> None:
        self._events: dict[str, Receiver | bool] = {}
        #: Request id → whom it was written to, once; False: nobody yet; True: it has been read.

    def given(self, request_id: str) -> None:
        """The runtime is to have it: for the first time, or because it asks again."""
        self._events.setdefault(request_id, False)

    def written(self, request_id: str, receiver: Receiver) -> None:
        """Whoever asks again has read what he was sent before."""
        before = self._events.get(request_id)
        if before is not None:
            self._events[request_id] = True if before else receiver

    def read(self, request_id: str) -> None:
        """The runtime speaks of it."""
        if request_id in self._events:
            self._events[request_id] = True

    def over(self, request_id: str) -> None:
        """It is of no interest any more."""
        self._events.pop(request_id, None)

    def when_known(self, told: Callable[[frozenset[str]], None], limit: float) -> None:
        """Tell the request ids of what was never read, at once or as soon as all readers are gone.

        To be asked when their end is certain; `limit` in seconds.
        """
        readers = [each.parted() for each in self._events.values() if not isinstance(each, bool)]
        waiting = {reader for reader in readers if not reader.done()}
        if not waiting:
            told(self._unread())
            return

        def gone(reader: Future[bool]) -> None:
            waiting.discard(reader)
            if not waiting:
                finish()

        def finish() -> None:
            timer.cancel()
            for reader in readers:
                reader.remove_done_callback(gone)
            told(self._unread())

        timer = asyncio.get_running_loop().call_later(limit, finish)
        for reader in set(waiting):
            reader.add_done_callback(gone)

    def _unread(self) -> frozenset[str]:
        return frozenset(key for key, each in self._events.items() if not _is_read(each))


def _is_read(event: Receiver | bool) -> bool:
    """What is not known counts as read."""
    if isinstance(event, bool):
        return event
    parted = event.parted()
    return not (parted.done() and parted.result())
