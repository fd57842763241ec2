from dataclasses import replace
from pathlib import Path

import pytest

from runtime.spawners.base import ForeignImage, SandboxSpec
from runtime.spawners.container import (
    OPTIONS,
    Option,
    Surroundings,
    container,
    cpu_shares,
    hardening,
    name_of,
    probe,
)

SPEC = SandboxSpec(
    sandbox_id="a1b2", runtime="python3.11", image="berth/python3.11:0", memory_mb=128, ephemeral_storage_mb=512,
    task_root=None, opt=None, link="172.18.0.1:4000", token="secret",
)  # fmt: skip
AROUND = Surroundings("me", "berth-me", "me:1")


def test_the_agent_gets_its_link_and_nothing_else() -> None:
    """The environment of a sandbox holds what the agent needs; the function's comes over the link."""
    names = [each.partition("=")[0] for each in container(SPEC, AROUND)["Env"]]
    assert names == ["BERTH_LINK", "BERTH_SANDBOX", "BERTH_TOKEN", "PATH"]


def test_a_sandbox_is_found_again_by_its_labels() -> None:
    """Owner, sandbox and runtime are labels, so that a later control plane can list and remove."""
    assert container(SPEC, AROUND)["Labels"] == {
        "berth": "me",
        "berth.process": "me:1",
        "berth.sandbox": "a1b2",
        "berth.runtime": "python3.11",
    }
    assert name_of("me", "a1b2") == "berth-me-a1b2"


def test_every_hardening_option_is_asked_for() -> None:
    """No privilege beyond the agent's, Lambda's limits, and memory as a hard limit without swap."""
    host = container(SPEC, AROUND)["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert sorted(host["CapAdd"]) == ["KILL", "SETGID", "SETUID"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["PidsLimit"] == 1024
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 4096, "Hard": 4096}]
    assert host["ReadonlyRootfs"] is True
    assert host["Memory"] == host["MemorySwap"] == (128 + 16) << 20


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_can_be_left_out(option: Option) -> None:
    """Leaving one out takes its members away and no other's."""
    whole, rest = hardening(128, ()), hardening(128, {option.name})
    assert {**rest, **option.members(128)} == whole
    assert len(rest) < len(whole)


def test_trees_are_mounted_read_only() -> None:
    """Delivery by bind shows the control plane's own trees."""
    spec = replace(SPEC, task_root=Path("/data/task"), opt=Path("/data/opt"))
    mounts = {each["Target"]: each for each in container(spec, AROUND)["HostConfig"]["Mounts"]}
    assert mounts["/var/task"] == {
        "Type": "bind",
        "Source": "/data/task",
        "Target": "/var/task",
        "ReadOnly": True,
    }
    assert mounts["/opt"]["Source"] == "/data/opt"
    assert mounts["/tmp"] == {"Type": "volume", "Target": "/tmp"}


def test_without_trees_the_agent_gets_places_to_fill() -> None:
    """Delivery by copy: anonymous volumes, that go with the container."""
    mounts = container(SPEC, AROUND)["HostConfig"]["Mounts"]
    assert [(each["Type"], each["Target"]) for each in mounts] == [
        ("volume", "/tmp"),
        ("volume", "/var/task"),
        ("volume", "/opt"),
    ]


FOREIGN = ForeignImage(agent=Path("/data/agent/0"), variables=("LD_PRELOAD", "PATH"))


def test_an_agent_comes_into_a_foreign_image() -> None:
    """A function's own image keeps its files: beside the agent only an empty `/tmp` is put over them."""
    document = container(replace(SPEC, foreign=FOREIGN), AROUND)
    assert (document["Entrypoint"], document["Cmd"]) == ([], ["/var/rapid/bin/agent"])
    assert document["HostConfig"]["Mounts"] == [
        {"Type": "volume", "Target": "/tmp", "VolumeOptions": {"NoCopy": True}},
        {"Type": "bind", "Source": "/data/agent/0", "Target": "/var/rapid", "ReadOnly": True},
    ]


def test_an_agent_can_come_in_a_volume() -> None:
    """Where the engine does not see our files; the image at hand adds nothing to it."""
    foreign = replace(FOREIGN, agent="berth-rapid-amd64-0")
    mount = container(replace(SPEC, foreign=foreign), AROUND)["HostConfig"]["Mounts"][1]
    assert mount == {
        "Type": "volume",
        "Source": "berth-rapid-amd64-0",
        "Target": "/var/rapid",
        "ReadOnly": True,
        "VolumeOptions": {"NoCopy": True},
    }


def test_a_foreign_image_cannot_change_what_runs() -> None:
    """Its user, its health check and its variables are not the agent's: a bare name takes a variable away."""
    document = container(replace(SPEC, foreign=FOREIGN), AROUND)
    assert document["User"] == "0:0"
    assert document["Healthcheck"] == {"Test": ["NONE"]}
    assert document["Env"] == [
        "BERTH_LINK=172.18.0.1:4000",
        "BERTH_SANDBOX=a1b2",
        "BERTH_TOKEN=secret",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "BERTH_OPEN=/tmp",
        "LD_PRELOAD",
    ]


def test_a_foreign_image_is_as_confined_as_ours() -> None:
    """Every hardening option is asked for there too."""
    host = container(replace(SPEC, foreign=FOREIGN), AROUND)["HostConfig"]
    assert hardening(128, ()).items() <= host.items()


def test_a_foreign_image_is_probed_with_an_agent() -> None:
    """No program is known to be in it."""
    document = probe("i", "me", {"PidsLimit": 1}, FOREIGN)
    assert document["Cmd"] == ["/var/rapid/bin/agent"]
    assert [each["Target"] for each in document["HostConfig"]["Mounts"]] == ["/var/rapid"]
    assert document["HostConfig"]["PidsLimit"] == 1


def test_output_is_kept_for_debugging_only() -> None:
    """A sandbox's output goes over the link; the engine keeps a copy only when someone looks for an agent's end."""
    kept = Surroundings("me", "berth-me", keep_output=True)
    assert container(SPEC, AROUND)["HostConfig"]["LogConfig"] == {"Type": "none"}
    assert container(SPEC, kept)["HostConfig"]["LogConfig"] == {"Type": "json-file"}


@pytest.mark.parametrize(("memory", "shares"), [(1, 2), (128, 74), (1769, 1024), (10240, 5927)])
def test_processor_weight_follows_memory(memory: int, shares: int) -> None:
    """As on Lambda: a core per 1769 MB, in proportion below and above."""
    assert cpu_shares(memory) == shares
