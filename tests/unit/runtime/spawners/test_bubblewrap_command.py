"""What a sandbox looks like under bubblewrap, as the command line that makes it."""

from dataclasses import replace
from pathlib import Path

import pytest

from runtime.spawners import bubblewrap
from runtime.spawners.base import SandboxSpec
from runtime.spawners.bubblewrap import Shared, command, obstacle
from runtime.spawners.limits import CGROUPS, Cell

SPEC = SandboxSpec(
    sandbox_id="one",
    runtime="python3.11",
    image="",
    memory_mb=128,
    ephemeral_storage_mb=512,
    task_root=Path("/data/task"),
    opt=Path("/data/opt"),
    link="127.0.0.1:1",
    token="secret",
)
SHARED = Shared(
    runtime=Path("/data/runtime"),
    agent=Path("/data/agent"),
    lang=Path("/data/lang"),
    etc=Path("/data/etc"),
    prefixes=(Path("/home/me/python"),),
)


def line(spec: SandboxSpec = SPEC, cell: Cell = Cell()) -> str:  # noqa: B008  a frozen value
    return " ".join(command(spec, SHARED, cell, ["python3", "agent"]))


def test_agent_is_first() -> None:
    """The agent is process 1 of numbers of its own, and dies with its parent."""
    said = line()
    assert {"--unshare-pid", "--as-pid-1", "--die-with-parent", "--new-session"} <= set(said.split())
    assert said.endswith("--remount-ro / --chdir / -- python3 agent")


def test_network_is_shared() -> None:
    """Functions reach the Runtime API on the machine's own loopback address."""
    assert "--unshare-net" not in line()


def test_trees() -> None:
    """The function's files, its layers and the interpreter are shown read-only, what leads there is open to all."""
    said = line()
    for shown in (
        "--ro-bind /data/task /var/task",
        "--ro-bind /data/opt /opt",
        "--ro-bind /data/runtime /var/runtime",
        "--perms 0755 --dir /home --perms 0755 --dir /home/me --ro-bind /home/me/python /home/me/python",
    ):
        assert shown in said
    assert said.index("--dir /var ") < said.index("/data/task")


def test_no_trees() -> None:
    """Without trees there are empty places that the agent can fill."""
    said = line(replace(SPEC, task_root=None, opt=None))
    assert "--perms 0755 --tmpfs /var/task" in said
    assert "--perms 0755 --tmpfs /opt" in said


def test_room() -> None:
    """`/tmp` has the size of the ephemeral storage."""
    assert f"--perms 1777 --size {512 << 20} --tmpfs /tmp" in line()


def test_secrets_are_no_arguments() -> None:
    """What only the agent may know is not among the arguments."""
    assert "secret" not in line()


@pytest.mark.parametrize(
    ("group", "place"),
    [(CGROUPS / "memory/me/one", "/sys/fs/cgroup/memory"), (CGROUPS / "me/one", "/sys/fs/cgroup")],
)
def test_memory_group(group: Path, place: str) -> None:
    """The agent sees the counters of its own memory group, where it looks for them."""
    assert f"--ro-bind {group} {place}" in line(cell=Cell((group,), group))


@pytest.mark.parametrize(("user", "separate"), [(0, False), (1000, True)])
def test_privileges(monkeypatch: pytest.MonkeyPatch, user: int, separate: bool) -> None:
    """Root keeps its user numbers and three capabilities; others get a user namespace."""
    monkeypatch.setattr("os.geteuid", lambda: user)
    said = line()
    assert ("--unshare-user" in said) is separate
    kept = "--cap-drop ALL --cap-add CAP_KILL --cap-add CAP_SETUID --cap-add CAP_SETGID"
    assert (kept in said) is not separate


@pytest.mark.parametrize("place", ["/opt/hostedtoolcache/python", "/var/lang", "/var/task/python"])
def test_obstacle(place: str) -> None:
    """An interpreter that lives where sandboxes have something else is told of."""
    assert place in (obstacle([Path("/home/me"), Path(place)]) or "")


def test_no_obstacle() -> None:
    """Anywhere else it can be shown, below `/tmp` too."""
    assert obstacle([Path("/home/me/.pyenv"), Path("/tmp/venv")]) is None


def test_prefixes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system's directories show already, or another prefix contains, is not shown twice."""
    monkeypatch.setattr("sys.base_prefix", "/usr/local")
    monkeypatch.setattr("sys.prefix", "/home/me/venv")
    monkeypatch.setattr("sys.executable", "/home/me/venv/inner/bin/python3")
    assert bubblewrap.interpreter_prefixes() == (Path("/home/me/venv"),)
