"""The processes of a sandbox, found and signalled, and the memory that they take: what the kernel tells of both.

Runs inside the sandbox: standard library only, and little of it. It knows no process by name, and ends none by itself.
"""

from __future__ import annotations

import os


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
