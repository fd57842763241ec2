"""What a sandbox of a function version stands on: an image, and what is shown or copied into it.

A package stands on the image of its runtime, and its trees are brought there. A container image has everything of the
function. Images of Berth's own have an agent; into any other the agent's bundle is brought. It starts no sandbox.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.bundles import Bundles, is_composed
from runtime.errors import PreparationFailed
from runtime.function_images import ImageMissing
from runtime.image_facts import Image, Serving
from runtime.model import FunctionVersion, ImageCode
from runtime.spawners.base import Delivery, ForeignImage, SpawnerError

MOST_BYTES = 10 << 30
"""Of a container image, uncompressed."""
INSTEAD = "With the setting emulation=off its package would run on the machine's own processor."
MOMENT = 1.0
"""Seconds for which a launch takes it that the engine still holds a runtime's image: it was asked before the launch."""
Progress = Callable[[str], None]


class Images(Protocol):
    """Where the image of a runtime comes from."""

    async def ensure(self, runtime: str, progress: Progress, *, processor: str | None = None) -> Serving:
        """An image that the engine holds, built or pulled first if need be; for another processor than the engine's."""
        ...


class Emulation(Protocol):
    """Which processors' programs run here."""

    async def of(self, architecture: str) -> str | None:
        """The processor of packages for an architecture, where it is not the engine's. Raises `CannotRun`."""
        ...

    async def require(self, architecture: str) -> None:
        """Raise `CannotRun` where container images for it do not run."""
        ...


class FunctionImages(Protocol):
    """Where functions' own container images are."""

    async def pinned(self, code: ImageCode) -> Image:
        """The image that a record refers to. Raises `ImageMissing` where it is no more."""
        ...


class AgentBundle(Protocol):
    """Where the agent comes from for images that have none."""

    async def ensure(self, delivery: Delivery, progress: Progress) -> Path | str:
        """Where the engine finds it: a directory, or a volume by its name. Made first if need be."""
        ...


@dataclass(frozen=True, slots=True)
class Ground:
    """An image and what comes into it: trees for the task root and for `/opt`, an agent, or both."""

    image: str
    trees: tuple[Path, Path] | None = None
    own: Image | None = None
    """The image, where it does not bring the agent that is used: the function's, or one that serves its runtime."""
    foreign: ForeignImage | None = None


class Grounds:
    """See the module's text."""

    def __init__(
        self,
        *,
        images: Images,
        function_images: FunctionImages,
        agent_bundle: AgentBundle,
        bundles: Bundles,
        emulation: Emulation,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._images = images
        self._function_images = function_images
        self._agent_bundle = agent_bundle
        self._bundles = bundles
        self._emulation = emulation
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[Serving, float]] = {}
        #: By runtime and architecture: its image, and when the engine last said that it holds it.

    async def of(
        self, version: FunctionVersion, delivery: Delivery, progress: Progress, *, launches: bool = False
    ) -> Ground:
        """The version's, made first if need be. Raises `SpawnerError`.

        For a launch the engine is not asked again what it said a `MOMENT` ago.
        """
        if isinstance(version.code, ImageCode):
            own = await self._function_images.pinned(version.code)
            await self._emulation.require(own.architecture)
            return Ground(own.identifier, own=own, foreign=await self._foreign(own, delivery, progress))
        serving = await self._serving(version, progress, launches=launches)
        foreign = None
        if serving.foreign is not None:
            foreign = await self._foreign(serving.foreign, delivery, progress, has_code=False)
        await self._bundles.ready(version.code, version.layers)
        layers = () if is_composed(version.layers) else version.layers  # those are composed for each sandbox
        trees = await self._bundles.task_root(version.code), await self._bundles.opt(layers)
        return Ground(serving.reference, trees=trees, own=serving.foreign, foreign=foreign)

    async def _foreign(
        self, image: Image, delivery: Delivery, progress: Progress, *, has_code: bool = True
    ) -> ForeignImage:
        agent = await self._agent_bundle.ensure(delivery, progress)
        return ForeignImage(agent=agent, variables=tuple(image.environment), has_code=has_code)

    async def _serving(self, version: FunctionVersion, progress: Progress, *, launches: bool) -> Serving:
        kind = _kind(version)
        serving, seen = self._seen.get(kind, (None, 0.0))
        if serving is None or not launches or self._clock() - seen >= MOMENT:
            runtime, architecture = kind
            processor = await self._emulation.of(architecture)
            try:
                serving = await self._images.ensure(runtime, progress, processor=processor)
            except SpawnerError as error:
                if processor is None:
                    raise
                raise SpawnerError(f"{error}\n{INSTEAD}") from error
            self._seen[kind] = (serving, self._clock())
        return serving

    def doubt(self, version: FunctionVersion) -> None:
        """A launch has failed: what it took for granted is to be asked again."""
        self._seen.pop(_kind(version), None)

    async def check(self, version: FunctionVersion) -> None:
        """Raise `PreparationFailed` for an image that Lambda would not take either."""
        if not isinstance(version.code, ImageCode):
            return
        try:
            image = await self._function_images.pinned(version.code)
        except ImageMissing as error:
            raise PreparationFailed("ImageDeleted", str(error)) from error
        if image.size > MOST_BYTES:
            raise PreparationFailed(
                "InvalidImage", "SizeLimitExceeded: Uncompressed container image size exceeds 10 GiB limit"
            )


def _kind(version: FunctionVersion) -> tuple[str, str]:
    return version.config.runtime or "", version.config.architecture
