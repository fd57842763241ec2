"""What the kernel says about processes: memory in MB, processor time in seconds.

Of the memory of processes in containers it tells root alone.
"""

import os
from collections import defaultdict
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_IDLE = (3, 4)
"""Fields of the machine's times: idle, and waiting for a disk."""
_TIMES = 7
"""Fields up to the soft interrupts; what follows is not this machine's, or counted already."""


def resident(pid: int) -> tuple[float, float]:
    """RSS and PSS."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) / 1024
    return found["Rss"], found["Pss"]


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak(pid: int) -> float:
    """The most that a process has had since that was last forgotten."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def spent(pid: int) -> float:
    """Processor time of a process and of its children that have ended; 0 when it has ended itself."""
    try:
        fields = _stat(pid)
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def busy() -> float:
    """Processor time of the whole machine since it began, interrupts included."""
    times = Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    return sum(int(each) for index, each in enumerate(times[:_TIMES]) if index not in _IDLE) / _TICKS


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    children = defaultdict(list)
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                children[int(_stat(int(each.name))[1])].append(int(each.name))
            except OSError:
                continue  # it has ended
    found: list[int] = []
    left = [pid]
    while left:
        born = children[left.pop()]
        found += born
        left += born
    return found


def runs(pid: int, argument: str) -> bool:
    """Whether a process was started with the argument."""
    try:
        return argument.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _stat(pid: int) -> list[str]:
    """What follows a process's name, which may have spaces in it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
