"""Builds the container images of a template on the engine, as `sam build` does, and names them by their content.

An image gets the tag that the template wants, and another that says which image it is: by that it is deployed, so that
what was deployed before can still be found when a deployment has to be taken back.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from runtime.deploy.errors import TemplateError
from runtime.deploy.wanted import Build
from runtime.spawners.engine import Engine, EngineError

T = TypeVar("T")
_DIGITS = 16
"""Of an image's identifier, in the tag that stands for it."""


class ImageBuilder:
    """Of one deployment, on the engine that the settings name: the one that Berth uses, or there will be no such image."""

    def __init__(self, docker_host: str | None) -> None:
        self._docker_host = docker_host
        self._built: dict[str, set[str]] = {}
        """Repository → the tags that it is to keep."""

    def build(self, wanted: Build, folder: Path) -> str:
        context = folder / wanted.context
        if not (context / wanted.dockerfile).is_file():
            raise TemplateError(f"there is no file {context / wanted.dockerfile}")
        return self._on_the_engine(lambda engine: self._build(engine, wanted, context))

    def tidy(self) -> None:
        """Remove the tags of images that were deployed before; functions and versions that run on one keep it."""
        if self._built:
            self._on_the_engine(self._tidy)

    async def _build(self, engine: Engine, wanted: Build, context: Path) -> str:
        name = f"{wanted.repository}:{wanted.tag}"
        await engine.build_folder(context, wanted.dockerfile, name, wanted.target, dict(wanted.arguments))
        image = await engine.image(name)
        if image is None:
            raise TemplateError(f"the image {name} was removed a moment after it had been built")
        tag = f"berth-{str(image['Id']).removeprefix('sha256:')[:_DIGITS]}"
        await engine.tag(image["Id"], f"{wanted.repository}:{tag}")
        self._built.setdefault(wanted.repository, set()).add(tag)
        return f"{wanted.repository}:{tag}"

    async def _tidy(self, engine: Engine) -> None:
        for repository, kept in self._built.items():
            for tag in await engine.tags(repository):
                if tag.startswith("berth-") and tag not in kept:
                    await engine.remove_image(f"{repository}:{tag}")

    def _on_the_engine(self, work: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
        async def run() -> T:
            engine = await Engine.connect(self._docker_host)
            try:
                return await work(engine)
            finally:
                await engine.close()

        try:
            return asyncio.run(run())
        except EngineError as error:
            raise TemplateError(str(error)) from None
