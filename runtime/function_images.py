"""Container images that functions are made of: found under the name that a caller gives, kept while a record refers to them.

An image is pinned by a tag of our own, `berth-pin/<owner>:<image id>`, which outlives whatever becomes of the name that it
was found under. The tag is there before a record refers to the image and goes when none does any more. Nothing is ever
pulled: what the engine does not hold does not exist. It knows nothing of requests, sandboxes or the agent.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from runtime.image_facts import Image, read_image
from runtime.model import ImageCode
from runtime.spawners.base import SpawnerError
from runtime.spawners.engine import Engine, EngineError

log = logging.getLogger(__name__)

PINS = "berth-pin"
PAUSE = 30.0
"""Seconds until pins are looked through again of which some could not be removed: sandboxes still ran on them."""
_PREFIX = "sha256:"


class ImageMissing(SpawnerError):
    """The engine does not hold this image."""


class NoImages(SpawnerError):
    """There is no engine, so there are no images."""

    def __init__(self) -> None:
        super().__init__(
            "Functions from container images need a container engine, and here functions run as local processes: "
            "make one available (`make engine`), or use a .zip file archive."
        )


class FunctionImages:
    """The images of one owner's functions on one engine."""

    def __init__(self, engine: Engine, owner: str) -> None:
        self._engine = engine
        self._pins = f"{PINS}/{owner}"
        self._live: Callable[[], frozenset[str]] = frozenset
        self._wanted: Counter[str] = Counter()
        #: Images that a record may come to refer to, or to refer to again, by how many there are.
        self._pinning = asyncio.Lock()
        #: So that no pin is removed between the look at who needs it and its removal.
        self._changed = asyncio.Event()
        self._tidying: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<FunctionImages [{self._pins} | held: {self._wanted.total()}]>"

    def open(self, live: Callable[[], frozenset[str]]) -> None:
        """Begin to remove pins that nobody needs. `live` tells the identifiers of images that records refer to."""
        self._live = live
        self._tidying = asyncio.create_task(self._tidy(), name="pins")
        self.changed()

    async def close(self) -> None:
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.gather(self._tidying, return_exceptions=True)

    def changed(self) -> None:
        """Records have changed: some image may not be needed any more."""
        self._changed.set()

    async def find(self, uri: str) -> Image:
        """The image that has this name now. Raises `ImageMissing`.

        A digest is that of a manifest, or the image's own identifier: so what we resolve a URI to leads here again.
        """
        found = await self._engine.image(uri)
        if found is None and (digest := uri.partition("@")[2]):
            found = await self._engine.image(digest)
        if found is None:
            raise ImageMissing(f"the engine at {self._engine.endpoint.url} holds no image {uri}")
        return read_image(found)

    @asynccontextmanager
    async def kept(self, code: ImageCode) -> AsyncIterator[None]:
        """Pin an image. It stays pinned while this lasts, and afterwards if a record refers to it by then."""
        release = self.hold(code)
        try:
            await self._pin(code.image)
            yield
        finally:
            release()

    def hold(self, code: ImageCode) -> Callable[[], None]:
        """Keep an image that is pinned until what is returned is called, and afterwards if a record refers to it."""
        self._wanted[code.image] += 1

        def release() -> None:
            self._wanted[code.image] -= 1
            self._wanted += Counter()  # forgets those that nobody wants
            self.changed()

        return release

    async def pinned(self, code: ImageCode) -> Image:
        """The image that a record refers to, whatever became of names. Raises `ImageMissing` if it was deleted."""
        found = await self._engine.image(code.image)
        if found is None:
            raise ImageMissing(
                f"the image {code.resolved_uri} ({code.image[:19]}) is not on the engine at "
                f"{self._engine.endpoint.url} any more: bring it back, or update the function's code"
            )
        if not any(tag.endswith(self._name(code.image)) for tag in found.get("RepoTags") or ()):
            await self._pin(code.image)  # somebody has removed the tag, not the image
        return read_image(found)

    def _name(self, image: str) -> str:
        return f"{self._pins}:{image.removeprefix(_PREFIX)}"

    async def _pin(self, image: str) -> None:
        async with self._pinning:
            await self._engine.tag(image, f"{self._pins}:{image.removeprefix(_PREFIX)}")

    async def _tidy(self) -> None:
        pause: float | None = None
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                log.debug("looking again for pins that were in use")
            self._changed.clear()
            try:
                pause = PAUSE if await self._sweep() else None
            except EngineError as error:
                log.warning("images that no function needs any more stay for now: %s", error)
                pause = PAUSE

    async def _sweep(self) -> bool:
        """Remove pins that nobody needs; whether some are still in use."""
        removed = set()
        for tag in await self._engine.tags(self._pins):
            image = f"{_PREFIX}{tag}"
            async with self._pinning:
                if image not in self._live() and not self._wanted[image]:
                    await self._engine.remove_image(f"{self._pins}:{tag}")
                    removed.add(tag)
        return bool(removed and removed & set(await self._engine.tags(self._pins)))


class NoFunctionImages:
    """Stands where `FunctionImages` would, without an engine."""

    def open(self, live: Callable[[], frozenset[str]]) -> None:
        """Nothing is pinned that could be removed."""

    async def close(self) -> None:
        """Nothing is held."""

    def changed(self) -> None:
        """Nothing is pinned that could be removed."""

    async def find(self, uri: str) -> Image:  # noqa: ARG002
        raise NoImages

    @asynccontextmanager
    async def kept(self, code: ImageCode) -> AsyncIterator[None]:  # noqa: ARG002
        raise NoImages
        yield

    def hold(self, code: ImageCode) -> Callable[[], None]:  # noqa: ARG002
        """A function that was made with an engine can still be updated and deleted without one."""
        return lambda: None

    async def pinned(self, code: ImageCode) -> Image:  # noqa: ARG002
        raise NoImages
