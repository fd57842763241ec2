"""A pending long poll: the place where a party waits for its next event."""

import asyncio
from asyncio import Future
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Poll(Generic[T]):
    """At most one asker and one answer, in either order."""

    __slots__ = ("_answer", "_future", "_is_alive")

    def __init__(self) -> None:
        self._future: Future[T] | None = None
        self._is_alive: Callable[[], bool] = _nobody
        self._answer: T | None = None
        #: Given while nobody asked.

    @property
    def is_abandoned(self) -> bool:
        """Whether somebody asked and has gone away unanswered."""
        return self._future is not None and not self._is_alive()

    def ask(self, is_alive: Callable[[], bool]) -> Future[T]:
        """Wait for an answer, in place of whoever waited before. `is_alive` tells whether the asker still does."""
        if self._future is not None:
            self._future.cancel()
        self._future = future = asyncio.get_running_loop().create_future()
        self._is_alive = is_alive
        if self._answer is not None:
            self.give(self._answer)
        return future

    def give(self, answer: T) -> None:
        """Answer whoever asks, now or later."""
        future, self._future = self._future, None
        if future is None or future.done():
            self._answer = answer
            return
        self._answer = None
        future.set_result(answer)

    def drop(self) -> None:
        """Nobody is to be answered any more."""
        future, self._future, self._answer = self._future, None, None
        if future is not None:
            future.cancel()


def _nobody() -> bool:
    return False
