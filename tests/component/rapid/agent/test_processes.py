"""The agent's processes while they run and when they end: signals, frost, memory, clearing."""

import signal
from pathlib import Path

import pytest

from rapid.wire import OUTPUT_HEADER, Kind, fields, frame, message
from tests.helpers.agents import PERSISTENT, Peer, function_python, output, status_of, wait_until


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", -9), ("kill -SEGV $$", -11)]
)
def test_exits(peer: Peer, script: str, status: int) -> None:
    """Exit codes are told as they are, signals as negative numbers."""
    _, _, exited = peer.run("/bin/sh", "-c", script)
    assert exited["status"] == status


def test_many_processes(peer: Peer) -> None:
    """Processes run side by side and are told apart by their numbers."""
    for number in range(1, 9):
        peer.command("/bin/sh", "-c", f"echo {number}; exit {number}", process=number)
    heard: list[tuple[Kind, bytes]] = []
    exits: dict[int, int] = {}
    while len(exits) < 8:
        payload, before = peer.until(Kind.EXITED)
        heard += before
        exited = fields(payload)
        exits[exited["process"]] = exited["status"]
    assert exits == {number: number for number in range(1, 9)}
    assert [output(heard, number, 1) for number in range(1, 9)] == [
        b"%d\n" % number for number in range(1, 9)
    ]


def test_signal(peer: Peer) -> None:
    """A signal reaches the whole group of the process that it is for."""
    peer.shell("sh -c 'trap \"echo child; exit\" TERM; echo ready; while :; do sleep 0.01; done' & wait")
    peer.await_output(b"ready")
    peer.send(message(Kind.SIGNAL, process=1, number=signal.SIGTERM))
    payload, _ = peer.until(Kind.EXITED)
    assert fields(payload)["status"] == -signal.SIGTERM
    peer.send(message(Kind.SIGNAL, process=1, number=signal.SIGTERM))
    peer.ask(Kind.SETTLE)  # a signal for a process that is gone did no harm


FAMILY = """
trap 'echo parent; exit 4' TERM
sh -c 'trap "echo child; exit" TERM; echo up; while :; do sleep 0.01; done' &
wait
"""


def test_signal_to_one_of_many(peer: Peer) -> None:
    """A signal is for one process and its descendants; the others, and theirs, hear nothing of it."""
    for number in (16, 17, 18):
        peer.shell(FAMILY, process=number)
        peer.await_output(b"up\n", number)
    peer.send(message(Kind.SIGNAL, process=17, number=signal.SIGTERM))
    payload, before = peer.until(Kind.EXITED)
    assert fields(payload) == {"process": 17, "status": 4, "out_of_memory": False}
    _, after = peer.ask(Kind.SETTLE)
    assert b"parent\n" in output(before, 17, 1)
    while b"child\n" not in output(before, 17, 1) + output(after, 17, 1):
        after += peer.ask(Kind.SETTLE)[1]  # the child may take a moment longer than its parent
    spoke = {OUTPUT_HEADER.unpack_from(said)[0] for kind, said in before + after if kind is Kind.OUTPUT}
    assert spoke == {17}
    wait_until(lambda: sum("sh" in status_of(pid).get("Name", "") for pid in peer.alive()) == 4)
    _, before = peer.ask(Kind.CLEAR)
    ends = {
        said["process"]: said["status"]
        for kind, data in before
        if kind is Kind.EXITED and (said := fields(data))
    }
    assert ends == {16: -signal.SIGKILL, 18: -signal.SIGKILL}


def test_signal_to_nobody(peer: Peer) -> None:
    """A signal for a number that no process has reaches none."""
    peer.shell("echo up; exec sleep 1000", process=16)
    peer.await_output(b"up", 16)
    peer.send(message(Kind.SIGNAL, process=17, number=signal.SIGKILL))
    assert peer.ask(Kind.SETTLE)[1] == []
    assert len(peer.alive()) == 1


def test_signal_to_the_frozen(peer: Peer) -> None:
    """A frozen process dies of SIGKILL at once, of what it could act on when it is thawed."""
    for number in (16, 17):
        peer.shell("echo up; exec sleep 1000", process=number)
        peer.await_output(b"up", number)
    peer.send(frame(Kind.FREEZE))
    wait_until(lambda: {status_of(pid)["State"] for pid in peer.alive()} == {"T (stopped)"})
    peer.send(
        message(Kind.SIGNAL, process=16, number=signal.SIGTERM),
        message(Kind.SIGNAL, process=17, number=signal.SIGKILL),
    )
    assert peer.told(Kind.EXITED)["process"] == 17
    assert peer.ask(Kind.SETTLE)[1] == []
    peer.send(frame(Kind.THAW))
    assert peer.told(Kind.EXITED) == {"process": 16, "status": -signal.SIGTERM, "out_of_memory": False}


def test_grandchildren_are_reaped(peer: Peer) -> None:
    """Orphans become the agent's and leave no zombies."""
    peer.shell("for n in 1 2 3 4 5; do (sh -c 'exit 3' &) ; done; exec cat /proc/self/stat")
    peer.until(Kind.EXITED)
    peer.ask(Kind.CLEAR)
    children = Path(f"/proc/{peer.pid}/task/{peer.pid}/children")
    assert children.read_text() == ""


@pytest.mark.parametrize("kind", PERSISTENT)
def test_clear(peer: Peer, kind: str) -> None:
    """Whatever a process does, CLEAR ends it and all that came from it; the agent is then as new."""
    peer.shell(PERSISTENT[kind])
    peer.await_output(b"up")
    peer.await_life()
    peer.ask(Kind.CLEAR)
    assert peer.alive() == []
    assert peer.run("/bin/echo", "again", process=2)[0] == b"again\n"


def test_clear_tells_exit_and_last_words(peer: Peer) -> None:
    """What was written before the end arrives before CLEARED, and so does the exit."""
    peer.shell("echo first; sleep 1000")
    said = peer.await_output(b"first")
    _, before = peer.ask(Kind.CLEAR)
    exits = [fields(payload) for kind, payload in before if kind is Kind.EXITED]
    assert said + output(before, 1, 1) == b"first\n"
    assert exits == [{"process": 1, "status": -9, "out_of_memory": False}]


def test_clear_nothing(peer: Peer) -> None:
    """A sandbox without processes is cleared at once, again and again."""
    assert peer.ask(Kind.CLEAR, token=1)[1] == []
    assert peer.ask(Kind.CLEAR, token=2)[1] == []


def test_freeze(peer: Peer) -> None:
    """Frozen processes make no progress, descendants included; thawed, they go on where they were."""
    peer.shell("sh -c 'while :; do echo tick; done' & wait")
    peer.await_output(b"tick\n")
    peer.send(frame(Kind.FREEZE))
    peer.ask(Kind.SETTLE)
    while {status_of(pid)["State"] for pid in peer.alive()} != {"T (stopped)"}:
        peer.ask(Kind.SETTLE)  # a process on another core stops when it next looks at its signals
    peer.ask(Kind.SETTLE)
    _, before = peer.ask(Kind.SETTLE)
    assert before == []
    peer.send(frame(Kind.THAW))
    peer.await_output(b"tick\n")


def test_clear_frozen(peer: Peer) -> None:
    """Frozen processes can be cleared; what is started afterwards is not frozen."""
    peer.shell("echo up; sleep 1000")
    peer.await_output(b"up")
    peer.send(frame(Kind.FREEZE))
    peer.ask(Kind.CLEAR)
    assert peer.alive() == []
    assert peer.run("/bin/echo", "again", process=2)[0] == b"again\n"


def test_thaw_unfrozen(peer: Peer) -> None:
    """A thaw without a freeze wakes nobody: a process that stopped itself stays so."""
    peer.shell("echo up; kill -STOP $$; echo woken")
    peer.await_output(b"up")
    [pid] = peer.alive()
    wait_until(lambda: status_of(pid)["State"] == "T (stopped)")
    peer.send(frame(Kind.THAW))
    peer.ask(Kind.SETTLE)
    assert status_of(pid)["State"] == "T (stopped)"


def test_memory_peak(peer: Peer) -> None:
    """The peak tells what a live process has used at most, and never falls."""
    python = function_python()
    code = "import signal; x = b'x' * (50 << 20); print('up', flush=True); del x; signal.pause()"
    assert peer.ask(Kind.SETTLE)[0] == 0
    peer.start(python, "-I", "-S", "-c", code)
    peer.await_output(b"up")
    peak, _ = peer.ask(Kind.SETTLE)
    assert 50 << 20 < peak < 90 << 20
    assert peer.ask(Kind.CLEAR)[0] >= peak
    assert peer.run("/bin/true", process=2)[2]["status"] == 0
    assert peer.ask(Kind.SETTLE)[0] >= peak


def test_memory_peak_of_the_dead(peer: Peer) -> None:
    """A process that nobody measured while it lived counts too."""
    peer.run(function_python(), "-I", "-S", "-c", "b'x' * (50 << 20)")
    peak, _ = peer.ask(Kind.SETTLE)
    assert 50 << 20 < peak < 90 << 20
