"""Processes of this machine that may only be touched while they are provably ours.

A number alone names nobody: it may have been given to another process since. An `Identity` adds the boot and the time
of the start; a signal goes through a descriptor that was opened before the identity was compared. Knows nothing of
sandboxes.
"""

import asyncio
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, unmistakably."""

    pid: int
    started: int
    """Clock ticks between the boot and its start."""
    boot: str

    def is_alive(self) -> bool:
        """A zombie is dead."""
        return of(self.pid) == self

    @contextmanager
    def opened(self) -> Iterator[int | None]:
        """A descriptor of the process; None when it is gone."""
        fd = self.open()
        try:
            yield fd
        finally:
            if fd is not None:
                os.close(fd)

    def open(self) -> int | None:
        try:
            fd = os.pidfd_open(self.pid)
        except OSError:
            return None
        if self.is_alive():
            return fd
        os.close(fd)
        return None

    def signal(self, number: signal.Signals) -> None:
        """Signal it if it is still there."""
        with self.opened() as fd:
            if fd is not None:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, number)


def of(pid: int) -> Identity | None:
    """Who has this number now; None when nobody has, or only a zombie."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else Identity(pid, int(fields[19]), _boot())


def descendants(pid: int) -> list[Identity]:
    """The live processes below this one."""
    parents = {}
    for number in pids():
        fields = _stat(number)
        if fields is not None:
            parents[number] = int(fields[1])
    found: list[int] = []
    generation = {pid}
    while generation:
        generation = {child for child, parent in parents.items() if parent in generation}
        found += generation
    return [identity for number in found if (identity := of(number)) is not None]


def marked(marks: Iterable[bytes]) -> list[Identity]:
    """The live processes that were started with one of these `NAME=value` in their environment."""
    wanted = set(marks)
    found = []
    for pid in pids():
        identity = of(pid)
        if identity is None:
            continue
        with suppress(OSError):
            if wanted.intersection((PROC / str(pid) / "environ").read_bytes().split(b"\0")):
                found.append(identity)
    return found


def pids() -> list[int]:
    return [int(name) for name in os.listdir(PROC) if name.isdigit()]  # noqa: PTH208  names are all that is wanted


async def ended(fd: int, limit: float) -> bool:
    """Wait for the end of the process behind a descriptor; False when it still lives after `limit` seconds."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    watched = os.dup(fd)  # a loop has one reader per descriptor, and somebody may watch this one
    loop.add_reader(watched, over.set)
    try:
        async with asyncio.timeout(limit):
            await over.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(watched)
        os.close(watched)
    return True


def _stat(pid: int) -> list[str] | None:
    """The fields behind the command's name: state, parent, …, start time at index 19."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


@cache
def _boot() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()
