"""`berth images`: which image serves each runtime, building and pulling them ahead, removing those that were replaced.

No control plane takes part, and one that runs is not disturbed: it finds what is there. Progress goes to stderr.
"""

import argparse
import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass

from runtime.cli.terminal import CliError, duration, megabytes, note, say, say_json, table
from runtime.images import RuntimeImages
from runtime.served_runtimes import ServedRuntimes
from runtime.settings import flags_of, load
from runtime.spawners.base import SpawnerError
from runtime.spawners.engine import Engine

MOST_TOLD = 100
"""Lines of progress that are remembered, for an error not to repeat them; more than any error has."""


@dataclass(frozen=True, slots=True)
class Had:
    """What became of one image."""

    runtime: str
    image: str | None
    seconds: float
    size: int | None = None
    """Bytes."""
    stand_in: str | None = None
    """The runtime whose image it is, where its own cannot be had."""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A runtime and the image that serves it."""

    runtime: str
    source: str
    image: str
    size: int | None
    """Bytes; None: the engine does not hold it."""
    stand_in: str | None
    """The runtime whose image may serve it instead."""


class _Shop:
    """What the verbs work with."""

    def __init__(self, engine: Engine, images: RuntimeImages, served: ServedRuntimes) -> None:
        self.engine, self.images, self.served = engine, images, served

    async def size(self, reference: str) -> int | None:
        document = await self.engine.image(reference)
        return None if document is None else int(document.get("Size", 0))


def run(arguments: argparse.Namespace) -> int:
    try:
        return asyncio.run(_run(arguments))
    except SpawnerError as error:
        raise CliError(str(error)) from error


async def _run(arguments: argparse.Namespace) -> int:
    settings = load(flags_of(arguments)).settings
    engine = await Engine.connect(settings.docker_host)
    images = RuntimeImages(engine, base_image=settings.base_image, build_ca=settings.build_ca)
    try:
        served = ServedRuntimes(engine, images, settings.runtime_images, nearest=settings.nearest_runtime)
        return await _VERBS[arguments.verb](_Shop(engine, images, served), arguments)
    finally:
        await images.close()
        await engine.close()


async def _build(shop: _Shop, arguments: argparse.Namespace) -> int:
    async def make(runtime: str, progress: Callable[[str], None]) -> tuple[str, str | None]:
        other = shop.images.processors.other(arguments.architecture)
        serving = await shop.served.ensure(runtime, progress, fresh=arguments.fresh, processor=other)
        pulled = shop.served.foreign(runtime, other) if serving.foreign and not serving.stand_in else None
        return pulled or serving.reference, serving.stand_in

    return await _all(shop, _wanted(shop, arguments, every=arguments.all), make, as_json=arguments.json)


async def _standalone(shop: _Shop, arguments: argparse.Namespace) -> int:
    async def make(runtime: str, progress: Callable[[str], None]) -> tuple[str, str | None]:
        name = await shop.images.standalone(
            runtime, progress, fresh=arguments.fresh, processor=arguments.architecture
        )
        return name, None

    return await _all(shop, _wanted(shop, arguments, every=False), make, as_json=arguments.json)


async def _bundle(shop: _Shop, arguments: argparse.Namespace) -> int:
    if arguments.output is None:
        place = await shop.images.bundle(note, arguments.architecture)
    else:
        place = str(await shop.images.exported(arguments.output, note, arguments.architecture))
    if arguments.json:
        say_json({"image" if arguments.output is None else "directory": place})
    else:
        say(place)
    return 0


async def _list(shop: _Shop, arguments: argparse.Namespace) -> int:
    rows = [await _listed(shop, runtime) for runtime in shop.served.runtimes]
    if arguments.json:
        say_json([asdict(row) for row in rows])
        return 0
    shown = [
        (
            row.runtime,
            row.source,
            row.image,
            megabytes(row.size) if row.size is not None else "not here",
            row.stand_in or "-",
        )
        for row in rows
    ]
    say(table(("RUNTIME", "SOURCE", "IMAGE", "SIZE", "ELSE BY"), shown))
    return 0


async def _listed(shop: _Shop, runtime: str) -> Listed:
    reference = shop.served.foreign(runtime) or shop.images.reference(runtime)
    return Listed(
        runtime=runtime,
        source=shop.served.source(runtime),
        image=reference,
        size=await shop.size(reference),
        stand_in=shop.served.stand_in(runtime),
    )


async def _prune(shop: _Shop, arguments: argparse.Namespace) -> int:
    removed = await shop.images.prune()
    if arguments.json:
        say_json(removed)
        return 0
    for name in removed:
        say(name)
    note(f"{len(removed)} removed" if removed else "nothing to remove")
    return 0


def _wanted(shop: _Shop, arguments: argparse.Namespace, *, every: bool) -> Sequence[str]:
    if every:
        return shop.images.runtimes
    if not arguments.runtime:
        raise CliError(f"name runtimes: {', '.join(shop.images.runtimes)}")
    wanted = tuple(dict.fromkeys(arguments.runtime))
    for runtime in wanted:
        shop.images.row(runtime)  # all of them first: a mistake must not cost a build
    return wanted


async def _all(
    shop: _Shop,
    runtimes: Sequence[str],
    make: Callable[[str, Callable[[str], None]], Awaitable[tuple[str, str | None]]],
    *,
    as_json: bool,
) -> int:
    """All of them at once, as far as the machine bears it; one that fails holds up no other."""

    async def one(runtime: str) -> Had:
        began = time.monotonic()
        told: deque[str] = deque(maxlen=MOST_TOLD)

        def progress(line: str) -> None:
            told.append(line)
            note(f"{runtime}: {line}" if len(runtimes) > 1 else line)

        try:
            image, stand_in = await make(runtime, progress)
        except SpawnerError as error:
            news = [line for line in str(error).splitlines() if line not in told]
            note(f"{runtime}: " + "\n".join(news))
            return Had(runtime, None, time.monotonic() - began, error=str(error))
        size = await shop.size(image)
        had = Had(runtime, image, time.monotonic() - began, size, stand_in)
        if not as_json:
            by = f" (by {stand_in})" if stand_in else ""
            say(f"{runtime}: {image}{by}, {megabytes(size)}, {duration(had.seconds)}")
        return had

    done = await asyncio.gather(*(one(runtime) for runtime in runtimes))
    if as_json:
        say_json([asdict(each) for each in done])
    return 1 if any(each.error for each in done) else 0


_VERBS = {
    "build": _build,
    "standalone": _standalone,
    "bundle": _bundle,
    "list": _list,
    "prune": _prune,
}
