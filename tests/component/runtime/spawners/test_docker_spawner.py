import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.spawners import deaths as deaths_module
from runtime.spawners import docker as module
from runtime.spawners.base import Delivery, ForeignImage, SandboxDeath, SandboxHandle, SandboxSpec
from runtime.spawners.docker import DockerSpawner
from runtime.spawners.engine import Engine, EngineError
from runtime.spawners.owners import mark

SPEC = SandboxSpec(
    sandbox_id="a1", runtime="python3.11", image="i:1", memory_mb=128, ephemeral_storage_mb=512,
    task_root=None, opt=None, link="127.0.0.1:4000", token="secret",
)  # fmt: skip


@pytest.fixture
async def spawner(engine: Engine, fake_engine: Any, tmp_path: Path) -> AsyncIterator[DockerSpawner]:
    fake_engine.add_image("i:1")
    spawner = DockerSpawner(engine, owner="me", data_dir=tmp_path / "data")
    yield spawner
    await spawner.close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRIES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(deaths_module, "RECONNECT", 0.0)


def leftovers(fake_engine: Any) -> list[str]:
    return [each["Name"] for each in fake_engine.containers.values()]


async def test_preparing_finds_out_where_and_how(spawner: DockerSpawner, fake_engine: Any) -> None:
    """The network's gateway is where both meet; the engine sees our files; no probe is left."""
    facts = await spawner.prepare()
    assert (facts.link_host, facts.dial_host, facts.delivery) == ("127.0.0.1", "127.0.0.1", Delivery.BIND)
    assert facts.description == "Docker Engine 20.10.24, bind delivery"
    [network] = fake_engine.networks.values()
    assert (network["Name"], network["Labels"]["berth"]) == ("berth-me", "me")
    assert network["Options"]["com.docker.network.bridge.enable_icc"] == "false"
    assert leftovers(fake_engine) == []
    assert list(fake_engine.images) == ["i:1"]


async def test_an_engine_that_does_not_see_our_files_gets_copies(
    spawner: DockerSpawner, fake_engine: Any
) -> None:
    """As in Docker-in-Docker or with an engine elsewhere."""
    fake_engine.visible = lambda path: False
    assert (await spawner.prepare()).delivery is Delivery.COPY
    assert leftovers(fake_engine) == []


async def test_a_set_delivery_is_not_probed(engine: Engine, fake_engine: Any, tmp_path: Path) -> None:
    """Whoever sets it knows."""
    spawner = DockerSpawner(engine, owner="me", data_dir=tmp_path, delivery=Delivery.COPY)
    assert (await spawner.prepare()).delivery is Delivery.COPY
    assert not any("/containers/create" in each for each in fake_engine.asked)
    await spawner.close()


async def test_probes_of_a_killed_control_plane_are_swept(spawner: DockerSpawner, fake_engine: Any) -> None:
    """They are nobody's sandboxes, so no listing shows them."""
    await spawner._engine.create(
        "old", {"Image": "i:1", "Labels": {"berth": "me", "berth.probe": "1"}, "HostConfig": {}}
    )
    await spawner.prepare()
    assert leftovers(fake_engine) == []


async def test_what_a_vanished_control_plane_left_is_swept(
    spawner: DockerSpawner, engine: Engine, fake_engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directory may be gone, so nobody else would; what one that lives has stays."""
    for owner, process in (("vanished", "this:place:1:0"), ("living", mark())):
        monkeypatch.setattr(module, "mark", lambda process=process: process)
        other = DockerSpawner(engine, owner=owner, data_dir=tmp_path)
        await other.prepare()
        await other.launch(SPEC)
    monkeypatch.setattr(module, "gone", lambda process: process == "this:place:1:0")
    await spawner.prepare()
    assert leftovers(fake_engine) == ["/berth-living-a1"]
    assert {each["Name"] for each in fake_engine.networks.values()} == {"berth-living", "berth-me"}


async def test_what_cannot_be_swept_is_no_obstacle(
    spawner: DockerSpawner, fake_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two control planes that start at a time sweep the same things."""
    monkeypatch.setattr(module, "gone", lambda process: True)
    await spawner._engine.create_network("berth-other", {}, {"berth": "other", "berth.process": "x"})
    fake_engine.failures.append(("DELETE /networks/.*", 404, "no such network"))
    await spawner.prepare()


async def test_a_sandbox_is_launched_listed_and_destroyed(spawner: DockerSpawner, fake_engine: Any) -> None:
    """The whole life of one, by its handle; destroying it again is no error."""
    await spawner.prepare()
    handle = await spawner.launch(SPEC)
    assert handle == SandboxHandle("docker", "a1", fake_engine.find("berth-me-a1")["Id"])
    assert await spawner.list() == [handle]
    await spawner.destroy(handle)
    await spawner.destroy(handle)
    assert await spawner.list() == []


async def test_launching_again_gives_the_same_handle(spawner: DockerSpawner) -> None:
    """Launching is idempotent."""
    assert await spawner.launch(SPEC) == await spawner.launch(SPEC)


async def test_a_resized_sandbox_is_as_if_launched_so(spawner: DockerSpawner, fake_engine: Any) -> None:
    """Whatever depends on memory is another, and nothing else."""
    small = await spawner.launch(SPEC)
    large = await spawner.launch(replace(SPEC, sandbox_id="a2", memory_mb=3008))
    await spawner.resize(small, 3008)
    of_small, of_large = (fake_engine.find(each.reference)["Config"]["HostConfig"] for each in (small, large))
    assert of_small == of_large


async def test_limits_that_the_engine_refuses_are_not_changed(
    spawner: DockerSpawner, fake_engine: Any
) -> None:
    """An option that was left out at the start stays out."""
    fake_engine.refused_members = {"Memory", "MemorySwap"}
    handle = await spawner.launch(SPEC)
    await spawner.resize(handle, 1769)
    host = fake_engine.find(handle.reference)["Config"]["HostConfig"]
    assert "Memory" not in host
    assert host["CpuShares"] == 1024


async def test_an_engine_that_cannot_resize_says_so(spawner: DockerSpawner, fake_engine: Any) -> None:
    """As Podman's older releases do."""
    handle = await spawner.launch(SPEC)
    fake_engine.failures.append(("POST .*/update", 404, "page not found"))
    with pytest.raises(EngineError, match="page not found"):
        await spawner.resize(handle, 1769)


async def test_others_sandboxes_are_not_listed(
    spawner: DockerSpawner, engine: Engine, tmp_path: Path
) -> None:
    """Several control planes share an engine."""
    other = DockerSpawner(engine, owner="other", data_dir=tmp_path)
    handle = await other.launch(SPEC)
    assert await spawner.list() == []
    await other.destroy(handle)
    await other.close()


async def test_a_failed_start_leaves_nothing(spawner: DockerSpawner, fake_engine: Any) -> None:
    """The container that was created for it is removed."""
    fake_engine.failures.append(("POST /containers/.*/start", 503, "no"))
    with pytest.raises(EngineError, match="no"):
        await spawner.launch(SPEC)
    assert leftovers(fake_engine) == []


async def test_a_missing_image_is_an_error_at_once(spawner: DockerSpawner, fake_engine: Any) -> None:
    """Nothing is pulled, and no option is suspected."""
    with pytest.raises(EngineError, match="No such image: gone:1"):
        await spawner.launch(replace(SPEC, image="gone:1"))
    assert fake_engine.asked.count("POST /containers/create") == 1


@pytest.mark.parametrize("request_", ["POST /containers/create", "start"])
async def test_a_cancelled_launch_leaves_nothing(
    spawner: DockerSpawner, fake_engine: Any, request_: str
) -> None:
    """Whatever the engine is doing when the caller leaves is undone before the caller is told."""
    reached, go_on = threading.Event(), threading.Event()

    def hold(request: str) -> None:
        if request.endswith(request_):
            reached.set()
            go_on.wait(10)

    fake_engine.before = hold
    launch = asyncio.create_task(spawner.launch(SPEC))
    await asyncio.to_thread(reached.wait, 10)
    launch.cancel()
    asyncio.get_running_loop().call_later(0.01, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await launch
    assert leftovers(fake_engine) == []


async def test_a_refused_option_is_left_out_with_one_warning(
    spawner: DockerSpawner, fake_engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nested engines cannot do everything: the rest of the hardening stays, and only the first launch pays."""
    fake_engine.refused_members = {"Ulimits"}
    with caplog.at_level(logging.WARNING):
        first, second = await asyncio.gather(
            spawner.launch(SPEC), spawner.launch(replace(SPEC, sandbox_id="a2"))
        )
        asked = len(fake_engine.asked)
        third = await spawner.launch(replace(SPEC, sandbox_id="a3"))
    assert len(fake_engine.asked) == asked + 2
    assert [each.message for each in caplog.records] == [
        "the engine refuses the option nofile: sandboxes leave the limit of open files to their agent alone"
    ]
    for handle in (first, second, third):
        host = fake_engine.find(handle.reference)["Config"]["HostConfig"]
        assert "Ulimits" not in host
        assert host["ReadonlyRootfs"] is True
    assert len(leftovers(fake_engine)) == 3


async def test_an_option_that_is_refused_for_a_foreign_image(
    spawner: DockerSpawner, fake_engine: Any, tmp_path: Path
) -> None:
    """Which option it is can be found out although nothing is known to be in the image."""
    await spawner.prepare()
    fake_engine.refused_members = {"Ulimits"}
    await spawner.launch(replace(SPEC, foreign=ForeignImage(agent=tmp_path)))
    [container] = fake_engine.containers.values()
    assert "Ulimits" not in container["Config"]["HostConfig"]
    assert "PidsLimit" in container["Config"]["HostConfig"]


async def test_a_foreign_image_that_does_not_start(
    spawner: DockerSpawner, fake_engine: Any, tmp_path: Path
) -> None:
    """The engine's words are explained: what we mount there may be in the way of what the image has."""
    await spawner.prepare()
    fake_engine.refused_members = {"Mounts"}
    with pytest.raises(EngineError, match=r"/var/rapid and /tmp.*a directory or nothing.*OCI runtime"):
        await spawner.launch(replace(SPEC, foreign=ForeignImage(agent=tmp_path)))
    assert leftovers(fake_engine) == []


async def test_a_refusal_that_is_no_option_s_stays_an_error(spawner: DockerSpawner, fake_engine: Any) -> None:
    """Nothing is given up for it."""
    fake_engine.failures.append(("POST /containers/.*/start", 500, "out of disk"))
    with pytest.raises(EngineError, match="out of disk"):
        await spawner.launch(SPEC)
    handle = await spawner.launch(SPEC)
    assert "CapDrop" in fake_engine.find(handle.reference)["Config"]["HostConfig"]


async def test_the_engine_s_own_warnings_are_passed_on_once(
    spawner: DockerSpawner,
    fake_engine: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An engine may take an option and say that it does nothing. That an image is for another processor is known."""
    foreign = "The requested image's platform (linux/arm64) does not match the detected host platform"
    usual = fake_engine.answer

    def warn(method: str, path: str, *rest: Any) -> Any:
        answer = usual(method, path, *rest)
        return (
            {**answer, "Warnings": ["Your kernel does not support swap limit", foreign]}
            if path.endswith("/create")
            else answer
        )

    monkeypatch.setattr(fake_engine, "answer", warn)
    await spawner.launch(SPEC)
    await spawner.launch(replace(SPEC, sandbox_id="a2"))
    warned = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert warned == ["the engine says: Your kernel does not support swap limit"]


async def test_removal_is_tried_again(spawner: DockerSpawner, fake_engine: Any) -> None:
    """Busy mounts and the like pass."""
    handle = await spawner.launch(SPEC)
    fake_engine.failures.append(("DELETE .*", 500, "device or resource busy"))
    await spawner.destroy(handle)
    assert leftovers(fake_engine) == []


async def test_removal_that_never_works_is_an_error(spawner: DockerSpawner, fake_engine: Any) -> None:
    """The caller hears of what stays behind."""
    handle = await spawner.launch(SPEC)
    fake_engine.failures += [("DELETE .*", 500, "device or resource busy")] * 4
    with pytest.raises(EngineError, match="busy"):
        await spawner.destroy(handle)


@pytest.mark.parametrize(
    ("status", "oom", "death"),
    [
        (0, False, SandboxDeath("a1", "exit status 0")),
        (137, False, SandboxDeath("a1", "signal: killed")),
        (137, True, SandboxDeath("a1", "out of memory", out_of_memory=True)),
        (1, True, SandboxDeath("a1", "exit status 1")),
    ],
)
async def test_deaths_are_told(
    spawner: DockerSpawner, fake_engine: Any, status: int, oom: bool, death: SandboxDeath
) -> None:
    """With the reason; a process killed for memory inside a sandbox that ends otherwise is not the sandbox's death."""
    deaths = spawner.deaths()
    await subscribed(fake_engine)
    await spawner.launch(SPEC)
    fake_engine.end("berth-me-a1", status, oom=oom)
    assert await anext(deaths) == death


async def test_a_destroyed_sandbox_dies_once(spawner: DockerSpawner, fake_engine: Any) -> None:
    """Its removal and the engine's event tell of the same death."""
    deaths = spawner.deaths()
    await subscribed(fake_engine)
    for name in ("a1", "a2"):
        await spawner.destroy(await spawner.launch(replace(SPEC, sandbox_id=name)))
    assert [(await anext(deaths)).sandbox_id for _ in range(2)] == ["a1", "a2"]


async def test_deaths_that_nobody_heard_of_are_found(spawner: DockerSpawner, fake_engine: Any) -> None:
    """After the engine was away, and from before the first call; with their reasons, as far as the engine knows."""
    for name in ("a1", "a2", "a3", "a4"):
        await spawner.launch(replace(SPEC, sandbox_id=name))
    fake_engine.end("berth-me-a1", 137, oom=True)
    deaths = spawner.deaths()
    assert await anext(deaths) == SandboxDeath("a1", "out of memory", out_of_memory=True)
    fake_engine.hang_up()
    fake_engine.end("berth-me-a2", 3)
    assert await anext(deaths) == SandboxDeath("a2", "exit status 3")
    del fake_engine.containers[fake_engine.find("berth-me-a3")["Id"]]
    fake_engine.hang_up()
    assert await anext(deaths) == SandboxDeath("a3", "gone")


async def test_a_listed_sandbox_s_death_is_told(
    spawner: DockerSpawner, engine: Engine, fake_engine: Any, tmp_path: Path
) -> None:
    """One that an earlier control plane left is known from its listing on."""
    await spawner.launch(SPEC)
    later = DockerSpawner(engine, owner="me", data_dir=tmp_path)
    deaths = later.deaths()
    await subscribed(fake_engine)
    await later.list()
    fake_engine.end("berth-me-a1", 2)
    assert await anext(deaths) == SandboxDeath("a1", "exit status 2")
    await later.close()


async def test_a_failed_launch_has_no_death(spawner: DockerSpawner, fake_engine: Any) -> None:
    """Its caller knows already."""
    deaths = spawner.deaths()
    await subscribed(fake_engine)
    fake_engine.failures.append(("POST /containers/.*/start", 503, "no"))
    with pytest.raises(EngineError):
        await spawner.launch(SPEC)
    await spawner.destroy(await spawner.launch(replace(SPEC, sandbox_id="a2")))
    assert (await anext(deaths)).sandbox_id == "a2"


async def test_an_agent_that_dies_at_once_has_died(spawner: DockerSpawner, fake_engine: Any) -> None:
    """Its death comes before its launch is over, and is told after it."""
    deaths = spawner.deaths()
    await subscribed(fake_engine)
    usual = fake_engine.answer

    def die(method: str, path: str, *rest: Any) -> Any:
        answer = usual(method, path, *rest)
        if path.endswith("/start"):
            fake_engine.end("berth-me-a1", 1)
        return answer

    fake_engine.answer = die
    await spawner.launch(SPEC)
    assert await anext(deaths) == SandboxDeath("a1", "exit status 1")


async def test_an_agent_s_last_words_are_told_where_they_are_kept(
    engine: Engine, fake_engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For debugging: why an agent died before it could say so over the link."""
    fake_engine.add_image("i:1")
    spawner = DockerSpawner(engine, owner="me", data_dir=tmp_path, keep_output=True)

    async def words(container: str, lines: int) -> str:
        return "ImportError: no\n"

    monkeypatch.setattr(engine, "output", words)
    deaths = spawner.deaths()
    await subscribed(fake_engine)
    await spawner.launch(SPEC)
    fake_engine.end("berth-me-a1", 1)
    assert (await anext(deaths)).reason == "exit status 1: ImportError: no"
    await spawner.close()


async def test_deaths_end_with_the_spawner(spawner: DockerSpawner, fake_engine: Any) -> None:
    """Whoever waits for one is let go; its network goes too."""
    await spawner.prepare()
    waiting = asyncio.ensure_future(anext(spawner.deaths(), None))
    await subscribed(fake_engine)
    await spawner.close()
    assert await waiting is None
    assert fake_engine.networks == {}


async def subscribed(fake_engine: Any) -> None:
    """Wait until someone listens to the engine's events."""
    assert await asyncio.to_thread(fake_engine.subscribed.acquire, True, 10)
