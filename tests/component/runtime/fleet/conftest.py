"""A fleet whose sandboxes are tasks (`tests.helpers.fleet_world`)."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.model import FunctionVersion
from tests.helpers.fleet_world import World, function


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


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
