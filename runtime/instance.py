"""Which Berth owns a data directory: one control plane at a time, and how others find it.

    with acquire(settings.data_dir) as instance:      # raises AlreadyRunning
        …                                             # label sandboxes with `instance.id`
        instance.write_state(url)                     # from now on clients find it

Three files in the data directory. `berth.lock` is locked (flock) for as long as the owner lives, whatever ends it, so
nobody ever guesses from a process id whether it still runs; it holds the owner's pid. `instance` holds a short random
name that stays the same over restarts, by which sandboxes left behind are recognised. `berth.json` tells pid, url,
instance and start time; it counts only while the lock is held.

Knows nothing of servers, settings or sandboxes.
"""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

LOCK_NAME = "berth.lock"
ID_NAME = "instance"
STATE_NAME = "berth.json"
_TRIES = 20  # somebody who only looks holds the lock for some microseconds
_PAUSE = 0.01


@dataclass(frozen=True, slots=True)
class State:
    """What `berth.json` says. `started` in ISO 8601."""

    pid: int
    url: str
    instance: str
    started: str


class AlreadyRunning(Exception):
    """Another Berth owns the data directory. `state` is None while it is starting."""

    def __init__(self, data_dir: Path, state: State | None) -> None:
        at = f"at {state.url} (pid {state.pid})" if state else "and starting"
        super().__init__(f"Berth is already running {at} for {data_dir}")
        self.state = state


class Instance:
    """The ownership of a data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.id = _identity(data_dir / ID_NAME)

    def write_state(self, url: str) -> State:
        """Let clients find this control plane; called once it answers at `url`."""
        state = State(os.getpid(), url, self.id, datetime.now(UTC).isoformat(timespec="milliseconds"))
        _replace(self.data_dir / STATE_NAME, json.dumps(asdict(state)) + "\n")
        return state


@contextmanager
def acquire(data_dir: Path) -> Iterator[Instance]:
    """Own a data directory, made if need be, until the block ends. Raises AlreadyRunning."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _lock(descriptor):
            raise AlreadyRunning(data_dir, _read_state(data_dir))
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
        (data_dir / STATE_NAME).unlink(missing_ok=True)  # of an owner that was killed
        yield Instance(data_dir)
        (data_dir / STATE_NAME).unlink(missing_ok=True)
    finally:
        os.close(descriptor)  # frees the lock


def owner(data_dir: Path) -> int | None:
    """The pid of the control plane that runs for this data directory, starting ones included; None if none does."""
    try:
        descriptor = os.open(data_dir / LOCK_NAME, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.read(descriptor, 32) or b"0")
    finally:
        os.close(descriptor)
    return None


def running(data_dir: Path) -> State | None:
    """The control plane of this data directory; None if there is none, or it is still starting."""
    return _read_state(data_dir) if owner(data_dir) is not None else None


def _lock(descriptor: int) -> bool:
    for _ in range(_TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(_PAUSE)
    return False


def _read_state(data_dir: Path) -> State | None:
    try:
        return State(**json.loads((data_dir / STATE_NAME).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _identity(path: Path) -> str:
    with suppress(FileNotFoundError):
        if found := path.read_text().strip():
            return found
    made = secrets.token_hex(4)
    _replace(path, made + "\n")
    return made


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".new")
    draft.write_text(text)
    draft.replace(path)
