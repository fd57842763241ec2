"""Code that changes on disk under a fleet's environments: nobody is served by what was there before he asked.

A runtime here is a script that loads a file when it starts, and answers with what it has loaded.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from rapid.wire import Kind
from runtime import renewal as renewal_module
from runtime.core import pool as pool_module
from runtime.directories import Directories
from runtime.errors import LambdaError
from runtime.model import LATEST, Alias, Code, FunctionVersion, ManagedInstances
from tests.helpers.fleet_world import SCOPE, Files, Runtime, World, function


class LiveFiles(Files):
    """Bundles that watch."""

    def __init__(self, path: Path, directories: Directories) -> None:
        super().__init__(path)
        self.directories = directories

    async def task_root(self, code: Code) -> Path:
        if code.directory is None:
            return self.path
        await self.directories.watch(code.directory)
        return Path(code.directory)


class LiveWorld(World):
    """A fleet, and a function whose code is a directory."""

    def __init__(self, path: Path) -> None:
        self.code = path / "code"
        self.code.mkdir()
        self.file = self.code / "app.py"
        self.file.write_bytes(b"1")
        self.directories = Directories([path])
        super().__init__(path)
        files = LiveFiles(path, self.directories)
        self.launcher._bundles = self.launcher._grounds._bundles = files  # type: ignore[assignment]
        self.spawner.script = self.script
        self.starts = 0
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.working = 0
        code = Code("a" * 64, 1, 1, str(self.code))
        self.f = self.put(replace(function("live"), code=code))

    def all_functions(self) -> Iterable[FunctionVersion]:
        return self.functions.values()

    async def script(self, runtime: Runtime) -> int:
        self.starts += 1
        loaded = self.file.read_bytes() if self.file.exists() else b"!"
        await self.may_load.wait()
        if loaded.startswith(b"!"):
            await runtime.init_error(b'{"errorType": "Runtime.ImportModuleError"}')
            return 1
        while True:
            await runtime.next()
            self.working += 1
            await self.may_answer.wait()
            self.working -= 1
            await runtime.respond(loaded)

    async def quiet(self) -> None:
        """What is to be done ahead of invocations has been done."""
        await self.until(lambda: self.fleet._renewals._timer is None)
        await self.until(lambda: set(self.states()) <= {"idle"})

    def clears(self) -> int:
        """How often processes have been cleared away."""
        return sum(sandbox.heard.count(Kind.CLEAR) for sandbox in self.spawner.launched)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LiveWorld]:
    monkeypatch.setattr(pool_module, "GRACE", 10.0)  # a busy machine is no reason for a second environment
    world = LiveWorld(tmp_path)
    await world.fleet.open()
    yield world
    world.may_load.set()
    world.may_answer.set()
    await world.close()
    assert not world.spawner.sandboxes, "sandboxes are left"
    assert world.fleet._renewals._members == {}
    assert world.fleet._renewals._families == {}
    assert world.fleet._renewals._needs == {}


async def test_written_and_at_once_invoked(world: LiveWorld) -> None:
    """Again and again: each invocation runs what was written right before it, in the one sandbox."""
    for number in range(30):
        world.file.write_bytes(b"%d" % number)
        assert await world.invoke(world.f) == b"%d" % number
    assert len(world.spawner.launched) == 1


async def test_nothing_is_renewed_without_a_change(world: LiveWorld) -> None:
    """Warm invocations use the runtime that there is."""
    for _ in range(10):
        assert await world.invoke_whole(world.f) == b"1"
    assert (world.starts, world.clears()) == (1, 0)


async def test_idle_environment_is_renewed_ahead(world: LiveWorld) -> None:
    """By itself, soon after the change; the next invocation finds it ready."""
    await world.invoke_whole(world.f)
    world.file.write_bytes(b"2")
    await world.until(lambda: world.starts == 2)
    await world.quiet()
    assert await world.invoke_whole(world.f) == b"2"
    assert (world.starts, len(world.spawner.launched)) == (2, 1)


async def test_changes_close_together_are_one(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout, or a formatter that writes many files, starts few runtimes."""
    monkeypatch.setattr(renewal_module, "QUIET", 0.2)
    await world.invoke_whole(world.f)
    for number in range(50):
        (world.code / f"{number}.py").touch()
        world.directories.refresh(())  # type: ignore[union-attr]
    await world.until(lambda: world.starts == 2)
    await world.quiet()
    assert world.starts == 2


async def test_busy_environment_finishes_first(world: LiveWorld) -> None:
    """Its invocation is answered by what it began with; then it is renewed, and serves who waits for it."""
    world.may_answer.clear()
    first = asyncio.create_task(world.invoke_whole(world.f))
    await world.until(lambda: world.working)
    world.file.write_bytes(b"2")
    await world.until(lambda: world.directories.generation([str(world.code)]))  # type: ignore[union-attr]
    world.may_answer.set()
    assert await first == b"1"
    assert await world.invoke(world.f) == b"2"
    assert len(world.spawner.launched) == 1


async def test_invocation_while_another_one_runs_old_code(world: LiveWorld) -> None:
    """It does not wait for that: it gets an environment of its own."""
    world.may_answer.clear()
    first = asyncio.create_task(world.invoke(world.f))
    await world.until(lambda: world.working == 1)
    world.file.write_bytes(b"2")
    second = asyncio.create_task(world.invoke(world.f))
    await world.until(lambda: world.working == 2)
    world.may_answer.set()
    assert list(await asyncio.gather(first, second)) == [b"1", b"2"]
    assert len(world.spawner.launched) == 2


async def test_change_while_it_initialises(world: LiveWorld) -> None:
    """What has begun to load is given up if nobody waits for it."""
    await world.invoke_whole(world.f)
    world.may_load.clear()
    world.file.write_bytes(b"2")
    await world.until(lambda: world.starts == 2)
    world.file.write_bytes(b"3")
    call = asyncio.create_task(world.invoke(world.f))
    await world.until(lambda: world.starts == 3)
    world.may_load.set()
    assert await call == b"3"
    assert len(world.spawner.launched) == 1


async def test_who_came_before_the_change_is_served_without_it(world: LiveWorld) -> None:
    """While somebody waits for an initialisation, a change does not begin it anew; who comes after the change waits."""
    world.may_load.clear()
    before = asyncio.create_task(world.invoke_whole(world.f))
    await world.until(lambda: world.starts == 1)
    world.file.write_bytes(b"2")
    await world.until(lambda: not world.fleet._renewals._timer and world.fleet._renewals._families)
    world.may_load.set()
    assert await before == b"1"
    assert await world.invoke(world.f) == b"2"


async def test_directory_that_never_rests(world: LiveWorld) -> None:
    """Something writes into it all the time: invocations come through, each with what it could see."""
    stop = asyncio.Event()
    written = 1

    async def write() -> None:
        nonlocal written
        while not stop.is_set():
            written += 1
            world.file.write_bytes(b"%d" % written)
            await asyncio.sleep(0)

    writer = asyncio.create_task(write())
    for _ in range(10):
        least = written
        assert int(await world.invoke(world.f)) >= least
    calls = [world.invoke(world.f) for _ in range(5)]
    least = written
    assert all(int(answer) >= least for answer in await asyncio.gather(*calls))
    stop.set()
    await writer


async def test_code_that_does_not_load(world: LiveWorld) -> None:
    """The next invocation gets the error, the one after it is mended does not; the sandbox stays."""
    await world.invoke_whole(world.f)
    world.file.write_bytes(b"!")
    assert b"ImportModuleError" in await world.invoke_whole(world.f)
    assert b"ImportModuleError" in await world.invoke_whole(world.f)
    world.file.write_bytes(b"2")
    assert await world.invoke_whole(world.f) == b"2"
    assert len(world.spawner.launched) == 1


async def test_mended_code_is_loaded_ahead(world: LiveWorld) -> None:
    """An environment whose initialisation has failed is initialised again when there is reason to."""
    world.file.write_bytes(b"!")
    assert b"ImportModuleError" in await world.invoke_whole(world.f)
    starts = world.starts
    world.file.write_bytes(b"2")
    await world.until(lambda: world.starts == starts + 1)
    await world.quiet()
    assert await world.invoke_whole(world.f) == b"2"
    assert world.starts == starts + 1


async def test_file_that_is_replaced(world: LiveWorld) -> None:
    """As editors do: a new file is renamed over the old one."""
    for number in range(5):
        new = world.code / "app.py.new"
        new.write_bytes(b"%d" % number)
        new.rename(world.file)
        assert await world.invoke(world.f) == b"%d" % number


async def test_directory_that_is_replaced(world: LiveWorld) -> None:
    """A sandbox holds on to the old one, so another one is launched, and the old one ends."""
    assert await world.invoke_whole(world.f) == b"1"
    shutil.copytree(world.code, world.code.parent / "new")
    (world.code.parent / "new" / "app.py").write_bytes(b"2")
    world.code.rename(world.code.parent / "old")
    (world.code.parent / "new").rename(world.code)
    assert await world.invoke_whole(world.f) == b"2"
    assert len(world.spawner.launched) == 2
    await world.until(lambda: len(world.spawner.sandboxes) == 1)


async def test_directory_that_is_gone(world: LiveWorld) -> None:
    """Invocations are refused with a reason until it is back."""
    assert await world.invoke_whole(world.f) == b"1"
    shutil.rmtree(world.code)
    for _ in range(2):
        with pytest.raises(LambdaError, match="code: No such file or directory"):
            await world.invoke(world.f)
    world.code.mkdir()
    world.file.write_bytes(b"2")
    assert await world.invoke_whole(world.f) == b"2"


async def test_many_idle_environments(world: LiveWorld) -> None:
    """Few of them are initialised at once, the others when they are needed; none serves old code."""
    await world.remake(parallel=2)
    world.put(world.f)
    world.may_answer.clear()
    calls = [asyncio.create_task(world.invoke_whole(world.f)) for _ in range(5)]
    await world.until(lambda: world.working == 5)
    world.may_answer.set()
    await asyncio.gather(*calls)
    world.file.write_bytes(b"2")
    await world.until(lambda: world.clears() == 5 and world.starts == 7)
    await world.quiet()
    assert world.starts == 7
    world.may_answer.clear()
    calls = [asyncio.create_task(world.invoke_whole(world.f)) for _ in range(5)]
    await world.until(lambda: world.working == 5)
    world.may_answer.set()
    assert await asyncio.gather(*calls) == [b"2"] * 5
    assert len(world.spawner.launched) == 5


async def test_caller_that_leaves_while_it_waits(world: LiveWorld) -> None:
    """The renewal goes on for the next one."""
    await world.invoke_whole(world.f)
    world.may_load.clear()
    world.file.write_bytes(b"2")
    call = asyncio.create_task(world.invoke(world.f))
    await world.until(lambda: world.starts == 2)
    call.cancel()
    await asyncio.wait([call])
    world.may_load.set()
    assert await world.invoke(world.f) == b"2"
    assert len(world.spawner.launched) == 1


async def test_aliases_with_variables_share_the_directory(world: LiveWorld) -> None:
    """Their environments are apart, and all of them are renewed."""
    alias = Alias(
        scope=SCOPE, function="live", name="dev", version=LATEST, environment={"A": "1"}, revision_id="a"
    )
    world.put_aliases(alias)
    config = replace(world.f.config, environment={"A": "1"})
    other = replace(world.f, config=config, revision_id="live as dev")
    assert await world.invoke_whole(world.f) == await world.invoke_whole(other) == b"1"
    world.file.write_bytes(b"2")
    assert await world.invoke_whole(world.f) == await world.invoke_whole(other) == b"2"


async def test_code_that_is_set_anew(world: LiveWorld) -> None:
    """The same directory keeps its environments; a zip instead of it has its own."""
    await world.invoke_whole(world.f)
    again = world.put(replace(world.f, code=Code("b" * 64, 2, 2, str(world.code)), revision_id="again"))
    assert await world.invoke_whole(again) == b"1"
    assert len(world.spawner.launched) == 1
    fixed = world.put(replace(world.f, code=Code("b" * 64, 2, 2), revision_id="fixed"))
    await world.invoke_whole(fixed)
    assert len(world.spawner.launched) == 2
    assert world.directories._watched == {}  # type: ignore[union-attr]


async def test_pool_counts_are_right_all_along(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes and invocations in any order leave no environment behind and none twice."""
    monkeypatch.setattr(pool_module, "GRACE", 0.0)
    written = 0

    async def client(number: int) -> None:
        nonlocal written
        for turn in range(10):
            if (turn + number) % 3 == 0:
                written += 1
                world.file.write_bytes(b"%d" % written)
            least = written
            assert int(await world.invoke(world.f)) >= least
            world.fleet._pool.check()

    await asyncio.gather(*(client(number) for number in range(6)))


async def test_environments_that_serve_many_are_replaced(world: LiveWorld) -> None:
    """
    1. One answers, then its code changes; it changes again at once after each answer.
    Result: each answer is by what was written before; every one comes from a sandbox of its own, the old ones go.
    """
    many = world.put(
        replace(
            function(
                "many",
                managed=ManagedInstances("arn:aws:lambda:us-east-1:123456789012:capacity-provider:here", 2),
            ),
            code=Code("a" * 64, 1, 1, str(world.code)),
        )
    )
    for number in range(4):
        world.file.write_bytes(b"%d" % number)
        assert await world.invoke(many) == b"%d" % number
    assert len(world.spawner.launched) == 4
    await world.until(lambda: len(world.spawner.sandboxes) == 1)
