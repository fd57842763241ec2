"""What all tests share: those marked `docker` need an engine, CI must not pass without one, and no example is timed."""

import asyncio
import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from runtime.spawners.engine import Engine, EngineError

settings.register_profile(
    "untimed", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")  # a machine that has too much to do is no error


if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a shell's background job: programs under test would ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs an engine where none answers, saying so; with `CI` set it runs, and fails."""
    marked = [item for item in items if item.get_closest_marker("docker")]
    if not marked or os.environ.get("CI") or _engine_answers():
        return
    for item in marked:
        item.add_marker(pytest.mark.skip(reason="no Docker engine answers (`make engine`)"))


def _engine_answers() -> bool:
    async def connect() -> bool:
        try:
            engine = await Engine.connect()
        except EngineError:
            return False
        await engine.close()
        return True

    return asyncio.run(connect())
