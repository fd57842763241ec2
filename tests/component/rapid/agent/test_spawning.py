"""What the agent's processes are given at their start, and what keeps them from starting."""

import re
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from rapid.spawning import INHERITED
from rapid.wire import Kind, fields, first_of
from tests.helpers.agents import FUNCTION_GROUP, FUNCTION_USER, IS_ROOT, Peer, output, unshare


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


@pytest.mark.parametrize("started_by", ["a program", "nohup"])
@pytest.mark.parametrize("prefix", [list, unshare], ids=["plain", "init"])
def test_signals_are_as_at_birth(prefix: Callable[[], list[str]], started_by: str) -> None:
    """A process ignores and blocks no signal, although the agent does, and may have been started so."""
    former = {number: signal.getsignal(number) for number in INHERITED}
    for number in INHERITED:
        signal.signal(number, signal.SIG_IGN if started_by == "nohup" else signal.SIG_DFL)
    try:
        peer = Peer(prefix())
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    try:
        out, _, _ = peer.run("/bin/cat", "/proc/self/status")
    finally:
        peer.close()
    ignored = dict(re.findall(r"^(Sig\w+):\s*(\w+)$", out.decode(), flags=re.MULTILINE))
    internal = 0b11 << 31  # 32 and 33 belong to glibc, which leaves them ignored in what posix_spawn starts
    assert (int(ignored["SigIgn"], 16) & ~internal, int(ignored["SigBlk"], 16)) == (0, 0)


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


def test_missing_directory(peer: Peer) -> None:
    """A working directory that is not there is a failure of its own kind."""
    peer.command("/bin/true", cwd="/nowhere")
    error = "chdir /nowhere: no such file or directory"
    assert peer.told(Kind.NOT_STARTED) == {"process": 1, "stage": "chdir", "error": error}


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


@pytest.mark.parametrize(("asked", "given"), [(100, 100), (1 << 40, None)])
def test_open_files_are_limited(peer: Peer, asked: int, given: int | None) -> None:
    """To what is asked, for good, and never to more than the sandbox has; the agent keeps what it had."""
    own = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    peer.command("/bin/bash", "-c", "ulimit -Sn; ulimit -Hn", files=asked)
    _, before = peer.until(Kind.EXITED)
    assert output(before, 1, 1) == b"%d\n" % (given or own) * 2
    peer.command("/bin/bash", "-c", "ulimit -Hn", process=2)
    _, before = peer.until(Kind.EXITED)
    assert output(before, 2, 1) == b"%d\n" % own
