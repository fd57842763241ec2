"""What the agent's processes write: whole, apart, in order, and no faster than it is read."""

from pathlib import Path

from rapid.wire import MOST_NAMES, TOKEN, Kind, fields, frame, message
from tests.helpers.agents import Peer, function_python, output, status_of, wait_until


def test_output(peer: Peer) -> None:
    """Streams arrive apart from each other, all of them before the exit."""
    out, err, exited = peer.run("/bin/sh", "-c", "echo out; echo err >&2; echo out again")
    assert (out, err) == (b"out\nout again\n", b"err\n")
    assert exited == {"process": 1, "status": 0, "out_of_memory": False}


FETCH = """
import os, socket, sys
stream = socket.socket(socket.AF_UNIX)
stream.connect(os.environ["_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET"])
os.dup2(stream.fileno(), 1)
"""


def test_workers_have_streams_of_their_own(peer: Peer) -> None:
    """
    1. Twenty workers of one process write lines in pieces, each to a stream that it fetched.
    Result: each stream has whole lines of one worker; what is written to the pipes is apart.
    """
    script = f"""{FETCH}
sys.stderr.write("parent\\n")
for worker in range(20):
    if not os.fork():
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(os.environ["_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET"])
        for _ in range(50):
            for piece in (b"w", b"%d" % worker, b"\\n"):
                os.write(stream.fileno(), piece)
        os._exit(0)
for _ in range(20):
    os.wait()
"""
    peer.command(function_python(), "-c", script, log_desk=True)
    payload, before = peer.until(Kind.EXITED)
    assert fields(payload)["status"] == 0
    assert output(before, 1, 2) == b"parent\n"
    streams = [output(before, 1, number).split() for number in range(3, 64)]
    assert {frozenset(lines) for lines in streams if lines} == {
        frozenset({b"w%d" % each}) for each in range(20)
    }
    assert all(len(lines) in (0, 50) for lines in streams)


def test_streams_are_limited(peer: Peer) -> None:
    """Whoever fetches more of them than there may be waits, and the agent goes on."""
    script = f"""{FETCH}
import resource, struct
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
held = []
for _ in range(700):
    more = socket.socket(socket.AF_UNIX)
    # The backlog is short: it is emptied, until nobody takes any more.
    more.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 2, 0))
    try:
        more.connect(os.environ["_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET"])
    except BlockingIOError:
        os.write(2, b"full\\n")
        assert len(held) >= 500, len(held)
        break
    held.append(more)
sys.stdin.close()
"""
    peer.command(function_python(), "-c", script, log_desk=True)
    payload, before = peer.until(Kind.EXITED)
    assert fields(payload)["status"] == 0
    assert output(before, 1, 2) == b"full\n"
    peer.command(function_python(), "-c", FETCH + "print('again')", process=2, log_desk=True)
    _, before = peer.until(Kind.EXITED)
    assert output(before, 2, 3) == b"again\n"


def test_the_desk_goes_with_its_processes(peer: Peer) -> None:
    """Clearing closes it, and another one may be opened under its name."""
    for _ in range(2):
        peer.command(
            function_python(),
            "-c",
            FETCH + "print('here', flush=True); import time; time.sleep(60)",
            log_desk=True,
        )
        while output([peer.hear()], 1, 3) != b"here\n":
            pass
        peer.ask(Kind.CLEAR)


def test_output_outlives_its_process(peer: Peer, meeting: Path) -> None:
    """A descendant goes on writing to the pipe of a process that has ended."""
    peer.shell(f"(read line <{meeting}; echo late) & exit 5")
    assert peer.told(Kind.EXITED)["status"] == 5
    meeting.write_text("go on\n")
    assert peer.await_output(b"late") == b"late\n"


SHOUTER = "i=0; while [ $i -lt 2000 ]; do echo %d; echo -%d >&2; i=$((i + 1)); done"


def test_many_streams(peer: Peer) -> None:
    """Processes that write at the same time keep their streams apart, theirs and each other's."""
    numbers = (16, 17, 4095 * 16, 65535)
    for number in numbers:
        peer.command("/bin/sh", "-c", SHOUTER % (number, number), process=number)
    heard: list[tuple[Kind, bytes]] = []
    for _ in numbers:
        heard += peer.until(Kind.EXITED)[1]
    for number in numbers:
        assert output(heard, number, 1) == b"%d\n" % number * 2000
        assert output(heard, number, 2) == b"-%d\n" % number * 2000


def test_settle(peer: Peer, meeting: Path) -> None:
    """SETTLED comes behind everything that was written before it was asked for."""
    peer.shell(f"head -c 60000 /dev/zero; echo end >&2; echo >{meeting}; sleep 1000")
    meeting.read_text()  # the process has written; nothing has been read from the link
    _, before = peer.ask(Kind.SETTLE)
    assert output(before, 1, 1) == bytes(60000)
    assert output(before, 1, 2) == b"end\n"


def test_settle_behind_other_questions(peer: Peer, public: Path, meeting: Path) -> None:
    """
    1. The agent hears many questions at once, the last of which is to settle, and cannot get rid of its answers.
    2. Meanwhile a process writes.
    Result: it had done so before the question came to be answered, so its output comes before the answer.
    """
    directory = public / "many"
    directory.mkdir()
    for number in range(MOST_NAMES):
        (directory / f"{number:0250}").touch()
    peer.shell(f"read line <{meeting}; echo late; echo >{meeting}; sleep 1000")
    listings = 14_000 // len(message(Kind.LIST, path=str(directory)))
    peer.send(message(Kind.LIST, path=str(directory)) * listings, frame(Kind.SETTLE, TOKEN.pack(7)))
    wait_until(Standstill(peer.pid))
    meeting.write_text("go on\n")
    meeting.read_text()
    _, before = peer.until(Kind.SETTLED)
    assert output(before, 1, 1) == b"late\n"
    assert sum(kind is Kind.LISTED for kind, _ in before) == listings


def test_backpressure(peer: Peer) -> None:
    """A process that floods an unread link waits in its write; the agent does not grow, and nothing is lost."""
    size = 40_000_000
    agent = peer.pid
    peer.start("/usr/bin/head", "-c", str(size), "/dev/zero")
    before = int(status_of(agent)["VmHWM"].split()[0])
    [writer] = peer.alive()
    wait_until(Standstill(agent, writer))
    assert int(status_of(agent)["VmHWM"].split()[0]) - before < 2000
    payload, heard = peer.until(Kind.EXITED)
    assert fields(payload)["status"] == 0
    assert len(output(heard, 1, 1)) == size


class Standstill:
    """True when processes have not run between a good many looks at them."""

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        self._seen: list[str] = []
        self._looks = 0

    def __call__(self) -> bool:
        seen = [value for pid in self._pids for name, value in status_of(pid).items() if "ctxt" in name]
        self._looks = self._looks + 1 if seen == self._seen else 0
        self._seen = seen
        return self._looks == 30


def test_commands_during_a_flood(peer: Peer) -> None:
    """A process that never stops writing cannot keep the agent from settling or clearing."""
    peer.shell("exec cat /dev/zero")
    peer.await_output(b"\0")
    peer.ask(Kind.SETTLE)
    peer.ask(Kind.CLEAR)
    assert peer.alive() == []
