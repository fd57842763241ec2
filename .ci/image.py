"""Builds the control plane's own image from this checkout (`make image`): TAG, or `berth`, as its one argument.

The base is the one that runtime images have: pulled where a registry answers, else made of Debian's packages.
"""
# ruff: noqa: INP001, T201

import asyncio
import sys
from pathlib import Path

from runtime.base_image import BaseImages
from runtime.image_table import image_sources
from runtime.images import files_under, tar_of
from runtime.proxies import for_builds
from runtime.settings import load
from runtime.spawners.engine import Engine

ROOT = Path(__file__).resolve().parent.parent
SUITE = "bookworm"
FOLDERS = ("rapid", "runtime", "images", ".ci/ca")
FILES = ("Dockerfile", "pyproject.toml", "README.md", "LICENSE")


def context(ca: Path | None) -> bytes:
    """What the Dockerfile copies, as a tar."""
    files = dict(files_under(ROOT, names=FILES))
    for folder in FOLDERS:
        files |= files_under(ROOT / folder, f"{folder}/")
    if ca:
        files[".ci/ca/ca.crt"] = (ca.read_bytes(), 0o644)
    return tar_of(files)


async def main(tag: str) -> None:
    settings = load({}).settings
    engine = await Engine.connect(settings.docker_host)
    try:
        bases = BaseImages(engine, image_sources() / "debian" / "build", settings.base_image)
        base = await bases.ensure(SUITE, say)
        await engine.build(context(settings.build_ca), tag, {**for_builds(), "BASE": base}, {}, say)
    finally:
        await engine.close()


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "berth"))
