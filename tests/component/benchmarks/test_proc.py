"""What the kernel says about real processes."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks import proc

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], "burner"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
sys.stdout.buffer.write(child.stdout.readline())
sys.stdout.flush()
sys.stdin.read()
child.communicate()
sys.stdout.write("over\\n")
sys.stdout.flush()
"""
BURNER = """
import sys, time
while time.process_time() < 0.3:
    pass
print("burnt", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, BURNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == b"burnt\n"
        yield process
        process.stdin.close()
        process.wait()


def test_descendants(parent: "subprocess.Popen[bytes]") -> None:
    """Children and theirs, told apart by their arguments."""
    (child,) = proc.descendants(parent.pid)
    assert {parent.pid, child} <= set(proc.descendants(os.getpid()))
    assert (proc.runs(child, "burner"), proc.runs(parent.pid, "burner")) == (True, False)


def test_spent(parent: "subprocess.Popen[bytes]") -> None:
    """A process's own time, and that of the machine, which is more; none of one that is no more."""
    (child,) = proc.descendants(parent.pid)
    assert 0.25 < proc.spent(child) <= proc.busy()
    assert proc.spent(parent.pid) < 0.25
    assert parent.stdin
    assert parent.stdout
    parent.stdin.close()
    assert parent.stdout.readline() == b"over\n"
    parent.wait()
    assert (proc.spent(child), proc.runs(child, "burner"), proc.descendants(parent.pid)) == (0.0, False, [])
