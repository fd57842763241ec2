"""Platform records as the documents of the Telemetry API, which are those of the JSON log format too. Pure.

Members and their order as in AWS's event schema reference; what may be absent is left out, never null.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rapid.records import (
    ERROR,
    FAILURE,
    ExtensionStatus,
    InitReport,
    InitRuntimeDone,
    InitStart,
    LogsDropped,
    Record,
    Report,
    RestoreReport,
    RestoreRuntimeDone,
    RestoreStart,
    RuntimeDone,
    Span,
    Start,
    Subscribed,
)

Document = Mapping[str, Any]

TRACE_TYPE = "X-Amzn-Trace-Id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What documents say about the environment. `memory_size` in MB."""

    function: str
    version: str
    instance: str
    """The environment's log stream."""
    memory_size: int


def event(identity: Identity, record: Record, now: float, offset: float) -> dict[str, Any]:
    """A record as a whole event. `now` in seconds of the Unix epoch; `offset` is what the clock of records lacks to it."""
    kind, document = describe(identity, record, offset)
    return {"time": timestamp(now), "type": kind, "record": document}


def describe(identity: Identity, record: Record, offset: float) -> tuple[str, Document]:  # noqa: C901, PLR0911  a table
    """The type of a record's event, and the event's `record`."""
    match record:
        case Start():
            return "platform.start", _start(record)
        case RuntimeDone():
            return "platform.runtimeDone", _runtime_done(record, offset)
        case Report():
            return "platform.report", _report(record, offset)
        case InitStart():
            return "platform.initStart", _init_start(identity, record)
        case InitRuntimeDone():
            return "platform.initRuntimeDone", _init_runtime_done(record)
        case InitReport():
            return "platform.initReport", _init_report(record)
        case RestoreStart():
            return "platform.restoreStart", _restore_start(identity, record)
        case RestoreRuntimeDone():
            return "platform.restoreRuntimeDone", _ending(record.status, record.error_type)
        case RestoreReport():
            metrics = {"durationMs": milliseconds(record.duration)}
            return "platform.restoreReport", {**_ending(record.status, record.error_type), "metrics": metrics}
        case ExtensionStatus():
            return "platform.extension", _extension(record)
        case Subscribed():
            kind = "platform.logsSubscription" if record.is_logs else "platform.telemetrySubscription"
            return kind, {"name": record.name, "state": "Subscribed", "types": list(record.types)}
        case LogsDropped():
            return "platform.logsDropped", {
                "droppedBytes": record.dropped_bytes,
                "droppedRecords": record.dropped_records,
                "reason": record.reason,
            }


def milliseconds(seconds: float) -> float:
    """As documents show durations: to the microsecond."""
    return round(seconds * 1000, 3)


def timestamp(now: float) -> str:
    """Seconds of the Unix epoch as events show them."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _init_start(identity: Identity, record: InitStart) -> Document:
    return {
        "initializationType": record.initialization_type,
        "phase": record.phase,
        **(_runtime(record) if record.runtime_version else {}),
        **_instance(identity),
    }


def _restore_start(identity: Identity, record: RestoreStart) -> Document:
    return {**_runtime(record), **_instance(identity)}


def _runtime(record: InitStart | RestoreStart) -> Document:
    return {"runtimeVersion": record.runtime_version, "runtimeVersionArn": record.runtime_version_arn}


def _instance(identity: Identity) -> Document:
    return {
        "functionName": identity.function,
        "functionVersion": identity.version,
        "instanceId": identity.instance,
        "instanceMaxMemory": identity.memory_size << 20,
    }


def _init_runtime_done(record: InitRuntimeDone) -> Document:
    return {
        "initializationType": record.initialization_type,
        "phase": record.phase,
        **_ending(record.status, record.error_type),
    }


def _init_report(record: InitReport) -> Document:
    return {
        "initializationType": record.initialization_type,
        "phase": record.phase,
        **_ending(record.status, record.error_type),
        "metrics": {"durationMs": milliseconds(record.duration)},
    }


def _start(record: Start) -> Document:
    document: dict[str, Any] = {"requestId": record.request_id}
    if record.arn:
        document["functionArn"] = record.arn
    document["version"] = record.version
    return document | _tenant(record.tenant_id) | _tracing(record.trace_id)


def _runtime_done(record: RuntimeDone, offset: float) -> Document:
    metrics: dict[str, Any] = {"durationMs": milliseconds(record.duration)}
    if record.produced is not None:
        metrics["producedBytes"] = record.produced
    return {
        "requestId": record.request_id,
        **_ending(record.status, record.error_type),
        "metrics": metrics,
        **_spans(record.spans, offset),
        **_tracing(record.trace_id),
    }


def _report(record: Report, offset: float) -> Document:
    metrics: dict[str, Any] = {
        "durationMs": milliseconds(record.duration),
        "billedDurationMs": record.billed_ms,
        "memorySizeMB": record.memory_size,
        "maxMemoryUsedMB": record.memory_used,
    }
    if record.init_duration is not None:
        metrics["initDurationMs"] = milliseconds(record.init_duration)
    if record.restore_duration is not None:
        metrics["restoreDurationMs"] = milliseconds(record.restore_duration)
        metrics["billedRestoreDurationMs"] = record.billed_restore_ms
    return {
        "requestId": record.request_id,
        "metrics": metrics,
        **_ending(record.status, record.error_type),
        **_spans(record.spans, offset),
        **_tenant(record.tenant_id),
        **_tracing(record.trace_id),
    }


def _extension(record: ExtensionStatus) -> Document:
    document: dict[str, Any] = {"name": record.name, "state": record.state, "events": list(record.events)}
    return document | ({"errorType": record.error_type} if record.error_type else {})


def _ending(status: str, error_type: str | None) -> Document:
    """A timeout has no type of its own."""
    shown = error_type if status in (ERROR, FAILURE) else None
    return {"status": status, "errorType": shown} if shown else {"status": status}


def _spans(spans: Sequence[Span], offset: float) -> Document:
    if not spans:
        return {}
    shown = [
        {
            "name": each.name,
            "start": timestamp(each.start + offset),
            "durationMs": milliseconds(each.duration),
        }
        for each in spans
    ]
    return {"spans": shown}


def _tenant(tenant_id: str | None) -> dict[str, Any]:
    return {} if tenant_id is None else {"tenantId": tenant_id}


def _tracing(trace_id: str) -> dict[str, Any]:
    """The trace, where it is sampled; others are nobody's to look up."""
    return {"tracing": {"type": TRACE_TYPE, "value": trace_id}} if "Sampled=1" in trace_id else {}
