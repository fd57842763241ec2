"""Platform records and function lines in both log formats."""

import json
from typing import Any

import pytest

from rapid.log_format import Level, LogFormat
from rapid.platform_events import Identity
from rapid.records import InitReport, InitStart, Record, Report, Start

IDENTITY = Identity(
    function="fn", version="7", instance="2026/10/01/[7]0123456789abcdef0123456789abcdef", memory_size=256
)
NOW = 1790000000.1239
"""2026-09-21T14:13:20.123Z."""
INIT_START = InitStart("python:3.13.v42", "arn:aws:lambda:us-east-1::runtime:ab")
START = Start("id", "7", "arn:aws:lambda:us-east-1:123456789012:function:fn")
REPORT = Report(
    "id", duration=1.23396, init_duration=0.463512, memory_size=256, memory_peak=93 << 20, status="success"
)


def documents(log_format: LogFormat, record: Record) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log_format.platform(record, NOW)]


def test_init_start_of_an_image_is_a_detail() -> None:
    """Without a runtime version it is one of DEBUG, and has no members for it."""
    own = InitStart("", "")
    assert documents(LogFormat(IDENTITY, json=True, system=Level.INFO), own) == []
    [document] = documents(LogFormat(IDENTITY, json=True, system=Level.DEBUG), own)
    assert not {"runtimeVersion", "runtimeVersionArn"} & document["record"].keys()


def test_text_is_the_records_own() -> None:
    """Each line of a record's text is an event, whatever the levels."""
    log_format = LogFormat(IDENTITY, system=Level.FATAL)
    assert log_format.platform(START, NOW) == [START.text().encode()]
    assert b"".join(log_format.platform(REPORT, NOW)) == REPORT.text().encode()
    assert len(log_format.platform(REPORT, NOW)) == 2


def test_text_keeps_every_line() -> None:
    """A function's lines are not measured in the text format."""
    assert LogFormat(IDENTITY, application=Level.FATAL).keeps(b'{"level": "TRACE"}\n')


def test_a_cold_invocation_in_json() -> None:
    """The three documents of a successful cold invocation, member by member."""
    log_format = LogFormat(IDENTITY, json=True)
    [init_start], [start], [report] = (documents(log_format, each) for each in (INIT_START, START, REPORT))
    assert init_start == {
        "time": "2026-09-21T14:13:20.123Z",
        "type": "platform.initStart",
        "record": {
            "initializationType": "on-demand",
            "phase": "init",
            "runtimeVersion": "python:3.13.v42",
            "runtimeVersionArn": "arn:aws:lambda:us-east-1::runtime:ab",
            "functionName": "fn",
            "functionVersion": "7",
            "instanceId": IDENTITY.instance,
            "instanceMaxMemory": 268435456,
        },
    }
    assert start["type"] == "platform.start"
    assert start["record"] == {"requestId": "id", "functionArn": START.arn, "version": "7"}
    assert report["type"] == "platform.report"
    assert report["record"] == {
        "requestId": "id",
        "metrics": {
            "durationMs": 1233.96,
            "billedDurationMs": 1698,
            "memorySizeMB": 256,
            "maxMemoryUsedMB": 93,
            "initDurationMs": 463.512,
        },
        "status": "success",
    }


@pytest.mark.parametrize(
    ("status", "error_type", "shown"),
    [
        ("failure", None, None),
        ("error", "Runtime.ExitError", "Runtime.ExitError"),
        ("timeout", "Sandbox.Timedout", None),
    ],
)
def test_a_report_that_is_no_success(status: str, error_type: str | None, shown: str | None) -> None:
    """It is a warning, with the error type where the status is `error`."""
    record = Report("id", 1, None, 256, 1, status=status, error_type=error_type)
    [document] = documents(LogFormat(IDENTITY, json=True, system=Level.WARN), record)
    assert document["record"]["status"] == status
    assert document["record"].get("errorType") == shown
    assert "initDurationMs" not in document["record"]["metrics"]


def test_a_failed_initialisation() -> None:
    """A warning that names the phase."""
    record = InitReport(0.154, "invoke", "error", "Runtime.ExitError")
    [document] = documents(LogFormat(IDENTITY, json=True, system=Level.WARN), record)
    assert document["type"] == "platform.initReport"
    assert document["record"] == {
        "initializationType": "on-demand",
        "phase": "invoke",
        "status": "error",
        "errorType": "Runtime.ExitError",
        "metrics": {"durationMs": 154.0},
    }


@pytest.mark.parametrize("record", [INIT_START, START, REPORT], ids=lambda record: type(record).__name__)
def test_the_system_log_level(record: Record) -> None:
    """At WARN, what went well is not logged."""
    assert LogFormat(IDENTITY, json=True, system=Level.WARN).platform(record, NOW) == []


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (b'{"level": "DEBUG", "message": "x"}\n', Level.DEBUG),
        (b'{"level": "warn"}\n', Level.WARN),
        (b'{"level": "WARNING"}\n', Level.WARN),
        (b'{"level": "CRITICAL"}\n', Level.FATAL),
        (b'{"log_level": "ERROR", "errorType": "ValueError"}\n', Level.ERROR),
        (b'{"level": "LOUD"}\n', Level.INFO),
        (b'{"level": 3}\n', Level.INFO),
        (b'{"message": "x"}\n', Level.INFO),
        (b'{"level": "DEBUG"\n', Level.INFO),
        (b'["DEBUG"]\n', Level.INFO),
        (b"plain text\n", Level.INFO),
        (b"", Level.INFO),
    ],
)
def test_the_application_log_level(line: bytes, level: Level) -> None:
    """A line is kept from its own level on; one that has none counts as INFO."""
    kept = [each for each in Level if LogFormat(IDENTITY, json=True, application=each).keeps(line)]
    assert max(kept) is level
