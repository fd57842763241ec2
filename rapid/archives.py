"""Archives of a function's files, as they come over the link, and their unpacking.

Runs inside the sandbox, and only where files are copied: nothing of it is loaded elsewhere. The control plane made the
archive from a tree that it had checked, so names in it are trusted.
"""

from __future__ import annotations

import errno
import os
import tarfile

from rapid.wire import CHUNK, Kind

TYPE_CHECKING = False  # `typing` itself would cost a cold start 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rapid.wire import Frames


def unpack(path: str, stream: TreeStream) -> str | None:
    """Unpack the archive into `path`; what went wrong, if something did."""
    archive_file: Any = stream
    try:
        os.makedirs(path, exist_ok=True)
        os.umask(0)
        with tarfile.open(fileobj=archive_file, mode="r|", bufsize=CHUNK) as archive:
            # Not the argument of `extractall`: interpreters without the latest fixes do not know it.
            archive.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
            archive.extractall(path)  # noqa: S202
    except (OSError, tarfile.TarError) as reason:
        return str(reason)
    return None


class TreeStream:
    """The payload of the `TREE_DATA` frames up to `TREE_END`, as a readable file."""

    def __init__(self, receive: Callable[[], bytes], frames: Frames, heard: list[tuple[Kind, bytes]]) -> None:
        self._receive = receive
        self._frames = frames
        self.rest = heard
        self._data = b""
        self._ended = False

    def read(self, size: int) -> bytes:
        while len(self._data) < size and not self._ended:
            self._more()
        data, self._data = self._data[:size], self._data[size:]
        return data

    def skip(self) -> None:
        """Drop what is left of the archive."""
        while not self._ended:
            self._more()
            self._data = b""

    def _more(self) -> None:
        while not self.rest:
            data = self._receive()
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "the link ended inside an archive")
            self.rest = self._frames.feed(data)
        kind, payload = self.rest.pop(0)
        if kind is Kind.TREE_DATA:
            self._data += payload
        else:
            self._ended = True
