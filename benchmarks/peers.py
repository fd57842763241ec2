"""Who is measured beside Berth: AWS's RIE and the floor, each brought up so that the load generator can speak to it.

All run the same handler in containers of the same image, with the same limits, on bridge networks of the same
kind. Each is a context manager that leaves nothing behind. Knows nothing of what is measured.
"""

import asyncio
import json
import os
import platform
import shutil
import sys
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.asking import START_LIMIT, Target, connectable
from benchmarks.bench import LABEL, MEMORY_MB, Bench, address_of
from benchmarks.programs import Failed, ended, finished, first_line, output, started
from runtime.spawners.container import bind

# AWS's Runtime Interface Emulator

WHEEL = "aws-sam-cli"
RIE_COMMAND = ("/aws-lambda-rie", "/var/runtime/bootstrap")


def cache_dir() -> Path:
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "berth-benchmarks"
    return Path(os.environ.get("BERTH_BENCH_CACHE") or default)


async def rie_binary() -> Path:
    """AWS's RIE, taken out of the wheel of `aws-sam-cli`; fetched once, for the benchmark alone. Raises `Failed`."""
    machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    binary = cache_dir() / f"aws-lambda-rie-{machine}"
    if not binary.exists():
        wheels = cache_dir() / "wheels"
        fetch = (
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--quiet",
            "--dest",
            str(wheels),
            WHEEL,
        )
        await output(sys.executable, *fetch)
        await asyncio.to_thread(
            _extract, next(wheels.glob("aws_sam_cli-*.whl")), f"rapid/{binary.name}", binary
        )
    return binary


def _extract(wheel: Path, ending: str, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next((each for each in archive.namelist() if each.endswith(ending)), None)
        if name is None:
            raise Failed(f"{wheel.name} holds no {ending}")
        draft = target.with_suffix(".new")
        draft.write_bytes(archive.read(name))
    draft.chmod(0o755)
    draft.replace(target)


def rie_document(bench: Bench) -> dict[str, Any]:
    return bench.document(RIE_COMMAND, mounts=[bind(bench.place / "rie", "/aws-lambda-rie")])


@asynccontextmanager
async def rie(bench: Bench) -> AsyncIterator[tuple[Target, str]]:
    """RIE in a container, reached at the container's own address: no proxy between. Also the container's id."""
    reference = await bench.start(rie_document(bench))
    try:
        target = Target(await address_of(bench, reference), 8080)
        await connectable(target)
        yield target, reference
    finally:
        await bench.engine.remove(reference)


# The floor


@asynccontextmanager
async def floor(bench: Bench) -> AsyncIterator[tuple[Target, str]]:
    """The floor's server, without any runtime yet. Also where runtimes find it: `host:port`."""
    async with floors(bench, 1) as [one]:
        yield one


@asynccontextmanager
async def floors(bench: Bench, functions: int) -> AsyncIterator[Sequence[tuple[Target, str]]]:
    """The same with so many functions, which know nothing of each other."""
    process = await started(sys.executable, "-m", "benchmarks.floor", bench.gateway, str(functions))
    try:
        ports = json.loads(await first_line(process, START_LIMIT))
        yield [(Target("127.0.0.1", each["door"]), f"{bench.gateway}:{each['api']}") for each in ports]
    finally:
        await ended(process)


def floor_document(bench: Bench, api: str, memory_mb: int = MEMORY_MB) -> dict[str, Any]:
    return bench.document(
        ["/var/runtime/bootstrap"], api=api, memory_mb=memory_mb, LogConfig={"Type": "none"}
    )


@asynccontextmanager
async def floor_with(bench: Bench, runtimes: int) -> AsyncIterator[Target]:
    """The floor with this many runtimes."""
    async with AsyncExitStack() as held:
        target, api = await held.enter_async_context(floor(bench))
        for _ in range(runtimes):
            held.push_async_callback(bench.engine.remove, await bench.start(floor_document(bench, api)))
        yield target


# The plain command


def no_docker() -> str:
    """What to say where the command is missing."""
    return "" if shutil.which("docker") else "there is no docker command"


@asynccontextmanager
async def docker_run(
    bench: Bench, image: str, *command: str, mounts: Mapping[str, str], options: Sequence[str] = ()
) -> AsyncIterator[tuple[Target, str]]:
    """`docker run` of an image that answers on port 8080; `mounts` are what of the run's place is where in it."""
    if missing := no_docker():
        raise Failed(missing)
    volumes = [
        part
        for source, target in mounts.items()
        for part in ("--volume", f"{bench.place / source}:{target}:ro")
    ]
    reference = await finished(
        docker(
            bench, "run", "--detach", "--network", bench.network, "--label", f"{LABEL}={bench.run_id}",
            *volumes, *options, image, *command,
        )
    )  # fmt: skip
    try:
        target = Target(await address_of(bench, reference), 8080)
        await connectable(target)
        yield target, reference
    finally:
        await bench.engine.remove(reference)


async def docker(bench: Bench, *arguments: str) -> str:
    """What the command says about the engine of the run. Raises `Failed`."""
    return (await output("docker", "--host", bench.engine.endpoint.url, *arguments)).strip()
