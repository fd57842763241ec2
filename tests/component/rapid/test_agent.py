"""The agent as a real process at the other end of a real link.

Two ways of running it: as an ordinary child (`plain`: it becomes a sub-reaper) and as PID 1 of a PID namespace
(`init`: what it is in a container). What it promises is the same in both, and so are the tests.
"""

import contextlib
import io
import os
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rapid.agent import address_of
from rapid.wire import (
    MOST_NAMES,
    OUTPUT_HEADER,
    SETTLED_PAYLOAD,
    TOKEN,
    Frames,
    Kind,
    fields,
    first_of,
    frame,
    message,
)

ROOT = Path(__file__).resolve().parents[3]
LIMIT = 20.0
"""Seconds after which something that should have happened is taken for failed."""
CODE = f"import sys; sys.path[:0]=[{str(ROOT)!r}]; from rapid.agent import main; main()"
AGENT = [sys.executable, "-I", "-S", "-B", "-c", CODE]
IS_ROOT = os.geteuid() == 0
FUNCTION_USER = 993 if IS_ROOT else os.geteuid()
FUNCTION_GROUP = 990 if IS_ROOT else os.getegid()
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
AS_INIT = UNSHARE if IS_ROOT else ["unshare", "--user", "--map-current-user", *UNSHARE[1:]]


def unshare() -> list[str]:
    """The command prefix that makes its child PID 1."""
    trial = subprocess.run([*AS_INIT, "true"], capture_output=True, text=True, check=False, timeout=LIMIT)
    if trial.returncode:
        pytest.fail(f"these tests need PID namespaces, as root or by user namespaces: {trial.stderr}")
    return AS_INIT


def function_python() -> str:
    """An interpreter that the unprivileged user of functions can reach."""
    for candidate in (sys.executable, shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")):
        steps = [*Path(candidate).parents, *Path(candidate).resolve().parents] if candidate else []
        if candidate and all(step.stat().st_mode & 0o001 for step in steps):
            return candidate
    pytest.fail("no python3 that other users can execute was found")


def wait_until(true: Callable[[], object]) -> None:
    """Look again and again at something that tells nobody when it changes."""
    end, pause = time.monotonic() + LIMIT, threading.Event()
    while not true():
        assert time.monotonic() < end, f"never came true: {true}"
        pause.wait(0.002)


def status_of(pid: int) -> dict[str, str]:
    """`/proc/<pid>/status`; empty when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return dict(re.split(r":\s*", line, maxsplit=1) for line in lines)


class Peer:
    """An agent and the control plane's end of its link."""

    def __init__(self, prefix: list[str], more: Mapping[str, str] | None = None) -> None:
        self.token = uuid.uuid4().hex
        self.is_init = bool(prefix)
        self.heard: list[tuple[Kind, bytes]] = []
        self._frames = Frames()
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(LIMIT)
            env = {
                "BERTH_LINK": f"127.0.0.1:{server.getsockname()[1]}",
                "BERTH_SANDBOX": "box",
                "BERTH_TOKEN": self.token,
                "PATH": "/usr/bin:/bin",
                **(more or {}),
            }
            self.process = subprocess.Popen([*prefix, *AGENT], env=env)
            self.link, _ = server.accept()
        self.link.settimeout(LIMIT)

    def close(self) -> None:
        self.link.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.process.kill()
        self.process.wait()

    # Talking

    def send(self, *frames: bytes) -> None:
        self.link.sendall(b"".join(frames))

    def hear(self) -> tuple[Kind, bytes]:
        """The next frame."""
        while not self.heard:
            data = self.link.recv(1 << 18)
            assert data, "the agent hung up"
            self.heard += self._frames.feed(data)
        return self.heard.pop(0)

    def until(self, wanted: Kind) -> tuple[bytes, list[tuple[Kind, bytes]]]:
        """The payload of the next frame of that kind, and the frames before it."""
        before: list[tuple[Kind, bytes]] = []
        while True:
            kind, payload = self.hear()
            if kind is wanted:
                return payload, before
            before.append((kind, payload))

    def told(self, wanted: Kind) -> dict[str, Any]:
        return fields(self.until(wanted)[0])

    def start(self, *argv: str, process: int = 1, cwd: str = "/", **env: str) -> int:
        """Start a process and return its pid as the agent sees it."""
        self.command(*argv, process=process, cwd=cwd, env=env)
        started = self.told(Kind.STARTED)
        assert started["process"] == process
        pid = started["pid"]
        assert isinstance(pid, int)
        return pid

    def command(
        self,
        *argv: str,
        process: int = 1,
        cwd: str = "/",
        log_fd: int | None = None,
        log_desk: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        marked = {"PATH": "/usr/bin:/bin", "MARK": self.token, **(env or {})}
        program = {"argv": argv, "env": marked, "cwd": cwd, "log_fd": log_fd, "log_desk": log_desk}
        self.send(message(Kind.START, process=process, **program))

    def shell(self, script: str, process: int = 1) -> int:
        return self.start("/bin/sh", "-c", script, process=process)

    def ask(self, kind: Kind, token: int = 7) -> tuple[int, list[tuple[Kind, bytes]]]:
        """SETTLE or CLEAR; the memory peak and what was said before the answer."""
        self.send(frame(kind, TOKEN.pack(token)))
        payload, before = self.until(Kind.SETTLED if kind is Kind.SETTLE else Kind.CLEARED)
        answered, peak = SETTLED_PAYLOAD.unpack(payload)
        assert answered == token
        return peak, before

    def run(self, *argv: str, process: int = 1, **env: str) -> tuple[bytes, bytes, dict[str, Any]]:
        """Start a process and wait for its end: stdout, stderr, EXITED."""
        self.start(*argv, process=process, **env)
        payload, before = self.until(Kind.EXITED)
        return output(before, process, 1), output(before, process, 2), fields(payload)

    def await_output(self, wanted: bytes, process: int = 1) -> bytes:
        """Read until what the process has written to stdout contains something."""
        said = b""
        while wanted not in said:
            kind, payload = self.hear()
            if kind is Kind.OUTPUT:
                said += output([(kind, payload)], process, 1)
        return said

    # Looking

    @property
    def pid(self) -> int:
        """The agent's process as this machine sees it."""
        if not self.is_init:
            return self.process.pid
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        wait_until(children.read_text)
        return int(children.read_text())

    def await_life(self) -> None:
        """Until a process is seen: one that daemonises changes its parent while `/proc` is walked."""
        while not self.alive():
            pass

    def alive(self) -> list[int]:
        """The sandbox's processes but the agent, as this machine sees them; all carry a mark in their environment."""
        found = []
        mark = f"MARK={self.token}".encode()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return found


def output(frames: list[tuple[Kind, bytes]], process: int, stream: int) -> bytes:
    """What a process wrote to one of its streams, according to these frames."""
    header = OUTPUT_HEADER.pack(process, stream)
    return b"".join(
        payload[OUTPUT_HEADER.size :]
        for kind, payload in frames
        if kind is Kind.OUTPUT and payload.startswith(header)
    )


@pytest.fixture(params=["plain", "init"])
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """An agent that has said hello."""
    peer = Peer(unshare() if request.param == "init" else [])
    try:
        assert fields(peer.until(Kind.HELLO)[0]) == {"sandbox": "box", "token": peer.token}
        yield peer
    finally:
        peer.close()


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that the functions' user can reach, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def meeting(public: Path) -> Path:
    """A named pipe: whoever opens it waits for the other side."""
    pipe = public / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    return pipe


# Beginning


def test_imports_little() -> None:
    """Start-up is paid by every cold start: the agent loads no module that is known to be slow."""
    code = f"import sys; sys.path[:0]=[{str(ROOT)!r}]; import rapid.agent; print(*sys.modules)"
    loaded = subprocess.run([*AGENT[:-1], code], capture_output=True, text=True, check=True, timeout=LIMIT)
    slow = {
        "typing",
        "pathlib",
        "subprocess",
        "asyncio",
        "ctypes",
        "tarfile",
        "dataclasses",
        "logging",
        "tempfile",
    }
    assert slow & set(loaded.stdout.split()) == set()


def test_nobody_listens() -> None:
    """An agent that cannot dial home ends at once and says why."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    env = {"BERTH_LINK": f"127.0.0.1:{port}", "BERTH_SANDBOX": "box", "BERTH_TOKEN": "token"}
    ended = subprocess.run(AGENT, env=env, capture_output=True, text=True, check=False, timeout=LIMIT)
    assert ended.returncode == 1
    assert "ConnectionRefusedError" in ended.stderr


# Processes and their output


def test_output(peer: Peer) -> None:
    """Streams arrive apart from each other, all of them before the exit."""
    out, err, exited = peer.run("/bin/sh", "-c", "echo out; echo err >&2; echo out again")
    assert (out, err) == (b"out\nout again\n", b"err\n")
    assert exited == {"process": 1, "status": 0, "out_of_memory": False}


def test_environment_and_arguments(peer: Peer) -> None:
    """A process gets its arguments, its directory and its environment, and nothing else."""
    out, _, _ = peer.run("/bin/sh", "-c", 'echo "$0 $1"; pwd; env | sort', "zero", "ü ü", A="1=2")
    assert out.decode().splitlines() == [
        "zero ü ü",
        "/",
        "A=1=2",
        f"MARK={peer.token}",
        "PATH=/usr/bin:/bin",
        "PWD=/",
    ]


def test_descriptors(peer: Peer) -> None:
    """A process has stdin at its end, two pipes, and none of the agent's descriptors."""
    out, _, _ = peer.run("/bin/sh", "-c", "cat; ls /proc/self/fd")
    assert out.split() == [b"0", b"1", b"2", b"3"]  # 3 is `ls` reading the directory


@pytest.mark.parametrize("number", [3, 4, 9, 62])
def test_log_descriptor(peer: Peer, number: int) -> None:
    """A process can have its stdout once more; what it writes to both stays in order, and children inherit it."""
    script = f"echo a; echo b >&{number}; echo c; (echo d >&{number}); ls /proc/self/fd"
    peer.command("/bin/bash", "-c", script, log_fd=number)
    payload, before = peer.until(Kind.EXITED)
    assert fields(payload)["status"] == 0
    said = output(before, 1, 1).split()
    assert said[:4] == [b"a", b"b", b"c", b"d"]
    assert sorted(map(int, said[4:]))[:3] == [0, 1, 2]
    assert number in map(int, said[4:])
    assert len(said[4:]) == 5  # `ls` reads the directory through one more


@pytest.mark.parametrize("number", range(3, 24))
def test_log_descriptor_that_the_agent_uses(peer: Peer, number: int) -> None:
    """Whatever the agent has under that number meanwhile, a failure is told, and so is success."""
    peer.command("/nowhere", log_fd=number)
    assert peer.told(Kind.NOT_STARTED)["stage"] == "exec"
    peer.command("/bin/bash", "-c", f"echo fine >&{number}", log_fd=number)
    payload, before = peer.until(Kind.EXITED)
    assert (output(before, 1, 1), fields(payload)["status"]) == (b"fine\n", 0)


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


def test_signals_are_as_at_birth(peer: Peer) -> None:
    """A process ignores and blocks no signal, although the agent does."""
    out, _, _ = peer.run("/bin/cat", "/proc/self/status")
    ignored = dict(re.findall(r"^(Sig\w+):\s*(\w+)$", out.decode(), flags=re.MULTILINE))
    internal = 0b11 << 31  # 32 and 33 belong to glibc, which leaves them ignored in what posix_spawn starts
    assert (int(ignored["SigIgn"], 16) & ~internal, int(ignored["SigBlk"], 16)) == (0, 0)


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


def test_output_outlives_its_process(peer: Peer, meeting: Path) -> None:
    """A descendant goes on writing to the pipe of a process that has ended."""
    peer.shell(f"(read line <{meeting}; echo late) & exit 5")
    assert peer.told(Kind.EXITED)["status"] == 5
    meeting.write_text("go on\n")
    assert peer.await_output(b"late") == b"late\n"


def test_signal(peer: Peer) -> None:
    """A signal reaches the whole group of the process that it is for."""
    peer.shell("sh -c 'trap \"echo child; exit\" TERM; echo ready; while :; do sleep 0.01; done' & wait")
    peer.await_output(b"ready")
    peer.send(message(Kind.SIGNAL, process=1, number=signal.SIGTERM))
    payload, _ = peer.until(Kind.EXITED)
    assert fields(payload)["status"] == -signal.SIGTERM
    peer.send(message(Kind.SIGNAL, process=1, number=signal.SIGTERM))
    peer.ask(Kind.SETTLE)  # a signal for a process that is gone did no harm


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


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("/nowhere/bootstrap", "fork/exec /nowhere/bootstrap: no such file or directory"),
        ("/etc/passwd", "fork/exec /etc/passwd: permission denied"),
        ("/etc", "fork/exec /etc: permission denied"),
        ("/etc/passwd/bootstrap", "fork/exec /etc/passwd/bootstrap: not a directory"),
        ("/bin/\0sh", "fork/exec /bin/\0sh: invalid argument"),
    ],
)
def test_program_that_cannot_run(peer: Peer, program: str, error: str) -> None:
    """A program that cannot be executed is told in AWS's words, and the agent goes on."""
    peer.command(program)
    assert peer.told(Kind.NOT_STARTED) == {"process": 1, "stage": "exec", "error": error}
    assert peer.run("/bin/true")[2]["status"] == 0


def test_text_that_is_no_program(peer: Peer, public: Path) -> None:
    """An executable file without an interpreter line is no program."""
    program = public / "bootstrap"
    program.write_text("echo not a script")
    program.chmod(0o755)
    peer.command(str(program))
    assert peer.told(Kind.NOT_STARTED)["error"] == f"fork/exec {program}: exec format error"


def test_a_program_in_one_of_several_places(peer: Peer, public: Path) -> None:
    """The first place that has a file counts, and the process learns that it is the one; directories do not count."""
    (public / "bootstrap").mkdir()
    other = public / "other"
    other.write_text("#!/bin/sh\necho $0 $1")
    other.chmod(0o755)
    places = first_of("/nowhere/bootstrap", f"{public}/bootstrap", str(other), "/bin/true")
    assert peer.run(places, "argument")[0] == f"{other} argument\n".encode()


@pytest.mark.parametrize(
    ("second", "error"),
    [
        ("/nowhere/b", "Couldn't find valid bootstrap(s): [/nowhere/a /nowhere/b]"),
        ("/etc/passwd", "fork/exec /etc/passwd: permission denied"),
    ],
)
def test_no_program_in_any_place(peer: Peer, second: str, error: str) -> None:
    """Where there is none, all places are named; one that cannot be executed is not passed over."""
    peer.command(first_of("/nowhere/a", second))
    assert peer.told(Kind.NOT_STARTED) == {"process": 1, "stage": "exec", "error": error}


def test_a_bare_name_is_looked_for(peer: Peer, public: Path) -> None:
    """In the directories of the process's own PATH; what is no program there is passed over."""
    for place in ("first", "second", "third"):
        (public / place).mkdir()
    (public / "first" / "tool").mkdir()
    (public / "second" / "tool").write_text("no program")
    tool = public / "third" / "tool"
    tool.write_text("#!/bin/sh\necho found $1")
    tool.chmod(0o755)
    path = ":".join(f"{public}/{place}" for place in ("first", "second", "third"))
    assert peer.run("tool", "it", PATH=path)[0] == b"found it\n"


def test_a_bare_name_that_is_nowhere(peer: Peer) -> None:
    """The error is worded as AWS's launcher does it, and so is that of a process without a PATH."""
    for path in ("/nowhere:/etc", ""):
        peer.command("tool", env={"PATH": path})
        error = 'exec: "tool": executable file not found in $PATH'
        assert peer.told(Kind.NOT_STARTED) == {"process": 1, "stage": "exec", "error": error}


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("172.18.0.1", "172.18.0.1"),
        ("fd00::1", "fd00::1"),
        ("localhost", "127.0.0.1"),
        ("no-such-name.invalid", "no-such-name.invalid"),
    ],
)
def test_names_are_looked_up_in_the_table_of_hosts(host: str, address: str) -> None:
    """The system's way would ask modules of the image."""
    assert address_of(host) == address


def test_a_place_that_is_to_be_open() -> None:
    """A new volume belongs to root: where it is told to, the agent lets everybody write to it."""
    with tempfile.TemporaryDirectory() as name:
        peer = Peer([], {"BERTH_OPEN": name})
        try:
            peer.until(Kind.HELLO)
            assert stat.S_IMODE(Path(name).stat().st_mode) == 0o1777
        finally:
            peer.close()


def test_missing_directory(peer: Peer) -> None:
    """A working directory that is not there is a failure of its own kind."""
    peer.command("/bin/true", cwd="/nowhere")
    error = "chdir /nowhere: no such file or directory"
    assert peer.told(Kind.NOT_STARTED) == {"process": 1, "stage": "chdir", "error": error}


# Clearing

PERSISTENT = {
    "sleeps": "echo up; sleep 1000",
    "ignores SIGTERM": "trap '' TERM INT HUP; echo up; while :; do sleep 1000; done",
    "is stopped": "echo up; kill -STOP $$",
    "has daemonised": "(setsid sh -c 'echo up; exec sleep 1000' >&1 &) ; exit",
    "has daemonised and closed its pipes": (
        "(setsid sh -c 'sleep 1000 & exec sleep 1001' >/dev/null 2>&1 </dev/null &) ; echo up; exec sleep 1000"
    ),
    "forks": "echo up; while :; do sh -c 'sleep 1000 & sleep 1000' & sleep 0.001; done",
    "has many children": "for n in 1 2 3 4 5 6 7 8 9 10; do (sleep 1000 & sleep 1000 &) ; done; echo up; wait",
}


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


# Freezing


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


# Settling


def test_settle(peer: Peer, meeting: Path) -> None:
    """SETTLED comes behind everything that was written before it was asked for."""
    peer.shell(f"head -c 60000 /dev/zero; echo end >&2; echo >{meeting}; sleep 1000")
    meeting.read_text()  # the process has written; nothing has been read from the link
    _, before = peer.ask(Kind.SETTLE)
    assert output(before, 1, 1) == bytes(60000)
    assert output(before, 1, 2) == b"end\n"


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


# Listing


def names(peer: Peer, path: object) -> Any:
    peer.send(message(Kind.LIST, path=str(path)))
    told = peer.told(Kind.LISTED)
    assert told["path"] == str(path)
    return told["names"]


def test_list(peer: Peer, public: Path) -> None:
    """Everything but directories is named, in order, whether it can be executed or not."""
    for name in ("b", "a", "C", ".hidden", "ü ü", os.fsdecode(b"\xff")):
        (public / name).touch()
    (public / "directory").mkdir()
    (public / "directory" / "inner").touch()
    os.mkfifo(public / "pipe")
    for link, target in {
        "to directory": "directory",
        "to file": "a",
        "to nothing": "nowhere",
        "to itself": "to itself",
        "beyond a file": "a/b",
    }.items():
        (public / link).symlink_to(target)
    assert names(peer, public) == [
        ".hidden", "C", "a", "b", "beyond a file", "pipe", "to file", "to itself", "to nothing", "ü ü", "\udcff",
    ]  # fmt: skip


def test_listed_names_can_be_started(peer: Peer, public: Path) -> None:
    """A name comes back as it was told, bytes that are no text included."""
    program = public / os.fsdecode(b"\xffprogram")
    program.write_text("#!/bin/sh\necho started")
    program.chmod(0o755)
    [name] = names(peer, public)
    assert peer.run(f"{public}/{name}")[0] == b"started\n"


@pytest.mark.parametrize("path", ["/nowhere", "/etc/passwd", "/etc/passwd/below", "", "\0", "/" + "x" * 300])
def test_list_of_what_is_no_directory(peer: Peer, path: str) -> None:
    """Where no directory is, nothing is; the agent goes on."""
    assert names(peer, path) == []
    assert peer.run("/bin/true")[2]["status"] == 0


@pytest.mark.parametrize("count", [MOST_NAMES, MOST_NAMES + 1, 3000])
def test_list_of_many(peer: Peer, public: Path, count: int) -> None:
    """Of many names the first are told; directories do not count."""
    for number in range(count):
        (public / f"{number:04}").touch()
        (public / f"{number:04}-directory").mkdir()
    assert names(peer, public) == [f"{number:04}" for number in range(MOST_NAMES)]


def test_list_beside_a_process(peer: Peer, public: Path) -> None:
    """Answers come in the order of the questions, whatever else goes on."""
    (public / "a").touch()
    peer.shell("exec cat /dev/zero")
    peer.send(message(Kind.LIST, path=str(public)), message(Kind.LIST, path="/nowhere"))
    assert [peer.told(Kind.LISTED)["names"] for _ in range(2)] == [["a"], []]
    peer.ask(Kind.CLEAR)


# Files


def archive_of(tree: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(tree, arcname=".")
    return buffer.getvalue()


def deliver(peer: Peer, path: Path, archive: bytes) -> dict[str, Any]:
    """Send an archive in odd pieces, a question right behind it, and return the answer to the archive."""
    pieces = [frame(Kind.TREE_DATA, archive[at : at + 5000]) for at in range(0, len(archive), 5000)]
    settle = frame(Kind.SETTLE, TOKEN.pack(9))
    peer.send(message(Kind.TREE, path=str(path)), *pieces, frame(Kind.TREE_END), settle)
    payload, before = peer.until(Kind.SETTLED)
    assert SETTLED_PAYLOAD.unpack(payload)[0] == 9
    [(kind, done)] = before
    assert kind is Kind.TREE_DONE
    return fields(done)


def test_tree(peer: Peer, tmp_path: Path) -> None:
    """A tree arrives with its modes, links and contents, whatever the agent's umask."""
    source, target = tmp_path / "source", tmp_path / "deep" / "target"
    (source / "lib").mkdir(parents=True)
    (source / "handler.py").write_text("handler")
    (source / "bootstrap").write_bytes(os.urandom(300_000))
    (source / "bootstrap").chmod(0o755)
    (source / "lib" / "data").write_text("ü")
    (source / "lib" / "data").chmod(0o444)
    (source / "lib").chmod(0o555)
    (source / "link").symlink_to("lib/data")
    assert deliver(peer, target, archive_of(source)) == {"path": str(target), "error": None}
    assert (target / "bootstrap").read_bytes() == (source / "bootstrap").read_bytes()
    assert (target / "link").readlink() == Path("lib/data")
    assert (target / "link").read_text() == "ü"
    modes = {entry.name: entry.lstat().st_mode for entry in sorted(source.rglob("*"))}
    assert {entry.name: entry.lstat().st_mode for entry in sorted(target.rglob("*"))} == modes


@pytest.mark.parametrize("archive", [b"no tar archive" * 1000, b""])
def test_broken_tree(peer: Peer, tmp_path: Path, archive: bytes) -> None:
    """What is no archive is told as an error; the frames behind it are understood all the same."""
    told = deliver(peer, tmp_path / "target", archive)
    assert told["path"] == str(tmp_path / "target")
    assert told["error"]


def test_tree_that_is_cut_short(peer: Peer, tmp_path: Path) -> None:
    """An archive that ends too early is told as an error."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(bytes(100_000))
    told = deliver(peer, tmp_path / "target", archive_of(tmp_path / "source")[:50_000])
    assert told["error"]


def test_tree_where_nothing_can_be_made(peer: Peer, tmp_path: Path) -> None:
    """A place that cannot be a directory is told as an error."""
    (tmp_path / "file").write_text("")
    told = deliver(peer, tmp_path / "file" / "target", archive_of(tmp_path))
    assert "ot a directory" in told["error"]


# Ends


def _reset(peer: Peer) -> None:
    peer.link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.link.close()


def _leave_inside_an_archive(peer: Peer) -> None:
    peer.send(message(Kind.TREE, path=f"/tmp/{peer.token}"), frame(Kind.TREE_DATA, bytes(100)))
    peer.link.close()


def _stop_inside_an_archive(peer: Peer) -> None:
    made = Path(f"/tmp/{peer.token}")
    peer.send(message(Kind.TREE, path=str(made)))
    wait_until(made.is_dir)
    os.kill(peer.pid, signal.SIGTERM)


ENDS: dict[str, Callable[[Peer], None]] = {
    "the link is closed": lambda peer: peer.link.close(),
    "the link is reset": _reset,
    "SIGTERM": lambda peer: os.kill(peer.pid, signal.SIGTERM),
    "SIGINT": lambda peer: os.kill(peer.pid, signal.SIGINT),
    "the link ends inside an archive": _leave_inside_an_archive,
    "SIGTERM inside an archive": _stop_inside_an_archive,
}


@pytest.mark.parametrize("way", ENDS)
@pytest.mark.parametrize("kind", ["has daemonised", "ignores SIGTERM", "is stopped"])
def test_end(peer: Peer, way: str, kind: str) -> None:
    """However the end comes, every process is dead and the agent gone, without a complaint."""
    peer.shell(PERSISTENT[kind])
    peer.await_output(b"up")
    peer.await_life()
    ENDS[way](peer)
    assert peer.process.wait(LIMIT) == 0
    assert peer.alive() == []
    shutil.rmtree(f"/tmp/{peer.token}", ignore_errors=True)


def test_nonsense(peer: Peer) -> None:
    """A control plane that does not speak the protocol is left, and nothing stays behind."""
    peer.shell("echo up; sleep 1000")
    peer.await_output(b"up")
    peer.send(b"GET / HTTP/1.1\r\n\r\n")
    assert peer.process.wait(LIMIT) == 1
    assert peer.alive() == []


# Privileges


def test_function_user(peer: Peer) -> None:
    """A process has the function's user and group, no other groups and no capabilities."""
    out, _, _ = peer.run("/bin/cat", "/proc/self/status")
    status = dict(re.findall(r"^(\w+):[ \t]*(.*?)[ \t]*$", out.decode(), flags=re.MULTILINE))
    assert set(status["Uid"].split()) == {str(FUNCTION_USER)}
    assert set(status["Gid"].split()) == {str(FUNCTION_GROUP)}
    assert [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [0, 0, 0, 0]
    if IS_ROOT:
        assert status["Groups"] == ""


def test_agent_is_out_of_reach(peer: Peer) -> None:
    """As another user than its functions, the agent can be neither signalled nor looked into."""
    script = "kill -0 $PPID; echo $?; cat /proc/$PPID/environ >/dev/null 2>&1; echo $?; cat /proc/$PPID/mem"
    out, err, exited = peer.run("/bin/sh", "-c", script)
    if IS_ROOT:
        assert out == b"1\n1\n"
        assert b"ermission denied" in err
        assert exited["status"] == 1
    else:
        assert exited["status"] == 1, "memory cannot be read from its first byte, whoever tries"


def test_no_token_left(peer: Peer) -> None:
    """What the agent was started with does not reach its processes."""
    out, _, _ = peer.run("/usr/bin/env")
    assert b"BERTH" not in out
