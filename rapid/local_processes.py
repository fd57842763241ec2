"""Processes of environments as children of this process: the supervisor that needs no sandbox and no link.

For the emulator, which runs inside the container whose processes these are. Several environments may share it, so
whose a process is has to be found out: it is one of an environment's own, or descends from one, or has been left to us
as an orphan and carries the address of that environment's Runtime API in its variables.
"""

import asyncio
import logging
import os
import signal
from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from rapid.agent import PR_SET_CHILD_SUBREAPER, Process, names_in
from rapid.census import memory_limit, oom_kills, open_oom_counter, resident_peak
from rapid.invocation import ExitStatus
from rapid.log_desk import VARIABLE, LogDesk
from rapid.spawning import NotStarted, spawn
from rapid.supervisor import Observer, StartFailed, Tunnel, TunnelBroken
from rapid.wire import CHUNK

logger = logging.getLogger("rapid")

FULL_PIPE = 32
"""Readings that empty a pipe: it holds 64 KiB unless the function enlarged it (1 MiB at the most)."""
PATIENCE = 0.05
"""Seconds between two looks whether what was killed is gone: one that forks meanwhile can be overlooked."""

ROUNDS = 200
"""Of these looks: a process that cannot be killed (of another user, or stuck in the kernel) is left alone then."""


class Reaper:
    """Hears of the end of every child, whoever's it is. One for each process, from `open` to `close`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._owners: dict[int, LocalSupervisor] = {}
        #: By process.

    def open(self) -> None:
        """From now on orphans are our children too, so that they can be found and reaped."""
        if os.getpid() != 1:
            import ctypes  # noqa: PLC0415  only where nobody has made us the first process

            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def close(self) -> None:
        self._loop.remove_signal_handler(signal.SIGCHLD)

    def own(self, pid: int, owner: "LocalSupervisor") -> None:
        self._owners[pid] = owner

    def is_owned(self, pid: int) -> bool:
        """Whether it is a process that an environment has started, and lives."""
        return pid in self._owners

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            owner = self._owners.pop(pid, None)
            if owner is not None:
                owner.ended(pid, os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024)


class LocalSupervisor:
    """Of one environment. See `rapid.supervisor.Supervisor`; nothing of it is ever lost."""

    def __init__(self, reaper: Reaper, runtime_api: str) -> None:
        self.observer: Observer | None = None
        self._loop = asyncio.get_running_loop()
        self._reaper = reaper
        self.runtime_api = runtime_api
        self._mark = f"AWS_LAMBDA_RUNTIME_API={runtime_api}".encode()
        self._processes: dict[int, Process] = {}
        """By pid; those that have not been reaped."""
        self._readers: dict[int, Process] = {}
        """By read end; outlives the process while descendants hold the pipe."""
        self._desks: dict[int, Process] = {}
        """By listener: runtimes whose workers fetch streams of their own."""
        self._peak = 0
        self._oom_counter = open_oom_counter()
        self._oom_kills = self._first_oom_kills = oom_kills(self._oom_counter)
        self._changed = asyncio.Event()
        """A process has ended."""
        self._clearing: set[asyncio.Task[int]] = set()

    def __repr__(self) -> str:
        return f"<LocalSupervisor {sorted(self._processes)}>"

    def start(
        self,
        process: int,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        *,
        log_fd: int | None = None,
        log_desk: bool = False,
        files: int | None = None,
    ) -> Future[None]:
        """Start it as the user that we are."""
        future: Future[None] = self._loop.create_future()
        desk = self._open_desk(process) if log_desk else None
        told = {VARIABLE: desk.path} if desk is not None else {}
        try:
            pid, pipes = spawn(list(argv), {**env, **told}, cwd, log_fd, files=files, demote=False)
        except NotStarted as reason:
            if desk is not None:
                desk.close()
            future.set_exception(StartFailed(reason.stage, reason.error))
            return future
        entry = self._processes[pid] = Process(process, pid, pipes, desk)
        if desk is not None:
            self._desks[desk.fileno()] = entry
        self._reaper.own(pid, self)
        for fd in pipes:
            self._readers[fd] = entry
            self._loop.add_reader(fd, self._relay, fd)
        future.set_result(None)
        return future

    def _open_desk(self, process: int) -> LogDesk | None:
        """None where there is no place for it: workers write to the process's own streams then."""
        port = self.runtime_api.rpartition(":")[2]  # other environments' processes have the same numbers
        try:
            return LogDesk(_Watch(self._take_streams), f"{port}-{process}")
        except OSError as error:
            logger.warning("workers have no streams of their own, lines of theirs may mix: %s", error)
            return None

    def list(self, path: str) -> Future[Sequence[str]]:
        return self._done(names_in(path))

    def signal(self, process: int, number: int) -> None:
        for entry in self._processes.values():  # not reaped yet, so the group is there and nobody else's
            if entry.number == process:
                os.killpg(entry.pid, number)

    def connect(self, port: int) -> Future[Tunnel]:
        return self._loop.create_task(_connect(port))

    def settle(self) -> Future[int]:
        """A turn later: whoever is answered meanwhile need not wait for it."""
        future: Future[int] = self._loop.create_future()
        self._loop.call_soon(self._settle, future)
        return future

    def _settle(self, future: Future[int]) -> None:
        self._take_all_streams()
        for fd in tuple(self._readers):
            self._exhaust(fd)
        self._measure(self._family())
        if not future.done():
            future.set_result(self._peak)

    def clear(self) -> Future[int]:
        task = self._loop.create_task(self._clear())
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)
        return task

    def freeze(self) -> None:
        _signal(self._members(), signal.SIGSTOP)

    def thaw(self) -> None:
        _signal(self._members(), signal.SIGCONT)

    def close(self) -> None:
        """Let go of what it holds, once everything has been cleared."""
        if self._oom_counter >= 0:
            os.close(self._oom_counter)
            self._oom_counter = -1

    def _done(self, value: Any) -> Future[Any]:
        future: Future[Any] = self._loop.create_future()
        future.set_result(value)
        return future

    # The end of processes

    async def _clear(self) -> int:
        members = self._members()
        _signal(members, signal.SIGSTOP)  # so that nothing changes while it is measured
        self._measure(members)
        for _ in range(ROUNDS):
            if not members:
                break
            self._changed.clear()
            _signal(members, signal.SIGKILL)
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._changed.wait()
            members = self._members()
        self._take_all_streams()
        for fd in tuple(self._readers):
            self._exhaust(fd)
            if fd in self._readers:
                self._forget(fd)
        for entry in self._desks.values():
            if entry.desk is not None:
                entry.desk.close()
        self._desks.clear()
        return self._peak

    def ended(self, pid: int, code: int, peak: int) -> None:
        """The reaper says that one of ours has ended."""
        self._peak = max(self._peak, peak)
        entry = self._processes.pop(pid)
        if entry.desk is not None:
            self._take_streams(entry.desk.fileno())
        for fd in tuple(entry.pipes):
            self._exhaust(fd)
        before, self._oom_kills = self._oom_kills, oom_kills(self._oom_counter)
        killed = code == -signal.SIGKILL and self._oom_kills > before
        self._changed.set()
        if self.observer is not None:
            self.observer.exited(entry.number, ExitStatus(code, killed))

    def _members(self) -> Sequence[int]:
        """Every process of the environment, its orphans included. Of those that are dying the dead are not among them."""
        orphans = [
            pid for pid in _children(os.getpid()) if not self._reaper.is_owned(pid) and self._is_ours(pid)
        ]
        return [*self._family(), *_descendants(orphans)]

    def _family(self) -> Sequence[int]:
        return _descendants(self._processes)

    def _is_ours(self, pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123  pathlib would take its time
                return self._mark in file.read().split(b"\0")
        except OSError:  # it is gone, or another user's
            return False

    # Output

    def _take_all_streams(self) -> None:
        for listener in self._desks:
            self._take_streams(listener)

    def _take_streams(self, listener: int) -> None:
        """All that have been asked for by now."""
        entry = self._desks[listener]
        while taken := entry.desk and entry.desk.accept():
            fd, stream = taken
            entry.pipes[fd] = stream
            self._readers[fd] = entry
            self._loop.add_reader(fd, self._relay, fd)

    def _relay(self, fd: int) -> bool:
        """Pass on what one read gives; False when nothing (more) is there."""
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
        if self.observer is not None:
            self.observer.output(entry.number, entry.pipes[fd], data)
        return True

    def _exhaust(self, fd: int) -> None:
        """Pass on what the pipe holds by now, and no more: a process that never stops writing must not hold us."""
        for _ in range(FULL_PIPE):
            if fd not in self._readers or not self._relay(fd):
                return

    def _forget(self, fd: int) -> None:
        entry = self._readers.pop(fd)
        if entry.pipes.pop(fd) > 2 and entry.desk is not None:
            entry.desk.closed()
        self._loop.remove_reader(fd)
        os.close(fd)

    # Memory

    def _measure(self, pids: Sequence[int]) -> None:
        """What was killed for memory has left no peak of its own, and had taken all there is."""
        self._peak = max(self._peak, sum(resident_peak(pid) for pid in pids))
        if oom_kills(self._oom_counter) > self._first_oom_kills:
            self._peak = max(self._peak, memory_limit())


class _Watch:
    """The event loop, as a desk wants to be told of its visitors."""

    def __init__(self, ready: Callable[[int], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready = ready

    def register(self, fd: int, _: int, /) -> None:
        self._loop.add_reader(fd, self._ready, fd)

    def unregister(self, fd: int, /) -> None:
        self._loop.remove_reader(fd)


class LocalTunnel:
    """A connection to a listener here. See `rapid.supervisor.Tunnel`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        writer.transport.set_write_buffer_limits(0)  # drained is what the listener's socket has taken

    @property
    def is_open(self) -> bool:
        return not self._writer.is_closing() and not self._reader.at_eof()

    def write(self, data: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(data)

    async def drain(self) -> None:
        if self._writer.is_closing():
            raise TunnelBroken("it was closed")
        try:
            await self._writer.drain()
        except ConnectionError as error:
            raise TunnelBroken(str(error)) from None

    async def read(self) -> bytes:
        try:
            return await self._reader.read(CHUNK)
        except ConnectionError:
            return b""

    def close(self) -> None:
        self._writer.close()


async def _connect(port: int) -> Tunnel:
    try:
        return LocalTunnel(*await asyncio.open_connection("127.0.0.1", port))
    except OSError as error:
        raise TunnelBroken(str(error)) from None


def _children(pid: int) -> list[int]:
    """The living and dead children of a process; none where the kernel does not tell."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  half the time
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123
                found += map(int, file.read().split())
    return found


def _descendants(roots: "Mapping[int, object] | Sequence[int]") -> list[int]:
    """These processes and all below them."""
    found: list[int] = []
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += _children(pid)
    return found


def _signal(pids: Sequence[int], number: int) -> None:
    for pid in pids:
        with suppress(
            ProcessLookupError, PermissionError
        ):  # gone; or a program of another user's, as `sudo` is
            os.kill(pid, number)
