"""Fleet, launcher, links and Runtime API together, over real sockets; sandboxes are tasks that speak the link's protocol.

A runtime is a script: a coroutine that calls the Runtime API. Misbehaving sandboxes are subclasses of the one that
behaves.
"""

import asyncio
import logging
import random
import re
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rapid import wire
from rapid.exchange import Ticket
from rapid.invocation import Invocation
from rapid.wire import Kind
from runtime import fleet as fleet_module
from runtime import launcher as launcher_module
from runtime import reserve as reserve_module
from runtime import sandboxes as sandboxes_module
from runtime.agent_bundle import NoBundle
from runtime.api.function_door import FunctionDoor
from runtime.core import pool as pool_module
from runtime.core.groups import Place
from runtime.core.room import Bounds
from runtime.core.routing import as_run_by
from runtime.directories import Directories
from runtime.errors import LambdaError, PreparationFailed
from runtime.exposition import Census
from runtime.files import StorageFull
from runtime.fleet import Fleet, Kept, KeptNews
from runtime.function_images import NoFunctionImages
from runtime.grounds import Grounds
from runtime.launcher import Launcher
from runtime.model import LATEST, Alias, Code, FunctionConfig, FunctionVersion, Scope, State
from runtime.reserve import Courtesy
from runtime.sandboxes import Sandboxes
from runtime.sessions import Sessions
from runtime.spawners.base import (
    Delivery,
    SandboxDeath,
    SandboxHandle,
    SandboxSpec,
    SpawnerError,
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
        return await self.fleet.run(version, invocation, provisioned=provisioned)

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


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.fleet.open()
    yield world
    await world.close()
    assert not world.spawner.sandboxes, "sandboxes are left"
    assert world.fleet._lives == {}
    assert world.fleet._wanted == {}
    assert world.fleet._pool.keys() == []
    assert world.spawner.closed


@pytest.fixture
def f(world: World) -> FunctionVersion:
    return world.put(function())


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


async def test_cold_and_warm(world: World, f: FunctionVersion) -> None:
    """The first invocation launches an environment, the next one uses it again."""
    assert await world.invoke_whole(f, b'"a"') == b'"a"'
    assert await world.invoke_whole(f, b'"b"') == b'"b"'
    assert len(world.spawner.launched) == 1
    text = b"".join(world.logs.lines).decode()
    assert [line.partition(" ")[0] for line in text.splitlines()] == [
        "INIT_START", "START", "END", "REPORT", "START", "END", "REPORT",
    ]  # fmt: skip


async def test_parallel(world: World, f: FunctionVersion) -> None:
    """N invocations at a time get N environments, each one at a time."""
    world.spawner.script = gate = Gate()
    calls = [asyncio.create_task(world.invoke(f, b"%d" % number)) for number in range(5)]
    await world.until(lambda: gate.arrived == 5)
    assert world.states() == ["busy"] * 5
    gate.open.set()
    assert await asyncio.gather(*calls) == [b"0", b"1", b"2", b"3", b"4"]
    await world.until(lambda: world.states() == ["idle"] * 5)


async def test_most_recently_used(world: World, f: FunctionVersion) -> None:
    """Work goes to the environment that was used last."""
    world.spawner.script = gate = Gate()
    calls = [asyncio.create_task(world.invoke_whole(f)) for _ in range(3)]
    await world.until(lambda: gate.arrived == 3)
    gate.open.set()
    await asyncio.gather(*calls)
    for _ in range(4):
        await world.invoke_whole(f)
    assert sorted(each["invocations"] for each in world.fleet.snapshot()) == [1, 1, 5]


async def test_tight_loop(world: World, f: FunctionVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks again as soon as it has its answer stays on one environment."""
    monkeypatch.setattr(pool_module, "GRACE", 10.0)
    for number in range(50):
        assert await world.invoke(f, b"%d" % number) == b"%d" % number
    assert len(world.spawner.launched) == 1


async def test_busy_clients(world: World, f: FunctionVersion) -> None:
    """Many clients in tight loops: every answer is the right one."""

    async def client(number: int) -> None:
        for turn in range(25):
            payload = b"%d.%d" % (number, turn)
            assert await world.invoke(f, payload) == payload

    await asyncio.gather(*(client(number) for number in range(8)))


async def test_idle_eviction(world: World, f: FunctionVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that nobody uses goes."""
    monkeypatch.setattr(fleet_module, "EXPIRY_INTERVAL", 0.001)
    await world.remake(idle_timeout=0.0)
    await world.invoke(f)
    await world.until(lambda: not world.spawner.sandboxes)


class TestUpdates:
    async def test_idle_ones_go(self, world: World, f: FunctionVersion) -> None:
        """Environments of the old code end, the new code gets its own."""
        await world.invoke_whole(f)
        new = world.put(function(code="b"))
        await world.until(lambda: not world.spawner.sandboxes)
        await world.invoke(new)
        assert len(world.spawner.launched) == 2

    async def test_busy_ones_finish(self, world: World, f: FunctionVersion) -> None:
        """An invocation under way ends on the code that it began on."""
        world.spawner.script = gate = Gate()
        ticket = await world.start(f, b"1")
        world.put(function(code="b"))
        gate.open.set()
        assert (await ticket.outcome).payload == b"1"
        await world.until(lambda: not world.spawner.sandboxes)

    async def test_never_the_old_code(self, world: World, f: FunctionVersion) -> None:
        """After an update no invocation meets the old environments, though one is launching and one is busy."""
        world.spawner.script = gate = Gate()
        gate.open.set()
        await world.invoke_whole(f)
        world.spawner.may_launch.clear()
        gate.open.clear()
        busy = await world.start(f)
        waiting = asyncio.create_task(world.invoke(f))
        await world.until(lambda: world.spawner.under_way)
        new = world.put(function(code="b"))
        fresh = asyncio.create_task(world.start(new))
        gate.open.set()
        world.spawner.may_launch.set()
        await asyncio.gather(busy.completed, waiting)
        await fresh
        await world.until(lambda: len(world.spawner.sandboxes) == 1)
        [left] = world.fleet.snapshot()
        assert left["invocations"] == 1
        assert {key.code for key in list(world.fleet._pool.keys())} == {new.code.digest}  # type: ignore[attr-defined]

    async def test_waiting_at_capacity(self, world: World) -> None:
        """Who waits for room while its function is updated is served, and nothing of the old code is left."""
        await world.remake(capacity=1)
        world.spawner.script = gate = Gate()
        first, second = world.put(function("x")), world.put(function("f"))
        await world.start(first)
        waiting = asyncio.create_task(world.invoke_whole(second, b"2"))
        await world.until(lambda: world.fleet._wanted)
        world.put(function("f", code="b"))
        gate.open.set()
        assert await waiting == b"2"
        await world.until(lambda: not world.spawner.sandboxes)

    async def test_deleted(self, world: World, f: FunctionVersion) -> None:
        """A deleted function keeps no environments."""
        await world.invoke_whole(f)
        world.functions.clear()
        world.fleet.retired(f.scope, f.name)
        await world.until(lambda: not world.spawner.sandboxes)

    async def test_new_state_is_no_change(self, world: World, f: FunctionVersion) -> None:
        """A new revision with the same code and configuration keeps the environments."""
        await world.invoke_whole(f)
        await world.invoke_whole(world.put(replace(f, revision_id="other", state_reason="ok")))
        assert len(world.spawner.launched) == 1

    async def test_taken_back(self, world: World, f: FunctionVersion) -> None:
        """A change that is taken back while an environment is busy does not make it useless."""
        world.spawner.script = gate = Gate()
        ticket = await world.start(f)
        world.put(function(code="b"))
        world.put(f)
        gate.open.set()
        await ticket.completed
        await world.invoke_whole(f)
        assert len(world.spawner.launched) == 1


class TestCapacity:
    async def test_wait(self, world: World) -> None:
        """At capacity an invocation waits for an environment to become free."""
        await world.remake(capacity=2)
        f = world.put(function())
        world.spawner.script = gate = Gate()
        calls = [asyncio.create_task(world.invoke(f, b"%d" % number)) for number in range(6)]
        await world.until(lambda: gate.arrived == 2)
        gate.open.set()
        assert await asyncio.gather(*calls) == [b"%d" % number for number in range(6)]
        assert len(world.spawner.launched) == 2

    async def test_room_from_others(self, world: World) -> None:
        """An idle environment of another function makes room."""
        await world.remake(capacity=1)
        for name in ("a", "b", "a"):
            await world.invoke_whole(world.put(function(name)))
        assert len(world.spawner.launched) == 3
        await world.until(lambda: len(world.spawner.sandboxes) == 1)

    @pytest.mark.parametrize(
        ("bounds", "text"),
        [
            ({"memory": 300}, "all of 300 MB are in use (setting memory_budget)"),
            ({"capacity": 1}, "all of 1 environments are in use (setting max_environments)"),
        ],
    )
    async def test_no_room_in_time(
        self, world: World, monkeypatch: pytest.MonkeyPatch, bounds: dict[str, Any], text: str
    ) -> None:
        """Who waits for room too long is told that there are too many requests, and which setting bounds them."""
        monkeypatch.setattr(fleet_module, "EXPIRY_INTERVAL", 0.001)
        await world.remake(room_wait=0.01, **bounds)
        f = world.put(function(memory_size=200))
        world.spawner.script = gate = Gate()
        busy = await world.start(f)
        with pytest.raises(LambdaError) as caught:
            await world.invoke(f)
        assert (caught.value.status, caught.value.reason) == (429, "ConcurrentInvocationLimitExceeded")
        assert text in caught.value.message
        gate.open.set()
        await busy.completed

    async def test_no_room_ever(self, world: World) -> None:
        """A function that needs more than there is, is refused at once."""
        await world.remake(memory=300)
        with pytest.raises(LambdaError, match=r"does not fit .* 300 MB .*setting memory_budget"):
            await world.invoke(world.put(function(memory_size=301)))
        assert world.fleet._pool.keys() == []

    async def test_nobody_gives_an_answer(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """A launch that does not come to an end is not waited for without end."""
        monkeypatch.setattr(fleet_module, "WAIT_LIMIT", 0.01)
        world.spawner.may_launch.clear()
        with pytest.raises(LambdaError, match="No execution environment became free"):
            await world.invoke(world.put(function()))

    async def test_bounded_launches(self, world: World, f: FunctionVersion) -> None:
        """No more launches at a time than are good."""
        world.spawner.may_launch.clear()
        calls = [asyncio.create_task(world.invoke(f)) for _ in range(8)]
        await world.until(lambda: world.spawner.under_way == 4)
        world.spawner.may_launch.set()
        await asyncio.gather(*calls)
        assert world.spawner.most_under_way == 4


class TestLaunchFailures:
    @pytest.mark.parametrize(
        ("kind", "text"),
        [
            (Silent, "did not dial 127.0.0.1:"),
            (Fleeting, "sandbox ended"),
            (Fragile, "ended while it initialised"),
        ],
    )
    async def test_bad_sandbox(  # noqa: PLR0917  fixtures
        self,
        world: World,
        f: FunctionVersion,
        kind: type[Sandbox],
        text: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A sandbox that does not come up fails its invocation with a reason, and only that one."""
        monkeypatch.setattr(sandboxes_module, "DIAL_LIMIT", 0.05 if kind is Silent else 5.0)
        world.spawner.kinds = [kind] * (1 + (kind is not Silent) * fleet_module.MOST_RETURNS)
        with pytest.raises(LambdaError, match=text) as caught:
            await world.invoke(f)
        assert caught.value.code == "ServiceException"
        assert text in caplog.text
        await world.until(lambda: not world.spawner.sandboxes)
        assert await world.invoke(f, b"7") == b"7"

    async def test_refused(self, world: World, f: FunctionVersion) -> None:
        """The spawner's reason reaches the caller; other invocations are not touched."""
        world.spawner.may_launch.clear()
        calls = [asyncio.create_task(world.invoke(f)) for _ in range(3)]
        await world.until(lambda: world.spawner.under_way == 3)
        world.spawner.failures = [SpawnerError("no space left on the engine")]
        world.spawner.may_launch.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [str(each) for each in results if isinstance(each, Exception)] == [
            "ServiceException: The execution environment could not be launched: no space left on the engine"
        ]

    async def test_bug(self, world: World, f: FunctionVersion, caplog: pytest.LogCaptureFixture) -> None:
        """What nobody foresaw goes to the log whole, and to the caller as a hint."""
        world.spawner.failures = [ZeroDivisionError("oops")]
        with pytest.raises(LambdaError, match="see the server's log"):
            await world.invoke(f)
        assert "ZeroDivisionError: oops" in caplog.text

    async def test_death_before_the_dial(self, world: World, f: FunctionVersion) -> None:
        """The spawner's word that a sandbox is dead ends the wait for its agent."""
        world.spawner.kinds = [Silent]
        call = asyncio.create_task(world.invoke(f))
        await world.until(lambda: world.spawner.launched)
        [sandbox] = world.spawner.launched
        world.spawner.events.put_nowait(SandboxDeath(sandbox.spec.sandbox_id, "exit status 3"))
        with pytest.raises(LambdaError, match="before its agent dialled in: exit status 3"):
            await call

    async def test_killed_before_the_dial(self, world: World, f: FunctionVersion) -> None:
        """Who waits for a sandbox that somebody kills before its agent dials gets another one."""
        world.spawner.kinds = [Silent]
        call = asyncio.create_task(world.invoke(f, b"1"))
        await world.until(lambda: world.spawner.launched)
        [sandbox] = world.spawner.launched
        world.spawner.events.put_nowait(SandboxDeath(sandbox.spec.sandbox_id, "signal: killed"))
        assert await call == b"1"
        assert len(world.spawner.launched) == 2

    async def test_killed_before_the_dial_again_and_again(self, world: World, f: FunctionVersion) -> None:
        """Not for ever: in the end the client is told, and nothing more is launched for it."""
        world.spawner.kinds = [Silent] * 10
        call = asyncio.create_task(world.invoke(f))
        for number in range(1 + fleet_module.MOST_RETURNS):
            await world.until(lambda: len(world.spawner.launched) > number)  # noqa: B023  awaited here
            sandbox_id = world.spawner.launched[number].spec.sandbox_id
            world.spawner.events.put_nowait(SandboxDeath(sandbox_id, "signal: killed"))
        with pytest.raises(LambdaError, match="before its agent dialled in: signal: killed"):
            await call
        assert len(world.spawner.launched) == 1 + fleet_module.MOST_RETURNS

    async def test_death_during_a_failing_launch(
        self, world: World, f: FunctionVersion, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Both the death and the launch's own failure are told: one is enough, and nothing is left unseen."""
        world.spawner.may_launch.clear()
        call = asyncio.create_task(world.invoke(f))
        await world.until(lambda: world.spawner.under_way)
        [sandbox_id] = world.sandboxes._dialled
        world.spawner.failures = [SpawnerError("the engine says no")]
        world.spawner.events.put_nowait(SandboxDeath(sandbox_id, "ended"))
        await world.until(world.sandboxes._dialled[sandbox_id].done)
        world.spawner.may_launch.set()
        with pytest.raises(LambdaError, match="the engine says no"):
            await call
        assert "never retrieved" not in caplog.text

    async def test_unpreparable(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Where nothing can run, invocations and preparations say why; and work as soon as it can."""
        world = World(tmp_path)
        f = world.put(function())
        world.spawner.preparations = [SpawnerError("no engine") for _ in range(3)]
        await world.fleet.open()
        await world.until(lambda: "functions cannot run: no engine" in caplog.text)
        with pytest.raises(LambdaError, match="no engine"):
            await world.invoke(f)
        with pytest.raises(PreparationFailed, match="no engine"):
            await world.fleet.prepare(f)
        assert await world.invoke(f, b"8") == b"8"
        [sandbox] = world.spawner.launched
        world.spawner.events.put_nowait(SandboxDeath(sandbox.spec.sandbox_id, "out of memory"))
        await world.until(lambda: not world.spawner.sandboxes)
        await world.close()


class TestPreparation:
    """An image that is built, or files that are unpacked, before the first launch."""

    @pytest.fixture
    def gate(self, world: World, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
        """Nothing is at hand before it is set; `world.looks` tells how often somebody looked."""
        gate = asyncio.Event()
        make_ready = world.launcher.make_ready

        async def slowly(version: FunctionVersion, progress: Callable[[str], None]) -> None:
            world.looks += 1
            await gate.wait()
            await make_ready(version, progress)

        monkeypatch.setattr(world.launcher, "make_ready", slowly)
        return gate

    async def test_once_for_all(self, world: World, f: FunctionVersion, gate: asyncio.Event) -> None:
        """Who asks meanwhile waits for the same; it goes on when the first one leaves, and takes no launch."""
        calls = [asyncio.create_task(world.invoke(f, b"%d" % number)) for number in range(5)]
        await world.until(lambda: world.looks)
        calls[0].cancel()
        await asyncio.wait([calls[0]])
        assert world.fleet._pool.keys() == []
        gate.set()
        assert await asyncio.gather(*calls[1:]) == [b"1", b"2", b"3", b"4"]
        assert world.looks == 1

    async def test_at_the_end(self, world: World, f: FunctionVersion, gate: asyncio.Event) -> None:
        """Who waits for it when everything ends is told so."""
        call = asyncio.create_task(world.invoke(f))
        await world.until(lambda: world.looks)
        await world.fleet.close(0)
        with pytest.raises(LambdaError, match="shutting down"):
            await call

    async def test_too_long(
        self, world: World, f: FunctionVersion, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody waits without end."""
        monkeypatch.setattr(fleet_module, "WAIT_LIMIT", 0.01)
        with pytest.raises(LambdaError, match="No execution environment became free"):
            await world.invoke(f)
        gate.set()


class TestCancelledCallers:
    async def test_while_launching(self, world: World, f: FunctionVersion) -> None:
        """The launch goes on, and serves the next."""
        world.spawner.may_launch.clear()
        call = asyncio.create_task(world.invoke(f))
        await world.until(lambda: world.spawner.under_way)
        call.cancel()
        await asyncio.wait([call])
        world.spawner.may_launch.set()
        assert await world.invoke(f, b"1") == b"1"
        assert len(world.spawner.launched) == 1

    async def test_while_running(self, world: World, f: FunctionVersion) -> None:
        """The function goes on to its end, and its environment serves the next."""
        world.spawner.script = gate = Gate()
        call = asyncio.create_task(world.invoke(f))
        await world.until(lambda: gate.arrived)
        call.cancel()
        await asyncio.wait([call])
        assert world.states() == ["busy"]
        gate.open.set()
        await world.until(lambda: world.states() == ["idle"])
        assert any(line.startswith(b"REPORT") for line in world.logs.lines)
        await world.invoke(f)
        assert len(world.spawner.launched) == 1

    @pytest.mark.parametrize("first", ["cancel", "idle"])
    async def test_in_the_same_moment(self, world: World, f: FunctionVersion, first: str) -> None:
        """A caller is cancelled in the turn of the loop in which its environment comes: it goes back."""
        world.spawner.script = gate = Gate()
        await world.start(f)
        call = asyncio.create_task(world.start(f))
        world.spawner.may_launch.clear()
        await world.until(lambda: world.fleet._wanted)
        [hosted] = world.fleet._hosted.values()
        idle = world.fleet._idle
        steps: list[Callable[[], object]] = [call.cancel, lambda: idle(hosted)]
        gate.open.set()
        await world.until(
            lambda: world.fleet._pool.place(hosted.number) is not Place.BUSY or not world.fleet._running
        )
        if first == "idle":
            steps.reverse()
        for step in steps:
            step()
        await asyncio.wait([call])
        world.spawner.may_launch.set()
        await world.until(lambda: world.states() and set(world.states()) == {"idle"})

    async def test_storm(self, world: World, f: FunctionVersion) -> None:
        """Callers that are cancelled at every possible moment leave a fleet that works."""
        await world.fleet.prepare(f)  # in threads: however long it takes, it would outlast all the callers
        for turns in range(60):
            call = asyncio.create_task(world.invoke(f))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
        await world.until(lambda: world.states() == ["idle"] * len(world.fleet._lives))
        assert world.spawner.launched
        assert await world.invoke(f, b"9") == b"9"


class TestDeaths:
    async def test_while_idle(self, world: World, f: FunctionVersion) -> None:
        """The next invocation gets another environment."""
        await world.invoke_whole(f)
        world.spawner.launched[0].vanish()
        await world.until(lambda: not world.spawner.sandboxes)
        assert await world.invoke(f, b"2") == b"2"

    async def test_in_flight(self, world: World, f: FunctionVersion) -> None:
        """The invocation fails with a function error that says so."""
        world.spawner.script = gate = Gate()
        ticket = await world.start(f)
        await world.until(lambda: gate.arrived)
        world.spawner.launched[0].vanish()
        outcome = await ticket.outcome
        assert outcome.function_error
        assert b"Sandbox.Failure" in outcome.payload
        await ticket.completed

    async def test_out_of_memory(self, world: World, f: FunctionVersion) -> None:
        """The spawner knows that it was for memory: the client sees a killed runtime, the log says why."""
        world.spawner.script = gate = Gate()
        ticket = await world.start(f)
        await world.until(lambda: gate.arrived)
        [sandbox] = world.spawner.launched
        world.spawner.events.put_nowait(
            SandboxDeath(sandbox.spec.sandbox_id, "out of memory", out_of_memory=True)
        )
        assert b"signal: killed" in (await ticket.outcome).payload
        assert (await ticket.completed).error_type == "Runtime.OutOfMemory"

    async def test_between_claim_and_use(self, world: World, f: FunctionVersion) -> None:
        """An environment that ends before its claimer's turn comes is replaced."""
        world.spawner.script = gate = Gate()
        first = await world.start(f)
        call = asyncio.create_task(world.invoke(f, b"2"))
        world.spawner.may_launch.clear()
        await world.until(lambda: world.fleet._wanted)
        [hosted] = world.fleet._hosted.values()
        gate.open.set()
        await first.completed
        if world.fleet._pool.place(hosted.number) is Place.BUSY:  # the call has been promised it just now
            hosted.environment.lost("gone")
        world.spawner.may_launch.set()
        assert b"2" in await call

    async def test_runtime_exits_while_idle(self, world: World, f: FunctionVersion) -> None:
        """The environment stays; the next invocation starts the runtime anew, in the same sandbox."""
        leave = asyncio.Event()

        async def script(runtime: Runtime) -> int:
            await runtime.respond(await runtime.next())
            poll = asyncio.ensure_future(runtime.next())
            left = asyncio.ensure_future(leave.wait())
            await asyncio.wait([poll, left], return_when=asyncio.FIRST_COMPLETED)
            left.cancel()
            if poll.done():
                await runtime.respond(poll.result())
                return await echo(runtime)
            poll.cancel()
            await asyncio.wait([poll])
            return 3

        world.spawner.script = script
        await world.invoke_whole(f)
        leave.set()
        await world.until(lambda: world.spawner.launched[0].heard.count(Kind.CLEAR) == 1)
        leave.clear()
        assert await world.invoke(f, b"2") == b"2"
        assert len(world.spawner.launched) == 1


class TestEnds:
    async def test_refuses_to_end(
        self, world: World, f: FunctionVersion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An agent that does not kill what it should is cut off; its sandbox is destroyed."""
        monkeypatch.setattr(fleet_module, "END_LIMIT", 0.01)
        world.spawner.kinds = [Stubborn]
        await world.invoke_whole(f)
        await world.fleet.close(0)
        assert not world.spawner.sandboxes

    async def test_half_a_response(
        self, world: World, f: FunctionVersion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A runtime that hangs in the middle of a call does not keep its sandbox from being destroyed."""
        monkeypatch.setattr(fleet_module, "END_LIMIT", 0.01)
        posting = asyncio.Event()

        async def script(runtime: Runtime) -> int:
            await runtime.next()
            host, _, port = runtime.env["AWS_LAMBDA_RUNTIME_API"].rpartition(":")
            _, writer = await asyncio.open_connection(host, int(port))
            path = f"/2018-06-01/runtime/invocation/{runtime.request_id}/response"
            writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf".encode())
            await writer.drain()
            posting.set()
            try:
                await asyncio.Event().wait()
            finally:
                writer.close()
            return 0

        world.spawner.kinds = [Stubborn]
        world.spawner.script = script
        ticket = await world.start(f)
        await posting.wait()
        async with asyncio.timeout(5):
            await world.fleet.close(0)
        assert ticket.outcome.result().function_error

    async def test_close_with_work_under_way(self, world: World, f: FunctionVersion) -> None:
        """Invocations under way may finish; those that wait are refused, and later ones too."""
        await world.remake(capacity=1)
        world.spawner.script = gate = Gate()
        running = await world.start(f, b"1")
        waiting = asyncio.create_task(world.invoke(f))
        await world.until(lambda: gate.arrived == 1 and world.fleet._wanted)
        closing = asyncio.create_task(world.fleet.close(30))
        await asyncio.sleep(0)
        with pytest.raises(LambdaError, match="shutting down"):
            await world.invoke(f)
        assert not closing.done()
        waiting.cancel()
        gate.open.set()
        await closing
        assert (await running.outcome).payload == b"1"

    async def test_close_without_patience(self, world: World, f: FunctionVersion) -> None:
        """What runs is killed, what waits or launches is refused."""
        world.spawner.script = gate = Gate()
        running = await world.start(f)
        await world.until(lambda: gate.arrived)
        world.spawner.may_launch.clear()
        waiting = asyncio.create_task(world.invoke(f))
        await world.until(lambda: world.spawner.under_way)
        await world.fleet.close(0)
        assert b"shut down" in running.outcome.result().payload
        with pytest.raises(LambdaError, match="shutting down"):
            await waiting

    async def test_cancelled_cleanup(self, world: World, f: FunctionVersion) -> None:
        """Even when whoever cleans up is cancelled, the sandbox is destroyed."""
        await world.invoke_whole(f)
        [life] = world.fleet._lives.values()
        life.cancel()
        await world.until(lambda: world.sandboxes._removals)
        life.cancel()
        await asyncio.wait([life])
        await world.launcher.close()
        assert not world.spawner.sandboxes

    async def test_failing_destruction(
        self, world: World, f: FunctionVersion, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A sandbox that cannot be removed is logged, and fails nothing else."""

        async def refuse(handle: SandboxHandle) -> None:
            await world.spawner.sandboxes.pop(handle.sandbox_id).end()
            raise SpawnerError("device or resource busy")

        await world.invoke_whole(f)
        world.spawner.destroy = refuse  # type: ignore[method-assign]
        world.put(function(code="b"))
        await world.until(lambda: "could not be removed: device or resource busy" in caplog.text)
        assert "no environment" not in caplog.text


async def test_leftovers(world: World, tmp_path: Path) -> None:
    """Sandboxes that an earlier control plane left are removed first; one that resists is no reason to give up."""
    other = World(tmp_path)
    other.spawner.leftovers = [SandboxHandle("tasks", name, name) for name in ("a", "b")]
    destroy = other.spawner.destroy

    async def resist(handle: SandboxHandle) -> None:
        if handle.sandbox_id == "a":
            raise SpawnerError("busy")
        await destroy(handle)

    other.spawner.destroy = resist  # type: ignore[method-assign]
    await other.launcher.prepare()
    assert [each.sandbox_id for each in other.spawner.leftovers] == ["a"]
    assert other.launcher.about()["spawner"] == "tasks"
    await other.launcher.close()


async def test_copy(tmp_path: Path) -> None:
    """Where the engine does not see the control plane's files, they go over the link before anything starts."""

    world = World(tmp_path)
    f = world.put(function())
    world.spawner.delivery = Delivery.COPY
    world.spawner.kinds = [Unpacking, *[Fleeting] * (1 + fleet_module.MOST_RETURNS)]
    assert await world.invoke_whole(f, b"1") == b"1"
    heard = world.spawner.launched[0].heard
    assert heard[0] is Kind.TREE
    assert heard.index(Kind.TREE_END) < heard.index(Kind.START)
    with pytest.raises(LambdaError, match="sandbox ended"):
        await world.invoke(world.put(function("g")))
    await world.close()


async def test_init_error(world: World, f: FunctionVersion) -> None:
    """An initialisation that fails is tried again inside the invocation, whose client gets the runtime's error."""

    async def script(runtime: Runtime) -> int:
        await runtime.init_error(b'{"errorMessage":"no","errorType":"Oops"}')
        return 1

    world.spawner.script = script
    ticket = await world.start(f)
    assert (await ticket.outcome).payload == b'{"errorMessage":"no","errorType":"Oops"}'
    await ticket.completed
    assert len(world.spawner.launched) == 1


async def test_timeout(world: World) -> None:
    """A function that takes too long is killed; its environment serves the next invocation with a new process."""
    f = world.put(function(timeout=0.05))
    world.spawner.script = Gate()
    ticket = await world.start(f)
    assert b"Task timed out after 0.05 seconds" in (await ticket.outcome).payload
    await ticket.completed
    [sandbox] = world.spawner.launched
    sandbox.script = echo
    assert await world.invoke(f, b"1") == b"1"
    assert len(world.spawner.launched) == 1


async def test_freeze(world: World, f: FunctionVersion) -> None:
    """An idle environment is frozen, and thawed before its next event."""
    await world.invoke_whole(f)
    heard = world.spawner.launched[0].heard
    await world.until(lambda: Kind.FREEZE in heard)
    await world.invoke(f)
    assert heard[-2:] in ([Kind.FREEZE, Kind.THAW], [Kind.THAW, Kind.SETTLE])


async def test_snapshot(world: World, f: FunctionVersion) -> None:
    """What `berth ps` and metrics show."""
    await world.invoke_whole(f)
    [seen] = world.fleet.snapshot()
    assert world.fleet.census() == [Census(SCOPE, "f", LATEST, "idle", 1)]
    assert (seen["function"], seen["version"], seen["state"], seen["phase"]) == ("f", LATEST, "idle", "idle")
    assert (seen["invocations"], seen["memory_peak"], seen["idle"] >= 0) == (1, 40 << 20, True)
    assert seen["log_stream"].split("/")[-1].startswith("[$LATEST]")
    assert repr(world.fleet) == "<Fleet <Pool 1/10 environments, 128/10000 MB, 0 waiting>>"


async def test_stories(world: World, f: FunctionVersion) -> None:
    """An environment's story goes on while it lives, and can be read when it has ended."""
    await world.invoke_whole(f)
    [living] = world.fleet.stories.all()
    assert (living.environment, living.function, living.version) == (
        world.fleet.snapshot()[0]["environment"],
        "f",
        LATEST,
    )
    assert any("InvokeArrived r1" in line for line in living.tell())
    world.functions.clear()
    world.fleet.retired(f.scope, f.name)
    await world.until(lambda: not world.spawner.sandboxes)
    [ended] = world.fleet.stories.find(living.environment[:6])
    assert ended.ended is not None
    assert "ShutdownAsked" in "".join(ended.tell())


async def test_output_waits_for_the_disk(world: World, f: FunctionVersion) -> None:
    """While its stream is far ahead, an environment's link rests."""
    await world.invoke_whole(f)
    [hosted] = world.fleet._hosted.values()
    assert not hosted.link.has_enough()
    world.logs.is_ahead = True
    assert hosted.link.has_enough()


@pytest.mark.parametrize("timeouts", [True, False])
async def test_timeouts_can_be_suspended(world: World, f: FunctionVersion, timeouts: bool) -> None:
    """Every environment is told."""
    world.launcher._timeouts = timeouts
    await world.invoke_whole(f)
    [hosted] = world.fleet._hosted.values()
    assert hosted.environment._core._settings.timeouts is timeouts


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


async def test_keys_do_not_show_variables(world: World) -> None:
    """A key may get into a log; what is secret in its configuration may not."""
    key = world.fleet._keys.of(function(environment={"PASSWORD": "hush"}))
    assert key != world.fleet._keys.of(function(environment={"PASSWORD": "other"}))
    assert "hush" not in repr(key)


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


async def persist(world: World, version: FunctionVersion, payload: bytes, begun: Counter[bytes]) -> bytes:
    """The answer, by a client that asks again where too many sandboxes were lost in a row before it began."""
    while True:
        [got] = await asyncio.gather(world.invoke(version, payload), return_exceptions=True)
        if isinstance(got, bytes):
            return got
        assert re.search("the sandbox ended|was lost before the function began", str(got))
        assert not begun[payload]


class TestGivenBack:
    """A dead sandbox costs nobody an invocation of which its runtime has heard nothing."""

    async def test_lost_before_the_event_was_written(self, world: World, f: FunctionVersion) -> None:
        """
        1. An environment gets an invocation; before the loop turns, its sandbox is lost.
        Result: another one answers, and the first one's log is whole.
        """
        await world.invoke_whole(f)
        ticket = await world.start(f, b"2")
        [hosted] = world.fleet._hosted.values()
        hosted.link.cut("gone")
        assert (await ticket.outcome).payload == b"2"
        await ticket.completed
        assert ticket.tail.content().startswith(b"START RequestId: r2")
        assert len(world.spawner.launched) == 2
        lines = [line for line in b"".join(world.logs.lines).decode().splitlines() if "r2" in line]
        assert [line.partition(" ")[0] for line in lines] == ["START", "END", "REPORT"] * 2
        assert "Sandbox.Failure" in lines[2]

    async def test_lost_after_it(self, world: World, f: FunctionVersion) -> None:
        """What the runtime may have begun is not done twice."""
        world.spawner.script = gate = Gate()
        ticket = await world.start(f)
        await world.until(lambda: gate.arrived)
        world.spawner.launched[0].vanish()
        assert b"Sandbox.Failure" in (await ticket.outcome).payload
        assert len(world.spawner.launched) == 1

    async def test_lost_while_the_runtime_starts_anew(self, world: World, f: FunctionVersion) -> None:
        """A runtime that is started inside the invocation has heard nothing of it until it asks."""
        starts = 0

        async def script(runtime: Runtime) -> int:
            nonlocal starts
            starts += 1
            if starts == 1:
                await runtime.init_error(b"{}")
                return 1
            if starts == 2:
                runtime.sandbox.vanish()
                return 1
            return await echo(runtime)

        world.spawner.script = script
        assert await world.invoke(f, b"1") == b"1"
        assert (starts, len(world.spawner.launched)) == (3, 2)

    async def test_again_and_again(self, world: World, f: FunctionVersion) -> None:
        """Where one environment after the other is lost, the client is told in the end."""

        async def script(runtime: Runtime) -> int:
            if runtime.sandbox.heard.count(Kind.START) == 1:
                await runtime.init_error(b"{}")
            else:
                runtime.sandbox.vanish()
            return 1

        world.spawner.script = script
        with pytest.raises(LambdaError, match="lost before the function began"):
            await world.invoke(f)
        assert len(world.spawner.launched) == 1 + fleet_module.MOST_RETURNS

    async def test_at_the_end(self, world: World, f: FunctionVersion) -> None:
        """One that is given back while everything ends is refused."""
        await world.invoke_whole(f)
        ticket = await world.start(f, b"2")
        [hosted] = world.fleet._hosted.values()
        world.spawner.may_launch.clear()
        hosted.link.cut("gone")
        await world.fleet.close(0)
        with pytest.raises(LambdaError, match="shutting down"):
            await ticket.outcome
        assert ticket.completed.cancelled()

    async def test_lost_while_it_initialises(self, world: World, f: FunctionVersion) -> None:
        """Who waits for an environment that is lost before it is ready gets another one."""
        world.spawner.kinds = [Fragile]
        assert await world.invoke(f, b"1") == b"1"
        assert len(world.spawner.launched) == 2

    async def test_under_load(self, world: World, f: FunctionVersion) -> None:
        """
        1. Eight clients invoke in tight loops; a sandbox is lost at random every few turns of the loop.
        Result: every invocation is answered, rightly or, where its runtime had heard of it, as lost; none twice.
        One that loses too many environments in a row before it begins is refused, and may be asked for again.
        """
        draw = random.Random(7)  # noqa: S311  a test must be repeatable
        begun: Counter[bytes] = Counter()

        async def script(runtime: Runtime) -> int:
            while True:
                payload = await runtime.next()
                begun[payload] += 1
                await runtime.respond(payload)

        world.spawner.script = script
        lost = 0

        async def client(number: int) -> None:
            nonlocal lost
            for turn in range(40):
                payload = b'"%d.%d"' % (number, turn)
                answer = await persist(world, f, payload, begun)
                assert begun[payload] <= 1
                if answer != payload:
                    assert b"Sandbox.Failure" in answer
                    lost += 1

        async def death() -> None:
            while True:
                for _ in range(draw.randrange(200)):
                    await asyncio.sleep(0)
                if alive := [each for each in world.spawner.sandboxes.values() if each.heard]:
                    draw.choice(alive).vanish()

        reaper = asyncio.create_task(death())
        await asyncio.gather(*(client(number) for number in range(8)))
        reaper.cancel()
        assert lost < 320
        assert len(world.spawner.launched) > 8


class TestWarmAhead:
    """An environment before the first invocation."""

    async def test_first_invocation(self, world: World, f: FunctionVersion) -> None:
        """It is there, and the first report tells of its initialisation all the same, as on AWS."""
        world.fleet.warm(f)
        await world.until(lambda: world.states() == ["idle"])
        assert world.fleet.snapshot()[0]["purpose"] == "warm-ahead"
        await world.invoke_whole(f)
        await world.invoke_whole(f)
        assert len(world.spawner.launched) == 1
        lines = b"".join(world.logs.lines).decode().splitlines()
        reports = [line for line in lines if line.startswith("REPORT")]
        assert ["Init Duration" in line for line in reports] == [True, False]

    async def test_failed_initialisation(self, world: World, f: FunctionVersion) -> None:
        """It stays; the first invocation initialises it anew and gets the error."""

        async def script(runtime: Runtime) -> int:
            await runtime.init_error(b'{"errorType":"Oops"}')
            return 1

        world.spawner.script = script
        world.fleet.warm(f)
        await world.until(lambda: world.states() == ["idle"])
        assert await world.invoke_whole(f) == b'{"errorType":"Oops"}'
        assert len(world.spawner.launched) == 1

    async def test_not_wanted(self, world: World, f: FunctionVersion) -> None:
        """Not of functions that may not run, nor of versions that are out of date, nor at the end."""
        world.cold.add("f")
        world.fleet.warm(f)
        world.cold.clear()
        world.put(function(code="b"))
        world.fleet.warm(f)
        assert world.fleet._pool.keys() == []
        await world.fleet.close(0)
        world.fleet.warm(function(code="b"))
        assert world.fleet._pool.keys() == []

    async def test_purposes(self, world: World, f: FunctionVersion) -> None:
        """What others were launched for can be seen too."""
        world.fleet.keep(f, 1)
        await world.invoke_whole(f)
        await world.until(lambda: world.states() == ["idle"] * 2)
        assert {each["purpose"] for each in world.fleet.snapshot()} == {"provisioned", "invocation"}
        assert world.fleet.room() == 10_000 - 2 * 128


class TestKeep:
    """Environments of provisioned concurrency."""

    @pytest.fixture
    def news(self, world: World) -> list[tuple[Kept, str, str | None]]:
        news: list[tuple[Kept, str, str | None]] = []
        world.fleet.on_kept = lambda each: news.append((each.what, each.reason, each.error_type))
        return news

    async def test_ready_before_they_are_asked_for(
        self, world: World, f: FunctionVersion, news: list[Any]
    ) -> None:
        """They initialise ahead, under their own type, and serve who asks for them, and nobody else."""
        seen: list[str] = []

        async def tell(runtime: Runtime) -> int:
            seen.append(runtime.env["AWS_LAMBDA_INITIALIZATION_TYPE"])
            return await echo(runtime)

        world.spawner.script = tell
        world.fleet.keep(f, 2)
        await world.until(lambda: len(news) == 2)
        assert news == [(Kept.READY, "", None)] * 2
        assert world.fleet.kept(f) == (2, 2)
        assert await world.invoke_whole(f, provisioned=True) == b"{}"
        await world.invoke_whole(f)
        assert seen == ["provisioned-concurrency", "provisioned-concurrency", "on-demand"]
        lines = b"".join(world.logs.lines).decode().splitlines()
        reports = [line for line in lines if line.startswith("REPORT")]
        assert ["Init Duration" in line for line in reports] == [False, True]
        world.fleet.keep(f, 0)
        await world.until(lambda: len(world.spawner.sandboxes) == 1)
        assert world.fleet.kept(f) == (0, 0)

    async def test_failed_initialisation(self, world: World, f: FunctionVersion, news: list[Any]) -> None:
        """The owner hears of what; the next try comes after a pause, and its success is heard of too."""

        async def script(runtime: Runtime) -> int:
            await runtime.init_error(b'{"errorMessage":"no","errorType":"Oops"}')
            return 1

        world.spawner.script = script
        world.fleet.keep(f, 1)
        await world.until(lambda: news and not world.spawner.sandboxes)
        [(what, _, error_type)] = news
        assert (what, error_type) == (Kept.FAILED, "Runtime.Unknown")
        assert world.fleet.kept(f) == (1, 0)
        assert len(world.spawner.launched) == 1
        world.spawner.script = echo
        world.fleet._act(world.fleet._pool.relaunch(world.fleet._loop.time() + 1))
        await world.until(lambda: world.fleet.kept(f) == (1, 1))
        assert [each[0] for each in news] == [Kept.FAILED, Kept.READY]
        world.fleet.keep(f, 0)

    async def test_no_room(self, world: World) -> None:
        """More than the host can ever hold is said to be so; what fits is made."""
        await world.remake(memory=300)
        news: list[KeptNews] = []
        world.fleet.on_kept = news.append
        f = world.put(function(memory_size=200))
        world.fleet.keep(f, 2)
        await world.until(lambda: len(news) == 2)
        assert [each.what for each in news] == [Kept.FAILED, Kept.READY]
        assert "300 MB" in news[0].reason
        world.fleet.keep(f, 0)

    async def test_failed_launch(self, world: World, f: FunctionVersion, news: list[Any]) -> None:
        """What the surroundings refuse is no error of the function's."""
        world.spawner.failures = [SpawnerError("no space left")]
        world.fleet.keep(f, 1)
        await world.until(lambda: news)
        [(what, reason, error_type)] = news
        assert (what, error_type) == (Kept.FAILED, None)
        assert reason.endswith("could not be launched: no space left")
        world.fleet.keep(f, 0)

    async def test_replaced(self, world: World, f: FunctionVersion, news: list[Any]) -> None:
        """One that dies is heard of and launched anew."""
        world.fleet.keep(f, 1)
        await world.until(lambda: news)
        world.spawner.launched[0].vanish()
        await world.until(lambda: len(news) == 2)
        assert news[1][0] is Kept.ENDED
        world.fleet._act(world.fleet._pool.relaunch(world.fleet._loop.time() + 1))
        await world.until(lambda: world.fleet.kept(f) == (1, 1))
        world.fleet.keep(f, 0)

    async def test_updated(self, world: World, f: FunctionVersion, news: list[Any]) -> None:
        """Those of a version that is out of date end, and none can be had any more."""
        world.fleet.keep(f, 1)
        await world.until(lambda: news)
        world.put(function(code="b"))
        await world.until(lambda: not world.spawner.sandboxes)
        world.fleet.keep(f, 1)
        await world.until(lambda: not world.fleet._wishes.tasks)
        assert world.fleet.kept(f) == (0, 0)
        assert len(world.spawner.launched) == 1

    async def test_taken_back(self, world: World, f: FunctionVersion) -> None:
        """A wish that is withdrawn before anything could be launched leaves nothing; nor does one at the end."""
        world.fleet.keep(f, 1)
        world.fleet.keep(f, 0)
        assert world.fleet._wishes.tasks == []
        world.fleet.keep(f, 1)
        await world.fleet.close(0)
        world.fleet.keep(f, 1)
        assert not world.spawner.launched


async def test_versions_have_environments_of_their_own(world: World, f: FunctionVersion) -> None:
    """
    1. `$LATEST` and version 1, of the same code, are invoked.
    2. `$LATEST` changes; later version 1 is deleted.
    Result: each has its own environment, which only its own change ends.
    """
    one = world.put(published("1"))
    for version in (f, one):
        await world.invoke_whole(version)
    assert {each["version"] for each in world.fleet.snapshot()} == {LATEST, "1"}
    world.put(function(code="b"))
    await world.until(lambda: [each["version"] for each in world.fleet.snapshot()] == ["1"])
    await world.invoke_whole(one)
    assert len(world.spawner.launched) == 2
    del world.functions["f", "1"]
    world.fleet.retired(SCOPE, "f")
    await world.until(lambda: not world.spawner.sandboxes)


async def test_alias_variables_separate_environments(world: World, f: FunctionVersion) -> None:
    """
    1. Version 1 is invoked by itself and by three aliases, two of which have the same variables.
    2. One alias gets others, and is invoked again.
    Result: three environments with their variables; the change ends that of the alias and no other.
    """
    seen: list[dict[str, str]] = []

    async def tell(runtime: Runtime) -> int:
        seen.append(runtime.env)
        return await echo(runtime)

    world.spawner.script = tell
    one = world.put(published("1", environment={"STAGE": "none", "KEPT": "yes"}))
    dev, copy, prod = alias("dev", STAGE="dev"), alias("copy", STAGE="dev"), alias("prod", STAGE="prod")
    world.put_aliases(dev, copy, prod)
    for way in (one, as_run_by(dev, one), as_run_by(copy, one), as_run_by(prod, one)):
        await world.invoke_whole(way)
    assert [(env["STAGE"], env["KEPT"]) for env in seen] == [
        ("none", "yes"),
        ("dev", "yes"),
        ("prod", "yes"),
    ]
    assert {env["AWS_LAMBDA_FUNCTION_VERSION"] for env in seen} == {"1"}

    changed = alias("prod", revision="b", STAGE="blue")
    world.put_aliases(dev, copy, changed)
    await world.until(lambda: len(world.spawner.sandboxes) == 2)
    await world.invoke_whole(as_run_by(changed, one))
    await world.invoke_whole(as_run_by(dev, one))
    assert [env["STAGE"] for env in seen] == ["none", "dev", "prod", "blue"]


async def test_an_alias_moves_on(world: World, f: FunctionVersion) -> None:
    """Environments of the version that an alias with variables has left end; the version's own stay."""
    one, two = world.put(published("1")), world.put(published("2"))
    world.put_aliases(live := alias("live", STAGE="live"))
    await world.invoke_whole(one)
    await world.invoke_whole(as_run_by(live, one))
    world.put_aliases(moved := alias("live", "2", revision="b", STAGE="live"))
    await world.until(lambda: len(world.spawner.sandboxes) == 1)
    await world.invoke_whole(as_run_by(moved, two))
    await world.invoke_whole(one)
    assert len(world.spawner.launched) == 3


class TestStandbys:
    @pytest.fixture
    async def world(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
        """Where limits can be changed, a sandbox stands by as soon as there is a function."""
        monkeypatch.setattr(reserve_module, "SETTLING", 0.0)
        world = World(tmp_path)
        world.spawner.resizes = True
        await world.fleet.open()
        yield world
        await world.close()
        assert not world.spawner.sandboxes, "sandboxes are left"
        assert not world.files.places, "places are left"

    async def ready(self, world: World) -> str:
        """Wait for one that stands by, and no other under way; its name."""
        await world.until(lambda: [each["state"] for each in world.standbys.snapshot()] == ["standby"])
        return str(world.standbys.snapshot()[0]["environment"])

    async def test_a_function_gets_what_stands_by(self, world: World, f: FunctionVersion) -> None:
        """Its files are shown where the standby's are, its limits are its own, and another one stands by."""
        name = await self.ready(world)
        g = world.put(function("g", memory_size=1769))
        assert await world.invoke_whole(g, b"1") == b"1"
        [seen] = world.fleet.snapshot()
        assert seen["environment"] == name
        assert world.spawner.sizes[name] == 1769
        spec = world.spawner.sandboxes[name].spec
        assert spec.task_root
        assert spec.opt
        assert world.files.places[name] == {spec.task_root: world.files.path, spec.opt: world.files.path}
        assert await self.ready(world) != name

    async def test_the_size_it_has_is_not_given_again(self, world: World, f: FunctionVersion) -> None:
        """The engine takes some milliseconds for it. (The first one ever is asked, to see whether it can.)"""
        name = await self.ready(world)
        world.spawner.sizes.clear()
        await world.invoke_whole(f)
        assert world.fleet.snapshot()[0]["environment"] == name
        assert world.spawner.sizes == {}

    async def test_what_cannot_be_resized_is_no_obstacle(self, world: World, f: FunctionVersion) -> None:
        """A new sandbox is started, and the useless one goes."""
        name = await self.ready(world)
        world.spawner.refusals = [SpawnerError("the engine says no")]
        g = world.put(function("g", memory_size=1769))
        assert await world.invoke_whole(g, b"1") == b"1"
        assert world.fleet.snapshot()[0]["environment"] != name
        await world.until(lambda: name not in world.spawner.sandboxes)

    async def test_what_dies_in_this_moment_is_no_obstacle(self, world: World, f: FunctionVersion) -> None:
        """It was claimed and is dead before it is of use."""
        name = await self.ready(world)
        usual = world.files.fill

        async def fill(sandbox_id: str, shown: Mapping[Path, Path]) -> None:
            await usual(sandbox_id, shown)
            world.spawner.sandboxes[name].vanish()
            await world.until(lambda: world.sandboxes._dialled[name].result().lost)

        world.files.fill = fill  # type: ignore[method-assign]
        assert await world.invoke_whole(f, b"1") == b"1"
        assert world.fleet.snapshot()[0]["environment"] != name

    async def test_a_silent_one_is_no_obstacle(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It has stood by for days, and something on the way has forgotten its connection."""
        monkeypatch.setattr(launcher_module, "ANSWER_LIMIT", 0.05)
        world = World(tmp_path)
        world.spawner.resizes = True
        world.spawner.kinds = [Mute]
        f = world.put(function())
        await world.fleet.open()
        name = await self.ready(world)
        assert await world.invoke_whole(f, b"1") == b"1"
        assert world.fleet.snapshot()[0]["environment"] != name
        await world.until(lambda: name not in world.spawner.sandboxes)
        await world.close()

    async def test_files_that_cannot_be_shown_are_no_obstacle(self, world: World, f: FunctionVersion) -> None:
        """A full disk has no room for directories: a new sandbox needs none."""
        name = await self.ready(world)

        async def fill(sandbox_id: str, shown: Mapping[Path, Path]) -> None:
            raise StorageFull("no space")

        world.files.fill = fill  # type: ignore[method-assign]
        assert await world.invoke_whole(f, b"1") == b"1"
        assert world.fleet.snapshot()[0]["environment"] != name

    async def test_very_many_files_get_a_new_sandbox(self, world: World, f: FunctionVersion) -> None:
        """Linking them would take longer; what stands by is left for others."""
        name = await self.ready(world)
        world.files.size = launcher_module.MOST_LINKED
        assert await world.invoke_whole(f, b"1") == b"1"
        assert world.fleet.snapshot()[0]["environment"] != name
        assert await self.ready(world) == name

    async def test_a_directory_of_the_host_gets_a_new_sandbox(self, world: World, f: FunctionVersion) -> None:
        """It is shown as it is, and as it will be: links would show what it was."""
        name = await self.ready(world)
        world.files.has_all = False
        assert await world.invoke_whole(f, b"1") == b"1"
        assert world.fleet.snapshot()[0]["environment"] != name
        assert await self.ready(world) == name

    async def test_another_image_gets_a_new_sandbox(
        self, world: World, f: FunctionVersion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The image has been built anew since."""
        name = await self.ready(world)

        async def ensure(runtime: str, progress: Callable[[str], None]) -> str:
            return "another"

        monkeypatch.setattr(world.images, "ensure", ensure)
        await world.invoke_whole(f)
        assert world.fleet.snapshot()[0]["environment"] != name
        await world.until(lambda: name not in world.spawner.sandboxes)

    async def test_files_by_copy(self, tmp_path: Path) -> None:
        """Over the link, into a sandbox that stood by as into a new one."""
        world = World(tmp_path)
        world.spawner.resizes = True
        world.spawner.delivery = Delivery.COPY
        world.spawner.kinds = [Unpacking, Unpacking]
        f = world.put(function())
        await world.fleet.open()
        name = await self.ready(world)
        assert await world.invoke_whole(f, b"1") == b"1"
        assert world.fleet.snapshot()[0]["environment"] == name
        heard = list(world.spawner.sandboxes[name].heard)
        await world.close()
        assert heard.index(Kind.TREE) < heard.index(Kind.TREE_END) < heard.index(Kind.START)
        assert world.files.places == {}

    @pytest.mark.parametrize("turns", [0, 1, 2, 4, 8, 16])
    async def test_an_end_in_the_middle(self, world: World, f: FunctionVersion, turns: int) -> None:
        """Whenever the launch is cancelled: what it had claimed goes, nothing is left of it, and others come."""
        name = await self.ready(world)
        call = asyncio.create_task(world.invoke(f))
        for _ in range(turns):
            await asyncio.sleep(0)
        await world.remake()
        await asyncio.gather(call, return_exceptions=True)
        assert await world.invoke_whole(f, b"1") == b"1"
        await world.until(lambda: name not in world.spawner.sandboxes or name == self.only(world))

    def only(self, world: World) -> str:
        return str(world.fleet.snapshot()[0]["environment"])


class Witness:
    """A script that answers with the tenants that its environment has served."""

    def __init__(self) -> None:
        self.served: dict[Runtime, set[str | None]] = {}

    async def __call__(self, runtime: Runtime) -> int:
        seen = self.served[runtime] = set()
        while True:
            payload = await runtime.next()
            seen.add(runtime.tenant)
            assert payload == str(runtime.tenant).encode()
            await runtime.respond(payload)


async def test_tenants_never_share_an_environment(world: World) -> None:
    """
    1. Room for three environments; five tenants and those without one, of two functions, invoke in random order, up to
       eight at a time.
    Result: all are answered, and no environment has served two tenants; one may serve its tenant many times.
    """
    await world.remake(capacity=3)
    world.spawner.script = witness = Witness()
    isolated = world.put(function("isolated", tenant_isolation="PER_TENANT"))
    shared = world.put(function("shared"))
    chance = random.Random(7)  # noqa: S311
    doors = asyncio.Semaphore(8)

    async def invoke() -> None:
        tenant = chance.choice([None, "blue", "green", "red", "a b", "blue/"])
        async with doors:
            version = shared if tenant is None else isolated
            ticket = await world.start(version, str(tenant).encode(), tenant=tenant)
            assert (await ticket.outcome).payload == str(tenant).encode()

    await asyncio.gather(*(invoke() for _ in range(150)))
    assert {len(seen) for seen in witness.served.values()} <= {0, 1}
    assert set.union(*witness.served.values()) == {None, "blue", "green", "red", "a b", "blue/"}
    assert len(witness.served) < 150


async def test_a_change_ends_environments_of_all_tenants(world: World) -> None:
    """And who they serve is shown until then."""
    before = world.put(function(tenant_isolation="PER_TENANT"))
    for tenant in ("blue", "green"):
        await (await world.start(before, tenant=tenant)).completed
    assert {each["tenant"] for each in world.fleet.snapshot()} == {"blue", "green"}
    world.put(function(code="b", tenant_isolation="PER_TENANT"))
    await world.until(lambda: not world.spawner.sandboxes)
