"""The image that runtime images start from: Debian's own where one can be had, else one built from Debian's packages.

Knows suites and packages, nothing of Lambda's runtimes. Nothing is pulled unless no image here serves.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from runtime.image_archive import write_archive
from runtime.processors import CannotRun
from runtime.spawners.engine import Engine, EngineError, StepFailed, as_drawn
from runtime.tiny_programs import runs_here

Progress = Callable[[str], None]

PULL_LIMIT = 180.0
BUILD_LIMIT = 900.0
END_LIMIT = 5.0
"""Seconds until a program that was killed has gone, with all that it started."""
TAIL = 30

REPOSITORIES = {"amd64": "amd64", "arm64": "arm64v8"}
"""Where Debian's images are by processor: their usual name means the engine's own."""
APT = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get")
INSTALL = (
    (*APT, "update"),
    (*APT, "install", "-y", "--no-install-recommends", "mmdebstrap", "debian-archive-keyring"),
)


class BaseImages:
    """Finds or makes `debian:<suite>-slim` or its like."""

    def __init__(self, engine: Engine, builder: Path, fixed: str | None = None) -> None:
        self._engine = engine
        self._builder = builder
        """The program that makes a root file system: `SUITE OUT.tar [PROCESSOR]`."""
        self._fixed = fixed
        """The image to start from whatever the suite, if someone set one."""

    @property
    def is_fixed(self) -> bool:
        """Whether there is one for all suites and processors."""
        return self._fixed is not None

    def name(self, suite: str) -> str:
        """What identifies the base in an image's content address: the same wherever it came from."""
        return self._fixed or f"debian:{suite}"

    async def ensure(self, suite: str, progress: Progress, processor: str | None = None) -> str:
        """A base that the engine holds. A fixed one is the setting's to be right: it is pulled if missing.

        `processor` is another than the engine's, whose programs its machine runs.
        """
        if self._fixed:
            try:
                await self._fetch(tagged(self._fixed), progress)
            except EngineError as error:
                raise StepFailed(
                    f"base_image is {self._fixed}, which is not here and cannot be pulled: {error}"
                ) from error
            return self._fixed
        debian, own = f"debian:{suite}-slim", f"berth/base:{suite}"
        if processor is not None:
            debian, own = f"{REPOSITORIES[processor]}/{debian}", f"berth/base-{processor}:{suite}"
        for reference in (debian, own):
            if await self._engine.image(reference):
                return reference
        try:
            await self._fetch(debian, progress)
        except EngineError as error:
            progress(f"{debian} cannot be pulled ({first_line(error)}): building {own} from packages")
            await self._build(suite, own, debian, processor, progress)
            return own
        return debian

    async def _fetch(self, reference: str, progress: Progress) -> None:
        if await self._engine.image(reference) is None:
            progress(f"pulling {reference}")
            await self._engine.pull(reference, progress, PULL_LIMIT)

    async def _build(
        self, suite: str, reference: str, debian: str, processor: str | None, progress: Progress
    ) -> None:
        await self._need_mmdebstrap(suite, debian, progress)
        if processor is not None and not await asyncio.to_thread(runs_here, processor):
            # The engine's machine does, but may be another than this one.
            raise StepFailed(
                f"{CannotRun(processor, 'this machine')}, or load {debian} into the engine (docker load)"
            )
        with tempfile.TemporaryDirectory(prefix="berth-base-") as directory:
            tar, archive = Path(directory) / f"{suite}.tar", Path(directory) / "image.tar"
            await _command(
                ["sh", str(self._builder), suite, str(tar), *([processor] if processor else [])], progress
            )
            progress(f"importing {reference}")
            if processor is None:
                await self._engine.load_tree(tar, reference, ['CMD ["bash"]', f"LABEL berth.base={suite}"])
                return
            config = {"Cmd": ["bash"], "Labels": {"berth.base": suite}}
            now = datetime.now(UTC).isoformat()
            await asyncio.to_thread(
                write_archive, tar, archive, reference, processor, config=config, created=now
            )
            await self._engine.load_archive(archive, reference)

    async def _need_mmdebstrap(self, suite: str, debian: str, progress: Progress) -> None:
        if shutil.which("mmdebstrap"):
            return
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise StepFailed(
                f"no base image for runtimes on Debian {suite}: {debian} cannot be pulled, and mmdebstrap, "
                "which would build one, is not installed. Install it (apt-get install mmdebstrap), load an image "
                f"{debian} into the engine (docker load), or name another in the setting base_image"
            )
        progress("installing mmdebstrap")
        for command in INSTALL:
            await _command(command, progress)


def tagged(reference: str) -> str:
    """The reference with the tag that it means."""
    return reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"


def first_line(error: Exception) -> str:
    """What an error says, without what led to it."""
    return str(error).splitlines()[0]


async def _command(command: Sequence[str], progress: Progress) -> None:
    """Run a program to its end and pass on what it says; whoever leaves early takes it along."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101  a pipe was asked for
    shown = " ".join(command)
    seen: deque[str] = deque(maxlen=TAIL)
    try:
        async with asyncio.timeout(BUILD_LIMIT):
            async for data in process.stdout:
                seen.append(as_drawn(data.decode(errors="replace")))
                progress(seen[-1])
            status = await process.wait()
    except TimeoutError:
        raise StepFailed(f"`{shown}` took longer than {BUILD_LIMIT:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(TimeoutError):
                async with asyncio.timeout(END_LIMIT):  # else its pipe would outlive the event loop
                    await process.communicate()
    if status:
        raise StepFailed("\n".join([f"`{shown}` ended with status {status}", *seen]))
