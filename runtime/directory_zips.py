"""A zip of what a directory of the host holds now: the same bytes for the same files.

Files keep their modes, symbolic links stay what they are, all have one fixed time; names that are no code
(`runtime.directories`) and what is neither file, folder nor link are left out. Blocks; call it in a thread.
"""

import errno
import io
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

from runtime.directories import is_no_code

_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_FAST = 1
"""Of the compression: a zip is made with every publication, and seldom sent anywhere."""
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class TooMuch(Exception):
    """There are more bytes than were allowed."""


def snapshot(directory: Path, limit: int) -> bytes:
    """Raises OSError where something cannot be read, and `TooMuch`. `limit` in bytes of all files together."""
    left = limit
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=_FAST) as archive:
        for path in _leaves(str(directory)):
            found = _content(path, left)
            if found is None:
                continue
            content, mode = found
            left -= len(content)
            info = zipfile.ZipInfo(os.path.relpath(path, directory), _TIME)
            info.create_system = _UNIX
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content, compresslevel=_FAST)
    return target.getvalue()


def _leaves(folder: str) -> Iterator[str]:
    """What is no folder, in the order of names."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda each: each.name)
    for entry in entries:
        if is_no_code(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _leaves(entry.path)
        else:
            yield entry.path


def _content(path: str, limit: int) -> tuple[bytes, int] | None:
    """Bytes and mode; None for what can have no place in a zip, or has gone meanwhile."""
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            return os.fsencode(os.readlink(path)), status.st_mode  # noqa: PTH115  byte for byte
        if not stat.S_ISREG(status.st_mode):
            return None
        with open(os.open(path, _OPEN), "rb") as file:  # noqa: PTH123  a descriptor
            content = file.read(limit + 1)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            return None
        raise
    if len(content) > limit:
        raise TooMuch
    return content, status.st_mode
