"""What subscribers to telemetry hear, as the events that they get: JSON, ready to be sent. Pure.

The Telemetry API gets the documents of platform records as they are. The Logs API gets them in its older shape: `end`
and `fault` events beside `report`, fewer members. Lines are the same in both.
"""

from dataclasses import dataclass

import orjson

from rapid.platform_events import Document, timestamp
from rapid.subscriptions import LIMITS, WITH_RUNTIME_DONE, Api, Subscription

PLATFORM, FUNCTION, EXTENSION = "platform", "function", "extension"

LONGEST = LIMITS["maxBytes"][0]
"""Bytes of a line as JSON that one event carries. No batch is then longer than twice its `maxBytes`, and metadata: a line
that grows beyond this by being written as JSON is told in several events."""

LOGS_STATUS = {"success": "success", "timeout": "timeout"}
"""Of a finished invocation; everything else is a failure to the Logs API."""


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that subscribers may want to hear of. `now` in seconds of the Unix epoch."""

    now: float
    kind: str
    """`function`, `extension`, or the full type of a platform event."""
    content: bytes | Document
    """A line as it was written, or a platform event's record."""

    @property
    def type(self) -> str:
        """The type that one subscribes to."""
        return self.kind if isinstance(self.content, bytes) else PLATFORM

    @property
    def size(self) -> int:
        """Roughly the bytes that it occupies."""
        return 128 + (len(self.content) if isinstance(self.content, bytes) else 512)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How events are told to a subscriber."""

    api: Api = Api.TELEMETRY
    version: str = ""

    @classmethod
    def of(cls, subscription: Subscription) -> "Dialect":
        """Versions of the Telemetry API do not differ in what is told."""
        return cls(subscription.api, subscription.version if subscription.api is Api.LOGS else "")


def events(happening: Happening, dialect: Dialect, *, json: bool) -> list[bytes]:
    """The events that tell of it. `json`: lines that are JSON objects are told as such."""
    if isinstance(happening.content, bytes):
        head = _head(happening.now, happening.kind)
        return [head + record + b"}" for record in _records(happening.content, json=json)]
    if dialect.api is Api.LOGS:
        told = logs_records(happening.kind, happening.content, dialect.version)
    else:
        told = [] if happening.kind == "platform.logsSubscription" else [(happening.kind, happening.content)]
    return [_head(happening.now, kind) + orjson.dumps(record) + b"}" for kind, record in told]


def dropped(now: float, records: int, size: int, reason: str) -> Happening:
    """Events did not reach a subscriber."""
    content = {"droppedBytes": size, "droppedRecords": records, "reason": reason}
    return Happening(now, "platform.logsDropped", content)


def logs_records(kind: str, record: Document, version: str) -> list[tuple[str, Document | str]]:
    """A platform event of the Telemetry API as those of the Logs API, none for most that are about initialisations."""
    match kind:
        case "platform.start":
            return [(kind, _only(record, "requestId", "version"))]
        case "platform.runtimeDone" if version == WITH_RUNTIME_DONE:
            status = LOGS_STATUS.get(record["status"], "failure")
            return [(kind, {"requestId": record["requestId"], "status": status})]
        case "platform.report":
            end = ("platform.end", _only(record, "requestId"))
            return [*_fault(record), end, (kind, _only(record, "requestId", "metrics"))]
        case "platform.extension":
            return [(kind, _only(record, "name", "state", "events"))]
        case "platform.logsSubscription" | "platform.logsDropped":
            return [(kind, record)]
    return []


def _fault(report: Document) -> list[tuple[str, str]]:
    if report["status"] not in ("error", "timeout"):
        return []
    text = f"RequestId: {report['requestId']} Status: {report['status']}"
    if "errorType" in report:
        text += f"\tErrorType: {report['errorType']}"
    return [("platform.fault", text)]


def _only(record: Document, *names: str) -> Document:
    return {name: record[name] for name in names if name in record}


def _records(line: bytes, *, json: bool) -> list[bytes]:
    """A line as JSON: itself if it is an object, else a text, in as many parts as its length requires."""
    if json and line.startswith(b"{") and len(line) <= LONGEST + 1 and _is_json(line):
        return [line.rstrip(b"\n").replace(b"\n", b" ")]  # in an object a line end is space like any other
    return _parts(line.decode(errors="replace"))


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _parts(text: str) -> list[bytes]:
    part = orjson.dumps(text)
    if len(part) <= LONGEST + len('""'):
        return [part]
    half = len(text) // 2
    return _parts(text[:half]) + _parts(text[half:])


def _head(now: float, kind: str) -> bytes:
    return f'{{"time":"{timestamp(now)}","type":"{kind}","record":'.encode()
