"""Time that stands still while an environment is frozen: what waits for its processes cannot wait while they sleep."""

import asyncio
import time
from asyncio import TimerHandle
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Timer:
    """Calls back once, unless it is cancelled."""

    __slots__ = ("_callback", "_clock", "at", "handle")

    def __init__(self, clock: "ThawedTime", at: float, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._callback = callback
        self.at = at
        self.handle: TimerHandle | None = None

    def cancel(self) -> None:
        if self.handle is not None:
            self.handle.cancel()
        self._clock.forget(self)

    def fire(self) -> None:
        self._clock.forget(self)
        self._callback()


class ThawedTime:
    """A clock in seconds, with timers. It runs from the beginning."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._frozen_since: float | None = None
        self._slept = 0.0
        #: Seconds for which it has stood still in all.
        self._timers: set[Timer] = set()

    @property
    def stands_still(self) -> bool:
        return self._frozen_since is not None

    def now(self) -> float:
        """Only meaningful beside other times of this clock."""
        now = time.monotonic() if self._frozen_since is None else self._frozen_since
        return now - self._slept

    def stop(self) -> None:
        """Stand still from now on."""
        if self._frozen_since is None:
            self._frozen_since = time.monotonic()
            for timer in self._timers:
                if timer.handle is not None:
                    timer.handle.cancel()
                    timer.handle = None

    def go_on(self) -> None:
        if self._frozen_since is not None:
            self._slept += time.monotonic() - self._frozen_since
            self._frozen_since = None
            for timer in self._timers:
                self._arm(timer)

    def call_at(self, at: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self, at, callback)
        self._timers.add(timer)
        if not self.stands_still:
            self._arm(timer)
        return timer

    async def sleep(self, seconds: float) -> None:
        done = asyncio.Event()
        timer = self.call_at(self.now() + seconds, done.set)
        try:
            await done.wait()
        finally:
            timer.cancel()

    @asynccontextmanager
    async def limit(self, seconds: float) -> AsyncIterator[None]:
        """Cancel the block after so long and raise `TimeoutError`."""
        async with asyncio.timeout(None) as timeout:
            timer = self.call_at(self.now() + seconds, lambda: timeout.reschedule(self._loop.time()))
            try:
                yield
            finally:
                timer.cancel()

    def forget(self, timer: Timer) -> None:
        """It has been cancelled, or has fired."""
        self._timers.discard(timer)

    def _arm(self, timer: Timer) -> None:
        timer.handle = self._loop.call_later(max(0.0, timer.at - self.now()), timer.fire)
