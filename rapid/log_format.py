"""The two log formats: how platform records become log events, and which events are kept. Pure.

Text is for people: every record has its line, and no level drops anything. JSON has one document for each event, a
threshold for the platform's (the system log level) and one for the function's (the application log level). Which of a
function's lines are JSON is the runtime client's doing; here they are only measured against the threshold.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

import orjson

from rapid.records import ExtensionReady, InitReport, InitStart, Record, Report, Start


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What documents say about the environment. `memory_size` in MB."""

    function: str
    version: str
    instance: str
    """The environment's log stream."""
    memory_size: int
    initialization_type: str = "on-demand"


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
        self._json = json
        self._system = system
        self._application = application

    def platform(self, record: Record, now: float) -> list[bytes]:
        """The events of a record; `now` in seconds of the Unix epoch."""
        if not self._json:
            return record.text().encode().splitlines(keepends=True)
        kind, level, document = self._document(record)
        if level < self._system:
            return []
        return [orjson.dumps({"time": _timestamp(now), "type": kind, "record": document}) + b"\n"]

    def keeps(self, event: bytes, level: Level = Level.INFO) -> bool:
        """Whether an event of the function is logged. `level` is that of an event whose text says none that is valid."""
        if not self._json:
            return True
        return _level_of(event, level) >= self._application

    def _document(self, record: Record) -> tuple[str, Level, Mapping[str, Any]]:
        match record:
            case InitStart():
                return "platform.initStart", Level.INFO, self._init_start(record)
            case InitReport():
                return "platform.initReport", Level.WARN, self._init_report(record)
            case Start():
                start = {"requestId": record.request_id, "functionArn": record.arn, "version": record.version}
                return "platform.start", Level.INFO, start
            case ExtensionReady():
                return "platform.extension", Level.INFO, _extension(record)
            case Report():
                level = Level.INFO if record.status == "success" else Level.WARN
                return "platform.report", level, _report(record)

    def _init_start(self, record: InitStart) -> Mapping[str, Any]:
        return {
            "initializationType": self._identity.initialization_type,
            "phase": "init",
            "runtimeVersion": record.runtime_version,
            "runtimeVersionArn": record.runtime_version_arn,
            "functionName": self._identity.function,
            "functionVersion": self._identity.version,
            "instanceId": self._identity.instance,
            "instanceMaxMemory": self._identity.memory_size << 20,
        }

    def _init_report(self, record: InitReport) -> Mapping[str, Any]:
        return {
            "initializationType": self._identity.initialization_type,
            "phase": record.phase,
            "status": record.status,
            **_error_type(record.status, record.error_type),
            "metrics": {"durationMs": _ms(record.duration)},
        }


def _extension(record: ExtensionReady) -> Mapping[str, Any]:
    return {"name": record.name, "state": "Ready", "events": list(record.events)}


def _report(record: Report) -> Mapping[str, Any]:
    metrics: dict[str, Any] = {
        "durationMs": _ms(record.duration),
        "billedDurationMs": record.billed_ms,
        "memorySizeMB": record.memory_size,
        "maxMemoryUsedMB": record.memory_used,
    }
    if record.init_duration is not None:
        metrics["initDurationMs"] = _ms(record.init_duration)
    return {
        "requestId": record.request_id,
        "metrics": metrics,
        "status": record.status,
        **_error_type(record.status, record.error_type),
    }


def _error_type(status: str, error_type: str | None) -> Mapping[str, str]:
    return {"errorType": error_type} if status == "error" and error_type else {}


def _level_of(line: bytes, otherwise: Level) -> Level:
    if not line.startswith(b"{"):
        return otherwise
    try:
        document = orjson.loads(line)
        return Level[str(document.get("level", document.get("log_level"))).upper()]
    except (orjson.JSONDecodeError, KeyError):
        return otherwise


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _timestamp(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
