"""Berth: control planes of the run's own, and functions on them."""

import asyncio
import os
import shutil
import signal
import zipfile
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BytesIO
from pathlib import Path

from benchmarks.asking import START_LIMIT, Target, document
from benchmarks.bench import HANDLER, MEMORY_MB, RUNTIME, Bench, pid_of, sweep
from benchmarks.programs import Failed
from benchmarks.sdk import client
from runtime.spawners.engine import EngineError

STOP_LIMIT = 60.0
QUIET = {"BERTH_STANDBY": "false", "BERTH_SPARE_NETWORKS": "0"}
"""For a control plane that makes nothing ahead, which would take time from what is measured."""


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
        zipped = package({"app.py": HANDLER} if files is None else files)
        await asyncio.to_thread(self._create, name, zipped, variables or {}, layer)
        return self.target(name)

    def target(self, name: str = "") -> Target:
        """A function that is there; or the control plane itself."""
        return Target.at(self.url, name)

    def _create(
        self, name: str, zipped: bytes, variables: Mapping[str, str], layer: Mapping[str, str] | None
    ) -> None:
        sdk = client(self.url)
        layers = []
        if layer is not None:
            content = {"ZipFile": package(layer)}
            layers = [sdk.publish_layer_version(LayerName=name, Content=content)["LayerVersionArn"]]
        sdk.create_function(
            FunctionName=name,
            Runtime=RUNTIME,
            Role="arn:aws:iam::123456789012:role/benchmark",
            Handler="app.handler",
            Code={"ZipFile": zipped},
            Environment={"Variables": dict(variables)},
            Layers=layers,
            MemorySize=MEMORY_MB,
            Timeout=60,
        )
        sdk.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})

    async def stands_by(self) -> bool:
        """Whether it has a sandbox ready, and none under way that would take time from others."""
        standbys = (await document(self.target(), "/_berth/ps"))["standbys"]
        return {each["state"] for each in standbys} == {"standby"}

    async def agents(self) -> list[int]:
        """The process ids of its sandboxes' agents, as this machine sees them."""
        found = await self.bench.engine.containers(f"berth={self.owner()}", "berth.sandbox")
        pids = []
        for each in found:
            try:
                pids.append(await pid_of(self.bench.engine, each["Id"]))
            except EngineError as error:
                if error.status != HTTPStatus.NOT_FOUND:  # it has ended since
                    raise
        return pids


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


def package(files: Mapping[str, str]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o755 if text.startswith("#!") else 0o644) << 16
            archive.writestr(entry, text)
    return buffer.getvalue()


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
