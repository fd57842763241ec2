"""Networks made ahead: whom they serve, how they end, and that a launch never depends on them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime import reserve
from runtime.reserve import Courtesy
from runtime.spawners import deaths as deaths_module
from runtime.spawners import docker as module
from runtime.spawners.base import SandboxSpec
from runtime.spawners.docker import DockerSpawner
from runtime.spawners.engine import Engine

SPEC = SandboxSpec(
    sandbox_id="a1", runtime="python3.11", image="i:1", memory_mb=128, ephemeral_storage_mb=512,
    task_root=None, opt=None, link="127.0.0.1:4000", token="secret",
)  # fmt: skip


@pytest.fixture
def courtesy() -> Courtesy:
    return Courtesy()


@pytest.fixture
async def spawner(
    engine: Engine, fake_engine: Any, tmp_path: Path, courtesy: Courtesy
) -> AsyncIterator[DockerSpawner]:
    """After its first launch, of a sandbox with a network of its own."""
    fake_engine.add_image("i:1")
    spawner = DockerSpawner(engine, owner="me", data_dir=tmp_path, spare_networks=2, courtesy=courtesy)
    await spawner.launch(replace(SPEC, sandbox_id="first"))
    yield spawner
    await spawner.close()
    assert pauses(fake_engine) == []


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRIES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(deaths_module, "RECONNECT", 0.0)
    monkeypatch.setattr(reserve, "SETTLING", 0.0)


def pauses(fake_engine: Any) -> list[str]:
    """Those that run, oldest first."""
    return [
        each["Id"]
        for each in list(fake_engine.containers.values())
        if "berth.pause" in each["Config"]["Labels"] and each["State"]["Status"] == "running"
    ]


def network_of(fake_engine: Any, container: str) -> str:
    return str(fake_engine.find(container)["Config"]["HostConfig"]["NetworkMode"])


async def until(condition: Callable[[], object]) -> None:
    """Let the engine's threads go on until it holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)  # a turn of the loop, no time


def waiting(spawner: DockerSpawner) -> int:
    return sum(1 for item in spawner._pauses._reserve.items if item.thing)


async def test_the_next_sandbox_joins_one(spawner: DockerSpawner, fake_engine: Any) -> None:
    """The first launch shows what they can be made of; from then on one waits, and is joined instead of a network made."""
    assert network_of(fake_engine, "berth-me-first") == "berth-me"
    await until(lambda: waiting(spawner))
    [made] = pauses(fake_engine)
    handle = await spawner.launch(SPEC)
    assert network_of(fake_engine, handle.reference) == f"container:{made}"


async def test_each_serves_one(spawner: DockerSpawner, fake_engine: Any) -> None:
    """Two sandboxes that shared a network would share an address and their ports."""
    await until(lambda: waiting(spawner))
    modes = []
    for number in range(6):
        handle = await spawner.launch(replace(SPEC, sandbox_id=f"b{number}"))
        modes.append(network_of(fake_engine, handle.reference))
        await until(lambda: waiting(spawner))
    joined = [mode for mode in modes if mode != "berth-me"]
    assert len(joined) == len(set(joined)) == 6


async def test_a_pause_goes_with_its_sandbox(spawner: DockerSpawner, fake_engine: Any) -> None:
    """Its address is not used again while it could be taken for that sandbox's; and only it goes."""
    await until(lambda: waiting(spawner))
    [made] = pauses(fake_engine)
    handle = await spawner.launch(SPEC)
    await until(lambda: waiting(spawner))
    others = set(pauses(fake_engine)) - {made}
    await spawner.destroy(handle)
    await until(lambda: made not in pauses(fake_engine))
    assert others
    assert others <= set(pauses(fake_engine))
    requests = [each for each in fake_engine.asked if each.startswith("DELETE")]
    assert requests == [f"DELETE /containers/{handle.reference}", f"DELETE /containers/{made}"]


async def test_a_pause_can_do_nothing(spawner: DockerSpawner, fake_engine: Any) -> None:
    """No user, no capability, next to no memory; and what a sandbox has to find in its network."""
    await until(lambda: waiting(spawner))
    config = fake_engine.find(pauses(fake_engine)[0])["Config"]
    host = config["HostConfig"]
    assert config["User"] == "65534:65534"
    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], [])
    assert host["ReadonlyRootfs"] is True
    assert host["Memory"] == 16 << 20
    assert sorted(host["ExtraHosts"]) == ["sandbox.localdomain:127.0.0.1", "sandbox:127.0.0.1"]
    assert host["NetworkMode"] == "berth-me"


async def test_joined_sandboxes_are_limited_as_others(spawner: DockerSpawner, fake_engine: Any) -> None:
    """Only where the network comes from differs."""
    await until(lambda: waiting(spawner))
    handle = await spawner.launch(SPEC)
    own, joined = (
        dict(fake_engine.find(each)["Config"]["HostConfig"]) for each in ("berth-me-first", handle.reference)
    )
    assert own.pop("NetworkMode") != joined.pop("NetworkMode")
    del own["ExtraHosts"]  # engines refuse it for a network that is another container's
    assert own == joined
    assert "Hostname" not in fake_engine.find(handle.reference)["Config"]


async def test_one_that_nobody_waits_for_leaves_it_to_others(
    spawner: DockerSpawner, fake_engine: Any
) -> None:
    """A standby is started in the background: it may take its time."""
    await until(lambda: waiting(spawner))
    handle = await spawner.launch(replace(SPEC, ahead=True))
    assert network_of(fake_engine, handle.reference) == "berth-me"
    assert waiting(spawner) == 1


async def test_a_network_that_cannot_be_joined_is_done_without(
    spawner: DockerSpawner, fake_engine: Any
) -> None:
    """The pause has ended and nobody has heard of it yet."""
    await until(lambda: waiting(spawner))
    [dead] = pauses(fake_engine)
    fake_engine.find(dead)["State"]["Status"] = "exited"
    handle = await spawner.launch(SPEC)
    assert network_of(fake_engine, handle.reference) == "berth-me"
    await until(lambda: dead not in fake_engine.containers)


async def test_one_that_ends_is_replaced(spawner: DockerSpawner, fake_engine: Any) -> None:
    """Somebody has ended it."""
    listening = spawner.deaths()
    assert await asyncio.to_thread(fake_engine.subscribed.acquire, True, 10)
    await until(lambda: waiting(spawner))
    [made] = pauses(fake_engine)
    fake_engine.end(made, 137)
    await until(lambda: pauses(fake_engine) not in ([], [made]))
    del listening


async def test_a_sandbox_without_its_network_is_ended(spawner: DockerSpawner, fake_engine: Any) -> None:
    """It could reach nobody, and its link would be silent for ever: its owner hears of its death."""
    deaths = spawner.deaths()
    assert await asyncio.to_thread(fake_engine.subscribed.acquire, True, 10)
    await until(lambda: waiting(spawner))
    [made] = pauses(fake_engine)
    handle = await spawner.launch(SPEC)
    fake_engine.end(made, 137)
    death = await asyncio.wait_for(anext(deaths), 10)
    assert (death.sandbox_id, death.reason) == ("a1", "signal: killed")
    await spawner.destroy(handle)


@pytest.mark.parametrize("request_", ["POST /containers/create", "start"])
async def test_a_cancelled_launch_leaves_no_pause(
    spawner: DockerSpawner, fake_engine: Any, request_: str
) -> None:
    """It was joined, or about to be: it goes as the container does."""
    await until(lambda: waiting(spawner))
    [made] = pauses(fake_engine)
    reached, go_on = threading.Event(), threading.Event()

    def hold(request: str) -> None:
        if request.endswith(request_) and not reached.is_set():
            reached.set()
            go_on.wait(10)

    fake_engine.before = hold
    launch = asyncio.create_task(spawner.launch(SPEC))
    await asyncio.to_thread(reached.wait, 10)
    launch.cancel()
    asyncio.get_running_loop().call_later(0.01, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await launch
    await until(lambda: made not in fake_engine.containers)
    assert "/berth-me-a1" not in [each["Name"] for each in fake_engine.containers.values()]


async def test_launches_come_first(
    engine: Engine, fake_engine: Any, tmp_path: Path, courtesy: Courtesy
) -> None:
    """While one is waited for, none is made."""
    fake_engine.add_image("i:1")
    spawner = DockerSpawner(engine, owner="me", data_dir=tmp_path, spare_networks=2, courtesy=courtesy)
    with courtesy.launch():
        await spawner.launch(SPEC)
        await asyncio.gather(*(spawner.list() for _ in range(3)))  # round trips in which it could have begun
        assert pauses(fake_engine) == []
    await until(lambda: waiting(spawner))
    await spawner.close()


async def test_what_an_earlier_control_plane_left_is_swept(
    engine: Engine, fake_engine: Any, tmp_path: Path
) -> None:
    """They are nobody's sandboxes, so no listing shows them."""
    fake_engine.add_image("i:1")
    labels = {"berth": "me", "berth.pause": "1"}
    await engine.create("old", {"Image": "i:1", "Labels": labels, "HostConfig": {}})
    spawner = DockerSpawner(engine, owner="me", data_dir=tmp_path)
    await spawner.prepare()
    assert fake_engine.containers == {}
    await spawner.close()


async def test_a_pause_that_cannot_be_made_is_no_obstacle(
    engine: Engine, fake_engine: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Sandboxes have networks of their own then; it is complained of once, and nothing stays behind."""
    fake_engine.add_image("i:1")
    spawner = DockerSpawner(engine, owner="me", data_dir=tmp_path, spare_networks=2)
    usual = fake_engine.answer

    def refuse(method: str, path: str, query: dict[str, str], body: Any) -> Any:
        if method == "POST" and path.endswith("/start"):
            container = fake_engine.find(path.split("/")[2])
            if "berth.pause" in container["Config"]["Labels"]:
                return usual("POST", "/containers/nowhere/start", query, body)
        return usual(method, path, query, body)

    fake_engine.answer = refuse
    await spawner.launch(SPEC)
    await until(lambda: "no network is ready for sandboxes: No such container" in caplog.text)
    await until(lambda: len(fake_engine.containers) == 1)
    await spawner.launch(replace(SPEC, sandbox_id="a2"))
    await spawner.close()


async def test_podman_gets_none(engine: Engine, fake_engine: Any, tmp_path: Path) -> None:
    """Nobody has measured that it would gain."""
    fake_engine.add_image("i:1")
    object.__setattr__(engine.facts, "product", "Podman")
    spawner = DockerSpawner(engine, owner="me", data_dir=tmp_path, spare_networks=2)
    for number in range(3):
        await spawner.launch(replace(SPEC, sandbox_id=f"a{number}"))
    assert pauses(fake_engine) == []
    assert spawner._pauses._reserve._keeper is None
    await spawner.close()
