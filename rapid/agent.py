"""The agent: PID 1 of a sandbox, and all of Berth that runs inside one.

It dials the control plane and then does what the link tells it: unpack files, start processes as the unprivileged
user, relay their output, signal, freeze and thaw them, kill them, reap, and report exits. It takes no decision of its own,
with one exception: when the link is gone it kills everything and exits, so that no sandbox outlives its owner.

Standard library only, and little of it: every import delays a cold start. It knows nothing of the Runtime API, which
the function's processes reach by themselves.

One thread, one selector. Writes to the link block: when the control plane is slow, pipes fill up and functions wait,
and nothing grows. Outside a PID namespace of its own (the `process` spawner without bubblewrap) the agent becomes a
sub-reaper and finds the function's processes by walking `/proc`.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import socket
import sys

from rapid.wire import (
    CHUNK,
    MOST_NAMES,
    OUTPUT_HEADER,
    SETTLED_PAYLOAD,
    TOKEN,
    Frames,
    Kind,
    fields,
    frame,
    message,
)

TYPE_CHECKING = False  # `typing` itself would cost a cold start 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from rapid.log_desk import LogDesk
    from rapid.tunnels import Tunnels

FILES = ("__init__.py", "wire.py", "agent.py", "log_desk.py", "tunnels.py")
"""The modules of this package that a sandbox needs."""

USER, GROUP = 993, 990
"""Lambda's `sbx_user1051`."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38


def main() -> NoReturn:
    """Dial the control plane named in the environment and serve it until the link ends."""
    host, _, port = os.environ["BERTH_LINK"].rpartition(":")
    hello = message(Kind.HELLO, sandbox=os.environ["BERTH_SANDBOX"], token=os.environ["BERTH_TOKEN"])
    if place := os.environ.get("BERTH_OPEN"):
        os.chmod(place, 0o1777)  # noqa: S103  a new volume, which belongs to root
    os.environ.clear()
    link = socket.create_connection((address_of(host), int(port)), timeout=10)
    link.settimeout(None)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CHUNK)  # the system would queue seconds of a flood
    link.sendall(hello)
    agent = Agent(link)
    try:
        agent.serve()
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ETIMEDOUT):
            raise
    finally:
        agent.abandon()
    sys.exit(0)


def address_of(host: str) -> str:
    """The address that a sandbox's own table of hosts gives to a name; others are left to the system to resolve.

    The system may ask modules which a function's image brings: those must not get into this process.
    """
    if not host[:1].isalpha() or ":" in host:
        return host
    try:
        with open("/etc/hosts") as table:
            found = [entry for entry in map(str.split, table) if host in entry[1:] and ":" not in entry[0]]
    except OSError:
        return host
    return found[0][0] if found else host


class Process:
    """One process that the control plane asked for, and the pipes that carry its output."""

    __slots__ = ("desk", "number", "pid", "pipes")

    def __init__(self, number: int, pid: int, pipes: dict[int, int], desk: LogDesk | None = None) -> None:
        self.number = number
        self.pid = pid
        self.pipes = pipes
        """Read end of a pipe → stream (1 stdout, 2 stderr, more from the desk)."""
        self.desk = desk


class Agent:
    """The link, the selector and the processes."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._frames = Frames()
        self._poll = select.epoll()
        self._processes: dict[int, Process] = {}
        """By pid; all and only those that have not been reaped."""
        self._readers: dict[int, Process] = {}
        """By read end; outlives the process while descendants hold the pipe."""
        self._desks: dict[int, Process] = {}
        """By listener: runtimes whose workers fetch streams of their own."""
        self._tunnels: Tunnels | None = None
        """Once the first has been dialled."""
        self._frozen = False
        self._peak = 0
        self._oom_counter = open_oom_counter()
        self._oom_kills = self._first_oom_kills = oom_kills(self._oom_counter)
        self._quit = False
        self._wakeup = _signal_pipe()
        for number in STOP_SIGNALS:
            signal.signal(number, self._stop)
        if os.getpid() != 1:
            _become_subreaper()
        for fd in (link.fileno(), self._wakeup):
            self._poll.register(fd, select.EPOLLIN)

    def serve(self) -> None:
        """Run until the control plane says quit or the link ends."""
        while not self._quit:
            for fd, events in self._poll.poll():
                if fd == self._wakeup:
                    _drain_signals(fd)
                    self._reap()
                elif fd == self._link.fileno():
                    self._hear()
                elif fd in self._readers:
                    self._relay(fd)
                elif fd in self._desks:
                    self._take_streams(fd)
                elif self._tunnels is not None:
                    self._tunnels.ready(fd, events)

    def _stop(self, _: int, __: object) -> None:
        """End as with the link's end. By an exception that nothing on the way takes for a failure of its own.

        And by closing the link: an exception that is raised while something is being finalised is lost.
        """
        try:
            self._link.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended by itself
        sys.exit(0)

    def abandon(self) -> None:
        """The link is of no more use: end everything."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # it is being done
        self._quit = True
        self.clear()

    def clear(self) -> None:
        """Kill every process but this one and wait until none is left.

        Again and again: outside a PID namespace a process that forks while `/proc` is walked can be overlooked.
        """
        signal_all(signal.SIGKILL)
        while self._reap():
            select.select([self._wakeup], [], [], 0.05)
            _drain_signals(self._wakeup)
            signal_all(signal.SIGKILL)
        for listener in self._desks:
            self._take_streams(listener)
        for fd in list(self._readers):
            self._exhaust(fd)
            if fd in self._readers:
                self._forget(fd)
        for entry in self._desks.values():
            if entry.desk is not None:
                entry.desk.close()
        self._desks.clear()
        self._frozen = False

    # The link

    def _send(self, data: bytes) -> None:
        if not self._quit:
            self._link.sendall(data)

    def _hear(self) -> None:
        data = self._link.recv(CHUNK * 4)
        if not data:
            self._quit = True
            return
        heard = self._frames.feed(data)
        while heard:
            kind, payload = heard.pop(0)
            if kind is Kind.TREE:
                heard = self._receive_tree(fields(payload)["path"], heard)
            else:
                self._obey(kind, payload)

    def _obey(self, kind: Kind, payload: bytes) -> None:
        if kind is Kind.SETTLE:
            self._settle()
            self._send(frame(Kind.SETTLED, SETTLED_PAYLOAD.pack(*TOKEN.unpack(payload), self._peak)))
        elif kind is Kind.THAW:
            self._thaw()
        elif kind is Kind.FREEZE:
            signal_all(signal.SIGSTOP)
            self._frozen = True
        elif kind is Kind.START:
            self._start(**fields(payload))
        elif kind is Kind.CLEAR:
            signal_all(signal.SIGSTOP)  # else a thousand busy processes would starve the measuring
            self._measure()
            self.clear()
            self._send(frame(Kind.CLEARED, SETTLED_PAYLOAD.pack(*TOKEN.unpack(payload), self._peak)))
        elif kind is Kind.SIGNAL:
            self._signal(**fields(payload))
        elif kind is Kind.LIST:
            path = fields(payload)["path"]
            self._send(message(Kind.LISTED, path=path, names=names_in(path)))
        else:
            self._obey_about_tunnel(kind, payload)

    def _obey_about_tunnel(self, kind: Kind, payload: bytes) -> None:
        if self._tunnels is None:
            from rapid.tunnels import Tunnels  # noqa: PLC0415  only where somebody listens

            self._tunnels = Tunnels(self._poll, self._send)
        self._tunnels.obey(kind, payload)

    # Processes

    def _start(
        self,
        process: int,
        argv: list[str],
        env: dict[str, str],
        cwd: str,
        log_fd: int | None = None,
        *,
        log_desk: bool = False,
        files: int | None = None,
    ) -> None:
        desk = self._open_desk(process, env) if log_desk else None
        try:
            pid, pipes = spawn(argv, env, cwd, log_fd, files=files)
        except NotStarted as reason:
            if desk is not None:
                desk.close()
            self._send(message(Kind.NOT_STARTED, process=process, stage=reason.stage, error=reason.error))
            return
        entry = Process(process, pid, pipes, desk)
        self._processes[pid] = entry
        if desk is not None:
            self._desks[desk.fileno()] = entry
        for fd in pipes:
            self._readers[fd] = entry
            self._poll.register(fd, select.EPOLLIN)
        self._send(message(Kind.STARTED, process=process, pid=pid))

    def _open_desk(self, process: int, env: dict[str, str]) -> LogDesk:
        from rapid.log_desk import VARIABLE, LogDesk  # noqa: PLC0415  only where a runtime has workers

        desk = LogDesk(self._poll, str(process))
        env[VARIABLE] = desk.path
        return desk

    def _signal(self, process: int, number: int) -> None:
        for entry in self._processes.values():  # not reaped yet, so the group is there and nobody else's
            if entry.number == process:
                os.killpg(entry.pid, number)

    def _thaw(self) -> None:
        if self._frozen:
            self._frozen = False
            signal_all(signal.SIGCONT)

    def _reap(self) -> bool:
        """Reap the dead; whether any children are left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            self._reaped(pid, status, usage)

    def _reaped(self, pid: int, status: int, usage: Any) -> None:
        self._peak = max(self._peak, usage.ru_maxrss * 1024)
        entry = self._processes.pop(pid, None)
        if entry is None:
            return
        if entry.desk is not None:
            self._take_streams(entry.desk.fileno())
        for fd in list(entry.pipes):
            self._exhaust(fd)
        code = os.waitstatus_to_exitcode(status)
        killed = code == -signal.SIGKILL and self._was_out_of_memory()
        self._send(message(Kind.EXITED, process=entry.number, status=code, out_of_memory=killed))

    def _was_out_of_memory(self) -> bool:
        before, self._oom_kills = self._oom_kills, oom_kills(self._oom_counter)
        return self._oom_kills > before

    # Output

    def _take_streams(self, listener: int) -> None:
        """All that have been asked for by now."""
        entry = self._desks[listener]
        while taken := entry.desk and entry.desk.accept():
            fd, stream = taken
            entry.pipes[fd] = stream
            self._readers[fd] = entry
            self._poll.register(fd, select.EPOLLIN)

    def _relay(self, fd: int) -> bool:
        """Send what one read gives; False when nothing (more) is there."""
        entry = self._readers[fd]
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        except ConnectionResetError:  # of a stream from the desk
            data = b""
        if not data:
            self._forget(fd)
            return False
        self._send(frame(Kind.OUTPUT, OUTPUT_HEADER.pack(entry.number, entry.pipes[fd]) + data))
        return True

    def _exhaust(self, fd: int) -> None:
        """Send what the pipe holds by now, and no more: a process that never stops writing must not hold us."""
        for _ in range(32):  # a pipe holds 64 KiB unless the function enlarged it (1 MiB at the most)
            if fd not in self._readers or not self._relay(fd):
                return

    def _forget(self, fd: int) -> None:
        entry = self._readers.pop(fd)
        if entry.pipes.pop(fd) > 2 and entry.desk is not None:
            entry.desk.closed()
        self._poll.unregister(fd)
        os.close(fd)

    def _settle(self) -> None:
        for listener in self._desks:
            self._take_streams(listener)
        for fd in list(self._readers):
            self._exhaust(fd)
        self._measure()

    def _measure(self) -> None:
        """What was killed for memory has left no peak of its own, and had taken all there is."""
        self._peak = max(self._peak, sum(resident_peak(pid) for pid in members()))
        if oom_kills(self._oom_counter) > self._first_oom_kills:
            self._peak = max(self._peak, memory_limit())

    # Files

    def _receive_tree(self, path: str, heard: list[tuple[Kind, bytes]]) -> list[tuple[Kind, bytes]]:
        """Unpack the archive that follows into `path`; give back frames that came behind it.

        The control plane made the archive from a tree it had checked, so names in it are trusted.
        """
        import tarfile  # noqa: PLC0415  only where files are copied

        stream: Any = TreeStream(self._receive, self._frames, heard)
        error = None
        try:
            os.makedirs(path, exist_ok=True)
            os.umask(0)
            with tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK) as archive:
                # Not the argument of `extractall`: interpreters without the latest fixes do not know it.
                archive.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
                archive.extractall(path)  # noqa: S202
        except (OSError, tarfile.TarError) as reason:
            error = str(reason)
        stream.skip()
        self._send(message(Kind.TREE_DONE, path=path, error=error))
        rest: list[tuple[Kind, bytes]] = stream.rest
        return rest

    def _receive(self) -> bytes:
        """What comes next over the link, nothing when it has ended.

        Not by a `recv` that waits: it would sleep on if a signal came after the interpreter had last looked for one.
        """
        link = self._link.fileno()
        while link not in select.select([link, self._wakeup], [], [])[0]:
            _drain_signals(self._wakeup)
            self._reap()
        return self._link.recv(CHUNK * 4)


class TreeStream:
    """The payload of the `TREE_DATA` frames up to `TREE_END`, as a readable file."""

    def __init__(self, receive: Callable[[], bytes], frames: Frames, heard: list[tuple[Kind, bytes]]) -> None:
        self._receive = receive
        self._frames = frames
        self.rest = heard
        self._data = b""
        self._ended = False

    def read(self, size: int) -> bytes:
        while len(self._data) < size and not self._ended:
            self._more()
        data, self._data = self._data[:size], self._data[size:]
        return data

    def skip(self) -> None:
        """Drop what is left of the archive."""
        while not self._ended:
            self._more()
            self._data = b""

    def _more(self) -> None:
        while not self.rest:
            data = self._receive()
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "the link ended inside an archive")
            self.rest = self._frames.feed(data)
        kind, payload = self.rest.pop(0)
        if kind is Kind.TREE_DATA:
            self._data += payload
        else:
            self._ended = True


def names_in(path: str) -> list[str]:
    """The first names of a directory's entries that are not directories; none where it cannot be read.

    Never many at a time: a function's files may be more than fit into its memory.
    """
    names: list[str] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if not _is_directory(entry):
                    names.append(entry.name)
                if len(names) > 16 * MOST_NAMES:
                    names = sorted(names)[:MOST_NAMES]
    except (OSError, ValueError):  # the latter: no path at all, as with a NUL character
        return []
    return sorted(names)[:MOST_NAMES]


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere we can look: to itself, or into a place that is closed to us
        return False


class NotStarted(Exception):
    """A process could not be started; `stage` says at which step."""

    def __init__(self, stage: str, error: str) -> None:
        super().__init__(f"{stage}: {error}")
        self.stage = stage
        self.error = error


def spawn(
    argv: list[str],
    env: dict[str, str],
    cwd: str,
    log_fd: int | None = None,
    *,
    files: int | None = None,
    demote: bool = True,
) -> tuple[int, dict[int, int]]:
    """Start a process in a session of its own; its pid, and the read ends of its stdout and stderr.

    As `log_fd` it gets its stdout once more: one pipe keeps what is written to both in order. No more than `files` can
    be open in it. Root becomes the function's user (`demote`).

    Plain fork and exec: the agent has one thread, and `subprocess` would cost every cold start its import.
    Raises `NotStarted`.
    """
    out, out_end = os.pipe2(os.O_CLOEXEC)
    err, err_end = os.pipe2(os.O_CLOEXEC)
    told, tell = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
    except OSError as error:
        for fd in (out, out_end, err, err_end, told, tell):
            os.close(fd)
        raise NotStarted("fork", str(error)) from None
    if not pid:
        copies = [(out_end, 1), (err_end, 2)] + ([] if log_fd is None else [(1, log_fd)])
        _become(argv, env, cwd, copies, tell, files=files, demote=demote)
    for fd in (out_end, err_end, tell):
        os.close(fd)
    with os.fdopen(told, "rb") as report:
        failure = report.read().decode()
    if failure:
        os.waitpid(pid, 0)
        os.close(out)
        os.close(err)
        raise NotStarted(*failure.split("\0", 1))
    os.set_blocking(out, False)
    os.set_blocking(err, False)
    return pid, {out: 1, err: 2}


def _become(
    argv: list[str],
    env: dict[str, str],
    cwd: str,
    copies: list[tuple[int, int]],
    tell: int,
    *,
    files: int | None,
    demote: bool,
) -> NoReturn:
    """In the child: drop privileges and execute. What fails is told through the pipe `tell`.

    `copies` are descriptors, and those that the program is to have them as; in this order.
    """
    stage = "fork"
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, *STOP_SIGNALS):
            signal.signal(number, signal.SIG_DFL)
        null = os.open("/dev/null", os.O_RDONLY)
        for fd, target in ((null, 0), *copies):
            if target == tell:
                tell = os.dup(tell)  # to be closed by the execution, as it was
            os.dup2(fd, target)
        _prefer_as_victim()
        if files is not None:
            _limit_files(files)
        if demote and os.geteuid() == 0:
            os.setgroups([])
            os.setgid(GROUP)
            os.setuid(USER)
        os.umask(0o022)
        stage = "chdir"
        os.chdir(cwd)
        stage = "exec"
        argv[0] = _program(argv[0], env.get("PATH", ""))
        os.execve(argv[0], argv, env)  # noqa: S606
    except NotStarted as reason:
        os.write(tell, f"{reason.stage}\0{reason.error}".encode())
    except OSError as error:
        os.write(tell, f"{stage}\0{_exec_text(stage, argv[0], cwd, error)}".encode())
    except ValueError:  # a NUL character somewhere in the strings
        os.write(tell, f"{stage}\0fork/exec {argv[0]}: invalid argument".encode())
    finally:
        os._exit(127)


def _program(name: str, path: str) -> str:
    """The path of a program. Of several places the first counts that has a file, whether it can be executed or not.

    A bare name is looked for in `path`, where it has to be executable; as in AWS's own launcher, which is written in Go.
    """
    if "/" not in name:
        for directory in path.split(":"):
            found = f"{directory or '.'}/{name}"
            if os.access(found, os.X_OK) and not os.path.isdir(found):
                return found
        raise NotStarted("exec", f'exec: "{name}": executable file not found in $PATH')
    if not name.startswith(":"):
        return name
    places = name[1:].split(":")
    for place in places:
        if os.path.exists(place) and not os.path.isdir(place):
            return place
    raise NotStarted("exec", f"Couldn't find valid bootstrap(s): [{' '.join(places)}]")


def _exec_text(stage: str, program: str, cwd: str, error: OSError) -> str:
    """The failure in the words that Lambda shows."""
    reason = (error.strerror or "unknown error").lower()
    return f"chdir {cwd}: {reason}" if stage == "chdir" else f"fork/exec {program}: {reason}"


def _limit_files(most: int) -> None:
    """As many at the most; nobody here may raise what a sandbox was made with."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    number = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))


def _prefer_as_victim() -> None:
    """Out of memory, the kernel is to kill the function and never the agent."""
    try:
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")
    except OSError:
        pass  # where /proc is read-only the kernel still picks the largest process, which is not the agent


def signal_all(number: int) -> None:
    """Signal every process of the sandbox but the agent."""
    if os.getpid() == 1:
        try:
            os.kill(-1, number)
        except ProcessLookupError:
            return
        return
    for pid in members():
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def members() -> list[int]:
    """The processes of the sandbox but the agent."""
    me = os.getpid()
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    if me == 1:
        return [pid for pid in pids if pid != me]
    parents = {pid: _parent(pid) for pid in pids}
    found: list[int] = []
    generation = [me]
    while generation:
        generation = [pid for pid, parent in parents.items() if parent in generation]
        found += generation
    return found


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def resident_peak(pid: int) -> int:
    """Peak resident memory of a live process in bytes; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            for line in status:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # it ended between the listing and the look
    return 0


def memory_limit() -> int:
    """What the sandbox may take, in bytes; 0 where no control group tells, or there is no limit."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path, "rb") as limit:
                text = limit.read().strip()
                return int(text) if text.isdigit() else 0
        except OSError:
            continue
    return 0


def open_oom_counter() -> int:
    """The file that tells how often the kernel has killed for memory in this sandbox; -1 where there is none.

    It is read with every invocation, so it stays open.
    """
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
    return -1


def oom_kills(counter: int) -> int:
    """What the counter says; 0 where no control group tells."""
    if counter < 0:
        return 0
    for line in os.pread(counter, 4096, 0).splitlines():
        name, _, count = line.partition(b" ")
        if name == b"oom_kill":
            return int(count)
    return 0


def _signal_pipe() -> int:
    """A descriptor that becomes readable when a child ends."""
    readable, writable = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return readable


def _drain_signals(fd: int) -> None:
    try:
        while os.read(fd, 512):
            pass
    except BlockingIOError:
        return


def _become_subreaper() -> None:
    """Orphans become ours instead of `init`'s. And no set-user-ID program helps a function up: no sandbox sees to it."""
    import ctypes  # noqa: PLC0415  only outside a PID namespace

    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
