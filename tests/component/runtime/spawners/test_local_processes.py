"""Identities of real processes."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from runtime.spawners import local_processes

LIMIT = 10
SCRIPT = "(setsid sleep 1000) & sleep 1000 & echo up; wait"


@pytest.fixture
def family() -> Iterator[subprocess.Popen[str]]:
    """A shell with two children, one of them in a session of its own."""
    env = {"PATH": "/usr/bin:/bin", "MARK": "family"}
    with subprocess.Popen(["/bin/sh", "-c", SCRIPT], env=env, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "up\n"
        yield shell
        for member in [*local_processes.descendants(shell.pid), local_processes.of(shell.pid)]:
            if member is not None:
                member.signal(signal.SIGKILL)


def test_identity(family: subprocess.Popen[str]) -> None:
    """A live process has an identity, always the same; number and start together make it."""
    shell = local_processes.of(family.pid)
    assert shell is not None
    assert shell == local_processes.of(family.pid)
    assert shell.is_alive()
    assert not replace(shell, started=shell.started + 1).is_alive()
    assert not replace(shell, boot="another").is_alive()


def test_nobody() -> None:
    """A number that nobody has names nobody."""
    assert local_processes.of(2**22 + 1) is None


def test_zombie() -> None:
    """What has ended and was not waited for is dead."""
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert local_processes.of(ended.pid) is None
    ended.wait()


def test_signals_reach_only_whom_they_are_for(family: subprocess.Popen[str]) -> None:
    """A signal for an earlier holder of the number reaches nobody."""
    shell = local_processes.of(family.pid)
    assert shell is not None
    replace(shell, started=shell.started - 1).signal(signal.SIGKILL)
    assert shell.is_alive()
    shell.signal(signal.SIGKILL)
    assert family.wait(LIMIT) == -signal.SIGKILL
    shell.signal(signal.SIGKILL)  # and one for the dead is no error


def test_descendants(family: subprocess.Popen[str]) -> None:
    """Everything below a process counts, whatever session it is in."""
    assert len(local_processes.descendants(family.pid)) >= 2
    assert local_processes.of(family.pid) not in local_processes.descendants(family.pid)


def test_marked(family: subprocess.Popen[str]) -> None:
    """A variable of the environment finds a process and what came of it, and nothing that only looks like it."""
    found = {process.pid for process in local_processes.marked([b"MARK=family", b"MARK=other"])}
    assert found >= {family.pid, *(process.pid for process in local_processes.descendants(family.pid))}
    assert local_processes.marked([b"MARK=fam", b"ARK=family"]) == []


async def test_ended(family: subprocess.Popen[str]) -> None:
    """The end of a process can be awaited, by several at once, with a limit."""
    shell = local_processes.of(family.pid)
    assert shell is not None
    with shell.opened() as fd:
        assert fd is not None
        assert not await local_processes.ended(fd, 0)
        shell.signal(signal.SIGKILL)
        assert await local_processes.ended(fd, LIMIT)
        assert await local_processes.ended(fd, LIMIT)
    with shell.opened() as fd:
        assert fd is None
