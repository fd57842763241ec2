r"""Log events on disk: one directory per log group, one file per log stream, one line per event.

    <root>/<account>/<region>/<group>/<stream>.log      2024-01-31T12:00:00.123Z START RequestId: …

A line is the event's time and its text. Inside the text a backslash is written `\\`, a line feed `\n` and a carriage
return `\r`, so an event never spans lines and `decode` gets back exactly what was written. Bytes that are no UTF-8
are kept on disk and shown as U+FFFD.

In names a slash is written `+`; whatever else does not belong into a file name is percent-encoded, and a name too long
for a file system ends in its digest. A stream that reaches `ROTATE_AT` bytes goes on in a new file beside its previous
one, which replaces the one before: at most two files per stream. A group keeps about its `STREAMS_KEPT` latest streams.

Blocking and without locks: the log store calls it from its one thread. It knows nothing of functions or invocations.
"""

import heapq
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

ROTATE_AT = 64 * 1024 * 1024
STREAMS_KEPT = 1000
_PRUNE_EVERY = 50
_NAME_LIMIT = 200  # file systems allow 255 bytes; the suffixes need a few
_SAFE = "#$[]"  # beside letters, digits and `_.-`
_CURRENT, _PREVIOUS = ".log", ".log.1"
_BLOCK = 64 * 1024
_ESCAPED = re.compile(rb"\\([\\nr])")
_PLAIN = {b"\\": b"\\", b"n": b"\n", b"r": b"\r"}


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One event of one stream. `timestamp` in milliseconds since 1970."""

    timestamp: int
    stream: str
    text: str


class Place(NamedTuple):
    """Where an event goes."""

    account: str
    region: str
    group: str
    stream: str


@lru_cache(maxsize=4096)
def safe_name(name: str) -> str:
    """A file name for any text, different for different texts."""
    flat = quote(name, safe="/" + _SAFE, errors="surrogatepass").replace("/", "+").replace("~", "%7E")
    if flat.startswith("."):
        flat = "%2E" + flat[1:]
    if len(flat) > _NAME_LIMIT:
        digest = sha256(name.encode(errors="surrogatepass")).hexdigest()[:32]
        flat = f"{flat[: _NAME_LIMIT - 33]}~{digest}"
    return flat or "~"


def shown_name(file_name: str) -> str:
    """The name that `safe_name` was given, as far as its length allowed."""
    return unquote(file_name.replace("+", "/"))


def encode(timestamp: int, text: bytes) -> bytes:
    """The line of an event, line feed included."""
    seconds, millis = divmod(timestamp, 1000)
    escaped = text.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return b"%s.%03dZ %s\n" % (_second(seconds), millis, escaped)


@lru_cache(maxsize=64)
def _second(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def decode(line: bytes, stream: str) -> LogEvent | None:
    """The event of a line without its line feed; None if the line is torn or foreign."""
    stamp, space, text = line.partition(b" ")
    try:
        moment = datetime.fromisoformat(stamp.decode("ascii"))
    except ValueError:
        return None
    if not space or moment.tzinfo is None:
        return None
    plain = _ESCAPED.sub(lambda found: _PLAIN[found[1]], text)
    millis = int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000
    return LogEvent(millis, stream, plain.decode(errors="replace"))


class LogFiles:
    """The tree of log files under `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._new_streams: dict[
            Path, int
        ] = {}  # group directory → streams begun there since the last pruning

    def append(self, place: Place, lines: bytes, newest: int) -> None:
        """Add whole lines to a stream. After an OSError nothing of them is there.

        `newest` is the last event's time and becomes the file's, so that `tail` can tell from the directory alone
        which files cannot matter.
        """
        path = self._directory(place.account, place.region, place.group) / (
            safe_name(place.stream) + _CURRENT
        )
        descriptor = self._open(path)
        try:
            size = os.fstat(descriptor).st_size
            try:
                _write_all(descriptor, lines)
                os.utime(descriptor, ns=(newest * 1_000_000, newest * 1_000_000))
            except OSError:
                os.ftruncate(descriptor, size)  # a torn line would swallow the next one
                raise
        finally:
            os.close(descriptor)
        if size + len(lines) >= ROTATE_AT:
            path.replace(path.with_suffix(_PREVIOUS))

    def tail(self, account: str, region: str, group: str, limit: int, part: str = "") -> list[LogEvent]:
        """The last `limit` events of all streams of a group with `part` in their names, oldest first."""
        if limit <= 0:
            return []
        directory = self._directory(account, region, group)
        newest: list[tuple[int, int, LogEvent]] = []  # a heap, its oldest event first
        for order, (last, path) in enumerate(self._by_age(directory)):
            if len(newest) == limit and last < newest[0][0]:
                break  # the last event of this file, and of all that follow, is older than those found
            stream = shown_name(path.name.removesuffix(_PREVIOUS).removesuffix(_CURRENT))
            if part not in stream:
                continue
            for position, event in enumerate(_last_events(path, stream, limit)):
                # Of two events with one time, the later line counts as newer.
                entry = (event.timestamp, -(order * 10**9 + position), event)
                if len(newest) < limit:
                    heapq.heappush(newest, entry)
                elif entry > newest[0]:
                    heapq.heapreplace(newest, entry)
        return [event for _, _, event in sorted(newest)]

    def _directory(self, account: str, region: str, group: str) -> Path:
        return self._root / safe_name(account) / safe_name(region) / safe_name(group)

    def _open(self, path: Path) -> int:
        with suppress(FileNotFoundError):
            return os.open(path, os.O_WRONLY | os.O_APPEND)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._prune_sometimes(path.parent)
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _prune_sometimes(self, directory: Path) -> None:
        """Delete a group's oldest streams, once in a while: an environment has its own, and they add up."""
        self._new_streams[directory] = count = self._new_streams.get(directory, _PRUNE_EVERY - 1) + 1
        if count >= _PRUNE_EVERY:
            self._new_streams[directory] = 0
            for _, path in self._by_age(directory)[STREAMS_KEPT:]:
                path.unlink(missing_ok=True)

    @staticmethod
    def _by_age(directory: Path) -> list[tuple[int, Path]]:
        """The files of a group with the time of their last event, newest first."""
        found = []
        with suppress(FileNotFoundError), os.scandir(directory) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    found.append((entry.stat().st_mtime_ns // 1_000_000, Path(entry.path)))
        return sorted(found, key=lambda each: (-each[0], each[1]))


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _last_events(path: Path, stream: str, limit: int) -> Iterable[LogEvent]:
    """The last events of a file, newest first."""
    found = 0
    for line in _lines_backwards(path):
        event = decode(line, stream)
        if event is not None:
            yield event
            found += 1
            if found == limit:
                return


def _lines_backwards(path: Path) -> Iterator[bytes]:
    """The whole lines of a file, last first; what follows the last line feed is torn and left out."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        position = file.seek(0, os.SEEK_END)
        begun, whole = b"", False  # a line whose start is still to come; whether a line feed was seen yet
        while position > 0:
            step = min(_BLOCK, position)
            position -= step
            file.seek(position)
            begun, *lines = (file.read(step) + begun).split(b"\n")
            if lines and not whole:
                lines.pop()
                whole = True
            yield from reversed(lines)
        if whole:
            yield begun
