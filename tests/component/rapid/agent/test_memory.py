"""What the agent says of its processes' memory while they come, go and take each other's numbers."""

import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from rapid.census import KEPT
from rapid.wire import Kind, frame, message
from tests.helpers.agents import IS_ROOT, Peer, function_python, status_of, unshare, wait_until

MB = 1 << 20
TAKE = "x = bytes(range(64)) * (1 << 20)"
"""64 MB."""
WAIT = "import signal; print('up', flush=True); signal.pause()"


def peaks(peer: Peer) -> int:
    """What the kernel says of all that are alive, once they sleep."""
    pids = peer.alive()
    for pid in pids:
        wait_until(partial(_is_asleep, pid))
    return sum(int(status_of(pid)["VmHWM"].split()[0]) * 1024 for pid in pids)


def _is_asleep(pid: int) -> bool:
    return status_of(pid)["State"][0] in "ST"


def python(*statements: str) -> tuple[str, ...]:
    return function_python(), "-I", "-S", "-c", "; ".join(statements)


def test_a_child_that_comes_later(peer: Peer, meeting: Path) -> None:
    """
    1. A process is measured several times.
    2. It starts another one.
    Result: the next measuring has both.
    """
    peer.shell(f"echo up; read line <{meeting}; {shlex.join(python(TAKE, WAIT))} & wait")
    peer.await_output(b"up")
    for _ in range(5):
        peak = peer.ask(Kind.SETTLE)[0]
    assert peak < 50 * MB
    meeting.write_text("go on\n")
    peer.await_output(b"up")
    expected = peaks(peer)
    assert peer.ask(Kind.SETTLE)[0] == expected > 64 * MB


def test_a_child_that_comes_and_goes(peer: Peer, meeting: Path) -> None:
    """An orphan that lived and died between two measurings counts, whoever was measured before."""
    peer.shell(f"echo up; read line <{meeting}; ({shlex.join(python(TAKE))} &); exec cat {meeting}")
    peer.await_output(b"up")
    for _ in range(3):
        assert peer.ask(Kind.SETTLE)[0] < 50 * MB
    meeting.write_text("go on\n")
    wait_until(lambda: peer.ask(Kind.SETTLE)[0] > 64 * MB)


def test_frozen(peer: Peer) -> None:
    """What a frozen process had taken is told, though it was never measured before."""
    peer.start(*python(TAKE, WAIT))
    peer.await_output(b"up")
    peer.send(frame(Kind.FREEZE))
    wait_until(lambda: {status_of(pid)["State"] for pid in peer.alive()} == {"T (stopped)"})
    for _ in range(3):
        expected = peaks(peer)
    assert peer.ask(Kind.SETTLE)[0] == expected > 64 * MB


def test_a_thousand_processes(peer: Peer, meeting: Path) -> None:
    """All are counted, few are kept open, and none is when they are gone."""
    descriptors = Path(f"/proc/{peer.pid}/fd")
    peer.ask(Kind.SETTLE)
    before = len(list(descriptors.iterdir()))
    program = f"""
import os, signal
for _ in range(999):
    if not os.fork():
        signal.pause()
print("up", flush=True)
open({str(meeting)!r}).read()
"""
    peer.start(*python(program))
    peer.await_output(b"up")
    assert len(peer.alive()) == 1000
    expected = peaks(peer)
    assert [peer.ask(Kind.SETTLE)[0] for _ in range(3)] == [expected] * 3
    assert len(list(descriptors.iterdir())) == before + 2 + KEPT  # and the two pipes of the process
    peer.ask(Kind.CLEAR)
    peer.ask(Kind.SETTLE)
    assert len(list(descriptors.iterdir())) == before


@pytest.mark.skipif(not IS_ROOT, reason="only root says which number is the next")
@pytest.mark.parametrize("settles", [1, 2, 5])
def test_a_number_that_is_given_again(settles: int) -> None:
    """
    1. A process is measured and ends; its number was the last one given.
    2. The next process gets the same number, so the last one given is the same again.
    Result: it is measured as who it is.
    """
    peer = Peer(unshare())
    try:
        peer.until(Kind.HELLO)
        first = peer.start(*python(WAIT))
        peer.await_output(b"up")
        for _ in range(settles):
            peer.ask(Kind.SETTLE)
        peer.send(message(Kind.SIGNAL, process=1, number=signal.SIGKILL))
        peer.until(Kind.EXITED)
        say = f"echo {first - 1} >/proc/sys/kernel/ns_last_pid"
        subprocess.run(["nsenter", "-t", str(peer.pid), "-p", "-m", "sh", "-c", say], check=True)
        assert peer.start(*python(TAKE, WAIT), process=2) == first
        peer.await_output(b"up", 2)
        expected = peaks(peer)
        assert peer.ask(Kind.SETTLE)[0] == expected > 64 * MB
    finally:
        peer.close()


@pytest.fixture(params=["a file of somebody's", "no number"])
def overlaid(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    """An agent whose `/proc/loadavg` is not the kernel's."""
    if not IS_ROOT:
        pytest.skip("only root can mount")
    last = 77 if request.param == "a file of somebody's" else 0
    (tmp_path / "loadavg").write_text(f"0.00 0.00 0.00 0/0 {last}\n")
    mount = f'mount --bind {tmp_path}/loadavg /proc/loadavg; exec "$@"'
    peer = Peer([*unshare(), "sh", "-c", mount, "sh"])
    try:
        peer.until(Kind.HELLO)
        yield peer
    finally:
        peer.close()


def test_nobody_tells_the_last_number(overlaid: Peer) -> None:
    """Where what is told is not the kernel's word, new processes are found all the same."""
    shown = Path("/proc", str(overlaid.pid), "root", "proc", "loadavg").read_text()
    assert re.search(r" (77|0)\n", shown)
    for _ in range(5):
        overlaid.ask(Kind.SETTLE)
    overlaid.start(*python(TAKE, WAIT))
    overlaid.await_output(b"up")
    expected = peaks(overlaid)
    assert overlaid.ask(Kind.SETTLE)[0] == expected > 64 * MB
