"""Code that is a directory of the host (hot reload): how callers ask for it, and what a copy of it is.

The convention is that of other emulators: a bucket of a name that the settings give, and the directory as the key.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.directories import Directories, NoDirectory
from runtime.directory_zips import TooMuch, snapshot
from runtime.errors import invalid_parameter
from runtime.zips import MAX_UNZIPPED, TOO_LARGE

BUCKET = "hot-reload"
_OFF = (
    "Hot reload is off. To run code as it lies in a directory of the host, start Berth with the setting hot_reload "
    "and the directories below which that may be."
)


@dataclass(frozen=True, slots=True)
class LiveCode:
    """What of the host may be code. Nothing, unless there are `directories` with roots."""

    directories: Directories | None = None
    bucket: str = BUCKET
    for_functions: bool = False
    """The caller is inside a sandbox, and may not ask for directories, whatever else it may do."""

    async def directory(self, members: Mapping[str, Any]) -> str | None:
        """The directory that these members mean, links resolved; None where they mean something else."""
        bucket, key = members.get("S3Bucket"), members.get("S3Key")
        if bucket != self.bucket or key is None:
            return None
        if self.directories is None or not self.directories.roots:
            if key.startswith("/"):
                raise invalid_parameter(_OFF)
            return None
        if self.for_functions:
            raise invalid_parameter("Functions may not use directories of the host as code.")
        if not key.startswith("/"):
            raise invalid_parameter(f"S3Key: {key} is not an absolute path of a directory of the host.")
        if "S3ObjectVersion" in members:
            raise invalid_parameter("S3ObjectVersion: a directory of the host has no versions.")
        try:
            return await asyncio.to_thread(self.directories.allowed, key)
        except (NoDirectory, ValueError) as error:
            raise invalid_parameter(f"S3Key: {error}") from None

    async def snapshot(self, directory: str) -> bytes:
        """A zip of what it holds now, if it still may be code."""
        try:
            return await asyncio.to_thread(self._snapshot, directory)
        except TooMuch:
            raise invalid_parameter(TOO_LARGE) from None
        except NoDirectory as error:
            raise invalid_parameter(f"The code cannot be read: {error}") from None
        except OSError as error:
            raise invalid_parameter(
                f"The code cannot be read: {error.filename or directory}: {error.strerror}"
            ) from None

    def _snapshot(self, directory: str) -> bytes:
        if self.directories is None:
            raise NoDirectory(_OFF)
        return snapshot(Path(self.directories.allowed(directory)), MAX_UNZIPPED)
