"""The documents of platform events, member by member as AWS's event schema has them."""

from typing import Any

import pytest

from rapid.platform_events import Identity, describe, event
from rapid.records import (
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

IDENTITY = Identity(function="fn", version="7", instance="2026/10/01/[7]0123", memory_size=256)
INSTANCE = {
    "functionName": "fn",
    "functionVersion": "7",
    "instanceId": "2026/10/01/[7]0123",
    "instanceMaxMemory": 268435456,
}
OFFSET = 1_790_000_000.0
TRACE = "Root=1-00000000-000000000000000000000001;Parent=0000000000000001;Sampled=1"
TRACING = {"type": "X-Amzn-Trace-Id", "value": TRACE}

CASES: list[tuple[Record, str, dict[str, Any]]] = [
    (
        InitStart("python:3.13.v1", "arn:runtime", phase="invoke"),
        "platform.initStart",
        {
            "initializationType": "on-demand",
            "phase": "invoke",
            "runtimeVersion": "python:3.13.v1",
            "runtimeVersionArn": "arn:runtime",
            **INSTANCE,
        },
    ),
    (
        InitRuntimeDone("init", "success"),
        "platform.initRuntimeDone",
        {"initializationType": "on-demand", "phase": "init", "status": "success"},
    ),
    (
        InitRuntimeDone("init", "error", "Runtime.ExitError", "snap-start"),
        "platform.initRuntimeDone",
        {
            "initializationType": "snap-start",
            "phase": "init",
            "status": "error",
            "errorType": "Runtime.ExitError",
        },
    ),
    (
        InitReport(0.1534, "init", "success"),
        "platform.initReport",
        {
            "initializationType": "on-demand",
            "phase": "init",
            "status": "success",
            "metrics": {"durationMs": 153.4},
        },
    ),
    (
        InitReport(10, "init", "timeout", "Sandbox.Timedout"),
        "platform.initReport",
        {
            "initializationType": "on-demand",
            "phase": "init",
            "status": "timeout",
            "metrics": {"durationMs": 10000.0},
        },
    ),
    (
        RestoreStart("python:3.13.v1", "arn:runtime"),
        "platform.restoreStart",
        {"runtimeVersion": "python:3.13.v1", "runtimeVersionArn": "arn:runtime", **INSTANCE},
    ),
    (RestoreRuntimeDone("success"), "platform.restoreRuntimeDone", {"status": "success"}),
    (
        RestoreReport(0.5, "error", "Runtime.AfterRestoreError"),
        "platform.restoreReport",
        {"status": "error", "errorType": "Runtime.AfterRestoreError", "metrics": {"durationMs": 500.0}},
    ),
    (
        Start("id", "7", "arn:fn", TRACE, "blue"),
        "platform.start",
        {"requestId": "id", "functionArn": "arn:fn", "version": "7", "tenantId": "blue", "tracing": TRACING},
    ),
    (
        Start("id", "7", trace_id=TRACE.replace("=1;", "=0;").replace("Sampled=1", "Sampled=0")),
        "platform.start",
        {"requestId": "id", "version": "7"},
    ),
    (
        RuntimeDone("id", "success", None, 0.2, 5, (Span("responseLatency", 1.25, 0.1),), TRACE),
        "platform.runtimeDone",
        {
            "requestId": "id",
            "status": "success",
            "metrics": {"durationMs": 200.0, "producedBytes": 5},
            "spans": [{"name": "responseLatency", "start": "2026-09-21T14:13:21.250Z", "durationMs": 100.0}],
            "tracing": TRACING,
        },
    ),
    (
        RuntimeDone("id", "timeout", "Sandbox.Timedout", 3),
        "platform.runtimeDone",
        {"requestId": "id", "status": "timeout", "metrics": {"durationMs": 3000.0}},
    ),
    (
        Report("id", 1, None, 256, 93 << 20, restore_duration=0.25, tenant_id="blue"),
        "platform.report",
        {
            "requestId": "id",
            "metrics": {
                "durationMs": 1000.0,
                "billedDurationMs": 1000,
                "memorySizeMB": 256,
                "maxMemoryUsedMB": 93,
                "restoreDurationMs": 250.0,
                "billedRestoreDurationMs": 250,
            },
            "status": "success",
            "tenantId": "blue",
        },
    ),
    (
        Report("id", 1, 0.5, 256, 1, "failure", "Function.Unknown", spans=(Span("extensionOverhead", 0, 1),)),
        "platform.report",
        {
            "requestId": "id",
            "metrics": {
                "durationMs": 1000.0,
                "billedDurationMs": 1500,
                "memorySizeMB": 256,
                "maxMemoryUsedMB": 1,
                "initDurationMs": 500.0,
            },
            "status": "failure",
            "errorType": "Function.Unknown",
            "spans": [
                {"name": "extensionOverhead", "start": "2026-09-21T14:13:20.000Z", "durationMs": 1000.0}
            ],
        },
    ),
    (
        ExtensionStatus("watch", "Ready", ("INVOKE",)),
        "platform.extension",
        {"name": "watch", "state": "Ready", "events": ["INVOKE"]},
    ),
    (
        ExtensionStatus("watch", "Exited", (), "Extension.Crash"),
        "platform.extension",
        {"name": "watch", "state": "Exited", "events": [], "errorType": "Extension.Crash"},
    ),
    (
        Subscribed("watch", ("platform", "function")),
        "platform.telemetrySubscription",
        {"name": "watch", "state": "Subscribed", "types": ["platform", "function"]},
    ),
    (
        Subscribed("watch", ("function",), is_logs=True),
        "platform.logsSubscription",
        {"name": "watch", "state": "Subscribed", "types": ["function"]},
    ),
    (
        LogsDropped(100, 3, "too slow"),
        "platform.logsDropped",
        {"droppedBytes": 100, "droppedRecords": 3, "reason": "too slow"},
    ),
]


@pytest.mark.parametrize(("record", "kind", "document"), CASES, ids=[kind for _, kind, _ in CASES])
def test_documents(record: Record, kind: str, document: dict[str, Any]) -> None:
    """Nothing is null, nothing is missing, and the members come in the schema's order."""
    told = describe(IDENTITY, record, OFFSET)
    assert told == (kind, document)
    assert list(told[1]) == list(document)


def test_every_record_has_one() -> None:
    """The cases above leave no kind of record out."""
    assert {type(record) for record, _, _ in CASES} == set(Record.__args__)


def test_the_envelope() -> None:
    """Time, type, record."""
    assert event(IDENTITY, RestoreRuntimeDone("success"), OFFSET + 0.1239, OFFSET) == {
        "time": "2026-09-21T14:13:20.123Z",
        "type": "platform.restoreRuntimeDone",
        "record": {"status": "success"},
    }
