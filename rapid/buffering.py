"""From the bytes that processes write to the lines of a log. Pure."""

MAX_LINE = 256 * 1024
"""Bytes of one log event; longer lines are cut into several (CloudWatch Logs' event size)."""

TAIL = 4096
"""Bytes of an invocation's log that `LogType=Tail` gives."""


class Lines:
    """Cuts one stream into lines, line ends kept; `flush` gives what has none yet."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes."""
        *whole, rest = (self._rest + data).split(b"\n")  # not splitlines: "\r" joins the lines of one event
        lines: list[bytes] = []
        for line in whole:
            lines += _pieces(line)
            lines[-1] += b"\n"
        *cut, self._rest = _pieces(rest)
        return lines + cut

    def flush(self) -> list[bytes]:
        """What has been fed since the last line end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


def _pieces(line: bytes) -> list[bytes]:
    """The line, cut where it is too long; at least one piece."""
    if len(line) <= MAX_LINE:
        return [line]
    return [line[start : start + MAX_LINE] for start in range(0, len(line), MAX_LINE)]


class Tail:
    """The last bytes of a log, in bounded memory."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept = bytearray()

    def add(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > 2 * TAIL:
            del self._kept[:-TAIL]

    def content(self) -> bytes:
        """The last 4 KB."""
        return bytes(self._kept[-TAIL:])
