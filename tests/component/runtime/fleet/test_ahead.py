"""Environments that are launched before anybody invokes."""

from typing import Any

import pytest

from runtime.fleet import Kept, KeptNews
from runtime.model import FunctionVersion
from runtime.spawners.base import (
    SpawnerError,
)
from tests.helpers.fleet_world import Runtime, World, echo, function


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
        key = world.fleet.provisioned_key(f)
        assert world.fleet.lacks(key) == news[0].reason
        world.fleet.keep(f, 0)
        assert world.fleet.lacks(key) is None

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
