"""The journal of an environment: what its processes write and what the platform says of them, in one order.

Everything goes to the log as its format has it, to the tail of the running invocation, and to those who subscribed to
telemetry.
"""

import time
from collections.abc import Callable, Iterable

from rapid.buffering import Tail
from rapid.exchange import clock_offset
from rapid.log_format import LogFormat
from rapid.log_frames import LogEvent, LogEvents
from rapid.records import Record
from rapid.telemetry import Telemetry
from rapid.telemetry_events import EXTENSION, FUNCTION


class Journal:
    """See the module's text. `telemetry` is its owner's to close."""

    def __init__(self, log: Callable[[bytes], None], log_format: LogFormat, telemetry: Telemetry) -> None:
        self._log = log
        self._format = log_format
        self._telemetry = telemetry
        self._output: dict[tuple[int, int], tuple[str, LogEvents]] = {}
        #: By process and stream: whose it is, and what has not made an event yet.
        self.tail: Tail | None = None
        #: Of the running invocation, if there can be only one.
        self.tails: dict[bytes, Tail] = {}
        #: Of many, by request id; each gets the lines that name it.

    def output(self, process: int, stream: int, data: bytes, *, is_extension: bool, framed: bool) -> None:
        """A process wrote; `framed` says whether log events come in frames among it."""
        known = self._output.get((process, stream))
        if known is None:
            kind = EXTENSION if is_extension else FUNCTION
            known = self._output[process, stream] = (kind, LogEvents(framed=framed))
        kind, events = known
        self._take(kind, events.feed(data))

    def flush(self, *, final: bool = True) -> None:
        """What has been written makes events, whether its end has come or not; `final`: it never will."""
        for kind, events in self._output.values():
            self._take(kind, events.flush(final=final))

    def forget(self) -> None:
        """The processes are gone."""
        self.flush()
        self._output.clear()

    def record(self, record: Record) -> None:
        """The platform says something."""
        if self._telemetry.listens:
            kind, document = self._format.describe(record, clock_offset())
            self._telemetry.platform(kind, document, time.time())
        for line in self._format.platform(record, time.time(), clock_offset() if self._format.json else 0.0):
            self._write(line)

    def _take(self, kind: str, events: Iterable[LogEvent]) -> None:
        for text, level in events:
            if self._telemetry.listens:
                self._telemetry.line(kind, text, time.time())
            if self._format.keeps(text, level):
                self._write(text)

    def _write(self, line: bytes) -> None:
        self._log(line)
        if self.tail is not None:
            self.tail.add(line)
        for request_id, tail in self.tails.items():
            if request_id in line:
                tail.add(line)
