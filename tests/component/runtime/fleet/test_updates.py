"""What a change of code, configuration or aliases does to the environments of a function."""

import asyncio
from dataclasses import replace

from runtime.core.routing import as_run_by
from runtime.model import LATEST, FunctionVersion
from tests.helpers.fleet_world import SCOPE, Gate, Runtime, World, alias, echo, function, published


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


async def test_keys_do_not_show_variables(world: World) -> None:
    """A key may get into a log; what is secret in its configuration may not."""
    key = world.fleet._keys.of(function(environment={"PASSWORD": "hush"}))
    assert key != world.fleet._keys.of(function(environment={"PASSWORD": "other"}))
    assert "hush" not in repr(key)


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
