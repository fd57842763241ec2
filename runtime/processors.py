"""Which processors' programs the engine's machine runs: its own, and those that an emulator in its kernel runs for it.

Found out by running one: a program of 132 bytes, in an image of its own, that ends with a status nobody else ends with.
`Emulation` says on which of them a function's package is to run. It knows nothing of functions beyond that.
"""

import asyncio
import io
import logging
import platform
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from runtime.function_images import NoImages
from runtime.image_archive import short_digest, write_archive
from runtime.image_table import processor_of
from runtime.old_images import LABEL, REPOSITORY
from runtime.spawners.base import SpawnerError
from runtime.spawners.engine import Engine, EngineError
from runtime.tiny_programs import RUN_LIMIT, STATUS, program

logger = logging.getLogger(__name__)

AUTO, OFF, REQUIRED = "auto", "off", "required"

AGAIN = 60.0
"""Seconds after which a machine that ran no such programs is asked again: somebody may have installed an emulator."""


class CannotRun(SpawnerError):
    """The engine's machine does not run programs for a processor."""

    def __init__(self, processor: str, where: str = "the engine's machine") -> None:
        super().__init__(
            f"{where} does not run programs for {processor}: give its kernel an emulator "
            f"(Debian, Ubuntu: apt-get install qemu-user-static binfmt-support; others: docker run --privileged --rm "
            f"tonistiigi/binfmt --install {processor}), or use a machine with that processor"
        )


class Processors:
    """Those of one engine's machine."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._found: dict[str, tuple[bool, float]] = {}
        #: By processor: whether its programs run, and when that was found out.
        self._one_at_a_time = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Processors [{self.own} | {self._found}]>"

    @property
    def own(self) -> str:
        """The machine's, as engines name it."""
        return processor_of(self._engine.facts.machine or platform.machine())

    def other(self, machine: str | None) -> str | None:
        """The processor of that name, as engines name it, where it is not the engine's own. Raises `UnknownRuntime`."""
        processor = self.own if machine is None else processor_of(machine)
        return None if processor == self.own else processor

    async def run(self, processor: str) -> bool:
        """Whether the machine runs programs for it. Raises `EngineError` where that cannot be found out."""
        if processor == self.own:
            return True
        async with self._one_at_a_time:
            runs, when = self._found.get(processor, (False, -AGAIN))
            if not runs and self._clock() - when >= AGAIN:
                runs = await self._try(processor)
                self._found[processor] = runs, self._clock()
            return runs

    async def require(self, processor: str) -> None:
        """Raises `CannotRun`."""
        if not await self.run(processor):
            raise CannotRun(processor)

    async def _try(self, processor: str) -> bool:
        image = probe_image(processor)
        if await self._engine.image(image) is None:
            with tempfile.TemporaryDirectory(prefix="berth-probe-") as place:
                archive = Path(place, "image.tar")
                await asyncio.to_thread(_write_image, archive, image, processor)
                await self._engine.load_archive(archive, image)
        container, _ = await self._engine.create(
            "",
            {
                "Image": image,
                "Labels": {LABEL: _name(processor)},
                "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": "none"}},
            },
        )
        try:
            # Some engines find out when they start it, others when it has ended.
            with suppress(EngineError):
                await self._engine.start(container)
                return await self._engine.ended(container, RUN_LIMIT) == STATUS
            return False
        finally:
            await self._engine.remove(container)


class Emulation:
    """On which processor functions' packages run: as they say, as the engine's machine is, or what comes of both.

    `auto`: those for arm64 run on arm64 wherever the machine runs its programs. Those for x86_64 run on the machine's
    own processor, for that is what a function is for that says nothing. `required`: each as it says, or not at all.
    """

    def __init__(self, processors: Processors, mode: str = AUTO) -> None:
        self._processors = processors
        self._mode = mode
        self._told = False

    async def of(self, architecture: str) -> str | None:
        """The processor for a function's architecture, where it is another than the engine's. Raises `CannotRun`."""
        processor = self._processors.other(architecture)
        if processor is None or self._mode == OFF:
            return None
        if self._mode == REQUIRED:
            await self._processors.require(processor)
            return processor
        return processor if processor == "arm64" and await self._emulates(processor) else None

    async def _emulates(self, processor: str) -> bool:
        try:
            await self._processors.require(processor)
        except SpawnerError as error:
            if not self._told:
                self._told = True
                logger.warning("packages for %s run on %s: %s", processor, self._processors.own, error)
            return False
        return True

    async def require(self, architecture: str) -> None:
        """That the machine runs an image that is for this architecture. Raises `CannotRun`."""
        processor = self._processors.other(architecture)
        if processor is not None:
            await self._processors.require(processor)


class NoEmulation:
    """Stands where `Emulation` would, without an engine."""

    async def of(self, architecture: str) -> str | None:
        """Local processes run on this machine's processor."""

    async def require(self, architecture: str) -> None:  # noqa: ARG002
        raise NoImages


def probe_image(processor: str) -> str:
    """The name of the image that has the program."""
    return f"{REPOSITORY}/{_name(processor)}:{short_digest(program(processor))}"


def _write_image(archive: Path, image: str, processor: str) -> None:
    tree = archive.with_name("tree.tar")
    tree.write_bytes(_tree(program(processor)))
    config = {"Cmd": ["/run"], "Labels": {LABEL: _name(processor)}}
    write_archive(tree, archive, image, processor, config=config)


def _name(processor: str) -> str:
    return f"probe-{processor}"


def _tree(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("run")
        entry.size, entry.mode = len(data), 0o755
        tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
