"""Environments of provisioned concurrency: the wish to have them kept, and what is told to who has it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from rapid.invocation import Fault
from runtime.errors import LambdaError
from runtime.keys import Key


class Kept(Enum):
    """What can become of an environment that is kept."""

    READY = "ready"
    FAILED = "failed"
    """Its launch or its initialisation failed; it is launched again, later and later."""
    ENDED = "ended"
    """It had been ready; another one is launched."""


@dataclass(frozen=True, slots=True)
class KeptNews:
    """Something has become of an environment that is kept."""

    key: Key
    what: Kept
    reason: str = ""
    """For people, of a failure and of an end."""
    error_type: str | None = None
    """Of an initialisation that failed, as in the log; None where the surroundings failed."""


def initialised(key: Key, failure: Fault | None) -> KeptNews:
    """The initialisation of one is over."""
    if failure is None:
        return KeptNews(key, Kept.READY)
    kind = failure.shown_type or failure.error_type
    return KeptNews(key, Kept.FAILED, failure.message or kind, kind)


class Wishes:
    """How many are to be kept of which key, until images and files are at hand: what is built holds up no launches."""

    def __init__(
        self,
        *,
        make_ready: Callable[[Key], Awaitable[None]],
        keeps: Callable[[Key], bool],
        keep: Callable[[Key, int], None],
    ) -> None:
        self._make_ready = make_ready
        self._keeps = keeps
        self._keep = keep
        self._pending: dict[Key, asyncio.Task[None]] = {}

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Those that are not fulfilled yet."""
        return list(self._pending.values())

    def wish(self, key: Key, count: int) -> None:
        """Keep so many, at once where some are kept already or none are to be."""
        if pending := self._pending.pop(key, None):
            pending.cancel()
        if not count or self._keeps(key):
            self._keep(key, count)
        else:
            self._pending[key] = asyncio.create_task(self._fulfil(key, count), name="keep")

    def cancel(self) -> None:
        """None is fulfilled any more."""
        for task in self._pending.values():
            task.cancel()

    async def _fulfil(self, key: Key, count: int) -> None:
        with suppress(LambdaError):  # the launch will say what is wrong
            await self._make_ready(key)
        del self._pending[key]
        self._keep(key, count)
