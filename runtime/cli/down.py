"""`berth down`: end the Berth of a data directory, kindly first."""

import argparse
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from runtime import instance
from runtime.cli.terminal import CliError, note, say
from runtime.settings import flags_of, load

KILL_LIMIT = 10.0
PATIENCE = 2.0
"""Seconds after which waiting is worth a word, and between words."""
_STEP = 0.02


def run(arguments: argparse.Namespace) -> int:
    data_dir = load(flags_of(arguments)).settings.data_dir
    pid = instance.owner(data_dir)
    if pid is None:
        say(f"no Berth is running for {data_dir}")
        return 0
    if not _holds_lock(pid, data_dir):
        raise CliError(f"process {pid} is not the Berth of {data_dir}: is that in a container? Stop it there")
    _end(pid, data_dir, arguments.timeout)
    say(f"stopped Berth (pid {pid})")
    return 0


def _end(pid: int, data_dir: Path, limit: float) -> None:
    _send(pid, signal.SIGTERM)
    if _gone(pid, data_dir, limit):
        return
    note(f"berth: pid {pid} has not ended within {limit:g} s, killing it")
    _send(pid, signal.SIGKILL)
    if not _gone(pid, data_dir, KILL_LIMIT):
        raise CliError(f"pid {pid} cannot be killed; is it waiting for a disk? See: ps -o stat,wchan {pid}")


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it has just ended
    except PermissionError:
        raise CliError(f"Berth (pid {pid}) belongs to somebody else; stop it as that user") from None


def _gone(pid: int, data_dir: Path, limit: float) -> bool:
    """Wait until the owner has let go of the data directory, which it does last."""
    begun = time.monotonic()
    told = begun
    while instance.owner(data_dir) == pid:
        now = time.monotonic()
        if now - begun >= limit:
            return False
        if now - told >= PATIENCE:
            told = now
            note(f"waiting for Berth (pid {pid}) to end … {now - begun:.0f} s")
        time.sleep(_STEP)
    return True


def _holds_lock(pid: int, data_dir: Path) -> bool:
    """Whether the process has the lock file open. Its number could be that of another container's process."""
    descriptors = Path(f"/proc/{pid}/fd")
    if not Path("/proc/self/fd").exists():
        return True  # a system where nobody can tell
    with suppress(PermissionError):
        lock = (data_dir / instance.LOCK_NAME).stat()
        for each in descriptors.iterdir() if descriptors.exists() else ():
            with suppress(OSError):
                if os.path.samestat(each.stat(), lock):
                    return True
        return False
    return True  # somebody else's; the signal will be refused
