"""Sandboxes that stand by, over real links; their agents are tasks that speak the wire.

How many there are is `core.standby`'s, told in its own tests; here: how they come, serve and go.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runtime import reserve as module
from runtime.core import standby as core
from runtime.reserve import Courtesy
from runtime.sandboxes import Sandbox, Sandboxes
from runtime.spawners.base import Delivery, SandboxHandle, SandboxSpec, SpawnerError
from runtime.standby import Standbys
from tests.helpers.spawner_zoo import DyingSpawner, FakeSpawner, RefusingSpawner

RUNTIME = "python3.11"


@dataclass
class Shop:
    """Images, places and a catalog, as far as standbys ask for them."""

    image: str | None = "image:1"
    places: dict[str, tuple[Path, Path]] | None = None
    runtimes: tuple[str | None, ...] = (RUNTIME,)

    async def existing(self, runtime: str) -> str | None:
        return self.image

    async def make_place(self, sandbox_id: str) -> tuple[Path, Path]:
        self.places = self.places or {}
        self.places[sandbox_id] = Path(f"/{sandbox_id}/task"), Path(f"/{sandbox_id}/opt")
        return self.places[sandbox_id]

    async def remove_place(self, sandbox_id: str) -> None:
        assert self.places is not None
        del self.places[sandbox_id]

    def all_functions(self) -> Iterable[Any]:
        return [SimpleNamespace(config=SimpleNamespace(runtime=each)) for each in self.runtimes]


class World:
    """Standbys and everything around them at hand."""

    def __init__(self, spawner: FakeSpawner | None = None) -> None:
        self.spawner = spawner or FakeSpawner()
        self.spawner.resizes = True
        self.shop = Shop()
        self.courtesy = Courtesy()
        self.sandboxes = Sandboxes(self.spawner)
        self.room = 1000
        self.standbys = Standbys(
            self.sandboxes,
            images=self.shop,
            places=self.shop,
            catalog=lambda: cast("Any", self.catalog),
            courtesy=self.courtesy,
            memory_mb=64,
            room=lambda: self.room,
        )
        self.catalog = self.shop
        self.news: asyncio.Task[None] | None = None

    async def open(self) -> "World":
        await self.sandboxes.prepare()
        self.news = asyncio.create_task(self.listen())
        self.standbys.open()
        return self

    async def listen(self) -> None:
        async for death in self.spawner.deaths():
            self.sandboxes.died(death)

    async def close(self) -> None:
        await self.standbys.close()
        await self.sandboxes.close()
        if self.news:
            await self.news

    @property
    def states(self) -> list[str]:
        return [each["state"] for each in self.standbys.snapshot()]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0)  # a turn of the loop, no time

    async def ready(self, count: int = 1) -> None:
        await self.until(lambda: self.states == ["standby"] * count)

    async def claim(self, memory_mb: int = 128) -> Sandbox:
        standby = self.standbys.claim(RUNTIME, memory_mb)
        assert standby is not None
        return await self.standbys.claimed(standby)

    def look(self) -> None:
        """Whatever has changed, let it be seen now."""
        self.standbys._reserve._look.set()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes for its own sake."""
    monkeypatch.setattr(module, "SETTLING", 0.0)
    monkeypatch.setattr(core, "RETRY_FIRST", 0.001)
    monkeypatch.setattr(core, "RETRY_LAST", 0.001)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = await World().open()
    yield world
    await world.close()
    assert not world.shop.places, "places are left"
    assert await world.spawner.list() == []


async def test_one_stands_by_before_anything_is_launched(world: World) -> None:
    """Its agent is connected, nothing runs in it, and it says that nobody waits for it."""
    await world.ready()
    [spec] = world.spawner.launched
    assert (spec.runtime, spec.image, spec.ahead) == (RUNTIME, "image:1", True)
    assert world.spawner.agents[spec.sandbox_id].starts == 0
    [shown] = world.standbys.snapshot()
    assert shown["environment"] == shown["reference"] == spec.sandbox_id
    assert shown["runtime"] == RUNTIME
    assert shown["age"] >= 0


async def test_it_shows_places_of_its_own(world: World) -> None:
    """Directories that are filled when its function is known, and go when it goes."""
    await world.ready()
    [spec] = world.spawner.launched
    assert world.shop.places == {spec.sandbox_id: (spec.task_root, spec.opt)}
    sandbox = await world.claim()
    assert (sandbox.order.task_root, sandbox.order.opt) == (spec.task_root, spec.opt)
    await sandbox.close()
    assert spec.sandbox_id not in world.shop.places


async def test_files_that_come_over_the_link_need_no_places() -> None:
    """The agent fills them."""
    world = World(FakeSpawner(delivery=Delivery.COPY))
    await world.open()
    await world.ready()
    [spec] = world.spawner.launched
    assert (spec.task_root, spec.opt, world.shop.places) == (None, None, None)
    await world.close()


async def test_a_claimed_one_is_the_claimer_s(world: World) -> None:
    """It is alive until its owner closes it; another one takes its place."""
    await world.ready()
    sandbox = await world.claim()
    await world.ready()
    assert [each["environment"] for each in world.standbys.snapshot()] != [sandbox.handle.sandbox_id]
    assert sandbox.link.lost is None
    assert sandbox.handle.sandbox_id not in world.spawner.destroyed
    await sandbox.close()
    assert sandbox.handle.sandbox_id in world.spawner.destroyed


async def test_the_next_is_made_for_the_last_size(world: World) -> None:
    """A function of the same memory as the last one then needs no other limits."""
    await world.ready()
    assert world.spawner.launched[0].memory_mb == 128
    sandbox = await world.claim(1769)
    await world.ready()
    assert world.spawner.launched[1].memory_mb == 1769
    await sandbox.close()


async def test_one_that_is_starting_can_be_claimed(world: World) -> None:
    """It is there sooner than another one would be."""
    await world.until(lambda: world.states == ["launching"])
    sandbox = await world.claim()
    assert sandbox.handle.sandbox_id == world.spawner.launched[0].sandbox_id
    await sandbox.close()


async def test_one_that_is_starting_can_be_discarded(world: World) -> None:
    """Whoever claimed it has left: its start is given up."""
    await world.until(lambda: world.states == ["launching"])
    standby = world.standbys.claim(RUNTIME, 128)
    assert standby is not None
    claiming = asyncio.create_task(world.standbys.claimed(standby))
    await asyncio.sleep(0)
    claiming.cancel()
    world.standbys.discard(standby)
    with pytest.raises(asyncio.CancelledError):
        await claiming
    await world.ready()
    assert len(await world.spawner.list()) == 1


async def test_only_where_functions_are(world: World) -> None:
    """Of a runtime without functions nothing stands by, of a new one at once."""
    await world.ready()
    world.catalog = Shop(runtimes=())
    world.look()
    await world.until(lambda: world.states == [])
    world.catalog = Shop(runtimes=("nodejs22.x", None, "nodejs22.x"))
    world.look()
    await world.ready()
    assert world.standbys.snapshot()[0]["runtime"] == "nodejs22.x"


async def test_a_dead_one_is_replaced(world: World) -> None:
    """Somebody killed it: nobody can claim it any more, what is left of it is removed."""
    await world.ready()
    [first] = world.standbys.snapshot()
    world.spawner.vanish(first["environment"])
    await world.until(lambda: world.states == ["standby"] and len(world.spawner.launched) == 2)
    [second] = world.standbys.snapshot()
    assert first["environment"] != second["environment"]
    await world.until(lambda: first["environment"] in world.spawner.destroyed)
    assert list(world.shop.places or ()) == [second["environment"]]


async def test_nothing_is_started_while_a_launch_is_waited_for() -> None:
    """Launches come first; what stands by may be claimed meanwhile."""
    world = World()
    with world.courtesy.launch():
        await world.open()
        for _ in range(20):
            await asyncio.sleep(0)
        assert world.spawner.launched == []
    await world.ready()
    await world.close()


async def test_launches_without_end_do_not_keep_them_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is one after the other, initialisations are no reason to wait any more."""
    monkeypatch.setattr(module, "SETTLING", 1000.0)
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    world = World()
    with world.courtesy.launch():
        pass
    await world.open()
    await world.ready()
    await world.close()


async def test_memory_is_given_back(world: World) -> None:
    """Environments have taken it: none is left for what only stands by; when they end there is some again."""
    await world.ready()
    world.room = 15
    world.look()
    await world.until(lambda: world.states == [] and len(world.spawner.destroyed) == 1)
    world.room = 16
    world.look()
    await world.ready()


async def test_a_missing_image_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is built for a standby; when a function has needed the image, one stands by."""
    caplog.set_level(logging.INFO)
    world = World()
    world.shop.image = None
    asked = asyncio.Event()

    async def existing(runtime: str) -> str | None:
        asked.set()
        return await Shop.existing(world.shop, runtime)

    world.shop.existing = existing  # type: ignore[method-assign]
    await world.open()
    await asked.wait()
    world.shop.image = "image:2"
    world.standbys.image_is_there(RUNTIME)
    await world.ready()
    assert world.spawner.launched[0].image == "image:2"
    assert not [each for each in caplog.records if each.levelno > logging.INFO]
    await world.close()


async def test_starts_that_fail_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """And tried again, and nothing stays behind."""
    world = World(RefusingSpawner(refusals=3))
    await world.open()
    await world.ready()
    [told] = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert told == "no sandbox stands by for python3.11: there is no room on this machine"
    assert len(world.shop.places or ()) == 1
    await world.close()


async def test_sandboxes_that_die_at_once_leave_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Their places go with each of them."""
    world = World(DyingSpawner())
    await world.open()
    await world.until(lambda: len(world.spawner.launched) >= 3)
    await world.close()
    assert world.shop.places == {}
    assert "before its agent dialled in: exit status 1: it cannot run here" in caplog.text


async def test_a_bug_is_shown(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw is in the log, whole, and the keeper goes on."""
    world = World()
    calls = iter([ZeroDivisionError("oops")])

    async def launch(spec: SandboxSpec) -> SandboxHandle:
        for error in calls:
            raise error
        return await FakeSpawner.launch(world.spawner, spec)

    monkeypatch.setattr(world.spawner, "launch", launch)
    await world.open()
    await world.ready()
    assert "ZeroDivisionError: oops" in caplog.text
    await world.close()


async def test_a_keeper_that_fails_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing stands by any more, and the log says why; launches go on without."""
    world = World()
    world.shop.runtimes = cast("Any", None)
    await world.open()
    await world.until(lambda: "nothing is made ahead any more" in caplog.text)
    assert "TypeError" in caplog.text
    assert world.standbys.claim(RUNTIME, 128) is None
    await world.close()


class TestWithoutResize:
    async def test_a_spawner_that_says_so_has_none(self) -> None:
        """Local processes: nothing stands by, and nobody is told about it."""
        world = World()
        world.spawner.resizes = False
        await world.open()
        for _ in range(20):
            await asyncio.sleep(0)
        assert world.spawner.launched == []
        assert world.standbys.claim(RUNTIME, 128) is None
        await world.close()

    async def test_an_engine_that_cannot_is_found_out(self, caplog: pytest.LogCaptureFixture) -> None:
        """With the first one, which goes; one warning, and no further try."""
        world = World()

        async def resize(handle: SandboxHandle, memory_mb: int) -> None:
            raise SpawnerError("page not found")

        world.spawner.resize = resize  # type: ignore[method-assign]
        await world.open()
        await world.until(lambda: "page not found" in caplog.text)
        await world.until(lambda: len(world.spawner.destroyed) == 1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(world.spawner.launched) == 1
        [told] = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
        assert told.startswith("no sandboxes stand by, because limits of a running one cannot be changed")
        assert world.standbys.claim(RUNTIME, 128) is None
        await world.close()

    async def test_a_death_meanwhile_proves_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        """A sandbox that is gone cannot be changed on any engine: the next one shows."""
        world = World()
        usual = world.spawner.resize
        died: list[str] = []

        async def resize(handle: SandboxHandle, memory_mb: int) -> None:
            if died:
                return await usual(handle, memory_mb)
            died.append(handle.sandbox_id)
            world.spawner.vanish(handle.sandbox_id)
            await world.until(lambda: world.sandboxes._dialled[handle.sandbox_id].result().lost)
            raise SpawnerError("no such container")

        world.spawner.resize = resize  # type: ignore[method-assign]
        await world.open()
        await world.ready()
        assert len(world.spawner.launched) == 2
        assert "cannot be changed" not in caplog.text
        await world.close()


async def test_closing_ends_what_is_starting() -> None:
    """And what stands by; whoever claims then gets none."""
    world = World()
    await world.open()
    await world.until(lambda: world.states == ["launching"])
    await world.standbys.close()
    assert await world.spawner.list() == []
    assert world.standbys.claim(RUNTIME, 128) is None
    await world.close()


async def test_switched_off() -> None:
    """No memory for them: none."""
    world = World()
    world.standbys._memory_mb = 0
    await world.open()
    assert world.standbys._reserve._keeper is None
    await world.close()
