"""Fleet, launcher, links and Runtime API together, over real sockets; sandboxes are tasks that speak the link's protocol.

A runtime is a script: a coroutine that calls the Runtime API. Misbehaving sandboxes are subclasses of the one that
behaves.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from rapid import wire
from rapid.exchange import Ticket
from rapid.invocation import Invocation
from rapid.wire import Kind
from runtime.agent_bundle import NoBundle
from runtime.api.function_door import FunctionDoor
from runtime.core.room import Bounds
from runtime.directories import Directories
from runtime.fleet import Fleet
from runtime.function_images import NoFunctionImages
from runtime.grounds import Grounds
from runtime.launcher import Launcher
from runtime.model import LATEST, Alias, Code, FunctionConfig, FunctionVersion, Scope, State
from runtime.processors import NoEmulation
from runtime.reserve import Courtesy
from runtime.sandboxes import Sandboxes
from runtime.sessions import Sessions
from runtime.soon import settled
from runtime.spawners.base import (
    Delivery,
    SandboxDeath,
    SandboxHandle,
    SandboxSpec,
    SpawnerFacts,
)
from runtime.spawners.local_runtime import NoImages
from runtime.standby import Standbys

SCOPE = Scope("123456789012", "us-east-1")


def function(name: str = "f", *, code: str = "a", **config: Any) -> FunctionVersion:
    return FunctionVersion(
        scope=SCOPE,
        name=name,
        config=FunctionConfig(role="r", runtime="python3.11", handler="app.handler", **config),
        code=Code(code * 64, 1, 1),
        revision_id=f"{name}-{code}-{config}",
        last_modified="",
        state=State.ACTIVE,
    )


class Runtime:
    """A runtime's side of the Runtime API."""

    def __init__(self, sandbox: "Sandbox", env: dict[str, str], session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.env = env
        self._base = f"http://{env['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime"
        self._session = session
        self.request_id = ""
        self.tenant: str | None = None

    async def next(self) -> bytes:
        async with self._session.get(f"{self._base}/invocation/next") as answer:
            assert answer.status == 200
            self.request_id = answer.headers["Lambda-Runtime-Aws-Request-Id"]
            self.tenant = answer.headers.get("Lambda-Runtime-Aws-Tenant-Id")
            return await answer.read()

    async def respond(self, payload: bytes) -> int:
        return await self._post(f"invocation/{self.request_id}/response", payload)

    async def error(self, payload: bytes) -> int:
        return await self._post(f"invocation/{self.request_id}/error", payload)

    async def init_error(self, payload: bytes) -> int:
        return await self._post("init/error", payload)

    async def _post(self, path: str, payload: bytes) -> int:
        async with self._session.post(f"{self._base}/{path}", data=payload) as answer:
            return answer.status

    def print(self, text: str) -> None:
        self.sandbox.output(text.encode())


Script = Callable[[Runtime], Awaitable[int]]


async def echo(runtime: Runtime) -> int:
    while True:
        await runtime.respond(await runtime.next())


class Sandbox:
    """An agent with one process at most, all of it one task."""

    def __init__(self, spec: SandboxSpec, script: Script) -> None:
        self.spec = spec
        self.script = script
        self.heard: list[Kind] = []
        self.runtime: asyncio.Task[int] | None = None
        self.process = 0
        self.signals: list[tuple[int, int]] = []
        #: Process and signal.
        self.names: dict[str, Sequence[str]] = {}
        #: What LIST gives for a path; nothing for others.
        self.writer: asyncio.StreamWriter | None = None
        self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        try:
            await self.dial()
            await self.obey()
        except ConnectionError:
            return
        finally:
            self.kill()
            if self.writer is not None:
                self.writer.close()

    async def dial(self) -> None:
        host, _, port = self.spec.link.rpartition(":")
        self.reader, self.writer = await asyncio.open_connection(host, int(port))
        self.writer.write(wire.message(Kind.HELLO, sandbox=self.spec.sandbox_id, token=self.spec.token))

    async def obey(self) -> None:
        frames = wire.Frames()
        while data := await self.reader.read(65536):
            for kind, payload in frames.feed(data):
                self.heard.append(kind)
                self.hear(kind, payload)

    def hear(self, kind: Kind, payload: bytes) -> None:
        match kind:
            case Kind.START:
                said = wire.fields(payload)
                self.process = said["process"]
                self.send(wire.message(Kind.STARTED, process=self.process, pid=1))
                self.runtime = asyncio.create_task(self.execute(self.process, said["env"]))
            case Kind.SETTLE:
                self.send(wire.frame(Kind.SETTLED, payload + struct.pack("!Q", 40 << 20)))
            case Kind.CLEAR:
                self.kill()
                self.send(wire.frame(Kind.CLEARED, payload + struct.pack("!Q", 41 << 20)))
            case Kind.LIST:
                path = wire.fields(payload)["path"]
                self.send(wire.message(Kind.LISTED, path=path, names=[*self.names.get(path, ())]))
            case Kind.SIGNAL:
                self.signal(**wire.fields(payload))

    def signal(self, process: int, number: int) -> None:
        """Whatever the signal, what it reaches dies of it."""
        self.signals.append((process, number))
        if process == self.process and self.runtime is not None and not self.runtime.done():
            self.kill()
            self.send(wire.message(Kind.EXITED, process=process, status=-number, out_of_memory=False))

    async def execute(self, process: int, env: dict[str, str]) -> int:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(None)) as session:
            try:
                status = await self.script(Runtime(self, env, session))
            except aiohttp.ClientError:
                return 1
        self.send(wire.message(Kind.EXITED, process=process, status=status, out_of_memory=False))
        return status

    def output(self, data: bytes) -> None:
        self.send(wire.frame(Kind.OUTPUT, wire.OUTPUT_HEADER.pack(self.process, 1) + data))

    def send(self, data: bytes) -> None:
        if self.writer is not None and not self.writer.is_closing():
            self.writer.write(data)

    def kill(self) -> None:
        if self.runtime is not None:
            self.runtime.cancel()

    def vanish(self) -> None:
        """The machine under it is gone."""
        assert self.writer is not None
        self.writer.transport.abort()

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(*filter(None, (self.task, self.runtime)), return_exceptions=True)


class Silent(Sandbox):
    """Never dials."""

    async def dial(self) -> None:
        await asyncio.Event().wait()


class Stillborn(Sandbox):
    """Ends before it dials."""

    async def dial(self) -> None:
        raise ConnectionResetError


class Fleeting(Sandbox):
    """Says hello and hangs up."""

    async def obey(self) -> None:
        assert self.writer is not None
        await self.writer.drain()


class Fragile(Sandbox):
    """Vanishes when its runtime is started."""

    def hear(self, kind: Kind, payload: bytes) -> None:
        if kind is Kind.START:
            self.vanish()
        else:
            super().hear(kind, payload)


class Stubborn(Sandbox):
    """Does not kill anything, and holds on to a half-posted response."""

    def hear(self, kind: Kind, payload: bytes) -> None:
        if kind not in (Kind.CLEAR, Kind.SIGNAL):
            super().hear(kind, payload)


class Mute(Sandbox):
    """Answers nothing."""

    def hear(self, kind: Kind, payload: bytes) -> None:
        pass


class Unpacking(Sandbox):
    """Takes files over its link."""

    def hear(self, kind: Kind, payload: bytes) -> None:
        if kind is Kind.TREE:
            self.path = wire.fields(payload)["path"]
        elif kind is Kind.TREE_END:
            self.send(wire.message(Kind.TREE_DONE, path=self.path, error=None))
        super().hear(kind, payload)


class Spawner:
    """Starts sandboxes as tasks."""

    name = "tasks"

    def __init__(self) -> None:
        self.script: Script = echo
        self.kinds: list[type[Sandbox]] = []
        #: What the next sandboxes are; then ordinary ones.
        self.failures: list[Exception] = []
        #: With which the next launches fail.
        self.refusals: list[Exception] = []
        #: With which the next resizings fail.
        self.sizes: dict[str, int] = {}
        self.resizes = False
        self.sandboxes: dict[str, Sandbox] = {}
        self.launched: list[Sandbox] = []
        self.leftovers: list[SandboxHandle] = []
        self.under_way = self.most_under_way = 0
        self.may_launch = asyncio.Event()
        self.may_launch.set()
        self.delivery = Delivery.BIND
        self.events: asyncio.Queue[SandboxDeath] = asyncio.Queue()
        self.preparations: list[Exception] = []
        #: With which the next preparations fail.
        self.closed = False

    async def prepare(self) -> SpawnerFacts:
        if self.preparations:
            raise self.preparations.pop(0)
        return SpawnerFacts("127.0.0.1", self.delivery, "tasks", resizes=self.resizes)

    async def launch(self, spec: SandboxSpec) -> SandboxHandle:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.may_launch.wait()
        finally:
            self.under_way -= 1
        if self.failures:
            raise self.failures.pop(0)
        kind = self.kinds.pop(0) if self.kinds else Sandbox
        sandbox = self.sandboxes[spec.sandbox_id] = kind(spec, self.script)
        self.launched.append(sandbox)
        return SandboxHandle(self.name, spec.sandbox_id, spec.sandbox_id)

    async def resize(self, handle: SandboxHandle, memory_mb: int) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.sizes[handle.sandbox_id] = memory_mb

    async def destroy(self, handle: SandboxHandle) -> None:
        if sandbox := self.sandboxes.get(handle.sandbox_id):
            await sandbox.end()
            self.sandboxes.pop(handle.sandbox_id, None)
        self.leftovers = [each for each in self.leftovers if each != handle]

    async def list(self) -> "list[SandboxHandle]":
        return list(self.leftovers)

    async def deaths(self) -> AsyncIterator[SandboxDeath]:
        while True:
            yield await self.events.get()

    async def close(self) -> None:
        self.closed = True


class Files:
    """Bundles of nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 1
        self.has_all = True
        self.places: dict[str, dict[Path, Path]] = {}

    async def task_root(self, code: Code) -> Path:
        return self.path

    async def opt(self, layers: Sequence[Code]) -> Path:
        return self.path

    async def ready(self, code: Code, layers: Sequence[Code]) -> None:
        await self.task_root(code)

    @asynccontextmanager
    async def composed(self, layers: Sequence[Code]) -> AsyncIterator[Path]:
        yield await self.opt(layers)

    @asynccontextmanager
    async def archived(self, tree: Path) -> AsyncIterator[Path]:
        archive = self.path / "tree.tar"
        archive.write_bytes(b"x" * 100_000)
        yield archive

    async def archive(self, tree: Path) -> Path:
        return tree

    def has(self, tree: Path) -> bool:
        return self.has_all

    async def count(self, tree: Path) -> int:
        return self.size

    async def make_place(self, sandbox_id: str) -> tuple[Path, Path]:
        self.places[sandbox_id] = {}
        return self.path / sandbox_id / "task", self.path / sandbox_id / "opt"

    async def fill(self, sandbox_id: str, shown: Mapping[Path, Path]) -> None:
        self.places[sandbox_id] = dict(shown)

    async def remove_place(self, sandbox_id: str) -> None:
        del self.places[sandbox_id]


class Logs:
    def __init__(self) -> None:
        self.lines: list[bytes] = []

        self.is_ahead = False

    def writer(self, scope: Scope, group: str, stream: str) -> "Logs":
        return self

    def write(self, timestamp_ms: int, text: bytes) -> None:
        self.lines.append(text)


class World:
    """A fleet, and everything around it at hand."""

    directories: Directories | None = None

    def __init__(self, path: Path) -> None:
        self.spawner = Spawner()
        self.logs = Logs()
        self.functions: dict[tuple[str, str], FunctionVersion] = {}
        self.known_aliases: list[Alias] = []
        self.cold: set[str] = set()
        #: Functions of which no environment is launched ahead.
        self.sandboxes = Sandboxes(self.spawner)
        self.files = bundles = Files(path)
        self.images = NoImages()
        courtesy = Courtesy()
        self.standbys = Standbys(
            self.sandboxes,
            images=self.images,
            places=bundles,
            catalog=lambda: self,  # type: ignore[arg-type,return-value]
            courtesy=courtesy,
            memory_mb=64,
            room=lambda: self.fleet.room(),  # noqa: PLW0108  it is made later
        )
        self.launcher = Launcher(
            sandboxes=self.sandboxes,
            standbys=self.standbys,
            courtesy=courtesy,
            grounds=Grounds(
                images=self.images,
                function_images=NoFunctionImages(),
                agent_bundle=NoBundle(),
                bundles=bundles,  # type: ignore[arg-type]
                emulation=NoEmulation(),
            ),
            bundles=bundles,  # type: ignore[arg-type]
            logs=self.logs,  # type: ignore[arg-type]
            calls=FunctionDoor(Sessions()),
            freeze=True,
        )
        self.fleet = self.make()
        self.count = 0
        self.looks = 0

    def make(
        self,
        *,
        capacity: int = 10,
        memory: int = 10_000,
        parallel: int = 4,
        room_wait: float = 100.0,
        idle_timeout: float = 600.0,
    ) -> Fleet:
        self.fleet = Fleet(
            launcher=self.launcher,
            spawner=self.spawner,
            catalog=lambda: self,  # type: ignore[arg-type,return-value]
            bounds=Bounds(memory=memory, environments=capacity, launches=parallel),
            room_wait=room_wait,
            idle_timeout=idle_timeout,
            directories=self.directories,
            may_warm=lambda version: version.name not in self.cold,
        )
        return self.fleet

    async def close(self) -> None:
        await self.standbys.close()
        await self.fleet.close(0)
        await self.launcher.close()

    async def remake(self, **differently: Any) -> None:
        """Another fleet instead."""
        await self.fleet.close(0)
        await self.make(**differently).open()

    def function(self, scope: Scope, name: str, version: str = LATEST) -> FunctionVersion | None:
        return self.functions.get((name, version))

    def all_functions(self) -> Iterable[FunctionVersion]:
        return list(self.functions.values())

    def aliases(self, scope: Scope, function: str) -> Sequence[Alias]:
        return [alias for alias in self.known_aliases if alias.function == function]

    def put_aliases(self, *aliases: Alias) -> None:
        self.known_aliases = list(aliases)
        self.fleet.retired(SCOPE, aliases[0].function)

    def put(self, version: FunctionVersion) -> FunctionVersion:
        self.functions[version.name, version.version] = version
        self.fleet.retired(version.scope, version.name)
        return version

    async def start(
        self,
        version: FunctionVersion,
        payload: bytes = b"{}",
        *,
        provisioned: bool = False,
        tenant: str | None = None,
    ) -> Ticket:
        self.count += 1
        invocation = Invocation(
            request_id=f"r{self.count}",
            arn=version.arn,
            payload=payload,
            trace_id="Root=1",
            tenant_id=tenant,
        )
        return await settled(self.fleet.run(version, invocation, provisioned=provisioned))

    async def invoke(self, version: FunctionVersion, payload: bytes = b"{}") -> bytes:
        return (await (await self.start(version, payload)).outcome).payload

    async def invoke_whole(
        self, version: FunctionVersion, payload: bytes = b"{}", provisioned: bool = False
    ) -> bytes:
        """Until the environment is free again."""
        ticket = await self.start(version, payload, provisioned=provisioned)
        await ticket.completed
        return ticket.outcome.result().payload

    def states(self) -> list[str]:
        return sorted(each["state"] for each in self.fleet.snapshot())

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the loop turn until the condition holds; what it waits for comes over sockets of this process."""
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0)  # a turn of the loop, no time


class Gate:
    """A script that answers when it is let."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.arrived = 0

    async def __call__(self, runtime: Runtime) -> int:
        while True:
            payload = await runtime.next()
            self.arrived += 1
            await self.open.wait()
            await runtime.respond(payload)


def alias(name: str, version: str = "1", *, revision: str = "a", **environment: str) -> Alias:
    return Alias(
        scope=SCOPE,
        function="f",
        name=name,
        version=version,
        environment=environment or None,
        revision_id=f"{name}-{revision}",
    )


def published(number: str, **facts: Any) -> FunctionVersion:
    version = function(**facts)
    return replace(version, version=number, revision_id=f"{version.revision_id}-{number}")
