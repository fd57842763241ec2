"""What has changed in a set of files and folders since one last looked.

Looks at names, sizes and times; never at content. A change counts once two looks in a row agree, so that a file that
is still being written, or a checkout, is one change.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from runtime.deploy.archives import files_of
from runtime.deploy.errors import TemplateError

PAUSE = 0.5
"""Seconds between two looks."""

Sight = Mapping[Path, tuple[int, int, int] | None]
"""Time, size and mode of each file; None where there is none."""


def look(paths: Iterable[Path]) -> Sight:
    """What is there now. What cannot be read is as if it were not there: to deploy it is what complains."""
    seen: dict[Path, tuple[int, int, int] | None] = {}
    for path in paths:
        seen[path] = None
        with suppress(OSError, TemplateError):
            for file in files_of(path):
                seen[file] = None
                status = file.stat()
                seen[file] = (status.st_mtime_ns, status.st_size, status.st_mode)
    return seen


def next_change(paths: Iterable[Path], before: Sight, pause: Callable[[float], None]) -> list[Path]:
    """Wait until something differs from `before` and has come to rest; what does."""
    watched = tuple(paths)
    last, now = before, look(watched)
    while now == before or now != last:
        pause(PAUSE)
        last, now = now, look(watched)
    return sorted(path for path in {*before, *now} if before.get(path) != now.get(path))
