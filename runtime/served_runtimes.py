"""Which image serves a runtime: Berth's own, AWS's, or one that somebody named. Whatever is missing is built or pulled.

An image that is not ours has no agent, so it is handed on with what the engine tells of it. Where AWS's image cannot be
had, the nearest runtime's own one may stand in, if the settings allow it. It knows nothing of functions or sandboxes.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from runtime.base_image import first_line, tagged
from runtime.image_choice import AWS, OWN, ImageChoice
from runtime.image_facts import Serving, read_image
from runtime.image_table import Runtime, aws_reference
from runtime.images import RuntimeImages
from runtime.spawners.base import SpawnerError
from runtime.spawners.engine import Engine, EngineError

log = logging.getLogger(__name__)

Progress = Callable[[str], None]

PULL_LIMIT = 900.0
GIVEN_UP = 300.0
"""Seconds for which another image stands in without a new attempt to pull the right one."""


class RuntimeUnavailable(SpawnerError):
    """There is no image for a runtime that exists."""


class ServedRuntimes:
    """The runtimes as one engine serves them."""

    def __init__(
        self, engine: Engine, images: RuntimeImages, choice: ImageChoice, *, nearest: bool = False
    ) -> None:
        """`nearest`: let the nearest runtime's image stand in. Raises `UnknownRuntime` for a choice that names none."""
        self._engine = engine
        self._images = images
        self._choice = choice
        self._nearest = nearest
        self._pulling: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._given_up: dict[str, float] = {}
        #: By reference: when to try again to pull it.
        self._told: set[str] = set()
        #: Runtimes whose stand-in has been warned of.
        for runtime, _image in choice.runtimes:
            images.row(runtime)

    def __repr__(self) -> str:
        return f"<ServedRuntimes [{self._choice} | standing in for: {', '.join(self._told) or 'none'}]>"

    @property
    def runtimes(self) -> Sequence[str]:
        """All identifiers that there are."""
        return tuple(self._images.rows)

    def source(self, runtime: str) -> str:
        """`own`, `aws`, or `custom`: where the image of a runtime comes from. Raises `UnknownRuntime`."""
        reference = self.foreign(runtime)
        if reference is None:
            return OWN
        return AWS if reference == aws_reference(runtime) else "custom"

    def foreign(self, runtime: str, processor: str | None = None) -> str | None:
        """The reference of the image that serves a runtime; None where it is Berth's own. Raises `UnknownRuntime`.

        `processor` is another than the engine's. An image that somebody named is the same for all.
        """
        row, chosen = self._images.row(runtime), self._choice.of(runtime)
        if chosen == OWN and row.is_built:
            return None
        return aws_reference(runtime, processor) if chosen in (OWN, AWS) else tagged(chosen)

    def stand_in(self, runtime: str) -> str | None:
        """The runtime whose own image may serve this one where AWS's cannot be had."""
        row = self._images.row(runtime)
        if not self._nearest or self.source(runtime) != AWS:
            return None
        return runtime if row.is_built else row.nearest

    async def ensure(
        self, runtime: str, progress: Progress, *, fresh: bool = False, processor: str | None = None
    ) -> Serving:
        """An image that the engine holds, built or pulled first if need be. `fresh`: built or pulled in any case.

        `processor` is another than the engine's. Raises `SpawnerError`.
        """
        reference = self.foreign(runtime, processor)
        if reference is None:
            return await self._own(runtime, progress, fresh=fresh, processor=processor)
        stand_in = self.stand_in(runtime)
        try:
            return await self._had(reference, progress, fresh=fresh, patient=stand_in is None)
        except EngineError as error:
            if stand_in is None:
                raise RuntimeUnavailable(self._advice(self._images.row(runtime), reference, error)) from error
            self._tell(runtime, stand_in, error)
            own = await self._own(stand_in, progress, fresh=fresh, processor=processor)
            return replace(own, stand_in=stand_in)

    async def _own(self, runtime: str, progress: Progress, *, fresh: bool, processor: str | None) -> Serving:
        """For another processor it is as somebody else's: its agent would be emulated, so it gets the engine's own."""
        reference = await self._images.ensure(runtime, progress, fresh=fresh, processor=processor)
        if processor is None:
            return Serving(reference)
        document = await self._engine.image(reference)
        if document is None:
            raise EngineError(f"{reference} was removed a moment after it had been built")
        return Serving(reference, read_image(document))

    async def existing(self, runtime: str) -> str | None:
        """The image that serves a runtime, if it is Berth's own and the engine holds it. Builds and pulls nothing."""
        reference = self.foreign(runtime)
        if reference is None:
            return await self._images.existing(runtime)
        stand_in = self.stand_in(runtime)
        if stand_in is None or reference not in self._given_up or await self._engine.image(reference):
            return None
        return await self._images.existing(stand_in)

    async def _had(self, reference: str, progress: Progress, *, fresh: bool, patient: bool) -> Serving:
        async with self._pulling[reference]:
            document = None if fresh else await self._engine.image(reference)
            if document is None:
                await self._pull(reference, progress, patient=patient)
                document = await self._engine.image(reference)
        if document is None:
            raise EngineError(f"{reference} was removed a moment after it had been pulled")
        image = read_image(document)
        return Serving(image.identifier, image)

    async def _pull(self, reference: str, progress: Progress, *, patient: bool) -> None:
        """`patient`: try even where it has just failed, for there is nothing else."""
        now = asyncio.get_running_loop().time()
        if not patient and now < self._given_up.get(reference, now):
            raise EngineError("it could not be pulled a moment ago")
        progress(f"pulling {reference}")
        try:
            await self._engine.pull(reference, progress, PULL_LIMIT)
        except EngineError:
            self._given_up[reference] = asyncio.get_running_loop().time() + GIVEN_UP
            raise
        self._given_up.pop(reference, None)

    def _tell(self, runtime: str, stand_in: str, error: EngineError) -> None:
        if runtime not in self._told:
            self._told.add(runtime)
            image = "Berth's own image" if stand_in == runtime else f"the image of {stand_in}"
            log.warning("%s is served by %s (nearest_runtime): %s", runtime, image, first_line(error))

    def _advice(self, row: Runtime, reference: str, error: EngineError) -> str:
        """What went wrong, and the ways out."""
        own = "" if row.is_built else "Berth has none of its own, and "
        ways = [f"load {reference} into the engine (docker load)"]
        ways.append(f"name another in the setting runtime_images ({row.identifier}=IMAGE)")
        if row.is_built:
            ways.append(f"use Berth's own ({row.identifier}=own)")
        elif row.nearest and not self._nearest:
            ways.append(f"let {row.nearest} serve it (setting nearest_runtime)")
        return (
            f"there is no image for the runtime {row.identifier}: {own}{reference} cannot be pulled "
            f"({first_line(error)}). Ways out: {'; '.join(ways)}"
        )
