"""The two log formats: how platform records become log events, and which events are kept. Pure.

Text is for people: most records have a line, and no level drops anything. JSON has one document for each event, a
threshold for the platform's (the system log level) and one for the function's (the application log level). Which of a
function's lines are JSON is the runtime client's doing; here they are only measured against the threshold.
"""

from enum import IntEnum

import orjson

from rapid.platform_events import Document, Identity, describe, event
from rapid.records import (
    ON_DEMAND,
    SUCCESS,
    InitReport,
    InitRuntimeDone,
    InitStart,
    LogsDropped,
    Record,
    Report,
    RestoreReport,
    RestoreRuntimeDone,
    RuntimeDone,
)


class Level(IntEnum):
    """Log levels, the least urgent first."""

    TRACE = 0
    DEBUG = 1
    INFO = 2
    WARN = 3
    ERROR = 4
    FATAL = 5
    WARNING = 3
    """Python's name."""
    CRITICAL = 5
    """Python's name."""


class LogFormat:
    """One environment's format."""

    def __init__(
        self,
        identity: Identity,
        *,
        json: bool = False,
        system: Level = Level.INFO,
        application: Level = Level.INFO,
    ) -> None:
        self._identity = identity
        self.json = json
        self._system = system
        self._application = application

    def platform(self, record: Record, now: float, offset: float = 0.0) -> list[bytes]:
        """The events of a record; `now` and `offset` as in `rapid.platform_events.event`."""
        if not self.json:
            text = record.text()
            return text.encode().splitlines(keepends=True) if text else []
        level = _level_of_record(record)
        if level is None or level < self._system:
            return []
        return [orjson.dumps(event(self._identity, record, now, offset)) + b"\n"]

    def describe(self, record: Record, offset: float) -> tuple[str, Document]:
        """A record as the Telemetry API shows it, whatever the log has of it; `offset` as above."""
        return describe(self._identity, record, offset)

    def keeps(self, text: bytes, level: Level = Level.INFO) -> bool:
        """Whether an event of the function is logged. `level` is that of one whose text says none that is valid."""
        if not self.json:
            return True
        return _level_of_line(text, level) >= self._application


def _level_of_record(record: Record) -> Level | None:
    """AWS's mapping of events to levels; None for what no log has."""
    match record:
        case LogsDropped():
            return None
        case InitStart(runtime_version=""):
            return Level.DEBUG
        case InitRuntimeDone() | RuntimeDone():
            return Level.DEBUG if record.status == SUCCESS else Level.WARN
        case InitReport():
            went_well = Level.DEBUG if record.initialization_type == ON_DEMAND else Level.INFO
            return went_well if record.status == SUCCESS else Level.WARN
        case Report() | RestoreReport() | RestoreRuntimeDone():
            return Level.INFO if record.status == SUCCESS else Level.WARN
        case _:
            return Level.INFO


def _level_of_line(line: bytes, otherwise: Level) -> Level:
    if not line.startswith(b"{"):
        return otherwise
    try:
        document = orjson.loads(line)
        return Level[str(document.get("level", document.get("log_level"))).upper()]
    except (orjson.JSONDecodeError, KeyError):
        return otherwise
