"""Blobs by content: the zips that functions and layers were created from.

A blob's name is the hex SHA-256 of its bytes. It appears whole or not at all: written aside, synchronised, renamed,
and the directory synchronised before its digest is handed out. Knows nothing of what is inside a blob.
"""

import asyncio
import hashlib
import os
import re
from collections.abc import Container, Iterable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from runtime.files import PRIVATE, make_directory, naming_full_disk, sync_directory

_CHUNK = 1 << 20
_TEMPORARY = ".incoming-"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobStore:
    """A directory of blobs. Any number of callers may put the same content at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def put(self, data: bytes) -> str:
        """Store bytes durably; returns their digest. Content that is already there is not written again."""
        return await asyncio.to_thread(self._put, data)

    def path(self, digest: str) -> Path:
        """Where a blob of this digest is, if it is there."""
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"Not a digest: {digest!r}")
        return self._directory / digest

    def prepare(self) -> None:
        """Make the directory, and clear away what a killed process left half written."""
        make_directory(self._directory, PRIVATE)
        for leftover in self._directory.glob(f"{_TEMPORARY}*"):
            leftover.unlink()

    def sweep(self, live: Container[str]) -> list[str]:
        """Remove blobs that nothing refers to; returns their digests. Only while nobody puts."""
        dead = [p for p in self._directory.iterdir() if _DIGEST.fullmatch(p.name) and p.name not in live]
        for path in dead:
            path.unlink()
        return [path.name for path in dead]

    def _put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        try:
            present = self.path(digest).stat().st_size == len(data)
        except FileNotFoundError:
            present = False
        if not present:
            return self._write(data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK))
        # Whoever renamed it may still be on the way to this:
        sync_directory(self._directory)
        return digest

    def _write(self, chunks: Iterable[bytes]) -> str:
        with naming_full_disk("a deployment package"):
            # Mode 0600, as every file of this kind.
            file = NamedTemporaryFile(dir=self._directory, prefix=_TEMPORARY, delete=False)  # noqa: SIM115
            try:
                with file:
                    digest = _copy(chunks, file.file)
                Path(file.name).replace(self._directory / digest)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
            sync_directory(self._directory)
        return digest


def _copy(chunks: Iterable[bytes], target: IO[bytes]) -> str:
    """Write and hash; returns once the bytes are on the disk."""
    sha256 = hashlib.sha256()
    for chunk in chunks:
        sha256.update(chunk)
        target.write(chunk)
    target.flush()
    os.fsync(target.fileno())
    return sha256.hexdigest()
