"""The processes of a sandbox, found and signalled, and the memory that they take: what the kernel tells of both.

Runs inside the sandbox: standard library only, and little of it. It knows no process by name, and ends none by itself.
"""

from __future__ import annotations

import os
import time

KEPT = 32
"""Status files that a `PeakMeter` keeps open; a function may have a thousand processes."""
STALE = 0.1
"""Seconds after which it lists them in any case: nobody creates as many processes meanwhile as there are numbers."""


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
    status = _open_status(pid)
    if status < 0:
        return 0
    try:
        return max(_peak_in(status), 0)
    finally:
        os.close(status)


def _open_status(pid: int) -> int:
    """-1 where there is no such process, or it does not show itself."""
    try:
        return os.open(f"/proc/{pid}/status", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _peak_in(status: int) -> int:
    """What the open status file of a process says now; 0 of a zombie, -1 when it is gone, whoever has its number."""
    for size in (2048, 1 << 20):  # the latter where it is in thousands of groups
        try:
            text = os.pread(status, size, 0)
        except ProcessLookupError:
            return -1
        start = text.find(b"\nVmHWM:")  # a process calls itself what it likes, but within one line
        end = text.find(b"kB", start)
        if start >= 0 and end >= 0:
            return int(text[start + 7 : end]) * 1024
        if len(text) < size:
            break
    return 0


class PeakMeter:
    """The peaks of all processes of the sandbox together, for somebody who asks with every invocation.

    Listing them costs more than all else, so that is done where one may have come: the kernel tells the number that it
    has given last. A number is given a moment before its process can be seen, so after each change they are listed
    twice. Their status files stay open: each is its process's for good, whatever that becomes and whoever gets its number.
    """

    __slots__ = ("_kept", "_last", "_listed", "_numbers", "_others", "_sure")

    def __init__(self) -> None:
        self._numbers = _open_last_number()
        self._last = b""
        """The number that was the last one, as it is told."""
        self._sure = False
        """It was the last one before the latest listing but one, too."""
        self._listed = 0.0
        self._kept: dict[int, int] = {}
        """Of the latest listing: pid → its open status."""
        self._others: list[int] = []
        """And those that are too many for that."""

    def total(self) -> int:
        """Bytes, of all that are alive now."""
        if self._may_have_changed():
            return self._list()
        total = 0
        for status in self._kept.values():
            peak = _peak_in(status)
            if peak < 0:  # and its number is free
                return self._list()
            total += peak
        return total + sum(resident_peak(pid) for pid in self._others)

    def _may_have_changed(self) -> bool:
        if self._numbers < 0:
            return True
        told = os.pread(self._numbers, 128, 0)
        last = told[told.rfind(b" ") :]
        now = time.monotonic()
        is_last = last == self._last
        if is_last and self._sure and now - self._listed < STALE:
            return False
        self._last, self._sure, self._listed = last, is_last, now
        return True

    def _list(self) -> int:
        before, self._kept, self._others = self._kept, {}, []
        total = 0
        for pid in members():
            status, peak = _look(pid, before.pop(pid, -1))
            total += peak
            if status < 0:
                continue
            if len(self._kept) < KEPT:
                self._kept[pid] = status
            else:
                self._others.append(pid)
                os.close(status)
        for status in before.values():
            os.close(status)
        return total


def _look(pid: int, status: int) -> tuple[int, int]:
    """The open status of whoever has the number now, -1 where nobody has, and its peak.

    `status` is what is open already of somebody who had it, or -1.
    """
    if status >= 0:
        peak = _peak_in(status)
        if peak >= 0:
            return status, peak
        os.close(status)
    status = _open_status(pid)
    if status < 0:
        return -1, 0
    return status, max(_peak_in(status), 0)  # where it has ended by now, the next look will tell


def _open_last_number() -> int:
    """The file that tells which process number was given last in our namespace; -1 where none tells.

    It is `/proc`'s own file, and not what somebody has laid over it; and no number is 0.
    """
    try:
        file = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
    if os.fstat(file).st_dev == os.stat("/proc").st_dev and not os.pread(file, 128, 0).endswith(b" 0\n"):
        return file
    os.close(file)
    return -1


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
    text = b"\n" + os.pread(counter, 4096, 0)
    _, _, rest = text.partition(b"\noom_kill ")
    return int(rest.partition(b"\n")[0] or 0)
