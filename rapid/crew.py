"""As many environments of one function as there are requests at a time, within bounds; who waits for one, in order.

It decides when another one is launched and when one has been idle for too long. It does not know what an environment
is made of: whoever makes them tells when one is idle and when it has ended.
"""

import asyncio
import time
from asyncio import Future
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from rapid.exchange import Ticket
from rapid.invocation import Invocation
from rapid.streams import Stream

GRACE = 0.02
"""Seconds that a request waits for an environment that may be about to finish before another one is launched."""
IDLE_LIMIT = 60.0
"""Seconds after which an environment that is idle ends, unless it is the last one."""
CLOSE_LIMIT = 5.0
"""Seconds in which all environments must have ended: extensions have two to say goodbye."""


class Overloaded(Exception):
    """More waits than may wait."""


class Closed(Exception):
    """There are no environments any more."""


class Member(Protocol):
    """An environment."""

    def invoke(self, invocation: Invocation, limit: float, stream: Stream | None, /) -> Ticket: ...
    def shut_down(self) -> None: ...


Launch = Callable[[int], Awaitable[Member]]
"""Makes an environment by its number, and begins it; `Crew.idle` is to be called when it is."""


class Crew:
    """See the module's text."""

    def __init__(
        self,
        launch: Launch,
        *,
        most: int,
        room: Callable[[], bool],
        at_once: int = 1,
        longest_queue: int = 10_000,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._launch = launch
        self._most = most
        self._room = room
        #: Whether there is memory for another one.
        self._at_once = at_once
        #: How many are launched at a time.
        self._longest_queue = longest_queue
        self._members: dict[int, Member | None] = {}
        #: By number; None while one is being launched.
        self._starting: set[int] = set()
        #: Those that have not been idle yet.
        self._idle: dict[int, float] = {}
        #: Since when; the most recently used last.
        self._waiting: deque[Future[int]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        members = f"{len(self._members)} environments, {len(self._idle)} idle"
        return f"<Crew {members}, {len(self._waiting)} waiting>"

    async def run(self, invocation: Invocation, limit: float, stream: Stream | None = None) -> Ticket:
        """Hand in an invocation, to an environment that is idle or as soon as one is. Raises `Overloaded`, `Closed`."""
        if self._closing:
            raise Closed
        number = self._take() if self._idle and not self._waiting else await self._wait()
        member = self._members[number]
        if member is None:
            raise RuntimeError(f"environment {number} was idle before it was launched")
        return member.invoke(invocation, limit, stream)

    def idle(self, number: int) -> None:
        """An environment can take an invocation."""
        self._starting.discard(number)
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():  # else whoever waited has left
                future.set_result(number)
                break
        else:
            self._idle[number] = time.monotonic()
            self._relieve_later(number)
        self._consider()

    def ended(self, number: int) -> None:
        """An environment is no more."""
        self._starting.discard(number)
        self._idle.pop(number, None)
        self._members.pop(number, None)
        self._changed.set()
        self._consider()

    async def close(self) -> None:
        """End all environments; who waits for one gets `Closed`."""
        self._closing = True
        for future in self._waiting:
            if not future.done():
                future.set_exception(Closed())
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        for member in tuple(self._members.values()):
            if member is not None:
                member.shut_down()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT):
                while any(self._members.values()):
                    self._changed.clear()
                    await self._changed.wait()

    def _take(self) -> int:
        number, _ = self._idle.popitem()
        return number

    async def _wait(self) -> int:
        if len(self._waiting) >= self._longest_queue:
            raise Overloaded
        future: Future[int] = self._loop.create_future()
        self._waiting.append(future)
        if self._members:
            self._loop.call_later(GRACE, self._consider)
        else:
            self._consider()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # it was given one in the moment in which it left
                self.idle(future.result())
            raise

    def _consider(self) -> None:
        """Launch one more if somebody waits for it who would not be served by those under way; a few at a time."""
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft()
        wanted = len(self._waiting) > self._expected() and not self._closing
        if not wanted or len(self._starting) >= self._at_once:
            return
        if len(self._members) >= self._most or (self._members and not self._room()):
            return
        self.launch()

    def _expected(self) -> int:
        """How many of those who wait will be served by what has been launched already."""
        return len(self._starting)

    def launch(self) -> None:
        """Launch one, whether somebody waits for it or not."""
        number = next(number for number in range(1, self._most + 1) if number not in self._members)
        self._members[number] = None
        self._starting.add(number)
        task = self._loop.create_task(self._add(number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _add(self, number: int) -> None:
        try:
            self._members[number] = await self._launch(number)
        except OSError as error:
            self._fail_one(error)
            self.ended(number)
        else:
            self._consider()

    def _fail_one(self, error: Exception) -> None:
        """An environment could not be made: tell who has waited longest, so that nobody is tried for without end."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)
                return

    def _relieve_later(self, number: int) -> None:
        if len(self._members) > 1:
            self._loop.call_later(IDLE_LIMIT, self._relieve, number)

    def _relieve(self, number: int) -> None:
        """End it if it has been idle for all that time, and is not the last one."""
        since = self._idle.get(number)
        member = self._members.get(number)
        if since is None or member is None or len(self._members) < 2:
            return
        if time.monotonic() - since < IDLE_LIMIT - 1:
            return
        del self._idle[number]
        member.shut_down()
