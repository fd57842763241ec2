import threading
from pathlib import Path
from typing import Any

import pytest

from runtime.spawners import network as module
from runtime.spawners.base import SpawnerError
from runtime.spawners.container import PROCESS
from runtime.spawners.engine import Engine
from runtime.spawners.engine_facts import EngineFacts
from runtime.spawners.network import ICC, Meeting, Network, address_towards, bindable, identities
from runtime.spawners.owners import mark

ID = "ab" * 32


@pytest.fixture
def network(engine: Engine) -> Network:
    return Network(engine, "me")


@pytest.fixture
def inside(fake_engine: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The control plane runs in this container."""
    container = {
        "Id": ID,
        "Name": "/plane",
        "Config": {"Labels": {}},
        "HostConfig": {"NetworkMode": "bridge"},
    }
    fake_engine.containers[ID] = container
    monkeypatch.setattr(module, "identities", lambda process, hostname: ["00" * 32, ID])
    return container


async def test_on_the_engine_s_machine_they_meet_at_the_gateway(network: Network, fake_engine: Any) -> None:
    """Sandboxes reach the control plane there, and not each other."""
    assert await network.prepare(None) == Meeting("127.0.0.1", "127.0.0.1")
    [made] = fake_engine.networks.values()
    assert made["Options"][ICC] == "false"


async def test_a_network_that_was_left_is_used_again(network: Network, fake_engine: Any) -> None:
    """A killed control plane leaves one."""
    await network.prepare(None)
    [before] = fake_engine.networks
    await network.prepare(None)
    assert list(fake_engine.networks) == [before]


async def test_a_killed_process_s_network_is_made_anew(engine: Engine, fake_engine: Any) -> None:
    """Others take what a dead process has marked for abandoned: they would remove it under who uses it now."""
    place, number, start = mark().rsplit(":", 2)
    await Network(engine, "me", f"{place}:{number}:{int(start) - 1}").prepare(None)
    [(before, left)] = fake_engine.networks.items()
    fake_engine.containers[ID] = {"Id": ID, "Name": "/left", "Config": {"Labels": {}}}
    left["Containers"][ID] = {}
    await Network(engine, "me", mark()).prepare(None)
    [(now, made)] = fake_engine.networks.items()
    assert now != before
    assert made["Labels"][PROCESS] == mark()


async def test_in_a_container_the_control_plane_joins(
    network: Network, inside: Any, fake_engine: Any
) -> None:
    """They meet at its address on the network, whose containers may then reach each other; it leaves at the end."""
    assert await network.prepare(None) == Meeting("172.30.0.2", "172.30.0.2")
    [made] = fake_engine.networks.values()
    assert made["Options"][ICC] == "true"
    await network.close()
    assert fake_engine.networks == {}


async def test_a_container_with_the_host_s_network_is_the_host(network: Network, inside: Any) -> None:
    """It listens where the host does."""
    inside["HostConfig"]["NetworkMode"] = "host"
    assert await network.prepare(None) == Meeting("127.0.0.1", "127.0.0.1")


async def test_a_network_for_another_situation_is_made_anew(
    network: Network, inside: Any, fake_engine: Any
) -> None:
    """The control plane moved into a container: sandboxes could not reach it on the old network."""
    inside["HostConfig"]["NetworkMode"] = "host"
    await network.prepare(None)
    inside["HostConfig"]["NetworkMode"] = "bridge"
    await network.prepare(None)
    [made] = fake_engine.networks.values()
    assert made["Options"][ICC] == "true"


async def test_a_network_in_use_stays(
    network: Network, fake_engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Sandboxes that outlive the control plane keep it, with a word about it."""
    await network.prepare(None)
    [made] = fake_engine.networks.values()
    made["Containers"]["someone"] = {}
    await network.close()
    assert list(fake_engine.networks.values()) == [made]
    assert "stays behind" in caplog.text


async def test_an_engine_without_addresses_says_what_to_do(network: Network, fake_engine: Any) -> None:
    """Engines have about thirty networks' worth of them."""
    text = "could not find an available, non-overlapping IPv4 address pool among the defaults"
    fake_engine.failures.append(("POST /networks/create", 500, text))
    with pytest.raises(SpawnerError, match="docker network prune"):
        await network.prepare(None)


async def test_docker_desktop_has_a_name_for_this_machine(
    network: Network, engine: Engine, fake_engine: Any
) -> None:
    """Its gateway is inside its virtual machine; what listens on loopback is forwarded."""
    fake_engine.gateway = "192.0.2.7"
    engine.facts = EngineFacts(version="4", product="Docker Desktop", rootless=False)
    assert await network.prepare(None) == Meeting(
        "127.0.0.1", "host.docker.internal", ("host.docker.internal:host-gateway",)
    )


async def test_elsewhere_the_address_on_the_way_has_to_do(network: Network, fake_engine: Any) -> None:
    """A gateway that cannot be bound here is on another machine, or in a rootless engine's namespace."""
    fake_engine.gateway = "192.0.2.7"
    meeting = await network.prepare(None)
    assert meeting.link_host == meeting.dial_host
    assert bindable(meeting.link_host)


@pytest.mark.parametrize(("known", "bound"), [("127.0.0.1", "127.0.0.1"), ("192.0.2.9", "0.0.0.0")])
async def test_who_knows_the_address_is_believed(network: Network, known: str, bound: str) -> None:
    """An address that something translates cannot be bound: everything is, then."""
    assert await network.prepare(known) == Meeting(bound, known)


async def test_names_are_resolved_off_the_event_loop(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name service that hangs does not hold up invocations."""
    threads: list[threading.Thread] = []

    def resolve(_: str) -> bool:
        threads.append(threading.current_thread())
        return True

    monkeypatch.setattr(module, "bindable", resolve)
    await network.prepare("berth.example")
    assert threads
    assert threading.main_thread() not in threads


def test_the_surrounding_container_is_recognised(tmp_path: Path) -> None:
    """By what the engine mounted into it, by its control group, or by its default host name; never by other mounts."""
    other = "cd" * 32
    (tmp_path / "mountinfo").write_text(
        f"36 35 98:0 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/vda rw\n"
        f"37 35 98:0 / /var/lib/docker/containers/{other}/mounts/shm rw - tmpfs shm rw\n"
    )
    (tmp_path / "cgroup").write_text(f"4:memory:/docker/{ID}\n0::/\n")
    assert identities(tmp_path, "abababababab") == [ID, "abababababab"]
    assert identities(tmp_path / "none", "laptop") == []


def test_podman_s_mounts_are_recognised(tmp_path: Path) -> None:
    """They have one more level."""
    line = f"36 35 98:0 /containers/overlay-containers/{ID}/userdata/hostname /etc/hostname rw - tmpfs tmpfs rw\n"
    (tmp_path / "mountinfo").write_text(line)
    assert identities(tmp_path, "laptop") == [ID]


def test_the_address_towards_a_place_is_ours() -> None:
    """Towards oneself it is loopback; a place without a way has none."""
    assert address_towards("127.0.0.1") == "127.0.0.1"
    with pytest.raises(SpawnerError, match="link_host"):
        address_towards("255.255.255.255")


def test_only_own_addresses_can_be_bound() -> None:
    """What belongs to another machine does not."""
    assert bindable("127.0.0.1")
    assert not bindable("192.0.2.1")
