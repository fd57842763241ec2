"""Proof that a control plane is gone, for cleaning up after those that nobody will start again.

A control plane removes what an earlier one with the same data directory left. One whose directory is gone too (a test, a
demo, a job that was killed) would leave its containers and its network for ever, and an engine has addresses for some
thirty networks only. So each marks what it makes with its process, in a way that cannot be mistaken for another.
"""

import os

from runtime.spawners import local_processes


def mark() -> str:
    """What stands for this process, for ever: boot, process namespace, number and start. Empty where there is no `/proc`."""
    me = local_processes.of(os.getpid())
    return f"{me.boot}:{_namespace()}:{me.pid}:{me.started}" if me else ""


def gone(other: str) -> bool:
    """Whether the marked process has certainly ended. One of another boot or namespace is beyond our sight."""
    me = local_processes.of(os.getpid())
    place, _, process = other.rpartition(":")[0].rpartition(":")
    if me is None or place != f"{me.boot}:{_namespace()}" or not process.isdigit():
        return False
    found = local_processes.of(int(process))
    return found is None or str(found.started) != other.rpartition(":")[2]


def _namespace() -> int:
    """Within which process numbers mean something."""
    return (local_processes.PROC / "self/ns/pid").stat().st_ino
