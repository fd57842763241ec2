"""Container images on their way in: from an ImageUri to what a function's record holds of the image, in AWS's words.

An image is one that the engine holds; which that is and how it is kept belongs to `runtime.function_images`.
"""

import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

from runtime.errors import LambdaError, invalid_parameter
from runtime.function_images import ImageMissing, NoImages
from runtime.image_facts import Image
from runtime.model import ImageCode
from runtime.spawners.base import SpawnerError

_log = logging.getLogger(__name__)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"[A-Za-z0-9][A-Za-z0-9.-]*(?::\d+)?"
_REFERENCE = re.compile(
    rf"(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*(?::\w[\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?",
    re.ASCII,
)
_LONGEST = 1024
"""Characters of a reference; no registry has longer ones."""


class Images(Protocol):
    """Where container images are found and kept."""

    async def find(self, uri: str) -> Image:
        """The image of this name; raises `ImageMissing`, or another `SpawnerError` where none can be looked for."""
        ...

    def kept(self, code: ImageCode) -> AbstractAsyncContextManager[None]:
        """Keep an image for as long as the context lasts, and afterwards if a record refers to it by then."""
        ...

    def hold(self, code: ImageCode) -> Callable[[], None]:
        """Keep an image that a record has referred to until now; what is returned lets go of it."""
        ...


@asynccontextmanager
async def taken_image(images: Images, uri: str, architecture: str) -> AsyncIterator[ImageCode]:
    """The image that has this name now, checked and kept while this lasts."""
    if len(uri) > _LONGEST or not _REFERENCE.fullmatch(uri):
        raise invalid_parameter(f"Source image {uri[:_LONGEST]} is not valid. Provide a valid source image.")
    async with AsyncExitStack() as held:
        try:
            code = _checked(uri, await images.find(uri), architecture)
            await held.enter_async_context(images.kept(code))
        except ImageMissing as error:
            _log.info("An image was not found: %s", error)
            raise invalid_parameter(
                f"Source image {uri} does not exist. Provide a valid source image. "
                f"(Berth pulls none: `docker pull` or `docker build` it on the engine that Berth uses.)"
            ) from None
        except NoImages as error:
            raise invalid_parameter(str(error)) from None
        except SpawnerError as error:
            raise LambdaError("ServiceException", f"The image cannot be looked up: {error}") from error
        yield code


def _checked(uri: str, image: Image, architecture: str) -> ImageCode:
    if image.system != "linux":
        raise invalid_parameter(
            f"The image manifest, config or layer media type for the source image {uri} is not supported."
        )
    if image.architecture != architecture:
        raise invalid_parameter(
            f"Source image {uri} is for the architecture {image.architecture}, the function for {architecture}. "
            "Provide a valid source image, or another value of Architectures."
        )
    return image.pinned(uri)
