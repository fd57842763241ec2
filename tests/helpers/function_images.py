"""Container images for functions of tests, built on the engine from `tests/data/images`."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from runtime.base_image import BaseImages
from runtime.images import RuntimeImages, files_under, image_sources, tar_of
from runtime.settings import load
from runtime.spawners.engine import Engine

SOURCES = Path(__file__).parents[1] / "data" / "images"
T = TypeVar("T")


def on_the_engine(work: Callable[[Engine], Awaitable[T]]) -> T:
    """Do something with the engine that Berth would use."""

    async def run() -> T:
        engine = await Engine.connect(load({}).settings.docker_host)
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(run())


def build(name: str, files: Mapping[str, str] | None = None, runtime: str | None = None) -> str:
    """The reference of an image, named by its content and built if it is not there.

    `files` come into the build's context beside the image's own; it is built from Debian or from a runtime's image.
    """
    return on_the_engine(lambda engine: _build(engine, name, files or {}, runtime))


async def _build(engine: Engine, name: str, files: Mapping[str, str], runtime: str | None) -> str:
    settings = load({}).settings
    added = {path: (text.encode(), 0o644) for path, text in files.items()}
    context = {**files_under(SOURCES / name), **added}
    base = await _base(engine, runtime)
    parts = [
        base,
        *((path, hashlib.sha256(data).hexdigest(), mode) for path, (data, mode) in sorted(context.items())),
    ]
    reference = f"berth-test/{name}:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}"
    if await engine.image(reference) is None:
        if settings.build_ca:
            context["ca/ca.crt"] = (settings.build_ca.read_bytes(), 0o644)
        await engine.build(tar_of(context), reference, {"BASE": base}, {"berth.test": name}, print)
    return reference


async def _base(engine: Engine, runtime: str | None) -> str:
    settings = load({}).settings
    if runtime is None:
        bases = BaseImages(engine, image_sources() / "debian" / "build", settings.base_image)
        return await bases.ensure("bookworm", print)
    images = RuntimeImages(engine, base_image=settings.base_image, build_ca=settings.build_ca)
    try:
        return await images.ensure(runtime, print)
    finally:
        await images.close()
