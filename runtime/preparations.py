"""Images and files of versions, made ready before a launch is thought of: what is built holds up nobody else's launches."""

import asyncio
import logging

from runtime.keys import Key
from runtime.launcher import Launcher
from runtime.refusals import no_environment, shutting_down, too_long

logger = logging.getLogger(__name__)


class Preparations:
    """One for each key at a time, for all who ask meanwhile; it goes on when they leave."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._under_way: dict[Key, asyncio.Task[None]] = {}

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Those under way."""
        return list(self._under_way.values())

    async def of(self, key: Key, limit: float) -> None:
        """Have at hand what the key's environments need; in so many seconds. Raises `LambdaError`."""
        work = self._under_way.get(key)
        if work is None:
            work = self._under_way[key] = asyncio.create_task(
                self._launcher.make_ready(key.record, logger.info), name=f"prepare {key.name}"
            )
            work.add_done_callback(lambda _: self._under_way.pop(key))
        done, _ = await asyncio.wait([work], timeout=limit)
        if not done:
            raise too_long(limit)
        if work.cancelled():
            raise shutting_down()
        if error := work.exception():
            raise no_environment(key.record, error)

    def cancel(self) -> None:
        """Whoever waits for one is told that there will be none."""
        for work in self._under_way.values():
            work.cancel()
