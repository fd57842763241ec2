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
import select
import signal
import socket
import sys

from rapid.census import PeakMeter, memory_limit, oom_kills, open_oom_counter, signal_all
from rapid.spawning import STOP_SIGNALS, NotStarted, spawn
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
    from typing import Any, NoReturn

    from rapid.log_desk import LogDesk
    from rapid.tunnels import Tunnels

__all__ = ["FILES", "Agent", "main"]

FILES = (
    *("__init__.py", "wire.py", "agent.py", "spawning.py", "census.py"),
    *("archives.py", "log_desk.py", "tunnels.py"),
)
"""The modules of this package that a sandbox needs."""

SAID = 1 << 14
"""Bytes that are heard at a time. For many more the allocator would ask the system for memory, and give it back, each time."""

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
        self._ready: list[tuple[int, int]] | None = None
        """What the poll told last; None where what is heard now may have been said later."""
        self._tunnels: Tunnels | None = None
        """Once the first has been dialled."""
        self._frozen = False
        self._peak = 0
        self._meter = PeakMeter()
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
            self._ready = told = self._poll.poll()
            for fd, events in told:
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
        data = self._link.recv(SAID)
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
            self._ready = None

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
        """Most pipes hold nothing, which needs no read to be found out.

        The poll that told of the question also told of every pipe that something was in when it was asked.
        """
        for listener in self._desks:
            self._take_streams(listener)
        ready = self._readers if self._ready is None or self._desks else [fd for fd, _ in self._ready]
        for fd in list(ready):
            self._exhaust(fd)
        self._measure()

    def _measure(self) -> None:
        """What was killed for memory has left no peak of its own, and had taken all there is."""
        self._peak = max(self._peak, self._meter.total())
        if oom_kills(self._oom_counter) > self._first_oom_kills:
            self._peak = max(self._peak, memory_limit())

    # Files

    def _receive_tree(self, path: str, heard: list[tuple[Kind, bytes]]) -> list[tuple[Kind, bytes]]:
        """Unpack the archive that follows into `path`; give back frames that came behind it."""
        from rapid.archives import TreeStream, unpack  # noqa: PLC0415  only where files are copied

        stream = TreeStream(self._receive, self._frames, heard)
        error = unpack(path, stream)
        stream.skip()
        self._send(message(Kind.TREE_DONE, path=path, error=error))
        return stream.rest

    def _receive(self) -> bytes:
        """What comes next over the link, nothing when it has ended.

        Not by a `recv` that waits: it would sleep on if a signal came after the interpreter had last looked for one.
        """
        link = self._link.fileno()
        while link not in select.select([link, self._wakeup], [], [])[0]:
            _drain_signals(self._wakeup)
            self._reap()
        return self._link.recv(CHUNK * 4)


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


def _signal_pipe() -> int:
    """A descriptor that becomes readable when a child ends."""
    readable, writable = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return readable


def _drain_signals(fd: int) -> None:
    """What is left is told of again."""
    try:
        os.read(fd, 512)
    except BlockingIOError:
        return


def _become_subreaper() -> None:
    """Orphans become ours instead of `init`'s. And no set-user-ID program helps a function up: no sandbox sees to it."""
    import ctypes  # noqa: PLC0415  only outside a PID namespace

    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
