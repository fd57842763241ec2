"""A fleet that is full: who makes room, who waits, who is refused."""

import asyncio
from typing import Any

import pytest

from runtime import fleet as fleet_module
from runtime.errors import LambdaError
from runtime.model import FunctionVersion
from tests.helpers.fleet_world import Gate, World, function


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
