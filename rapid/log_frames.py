"""From the bytes that a process writes to the events of its log: lines, and frames in between. Pure.

Runtime clients can write a log event as a frame, so that it stays one event whatever line feeds it holds. A frame is
a header, all of it big-endian, and its message:

    kind u32         0xA55A0002 JSON or 0xA55A0003 text, | level << 2: 0 none, 1 TRACE to 6 FATAL
    length u32       bytes of the message
    time u64         microseconds of the Unix epoch; unused: events are logged as they come

Frames come in the runtime's stdout among its lines (ADR 16), so nothing in the stream is trusted: what is no header
that a client would write is text, and a frame that does not become whole is text in the end. Memory is bounded by
`MAX_LINE`: what is longer, line or message, is cut into several events.
"""

import struct
from collections.abc import Iterable

from rapid.buffering import MAX_LINE, Lines
from rapid.log_format import Level

MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes of the longest message that a header may announce."""

LogEvent = tuple[bytes, Level]
"""An event with its line end, and the level that it has where its text says none."""

_HEADER = struct.Struct("!IIQ")
_MAGIC = b"\xa5\x5a\x00"
_LEVELS = {
    0xA55A0000 | number << 2 | form: Level(number - 1) if number else Level.INFO
    for number in range(7)
    for form in (2, 3)
}
"""By kind."""


class _Frame:
    """A frame whose message is not whole yet."""

    __slots__ = ("header", "left", "level", "message")

    def __init__(self, header: bytes, level: Level, left: int) -> None:
        self.header = header
        #: Empty once a part of the message has become an event.
        self.level = level
        self.left = left
        self.message = bytearray()


class LogEvents:
    """One stream's events; `framed` says whether there may be frames in it."""

    __slots__ = ("_begun", "_frame", "_framed", "_lines", "_was_spared")

    def __init__(self, *, framed: bool = False) -> None:
        self._framed = framed
        self._lines = Lines()
        self._begun = b""
        #: What may become a header.
        self._frame: _Frame | None = None
        self._was_spared = False

    def feed(self, data: bytes) -> list[LogEvent]:
        """The events that `data` completes. A line that a frame interrupts goes on behind it."""
        if not self._framed or not (self._frame or self._begun or _MAGIC[0] in data):
            return _plain(self._lines.feed(data))
        events: list[LogEvent] = []
        rest, self._begun = self._begun + data, b""
        while rest:
            rest = self._seek(rest, events) if self._frame is None else self._fill(self._frame, rest, events)
        if self._frame is None and not self._begun:
            self._was_spared = False
        return events

    def flush(self, *, final: bool = True) -> list[LogEvent]:
        """The line without an end, and what has come of a frame.

        Unless this is the final flush, a frame is spared once: its writer may be at it just now.
        """
        broken = b""
        if self._frame or self._begun:
            if final or self._was_spared:
                broken = self._give_up()
            self._was_spared = not final and not broken
        return _plain([*self._lines.feed(broken), *self._lines.flush()])

    def _seek(self, data: bytes, events: list[LogEvent]) -> bytes:
        """Take the text before the next header, and that; what is left."""
        start = _header_in(data)
        if start:
            events += _plain(self._lines.feed(data[:start]))
        message = start + _HEADER.size
        if message > len(data):
            self._begun = data[start:]
            return b""
        kind, length, _ = _HEADER.unpack_from(data, start)
        end = message + length
        if end <= len(data) and length <= MAX_LINE:  # as nearly all are
            text = data[message:end]
            events.append((text if text.endswith(b"\n") else text + b"\n", _LEVELS[kind]))
            return data[end:]
        self._frame = _Frame(data[start:message], _LEVELS[kind], length)
        return self._fill(self._frame, data[message:], events)

    def _fill(self, frame: _Frame, data: bytes, events: list[LogEvent]) -> bytes:
        """Take the frame's part; what is left."""
        message = frame.message
        message += data[: frame.left]
        rest = data[frame.left :]
        frame.left -= len(data) - len(rest)
        while len(message) > MAX_LINE + 1:  # a line end comes on top
            events.append((bytes(message[:MAX_LINE]), frame.level))
            del message[:MAX_LINE]
            frame.header = b""
        if not frame.left:
            self._frame = None
            text = message.removesuffix(b"\n")
            if len(text) > MAX_LINE:
                events.append((bytes(text[:MAX_LINE]), frame.level))
                del text[:MAX_LINE]
            events.append((bytes(text) + b"\n", frame.level))
        return rest

    def _give_up(self) -> bytes:
        """All that has come of a frame, and is text now."""
        frame, begun = self._frame, self._begun
        self._frame, self._begun = None, b""
        return frame.header + frame.message if frame else begun


def _plain(lines: Iterable[bytes]) -> list[LogEvent]:
    return [(line, Level.INFO) for line in lines]


def _header_in(data: bytes) -> int:
    """Where the next header begins, or what may become one; the end of the data if nowhere."""
    start = data.find(_MAGIC)
    while start >= 0:
        if _may_begin(data[start : start + _HEADER.size]):
            return start
        start = data.find(_MAGIC, start + 1)
    for length in (2, 1):
        if data.endswith(_MAGIC[:length]):
            return len(data) - length
    return len(data)


def _may_begin(data: bytes) -> bool:
    """Whether a header begins so; the magic number does."""
    if len(data) > len(_MAGIC) and int.from_bytes(data[:4], "big") not in _LEVELS:
        return False
    return len(data) < 8 or int.from_bytes(data[4:8], "big") <= MAX_MESSAGE
