import os
import subprocess
import sys

import pytest

from runtime.spawners import local_processes
from runtime.spawners.owners import gone, mark


def test_a_living_process_is_not_gone() -> None:
    """Not even while it is asked about by itself."""
    assert not gone(mark())


def test_an_ended_process_is_gone() -> None:
    """Its mark outlives it."""
    script = "from runtime.spawners.owners import mark; print(mark())"
    left = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert gone(left)


def test_a_zombie_is_gone() -> None:
    """It has a number still, and nothing else."""
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        place = mark().rsplit(":", 2)[0]
        assert gone(f"{place}:{process.pid}:1")


def test_a_number_that_is_used_again_is_told_apart() -> None:
    """By its start."""
    place, number, start = mark().rsplit(":", 2)
    assert gone(f"{place}:{number}:{int(start) - 1}")


@pytest.mark.parametrize("other", ["", "1", "boot:1:2:3", "x:y", ":::"])
def test_what_is_beyond_our_sight_is_not_gone(other: str) -> None:
    """Another machine's, another boot's, another container's, or no mark at all."""
    assert not gone(other)


def test_without_proc_there_are_no_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is ever gone."""
    known = mark()
    monkeypatch.setattr(local_processes, "PROC", local_processes.PROC / "none")
    assert mark() == ""
    assert not gone(known)
