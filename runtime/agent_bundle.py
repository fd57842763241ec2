"""The agent's bundle where the engine finds it: to be mounted into images that have no agent of their own.

An engine that sees our files gets a directory of the data directory; any other a volume of its own, which is filled from
the bundle's image. Both are named by content, so what is there need not be looked into.
"""

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from runtime.function_images import NoImages
from runtime.images import BUNDLE_PLACE, RuntimeImages
from runtime.spawners.base import Delivery
from runtime.spawners.engine import Engine

log = logging.getLogger(__name__)

LABEL = "berth.bundle"
DIRECTORY = "agent"
"""Of the data directory; holds one directory for each bundle."""


class EngineBundle:
    """The bundle of one engine and one data directory."""

    def __init__(self, engine: Engine, images: RuntimeImages, data_dir: Path) -> None:
        self._engine = engine
        self._images = images
        self._place = data_dir / DIRECTORY
        self._one_at_a_time = asyncio.Lock()
        self._is_swept = False

    async def ensure(self, delivery: Delivery, progress: Callable[[str], None]) -> Path | str:
        """The directory or the name of the volume. Whatever is missing is made first."""
        if delivery is Delivery.BIND:
            return await self._directory(progress)
        reference = await self._images.bundle(progress)
        volume = reference.replace("/", "-").replace(":", "-")
        async with self._one_at_a_time:
            if not await self._engine.has_volume(volume):
                progress(f"filling the volume {volume}")
                await self._engine.fill_volume(volume, reference, BUNDLE_PLACE, {LABEL: volume})
                # Whoever needs another fills it again; one that is in use stays.
                for other in set(await self._engine.volumes(LABEL)) - {volume}:
                    await self._engine.remove_volume(other)
        return volume

    async def _directory(self, progress: Callable[[str], None]) -> Path:
        directory = await self._images.exported(self._place, progress)
        async with self._one_at_a_time:
            if not self._is_swept:  # only bundles of earlier runs are there, and their sandboxes are gone
                self._is_swept = True
                for other in set(self._place.iterdir()) - {directory}:
                    await asyncio.to_thread(shutil.rmtree, other, ignore_errors=True)
        return directory


class NoBundle:
    """Stands where a bundle would, without an engine."""

    async def ensure(self, delivery: Delivery, progress: Callable[[str], None]) -> Path | str:  # noqa: ARG002
        raise NoImages
