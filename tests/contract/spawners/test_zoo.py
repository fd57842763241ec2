"""The spawners that other tests are built on do what they say, towards the real end of a link."""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

import pytest

from rapid.invocation import ExitStatus
from runtime.links import Link, LinkServer
from runtime.spawners.base import SandboxSpec, Spawner, SpawnerError
from tests.helpers.spawner_zoo import (
    DyingSpawner,
    FakeSpawner,
    NeverSpawner,
    RefusingSpawner,
    SilentSpawner,
    StubbornSpawner,
    VanishingSpawner,
)

LIMIT = 10


class Listener:
    def __init__(self) -> None:
        self.exit: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        self.is_lost = asyncio.Event()
        self.said = b""

    def output(self, process: int, stream: int, data: bytes) -> None:
        self.said += data

    def exited(self, process: int, status: ExitStatus) -> None:
        self.exit.set_result(status)

    def lost(self, reason: str, *, out_of_memory: bool = False) -> None:
        self.is_lost.set()


@pytest.fixture
async def links() -> AsyncIterator[LinkServer]:
    server = LinkServer()
    await server.open("127.0.0.1")
    yield server
    await server.close()


def spec_for(links: LinkServer) -> SandboxSpec:
    return SandboxSpec(
        sandbox_id="one",
        runtime="python3.11",
        image="",
        memory_mb=128,
        ephemeral_storage_mb=512,
        task_root=None,
        opt=None,
        link=f"127.0.0.1:{links.port}",
        token="token",
    )


async def dial(spawner: Spawner, links: LinkServer) -> tuple[Link, Listener]:
    dialled = links.expect("one", "token")
    await spawner.launch(spec_for(links))
    link = await asyncio.wait_for(dialled, LIMIT)
    link.observer = listener = Listener()
    return link, listener


async def end(spawner: Spawner) -> None:
    for handle in await spawner.list():
        await spawner.destroy(handle)
    await spawner.close()


async def test_fake(links: LinkServer) -> None:
    """The one that behaves: hello, processes, settling, clearing, freezing, death."""
    spawner = FakeSpawner()
    link, listener = await dial(spawner, links)
    await link.start(1, ["/bootstrap"], {}, "/")
    assert await link.settle() > 0
    link.freeze()
    await link.settle()
    assert spawner.agents["one"].is_frozen
    assert await link.list("/opt/extensions") == []
    await link.clear()
    assert await asyncio.wait_for(listener.exit, LIMIT) == ExitStatus(-9)
    await end(spawner)
    assert [death.reason async for death in spawner.deaths()] == ["removed"]
    assert (spawner.destroyed, spawner.is_closed) == (["one"], True)


async def test_fake_programs(links: LinkServer) -> None:
    """A program is given its environment; what it raises shows as an interpreter would show it."""

    async def fails(env: Mapping[str, str]) -> int:
        raise ValueError(env["WHY"])

    spawner = FakeSpawner(fails)
    link, listener = await dial(spawner, links)
    await link.start(1, ["/bootstrap"], {"WHY": "because"}, "/")
    assert await asyncio.wait_for(listener.exit, LIMIT) == ExitStatus(1)
    assert listener.said == b"ValueError('because')\n"
    await end(spawner)


async def test_fake_signals_and_lists(links: LinkServer) -> None:
    """A process ends by the signal it gets, others do not; directories hold what the test says."""
    spawner = FakeSpawner()
    spawner.names["/opt/extensions"] = ["agent"]
    link, listener = await dial(spawner, links)
    assert await link.list("/opt/extensions") == ["agent"]
    await link.start(1, ["/bootstrap"], {}, "/")
    await link.start(2, ["/opt/extensions/agent"], {}, "/")
    link.signal(3, signal.SIGTERM)
    link.signal(2, signal.SIGTERM)
    assert await asyncio.wait_for(listener.exit, LIMIT) == ExitStatus(-15)
    listener.exit = asyncio.get_running_loop().create_future()
    await link.clear()
    assert await asyncio.wait_for(listener.exit, LIMIT) == ExitStatus(-9)
    await end(spawner)


async def test_refusing(links: LinkServer) -> None:
    """It refuses as often as it was told to, then launches."""
    spawner = RefusingSpawner(refusals=1)
    with pytest.raises(SpawnerError):
        await spawner.launch(spec_for(links))
    await dial(spawner, links)
    await end(spawner)


async def test_never(links: LinkServer) -> None:
    """Its launch ends only by being cancelled."""
    spawner = NeverSpawner()
    launching = asyncio.create_task(spawner.launch(spec_for(links)))
    await spawner.is_launching.wait()
    launching.cancel()
    with suppress(asyncio.CancelledError):
        await launching
    assert spawner.cancelled == 1


async def test_silent(links: LinkServer) -> None:
    """Its sandboxes are there, and nothing is heard of them."""
    spawner = SilentSpawner()
    dialled = links.expect("one", "token")
    await spawner.launch(spec_for(links))
    assert [handle.sandbox_id for handle in await spawner.list()] == ["one"]
    assert not dialled.done()
    dialled.cancel()
    await end(spawner)


async def test_dying(links: LinkServer) -> None:
    """Its sandboxes are dead before anything is heard of them."""
    spawner = DyingSpawner()
    await spawner.launch(spec_for(links))
    assert (await anext(spawner.deaths())).reason.startswith("exit status 1")
    assert await spawner.list() == []


async def test_vanishing(links: LinkServer) -> None:
    """Its sandboxes die of the first process."""
    spawner = VanishingSpawner()
    link, listener = await dial(spawner, links)
    link.start(1, ["/bootstrap"], {}, "/")
    assert (await anext(spawner.deaths())).sandbox_id == "one"
    await asyncio.wait_for(listener.is_lost.wait(), LIMIT)
    await end(spawner)


async def test_stubborn(links: LinkServer) -> None:
    """Its sandboxes go when the test lets them."""
    spawner = StubbornSpawner(failures=1)
    await dial(spawner, links)
    [handle] = await spawner.list()
    with pytest.raises(SpawnerError):
        await spawner.destroy(handle)
    going = asyncio.create_task(spawner.destroy(handle))
    await asyncio.wait([going], timeout=0)
    assert not going.done()
    spawner.let_go()
    await asyncio.wait_for(going, LIMIT)
    assert await spawner.list() == []
