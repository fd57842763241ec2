"""Launches from sandboxes that stood by."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rapid.wire import Kind
from runtime import launcher as launcher_module
from runtime import reserve as reserve_module
from runtime.files import StorageFull
from runtime.image_facts import Serving
from runtime.model import FunctionVersion
from runtime.spawners.base import (
    Delivery,
    SpawnerError,
)
from tests.helpers.fleet_world import Mute, Unpacking, World, function


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

        async def ensure(*_: Any, **__: Any) -> Serving:
            return Serving("another")

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
