from dataclasses import replace
from pathlib import Path

import pytest

from runtime.spawners.base import SandboxSpec
from runtime.spawners.container import (
    OPTIONS,
    Option,
    Surroundings,
    container,
    cpu_shares,
    hardening,
    name_of,
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
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 1024, "Hard": 1024}]
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


def test_output_is_kept_for_debugging_only() -> None:
    """A sandbox's output goes over the link; the engine keeps a copy only when someone looks for an agent's end."""
    kept = Surroundings("me", "berth-me", keep_output=True)
    assert container(SPEC, AROUND)["HostConfig"]["LogConfig"] == {"Type": "none"}
    assert container(SPEC, kept)["HostConfig"]["LogConfig"] == {"Type": "json-file"}


@pytest.mark.parametrize(("memory", "shares"), [(1, 2), (128, 74), (1769, 1024), (10240, 5927)])
def test_processor_weight_follows_memory(memory: int, shares: int) -> None:
    """As on Lambda: a core per 1769 MB, in proportion below and above."""
    assert cpu_shares(memory) == shares
