"""Files that must not lie: directories with a stated mode, renames that last.

Also the place where a full disk gets its name. Knows nothing of what the files hold.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRIVATE = 0o700
"""Directories that hold secrets: the database, the code as uploaded."""
TRAVERSABLE = 0o711
"""Directories above trees that sandboxes see: other users may pass through, not look around."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class StorageFull(Exception):
    """No space (or no quota) is left where the data directory lives; nothing was stored."""


@contextmanager
def naming_full_disk(what: str) -> Iterator[None]:
    """Let a full disk surface as `StorageFull`, saying what there was no room for."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"No space left on device while storing {what}") from error
        raise


def make_directory(path: Path, mode: int) -> None:
    """Create a directory with exactly this mode; one that exists keeps the mode its owner gave it."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return
    path.chmod(mode)  # the umask has had its say in mkdir
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames and new names in a directory survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
