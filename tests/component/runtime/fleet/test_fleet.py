"""A fleet at work, over real sockets: environments come when they are needed, are used again, and go."""

import asyncio
from pathlib import Path

import pytest

from rapid.wire import Kind
from runtime import fleet as fleet_module
from runtime.core import pool as pool_module
from runtime.errors import LambdaError
from runtime.exposition import Census
from runtime.model import LATEST, FunctionVersion
from runtime.spawners.base import (
    Delivery,
    SandboxHandle,
    SpawnerError,
)
from tests.helpers.fleet_world import SCOPE, Fleeting, Gate, Runtime, Unpacking, World, echo, function


async def test_cold_and_warm(world: World, f: FunctionVersion) -> None:
    """The first invocation launches an environment, the next one uses it again."""
    assert await world.invoke_whole(f, b'"a"') == b'"a"'
    assert await world.invoke_whole(f, b'"b"') == b'"b"'
    assert len(world.spawner.launched) == 1
    text = b"".join(world.logs.lines).decode()
    assert [line.partition(" ")[0] for line in text.splitlines()] == [
        "INIT_START", "START", "END", "REPORT", "START", "END", "REPORT",
    ]  # fmt: skip


async def test_first(world: World, f: FunctionVersion) -> None:
    """An invocation is told from those for which no environment had to be launched."""
    first = await world.start(f)
    await first.completed
    second = await world.start(f)
    await second.completed
    assert (first.is_first, second.is_first) == (True, False)


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
