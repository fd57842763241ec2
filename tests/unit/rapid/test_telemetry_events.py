"""Events as subscribers get them: lines, platform records, and their older shape for the Logs API."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapid.subscriptions import Api, Buffering, Subscription, TcpDestination
from rapid.telemetry_events import LONGEST, Dialect, Happening, dropped, events, logs_records

NOW = 1600000000.1239
TIME = "2020-09-13T12:26:40.123Z"
TELEMETRY = Dialect()
LOGS = Dialect(Api.LOGS, "2020-08-15")
LATER_LOGS = Dialect(Api.LOGS, "2021-03-18")
METRICS = {"durationMs": 101.51, "billedDurationMs": 102, "memorySizeMB": 512, "maxMemoryUsedMB": 33}


def told(content: Any, kind: str = "function", dialect: Dialect = TELEMETRY, *, as_json: bool = False) -> Any:
    """What a subscriber reads."""
    found = [json.loads(event) for event in events(Happening(NOW, kind, content), dialect, json=as_json)]
    assert all(list(event) == ["time", "type", "record"] and event["time"] == TIME for event in found)
    return [(event["type"], event["record"]) for event in found]


class TestLines:
    def test_a_text(self) -> None:
        """A line is told as it was written, its end included, by type of its writer."""
        assert told(b"hello \xc3\xbc\n") == [("function", "hello ü\n")]
        assert told(b"hello", "extension", LOGS) == [("extension", "hello")]
        assert told(b"\xff\0\x1b[1m\n") == [("function", "\ufffd\0\x1b[1m\n")]

    def test_json_in_the_json_format(self) -> None:
        """An object is told as an object, to the letter; whatever else a line is, as a text."""
        line = b'{"level": "INFO", "big": 123456789012345678901234567890, "a": 1.0}\n'
        [event] = events(Happening(NOW, "function", line), TELEMETRY, json=True)
        assert line.strip() in event
        assert b"\n" not in event
        for other in (
            b"[1]\n",
            b"5\n",
            b"{broken\n",
            b'{"a":NaN}\n',
            b'{"a":"\xff"}\n',
            b"{} {}\n",
            b"text\n",
        ):
            assert told(other, as_json=True) == [("function", other.decode(errors="replace"))]

    def test_json_of_several_lines(self) -> None:
        """An event of the runtime client's may have line ends in it; what is told has none."""
        [event] = events(Happening(NOW, "function", b'{\n  "a":\n [1, 2]\n}\n'), TELEMETRY, json=True)
        assert b"\n" not in event
        assert json.loads(event)["record"] == {"a": [1, 2]}

    def test_an_object_that_is_too_long(self) -> None:
        """It is told as a text in parts: no event is longer than a batch may be."""
        line = b'{"a":"' + b"x" * LONGEST + b'"}'
        parts = told(line, as_json=True)
        assert "".join(record for _, record in parts) == line.decode()

    def test_json_in_the_text_format(self) -> None:
        """There it is a text like any other."""
        assert told(b'{"a":1}\n') == [("function", '{"a":1}\n')]

    @pytest.mark.parametrize("letter", [b"a", b"\0", b"\xff", b'"'])
    def test_long_ones(self, letter: bytes) -> None:
        """None is longer than a batch may be; what grows beyond that is told in parts, in order and whole."""
        line = letter * (LONGEST - 1) + b"\n"
        happening = Happening(NOW, "function", line)
        parts = events(happening, TELEMETRY, json=False)
        assert all(len(part) <= LONGEST + 100 for part in parts)
        assert "".join(json.loads(part)["record"] for part in parts) == line.decode(errors="replace")

    def test_the_longest_that_is_one(self) -> None:
        """A line that just fits is not cut."""
        assert len(told(b"a" * LONGEST)) == 1
        assert len(told(b"a" * (LONGEST + 1))) == 2


@given(st.binary(max_size=300), st.booleans())
def test_any_line(line: bytes, as_json: bool) -> None:
    """Whatever a function writes, each event is one line of valid JSON."""
    for event in events(Happening(NOW, "function", line), TELEMETRY, json=as_json):
        assert b"\n" not in event
        assert json.loads(event)["type"] == "function"


class TestTheTelemetryApi:
    def test_records_as_they_are(self) -> None:
        """Nothing is added or left out."""
        record = {"requestId": "r1", "status": "success", "metrics": METRICS, "spans": [{"name": "x"}]}
        assert told(record, "platform.report") == [("platform.report", record)]

    def test_the_other_api_s_subscriptions(self) -> None:
        """Each API tells of its own."""
        record = {"name": "x", "state": "Subscribed", "types": ["platform"]}
        assert told(record, "platform.logsSubscription") == []
        assert told(record, "platform.telemetrySubscription", LOGS) == []
        own = (("platform.telemetrySubscription", TELEMETRY), ("platform.logsSubscription", LOGS))
        for kind, dialect in own:
            assert told(record, kind, dialect) == [(kind, record)]

    def test_versions(self) -> None:
        """They do not differ."""
        destination, buffering = TcpDestination(80), Buffering()
        for version in ("2022-07-01", "2022-12-13"):
            subscription = Subscription(Api.TELEMETRY, version, ("platform",), destination, buffering)
            assert Dialect.of(subscription) == TELEMETRY
        logs = Subscription(Api.LOGS, "2021-03-18", ("platform",), destination, buffering)
        assert Dialect.of(logs) == LATER_LOGS


class TestTheLogsApi:
    def test_an_invocation(self) -> None:
        """It begins, ends and is reported on."""
        start = {"requestId": "r1", "functionArn": "arn", "version": "$LATEST", "tracing": {}}
        short = {"requestId": "r1", "version": "$LATEST"}
        assert told(start, "platform.start", LOGS) == [("platform.start", short)]
        assert told({"requestId": "r1"}, "platform.start", LOGS) == [("platform.start", {"requestId": "r1"})]
        report = {"requestId": "r1", "metrics": METRICS, "status": "success", "spans": []}
        assert told(report, "platform.report", LOGS) == [
            ("platform.end", {"requestId": "r1"}),
            ("platform.report", {"requestId": "r1", "metrics": METRICS}),
        ]

    @pytest.mark.parametrize(
        ("ending", "text"),
        [
            ({"status": "failure", "errorType": "Runtime.Unknown"}, None),
            ({"status": "timeout"}, "RequestId: r1 Status: timeout"),
            (
                {"status": "error", "errorType": "Runtime.ExitError"},
                "RequestId: r1 Status: error\tErrorType: Runtime.ExitError",
            ),
        ],
    )
    def test_a_fault(self, ending: dict[str, str], text: str | None) -> None:
        """What is not the function's own answer is told before the end."""
        report = {"requestId": "r1", "metrics": METRICS, **ending}
        first, *others = told(report, "platform.report", LOGS)
        assert (first == ("platform.fault", text)) is (text is not None)
        assert len(others) == (2 if text else 1)

    @pytest.mark.parametrize(
        ("status", "shown"),
        [("success", "success"), ("failure", "failure"), ("error", "failure"), ("timeout", "timeout")],
    )
    def test_the_runtime_is_done(self, status: str, shown: str) -> None:
        """Only the later version tells."""
        record = {"requestId": "r1", "status": status, "metrics": {}}
        assert told(record, "platform.runtimeDone", LOGS) == []
        done = ("platform.runtimeDone", {"requestId": "r1", "status": shown})
        assert told(record, "platform.runtimeDone", LATER_LOGS) == [done]

    def test_extensions(self) -> None:
        """Name, state and events."""
        record = {"name": "x", "state": "Ready", "events": ["INVOKE"]}
        assert told(record, "platform.extension", LOGS) == [("platform.extension", record)]

    @pytest.mark.parametrize("kind", ["initStart", "initRuntimeDone", "initReport", "restoreStart"])
    def test_initialisations(self, kind: str) -> None:
        """The older API does not know them."""
        assert logs_records(f"platform.{kind}", {"status": "success"}, "2021-03-18") == []

    @pytest.mark.parametrize("dialect", [TELEMETRY, LOGS, LATER_LOGS])
    def test_dropped_events(self, dialect: Dialect) -> None:
        """Told in all alike."""
        happening = dropped(NOW, 3, 99, "too slow")
        [event] = events(happening, dialect, json=False)
        record = {"droppedBytes": 99, "droppedRecords": 3, "reason": "too slow"}
        assert json.loads(event) == {"time": TIME, "type": "platform.logsDropped", "record": record}
        assert happening.type == "platform"
