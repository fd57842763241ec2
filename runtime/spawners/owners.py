"""Proof that a control plane is gone, for cleaning up after those that nobody will start again.

A control plane removes what an earlier one with the same data directory left. One whose directory is gone too (a test, a
demo, a job that was killed) would leave its containers and its network for ever, and an engine has addresses for some
thirty networks only. So each marks what it makes with its process, in a way that cannot be mistaken for another.
"""

import os
from pathlib import Path

PROC = Path("/proc")


def mark() -> str:
    """What stands for this process, for ever: boot, process namespace, number and start. Empty where there is no `/proc`."""
    place = _place()
    return f"{place}:{os.getpid()}:{_start(os.getpid())}" if place else ""


def gone(other: str) -> bool:
    """Whether the marked process has certainly ended. One of another boot or namespace is beyond our sight."""
    place, _, process = other.rpartition(":")[0].rpartition(":")
    if not place or place != _place() or not process.isdigit():
        return False
    return _start(int(process)) != other.rpartition(":")[2]


def _place() -> str:
    """Within which process numbers mean something."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{(PROC / 'self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _start(process: int) -> str:
    """When a process started, in ticks after boot; empty if there is none. A zombie has ended."""
    try:
        fields = (PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
