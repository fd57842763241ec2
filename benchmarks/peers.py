"""Who is measured: Berth, AWS's RIE and the floor, each brought up so that the load generator can speak to it.

All three run the same handler in containers of the same image, with the same limits, on bridge networks of the same
kind. Each is a context manager that leaves nothing behind. Knows nothing of what is measured.
"""

import asyncio
import base64
import json
import os
import platform
import shutil
import signal
import sys
import zipfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from benchmarks.load import END, LENGTH
from benchmarks.sdk import PAYLOAD, client, recorded
from rapid.agent import GROUP, USER
from runtime.spawners.container import bind, hardening
from runtime.spawners.engine import Engine, EngineError

LABEL = "berth.benchmark"
RUNTIME = "python3.11"
HANDLER = """
import os, time

def handler(event, context):
    time.sleep(event.get("sleep", 0))
    return write(event["write"], event["rate"], event["most"]) if "write" in event else event

def write(seconds, rate, most):
    # Numbered lines for so many seconds, at a rate or at any; how many, and how long it took to get rid of them.
    began, lines = time.perf_counter(), 0
    while (now := time.perf_counter() - began) < seconds and lines < most:
        if rate and lines >= rate * now:
            time.sleep(0.002)
            continue
        os.write(1, b"line %d %s\\n" % (lines, b"x" * 80))
        lines += 1
    return {"lines": lines, "seconds": now}
"""
MEMORY_MB = 1769
"""One whole core, and so the default weight against everything else on the machine: RIE serves inside this limit."""
START_LIMIT = 30.0
STOP_LIMIT = 30.0


class Failed(Exception):
    """A peer or a measurement that did not come about; the text says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a peer answers, and the request that it gets."""

    host: str
    port: int
    function: str = "function"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def request(self, payload: bytes = PAYLOAD) -> bytes:
        return recorded(self.url, self.function, payload)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all peers share in one run."""

    engine: Engine
    image: str
    run_id: str
    network: str
    gateway: str
    place: Path
    """A temporary directory that the engine sees; the handler is in `task`."""

    def document(
        self, command: Sequence[str], *, api: str = "", mounts: Sequence[dict[str, Any]] = (), **host: Any
    ) -> dict[str, Any]:
        """A container that runs the handler under `command`, as limited as a sandbox of Berth."""
        return {
            "Image": self.image,
            "Entrypoint": [],
            "Cmd": list(command),
            "Env": [f"{name}={value}" for name, value in variables(api).items()],
            "User": f"{USER}:{GROUP}",
            "WorkingDir": "/var/task",
            "Labels": {LABEL: self.run_id},
            "StopTimeout": 0,
            "HostConfig": {
                "NetworkMode": self.network,
                "Mounts": [
                    {"Type": "volume", "Target": "/tmp"},  # noqa: S108  a place in the container
                    bind(self.place / "task", "/var/task"),
                    *mounts,
                ],
                **hardening(MEMORY_MB, ()),
                **host,
            },
        }

    async def start(self, document: dict[str, Any]) -> str:
        reference, _ = await self.engine.create(f"berth-benchmark-{os.urandom(6).hex()}", document)
        await self.engine.start(reference)
        return reference


def variables(api: str) -> dict[str, str]:
    return {
        "_HANDLER": "app.handler",
        "AWS_LAMBDA_FUNCTION_NAME": "function",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "60",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/function",
        "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
        "AWS_REGION": "us-east-1",
        **({"AWS_LAMBDA_RUNTIME_API": api} if api else {}),
    }


# Berth


@dataclass(slots=True)
class Berth:
    """A control plane of its own, started like `berth up --detach` starts it."""

    bench: Bench
    command: Sequence[str]
    data_dir: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: Process | None = None
    url: str = ""

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    async def open(self) -> None:
        """Start it and wait until it says that it answers."""
        reader, writer = os.pipe()
        with (self.data_dir.parent / f"{self.data_dir.name}.log").open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, "up", "--port", "0", "--data-dir", str(self.data_dir), "--ready-fd", str(writer),
                stdin=DEVNULL, stdout=log, stderr=log, pass_fds=[writer], env={**os.environ, "BERTH_WARM_AHEAD": "false", **self.environment},
                start_new_session=True,  # Ctrl-C is ours: it ends when it is told to
            )  # fmt: skip
        os.close(writer)
        self.url = await _line(reader)
        if not self.url:
            raise Failed(f"Berth did not start: {self.log_tail()}")

    async def close(self) -> None:
        if self.process is None or self.process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), STOP_LIMIT)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            await sweep(self.bench.engine, f"berth={self.owner()}")
            raise Failed(f"Berth had to be killed: {self.log_tail()}") from None

    def owner(self) -> str:
        """The label's value that its sandboxes carry."""
        return (self.data_dir / "instance").read_text().strip()

    def log_tail(self) -> str:
        log = self.data_dir.parent / f"{self.data_dir.name}.log"
        return (
            " | ".join(log.read_text(errors="replace").splitlines()[-6:])
            if log.exists()
            else "it wrote nothing"
        )

    async def function(
        self,
        name: str,
        files: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        layer: Mapping[str, str] | None = None,
    ) -> Target:
        """A new function, ready to be invoked; with the handler, or with other files, and with a layer's."""
        package = _package({"app.py": HANDLER} if files is None else files)
        await asyncio.to_thread(self._create, name, package, variables or {}, layer)
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return Target(host, int(port), name)

    def _create(
        self, name: str, package: bytes, variables: Mapping[str, str], layer: Mapping[str, str] | None
    ) -> None:
        sdk = client(self.url)
        layers = []
        if layer is not None:
            content = {"ZipFile": _package(layer)}
            layers = [sdk.publish_layer_version(LayerName=name, Content=content)["LayerVersionArn"]]
        sdk.create_function(
            FunctionName=name,
            Runtime=RUNTIME,
            Role="arn:aws:iam::123456789012:role/benchmark",
            Handler="app.handler",
            Code={"ZipFile": package},
            Environment={"Variables": dict(variables)},
            Layers=layers,
            MemorySize=MEMORY_MB,
            Timeout=60,
        )
        sdk.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})

    async def stands_by(self) -> bool:
        """Whether it has a sandbox ready, and none under way that would take time from others."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        request = b"GET /_berth/ps HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode()
        status, body = await ask(Target(host, int(port)), request)
        if status != 200:
            raise Failed(f"{self.url}/_berth/ps answered {status}")
        states = {each["state"] for each in json.loads(body)["standbys"]}
        return states == {"standby"}

    async def agents(self) -> list[int]:
        """The process ids of its sandboxes' agents, as this machine sees them."""
        found = await self.bench.engine.containers(f"berth={self.owner()}", "berth.sandbox")
        return [await pid_of(self.bench.engine, each["Id"]) for each in found]


@asynccontextmanager
async def berth(
    bench: Bench, command: Sequence[str], name: str = "berth", **environment: str
) -> AsyncIterator[Berth]:
    """A running control plane with an empty data directory."""
    plane = Berth(bench, command, bench.place / name, environment)
    try:
        await plane.open()
        yield plane
    finally:
        await plane.close()
        await asyncio.to_thread(shutil.rmtree, plane.data_dir, ignore_errors=True)


def _package(files: Mapping[str, str]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o755 if text.startswith("#!") else 0o644) << 16
            archive.writestr(entry, text)
    return buffer.getvalue()


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
        await run(sys.executable, *fetch)
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
    command = (sys.executable, "-m", "benchmarks.floor", bench.gateway)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=PIPE, stdin=DEVNULL, start_new_session=True
    )
    try:
        ports = json.loads(await asyncio.wait_for(_first_line(process), START_LIMIT))
        yield Target("127.0.0.1", ports["door"]), f"{bench.gateway}:{ports['api']}"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def floor_document(bench: Bench, api: str) -> dict[str, Any]:
    return bench.document(["/var/runtime/bootstrap"], api=api, LogConfig={"Type": "none"})


@asynccontextmanager
async def floor_with(bench: Bench, runtimes: int) -> AsyncIterator[Target]:
    """The floor with this many runtimes."""
    async with AsyncExitStack() as held:
        target, api = await held.enter_async_context(floor(bench))
        for _ in range(runtimes):
            held.push_async_callback(bench.engine.remove, await bench.start(floor_document(bench, api)))
        yield target


# Means


async def run(*command: str) -> str:
    """A program's output. Raises `Failed`."""
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from None
    out, err = await process.communicate()
    if process.returncode:
        raise Failed(f"{' '.join(command[:6])}: {(err or out).decode(errors='replace').strip()[-400:]}")
    return out.decode()


async def address_of(bench: Bench, reference: str) -> str:
    networks = (await bench.engine.inspect(reference))["NetworkSettings"]["Networks"]
    return str(networks[bench.network]["IPAddress"])


async def pid_of(engine: Engine, reference: str) -> int:
    return int((await engine.inspect(reference))["State"]["Pid"])


async def connectable(target: Target) -> None:
    """Wait until somebody listens there."""
    async with asyncio.timeout(START_LIMIT):
        while True:
            try:
                _, writer = await asyncio.open_connection(target.host, target.port)
            except OSError:
                await asyncio.sleep(0.001)
            else:
                writer.close()
                return


async def answered(target: Target, request: bytes, expected: bytes = PAYLOAD) -> None:
    """Send one request over a new connection; `Failed` unless it is answered as expected."""
    status, body = await ask(target, request)
    if status != 200 or body != expected:
        raise Failed(f"{target.url} answered {status}: {body[:400].decode(errors='replace')}")


async def ask(target: Target, request: bytes) -> tuple[int, bytes]:
    """Status and body."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        writer.write(request)
        head = await reader.readuntil(END)
        length = LENGTH.search(head)
        body = await reader.readexactly(int(length[1])) if length else await reader.read()
        return int(head.split(None, 2)[1]), body
    finally:
        writer.close()


async def _first_line(process: Process) -> bytes:
    line = await process.stdout.readline() if process.stdout else b""
    if not line:
        raise Failed("a process ended without a word")
    return line


async def _line(descriptor: int) -> str:
    """The line that arrives in a pipe, empty when the writer ends first."""
    with os.fdopen(descriptor, "rb") as pipe:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        try:
            return (await asyncio.wait_for(reader.readline(), START_LIMIT)).decode().strip()
        finally:
            transport.close()


async def sweep(engine: Engine, label: str) -> None:
    """Remove the containers and networks that carry a label."""
    for each in await engine.containers(label):
        await engine.remove(each["Id"])
    for each in await engine.networks(label):
        with suppress(EngineError):
            await engine.remove_network(each["Id"])


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
