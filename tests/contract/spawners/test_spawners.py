"""What every spawner promises, whatever its sandboxes are: one suite for all of them.

The control plane's end of the links is the real one; functions are shell scripts.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, cast

import pytest

from rapid.invocation import ExitStatus
from runtime.images import RuntimeImages
from runtime.links import Link, LinkServer
from runtime.spawners import local_runtime
from runtime.spawners.base import (
    Delivery,
    SandboxDeath,
    SandboxHandle,
    SandboxSpec,
    Spawner,
    SpawnerError,
    SpawnerFacts,
)
from runtime.spawners.docker import DockerSpawner
from runtime.spawners.engine import Engine
from runtime.spawners.process import ProcessSpawner
from runtime.trees import Trees

LIMIT = 60
"""Seconds after which something that should have happened is taken for failed."""

MakeSpawner = Callable[[str], Spawner]


@dataclass
class World:
    """One kind of spawner, and what its sandboxes need."""

    make: MakeSpawner
    runtime: str = local_runtime.IDENTIFIER
    image: str = ""
    impossible: dict[str, str] = field(default_factory=dict)
    """Members of a spec with which no sandbox can be launched."""
    owners: list[str] = field(default_factory=list)
    warm_up: Callable[[Any], Awaitable[None]] | None = None
    """Done with a spawner that has been prepared, before its first launch."""

    def new_owner(self) -> str:
        self.owners.append(secrets.token_hex(4))
        return self.owners[-1]


class Watcher:
    """An observer of one sandbox's processes that keeps what it hears."""

    def __init__(self) -> None:
        self.said: dict[tuple[int, int], bytes] = {}
        self.exits: dict[int, asyncio.Future[ExitStatus]] = {}
        self.is_lost = asyncio.Event()
        self.heard = asyncio.Condition()

    def output(self, process: int, stream: int, data: bytes) -> None:
        self.said[process, stream] = self.said.get((process, stream), b"") + data

    def exited(self, process: int, status: ExitStatus) -> None:
        self.exits[process].set_result(status)

    def lost(self, reason: str, *, out_of_memory: bool = False) -> None:
        self.is_lost.set()


class Sandbox:
    """A launched sandbox whose agent has dialled in."""

    def __init__(self, handle: SandboxHandle, link: Link) -> None:
        self.handle = handle
        self.link = link
        self.watcher = link.observer = Watcher()

    async def start(self, script: str, process: int = 1) -> None:
        self.watcher.exits[process] = asyncio.get_running_loop().create_future()
        layout = self.handle.layout
        env = {
            "PATH": "/usr/bin:/bin",
            "ROOT": layout.task_root,
            "OPT": layout.opt,
            "LAMBDA_RUNTIME_DIR": layout.runtime_dir,
            "MARK": self.handle.sandbox_id,
        }
        await self.link.start(process, ["/bin/sh", "-c", script], env, layout.task_root)

    async def run(self, script: str, process: int = 1) -> tuple[bytes, bytes, int]:
        """stdout, stderr, exit code."""
        await self.start(script, process)
        status = await asyncio.wait_for(self.watcher.exits[process], LIMIT)
        said = self.watcher.said
        return said.get((process, 1), b""), said.get((process, 2), b""), status.code


class Launched:
    """A prepared spawner, the links of its sandboxes, and the news of their deaths."""

    def __init__(self, world: World, owner: str, trees: Path) -> None:
        self.world = world
        self.owner = owner
        self.trees = trees
        self.spawner = world.make(owner)
        self.links = LinkServer()
        self.died: dict[str, asyncio.Future[SandboxDeath]] = {}
        self._dialled: list[Link] = []

    async def __aenter__(self) -> Self:
        self.facts: SpawnerFacts = await self.spawner.prepare()
        if self.world.warm_up:
            await self.world.warm_up(self.spawner)
        await self.links.open(self.facts.link_host)
        self._news = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        for handle in await self.spawner.list():
            await self.spawner.destroy(handle)
        for link in self._dialled:  # a sandbox whose network goes with it does not hang up
            link.cut("the test is over")
        await self.spawner.close()
        await self._news  # it ends with the spawner
        await self.links.close()

    async def _listen(self) -> None:
        async for death in self.spawner.deaths():
            self.death(death.sandbox_id).set_result(death)

    def death(self, sandbox_id: str) -> "asyncio.Future[SandboxDeath]":
        return self.died.setdefault(sandbox_id, asyncio.get_running_loop().create_future())

    async def news_of(self, sandbox_id: str) -> SandboxDeath:
        return await asyncio.wait_for(self.death(sandbox_id), LIMIT)

    def spec(self, **changes: Any) -> SandboxSpec:
        bind = self.facts.delivery is Delivery.BIND
        spec = SandboxSpec(
            sandbox_id=secrets.token_hex(8),
            runtime=self.world.runtime,
            image=self.world.image,
            memory_mb=128,
            ephemeral_storage_mb=512,
            task_root=self.trees / "task" if bind else None,
            opt=self.trees / "opt" if bind else None,
            link=f"{self.facts.dial_host}:{self.links.port}",
            token=secrets.token_hex(16),
        )
        return replace(spec, **changes)

    async def launch(self, **changes: Any) -> Sandbox:
        spec = self.spec(**changes)
        dialled = self.links.expect(spec.sandbox_id, spec.token)
        handle = await self.spawner.launch(spec)
        link = await asyncio.wait_for(dialled, LIMIT)
        self._dialled.append(link)
        return Sandbox(handle, link)

    async def names(self) -> list[str]:
        return sorted(handle.sandbox_id for handle in await self.spawner.list())


def marked(mark: str) -> list[int]:
    """Processes of this machine with this in their environment: `NAME=value`."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def traces(sandbox_id: str) -> list[int]:
    """The agent of a sandbox, what wraps it, and its functions."""
    return [*marked(f"BERTH_SANDBOX={sandbox_id}"), *marked(f"MARK={sandbox_id}")]


# The spawners


@contextlib.contextmanager
def public_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def process_world(place: Path, isolation: str) -> World:
    return World(
        lambda owner: ProcessSpawner(owner, place, isolation=isolation), impossible={"runtime": "cobol85"}
    )


@contextlib.asynccontextmanager
async def bubblewrap_world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    with public_directory() as place:
        yield process_world(place, "bubblewrap")


@contextlib.asynccontextmanager
async def plain_world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    # Functions are shell scripts here: whether their user reaches Berth's interpreter does not matter.
    monkeypatch.setattr(local_runtime, "check_reach", lambda *needed: None)
    with public_directory() as place:
        yield process_world(place, "plain")


@contextlib.asynccontextmanager
async def docker_world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    engine = await Engine.connect(None)
    images = RuntimeImages(engine, base_image=None, build_ca=None)
    image = await images.ensure("python3.11", print)
    with public_directory() as place:
        yield World(
            lambda owner: DockerSpawner(engine, owner=owner, data_dir=place),
            "python3.11",
            image,
            impossible={"image": "berth/nowhere:none"},
        )
    await images.close()
    await engine.close()


@contextlib.asynccontextmanager
async def docker_with_networks_world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Sandboxes join networks that were made ahead."""

    async def warm_up(spawner: Any) -> None:
        pauses = spawner._pauses
        pauses.make_of(docker.image, spawner._around)
        while not any(item.thing for item in pauses._reserve.items):  # noqa: ASYNC110
            await asyncio.sleep(0)  # a turn of the loop, no time

    async with docker_world(monkeypatch) as docker:
        make = docker.make
        yield replace(docker, make=lambda owner: with_networks(make(owner)), warm_up=warm_up)


def with_networks(spawner: Any) -> Spawner:
    again = DockerSpawner(spawner._engine, owner=spawner._owner, data_dir=spawner._data_dir, spare_networks=2)
    return cast("Spawner", again)


WORLDS = {
    "process in bubblewrap": bubblewrap_world,
    "process": plain_world,
    "docker": docker_world,
    "docker with networks made ahead": docker_with_networks_world,
}
MARKS = {name: pytest.mark.docker for name in WORLDS if name.startswith("docker")}


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, ())) for name in WORLDS])
async def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with WORLDS[request.param](monkeypatch) as world:
        yield world


@pytest.fixture
def trees() -> Iterator[Path]:
    """A function's files and its layers, as the control plane unpacks them."""
    with public_directory() as place:
        for path, text in {
            "task/handler.py": "the function",
            "opt/bin/tool": "#!/bin/sh\necho a layer",
        }.items():
            (place / path).parent.mkdir(parents=True)
            (place / path).write_text(text)
        for made in place.rglob("*"):
            made.chmod(0o755 if made.is_dir() or made.name == "tool" else 0o644)
        yield place


@pytest.fixture
async def berth(world: World, trees: Path) -> AsyncIterator[Launched]:
    async with Launched(world, world.new_owner(), trees) as launched:
        yield launched


# What works


async def test_facts(berth: Launched) -> None:
    """A prepared spawner says where agents dial, how files are delivered, and what it is."""
    assert berth.facts.link_host
    assert berth.facts.dial_host
    assert berth.facts.description


async def test_launch(berth: Launched) -> None:
    """The agent of a launched sandbox dials in under its name, with its token."""
    sandbox = await berth.launch()
    assert sandbox.link.sandbox_id == sandbox.handle.sandbox_id
    assert sandbox.handle.spawner == berth.spawner.name
    assert sandbox.handle == SandboxHandle.from_json(sandbox.handle.to_json())


async def test_processes(berth: Launched) -> None:
    """Programs run in the task root, as another user than root, their output and exit told."""
    sandbox = await berth.launch()
    out, err, code = await sandbox.run('test . -ef "$ROOT" && id -u; echo "it failed" >&2; exit 3')
    user = 993 if os.geteuid() == 0 or berth.spawner.name == "docker" else os.geteuid()
    assert (out, err, code) == (b"%d\n" % user, b"it failed\n", 3)


async def test_files(berth: Launched) -> None:
    """The function's files and its layers are where the layout says, readable and executable, not writable."""
    sandbox = await berth.launch()
    out, _, _ = await sandbox.run("cat $ROOT/handler.py; $OPT/bin/tool")
    assert out == b"the functiona layer\n"
    _, _, code = await sandbox.run("touch $ROOT/new || touch $OPT/new || echo x >>$ROOT/handler.py", 2)
    assert code != 0


async def test_room_for_files(berth: Launched) -> None:
    """`/tmp` can be written; the bootstrap is there and can be executed."""
    sandbox = await berth.launch()
    out, _, code = await sandbox.run(
        'f=/tmp/$MARK; echo kept >$f && cat $f && rm $f && test -x "$LAMBDA_RUNTIME_DIR/bootstrap"'
    )
    assert (out, code) == (b"kept\n", 0)


async def test_several(berth: Launched) -> None:
    """Sandboxes launched at the same time do not get in each other's way."""
    sandboxes = await asyncio.gather(*(berth.launch() for _ in range(4)))
    assert await berth.names() == sorted(each.handle.sandbox_id for each in sandboxes)
    results = await asyncio.gather(*(each.run("echo $MARK") for each in sandboxes))
    assert [out.decode().strip() for out, _, _ in results] == [each.handle.sandbox_id for each in sandboxes]


async def test_launching_again(berth: Launched) -> None:
    """A launch is idempotent: the same sandbox again, not a second one."""
    spec = berth.spec()
    dialled = berth.links.expect(spec.sandbox_id, spec.token)
    first = await berth.spawner.launch(spec)
    await asyncio.wait_for(dialled, LIMIT)
    assert await berth.spawner.launch(spec) == first
    assert await berth.names() == [spec.sandbox_id]


# What is decided after the start

LIMIT_FILES = "/sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes"


async def test_resize(berth: Launched) -> None:
    """A sandbox that was resized has the limits of one launched so; where that is impossible, the spawner says so."""
    sandbox = await berth.launch(memory_mb=512)
    if not berth.facts.resizes:
        with pytest.raises(SpawnerError, match="limits"):
            await berth.spawner.resize(sandbox.handle, 192)
        assert (await sandbox.run("echo alive"))[0] == b"alive\n"
        return
    for process, memory_mb in enumerate((192, 1024), 1):
        await berth.spawner.resize(sandbox.handle, memory_mb)
        fresh = await berth.launch(memory_mb=memory_mb)
        limit, _, _ = await sandbox.run(f"cat {LIMIT_FILES} 2>/dev/null", process)
        assert int(limit) == (memory_mb + 16) << 20
        assert (await fresh.run(f"cat {LIMIT_FILES} 2>/dev/null"))[0] == limit


async def test_a_smaller_limit_counts(berth: Launched) -> None:
    """A function that takes more than its own memory is killed, however large the sandbox was before it."""
    if not berth.facts.resizes:
        pytest.skip("limits stay as they are")
    sandbox = await berth.launch(memory_mb=512)
    await berth.spawner.resize(sandbox.handle, 128)
    await sandbox.start("head -c 300m /dev/zero | tail -c 300m | wc -c; echo $?")  # `tail` holds all of it
    status = await asyncio.wait_for(sandbox.watcher.exits[1], LIMIT)
    assert sandbox.watcher.said[1, 1] == b"0\n0\n"
    assert status.code == 0
    peak = await sandbox.link.settle()
    assert peak == (128 + 16) << 20, "what was killed had all there is"


async def test_files_that_come_later(berth: Launched, trees: Path) -> None:
    """A sandbox that was started before its function was known shows its files as any other, and cannot change them."""
    if berth.facts.delivery is not Delivery.BIND or not berth.facts.resizes:
        pytest.skip("no sandbox is started before its function is known, or its files come over the link")
    store = Trees(trees / "data")
    place = trees / "data" / "trees" / "code" / "tree"
    (place / "deep").mkdir(parents=True)
    (place / "handler.py").write_text("the function")
    (place / "deep" / "tool").symlink_to("/bin/true")
    (place / "handler.py").chmod(0o666)  # whatever a zip says: the mount is read-only
    for directory in (trees / "data", trees / "data" / "trees"):
        directory.chmod(0o755)
    before = place.joinpath("handler.py").stat()
    task_root, opt = store.make_place("one")
    sandbox = await berth.launch(task_root=task_root, opt=opt)
    assert (await sandbox.run("ls -A $ROOT $OPT | grep -v :"))[0].strip() == b""
    store.fill(place, task_root)
    out, _, code = await sandbox.run("cat $ROOT/handler.py && $ROOT/deep/tool && stat -c '%a %Y' $ROOT", 2)
    assert code == 0
    assert out == b"the function755 %d\n" % place.stat().st_mtime
    tries = (
        "echo x >>$ROOT/handler.py", "touch $ROOT/handler.py", "chmod 600 $ROOT/handler.py", "rm -f $ROOT/handler.py",
        "mv $ROOT/handler.py $ROOT/other", "ln $ROOT/handler.py /tmp/link", "touch $ROOT/new", "rm -r $ROOT/deep",
    )  # fmt: skip
    out, _, _ = await sandbox.run(
        "; ".join(f"({each}) && echo {number}" for number, each in enumerate(tries)), 3
    )
    assert out == b""
    after = place.joinpath("handler.py").stat()
    assert place.joinpath("handler.py").read_text() == "the function"
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


# Ends


async def test_destroy(berth: Launched) -> None:
    """A destroyed sandbox is gone with all it held; its link ends, its death is told, a second time is no error."""
    sandbox = await berth.launch()
    name = sandbox.handle.sandbox_id
    await sandbox.start("sleep 1000 & sleep 1000")
    await berth.spawner.destroy(sandbox.handle)
    assert traces(name) == []
    assert await berth.names() == []
    assert (await berth.news_of(name)).out_of_memory is False
    await asyncio.wait_for(sandbox.watcher.is_lost.wait(), LIMIT)
    await berth.spawner.destroy(sandbox.handle)


async def test_destroy_at_the_same_time(berth: Launched) -> None:
    """Two who destroy the same sandbox do not disturb each other."""
    sandbox = await berth.launch()
    await asyncio.gather(*(berth.spawner.destroy(sandbox.handle) for _ in range(3)))
    assert await berth.names() == []


async def test_destroy_what_never_was(berth: Launched) -> None:
    """A handle of nothing is no error."""
    sandbox = await berth.launch()
    await berth.spawner.destroy(replace(sandbox.handle, sandbox_id="0000", reference="999999999"))
    assert await berth.names() == [sandbox.handle.sandbox_id]


async def test_death(berth: Launched) -> None:
    """An agent whose link ends, ends its sandbox; the death is told unasked."""
    sandbox = await berth.launch()
    await sandbox.start("trap '' TERM HUP; sleep 1000 & sleep 1000")
    sandbox.link.cut("the test wants it")
    death = await berth.news_of(sandbox.handle.sandbox_id)
    assert death.reason
    await berth.spawner.destroy(sandbox.handle)
    assert traces(sandbox.handle.sandbox_id) == []
    assert await berth.names() == []


async def test_refuses_to_stop(berth: Launched) -> None:
    """Processes that ignore every polite signal, fork and hide in sessions of their own die with their sandbox."""
    sandbox = await berth.launch()
    await sandbox.start(
        "trap '' TERM INT HUP; (setsid sh -c 'trap \"\" TERM; sleep 1000' &); while :; do sleep 1000 & sleep 0.01; done"
    )
    await berth.spawner.destroy(sandbox.handle)
    assert traces(sandbox.handle.sandbox_id) == []


async def test_stopped_agent(berth: Launched) -> None:
    """An agent that has been stopped from outside, and answers nothing, can be destroyed."""
    sandbox = await berth.launch()
    await sandbox.start("sleep 1000")
    for pid in marked(f"BERTH_SANDBOX={sandbox.handle.sandbox_id}"):
        os.kill(pid, signal.SIGSTOP)
    await berth.spawner.destroy(sandbox.handle)
    assert traces(sandbox.handle.sandbox_id) == []
    assert await berth.names() == []


async def test_vanishes(berth: Launched) -> None:
    """A sandbox that somebody kills from outside is told dead, and what was in it dies too."""
    sandbox = await berth.launch()
    await sandbox.start("(setsid sleep 1000 &); sleep 1000")
    for pid in marked(f"BERTH_SANDBOX={sandbox.handle.sandbox_id}"):
        with contextlib.suppress(ProcessLookupError):  # one dies with the other
            os.kill(pid, signal.SIGKILL)
    await berth.news_of(sandbox.handle.sandbox_id)
    await berth.spawner.destroy(sandbox.handle)
    assert traces(sandbox.handle.sandbox_id) == []
    assert await berth.names() == []


async def test_nobody_listens(berth: Launched) -> None:
    """An agent that can reach nobody dies at once, and that is told."""
    with socket.create_server((berth.facts.link_host, 0)) as closed:
        port = closed.getsockname()[1]
    spec = berth.spec(link=f"{berth.facts.dial_host}:{port}")
    handle = await berth.spawner.launch(spec)
    death = await berth.news_of(spec.sandbox_id)
    assert death.reason.startswith("exit status 1")
    await berth.spawner.destroy(handle)
    assert await berth.names() == []


async def test_never_dials(berth: Launched) -> None:
    """A sandbox whose agent is never heard of lives until it is destroyed."""
    with socket.create_server((berth.facts.link_host, 0)) as deaf:
        spec = berth.spec(link=f"{berth.facts.dial_host}:{deaf.getsockname()[1]}")
        handle = await berth.spawner.launch(spec)
        assert await berth.names() == [spec.sandbox_id]
        await berth.spawner.destroy(handle)
    assert traces(spec.sandbox_id) == []
    assert await berth.names() == []


async def test_wrong_token(berth: Launched) -> None:
    """An agent that is not expected is sent away; its sandbox ends by itself."""
    spec = berth.spec()
    expected = berth.links.expect(spec.sandbox_id, "another token")
    handle = await berth.spawner.launch(spec)
    await berth.news_of(spec.sandbox_id)
    assert not expected.done()
    expected.cancel()
    await berth.spawner.destroy(handle)


# Launches that fail


async def test_impossible(berth: Launched) -> None:
    """What cannot be launched is refused with a reason, and leaves nothing."""
    spec = berth.spec(**berth.world.impossible)
    with pytest.raises(SpawnerError, match=r"\w"):
        await berth.spawner.launch(spec)
    assert await berth.names() == []
    assert traces(spec.sandbox_id) == []
    assert spec.sandbox_id not in berth.died


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20, 100])
async def test_cancelled_launch(berth: Launched, turns: int) -> None:
    """A launch that is cancelled, early or late, leaves nothing behind; one that had succeeded has."""
    spec = berth.spec()
    launching = asyncio.create_task(berth.spawner.launch(spec))
    for _ in range(turns):
        await asyncio.sleep(0)
    launching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await berth.spawner.destroy(await launching)
    assert await berth.names() == []
    assert traces(spec.sandbox_id) == []


# Owners


async def test_owners(berth: Launched, trees: Path) -> None:
    """Two owners on the same surroundings do not see, and cannot destroy, each other's sandboxes."""
    async with Launched(berth.world, berth.world.new_owner(), trees) as other:
        mine, theirs = await berth.launch(), await other.launch()
        assert await berth.names() == [mine.handle.sandbox_id]
        assert await other.names() == [theirs.handle.sandbox_id]
    assert (await mine.run("echo alive"))[0] == b"alive\n"


async def test_successor(berth: Launched) -> None:
    """A later control plane of the same owner finds what an earlier one left, and can destroy it."""
    sandbox = await berth.launch()
    successor = berth.world.make(berth.owner)
    await successor.prepare()
    assert sandbox.handle in await successor.list()
    await successor.destroy(SandboxHandle.from_json(sandbox.handle.to_json()))
    assert await successor.list() == []
    assert traces(sandbox.handle.sandbox_id) == []
    await berth.news_of(sandbox.handle.sandbox_id)
    await successor.close()


async def test_nothing_stays(world: World, trees: Path) -> None:
    """After its end a spawner has left no process; the news end with it."""
    async with Launched(world, world.new_owner(), trees) as launched:
        name = (await launched.launch()).handle.sandbox_id
    assert traces(name) == []
    deaths: Awaitable[SandboxDeath] = anext(launched.spawner.deaths())
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(deaths, LIMIT)
