"""What extensions of integration tests use to hear telemetry, as a module for a layer, and how tests read what they heard.

Extensions keep every event as a line of a file in `/tmp`; the function of such a test gives the files back.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

HEARING = """
import http.client, http.server, json, os, socketserver, threading

ALL = ["platform", "function", "extension"]


class Ear:
    # Listens on a port of its own, subscribes to it, and keeps what it hears.
    def __init__(self, name, tcp=False):
        self.name = name
        self.tcp = tcp
        self.changed = threading.Condition()
        self.done = set()
        self.kept = open(f"/tmp/heard-{name}", "a")
        self.server = (_Lines if tcp else _Server)(("sandbox.localdomain", 0), _LineTalk if tcp else _Talk)
        self.server.ear = self
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.port = self.server.server_address[1]
        self.api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
        self.headers = {"Lambda-Extension-Name": name}

    def call(self, method, path, document=None):
        # Status and document.
        body = None if document is None else json.dumps(document)
        self.api.request(method, path, body, self.headers)
        answer = self.api.getresponse()
        if "Lambda-Extension-Identifier" in answer.headers:
            self.headers["Lambda-Extension-Identifier"] = answer.headers["Lambda-Extension-Identifier"]
        return answer.status, json.loads(answer.read())

    def register(self, *events):
        assert self.call("POST", "/2020-01-01/extension/register", {"events": events})[0] == 200

    def subscribe(self, path="/2022-07-01/telemetry", version="2022-07-01", **members):
        destination = {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{self.port}/telemetry"}
        if self.tcp:
            destination = {"protocol": "TCP", "port": self.port}
        body = {"schemaVersion": version, "types": ALL, "destination": destination, "buffering": {"timeoutMs": 25}}
        return self.call("PUT", path, {**body, **members})

    def next(self):
        return self.call("GET", "/2020-01-01/extension/event/next")[1]

    def note(self, what, value):
        # Something of its own, beside what it hears.
        self.hear([{"time": "", "type": what, "record": value}])

    def hear(self, events):
        with self.changed:
            for event in events:
                print(json.dumps(event), file=self.kept, flush=True)
                if event["type"] == "platform.runtimeDone":
                    self.done.add(event["record"]["requestId"])
            self.changed.notify_all()

    def await_done(self, event):
        # The usual way of an extension: until the runtime is done with the invocation.
        with self.changed:
            self.changed.wait_for(lambda: event["requestId"] in self.done)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


class _Talk(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        assert self.headers["Content-Type"] == "application/json"
        assert self.headers["Host"] == f"sandbox.localdomain:{self.server.ear.port}"
        assert self.path == "/telemetry"
        self.server.ear.hear(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


class _Lines(socketserver.ThreadingTCPServer):
    daemon_threads = True


class _LineTalk(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.server.ear.hear([json.loads(line)])
"""

PART = 1 << 20
"""Characters of a file that one invocation gives back."""

HANDLER = """
import os

print("static line", flush=True)

def handler(event, context):
    if "read" in event:
        with open("/tmp/heard-" + event["read"]) as kept:
            kept.seek(event["at"])
            return {"text": kept.read({PART}), "at": kept.tell()}
    if event.get("do") == "exit":
        print("about to exit", flush=True)
        os._exit(1)
    if event.get("do") == "raise":
        raise ValueError("on purpose")
    print("handling", context.aws_request_id, flush=True)
    return {}
""".replace("{PART}", str(PART))


def heard(invoke: Callable[[Any], Any], name: str) -> list[dict[str, Any]]:
    """All events that an extension has kept, and its own notes."""
    text, at = "", 0
    while True:
        part = invoke({"read": name, "at": at}).payload
        text += part["text"]
        at = part["at"]
        if len(part["text"]) < PART:  # each reading makes more to be read
            return [json.loads(line) for line in text.splitlines()]


REQUIRED: Mapping[str, Mapping[str, type]] = {
    "platform.initStart": {"initializationType": str, "phase": str},
    "platform.initRuntimeDone": {"initializationType": str, "status": str},
    "platform.initReport": {"initializationType": str, "phase": str, "metrics": dict},
    "platform.start": {"requestId": str},
    "platform.runtimeDone": {"requestId": str, "status": str},
    "platform.report": {"requestId": str, "status": str, "metrics": dict},
    "platform.extension": {"name": str, "state": str, "events": list},
    "platform.telemetrySubscription": {"name": str, "state": str, "types": list},
}
OPTIONAL: Mapping[str, Mapping[str, type]] = {
    "platform.initStart": {
        **dict.fromkeys(("runtimeVersion", "runtimeVersionArn", "functionName", "functionVersion", "instanceId"), str),
        "instanceMaxMemory": int,
    },
    "platform.initRuntimeDone": {"phase": str, "errorType": str, "spans": list},
    "platform.initReport": {"status": str, "errorType": str, "spans": list},
    "platform.start": {"version": str, "functionArn": str, "tracing": dict},
    "platform.runtimeDone": {"errorType": str, "metrics": dict, "spans": list, "tracing": dict},
    "platform.report": {"errorType": str, "spans": list, "tracing": dict},
    "platform.extension": {"errorType": str},
    "platform.telemetrySubscription": {},
}  # fmt: skip
METRICS: Mapping[str, Mapping[str, type]] = {
    "platform.initReport": {"durationMs": float},
    "platform.runtimeDone": {"durationMs": float, "producedBytes": int},
    "platform.report": {
        "durationMs": float,
        "billedDurationMs": int,
        "memorySizeMB": int,
        "maxMemoryUsedMB": int,
        "initDurationMs": float,
    },
}


def schema_violations(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is not as AWS's event schema reference has it."""
    return [f"{wrong}: {event}" for event in events for wrong in _wrong(event)]


def _wrong(event: Mapping[str, Any]) -> list[str]:
    kind, record = event["type"], event["record"]
    if list(event) != ["time", "type", "record"] or len(event["time"]) != len("2022-10-12T00:00:15.064Z"):
        return ["envelope"]
    if kind in ("function", "extension"):
        return [] if isinstance(record, str) and record.endswith("\n") else ["line"]
    if kind not in REQUIRED:
        return ["type"]
    required, known = REQUIRED[kind], {**REQUIRED[kind], **OPTIONAL[kind]}
    wrong = [f"{name} is missing" for name in required if name not in record]
    wrong += [f"{name} is unknown" for name in record if name not in known]
    wrong += [
        f"{name} is no {known[name]}"
        for name in record
        if name in known and not _is(record[name], known[name])
    ]
    metrics = METRICS.get(kind, {})
    for name, value in record.get("metrics", {}).items():
        wrong += [] if name in metrics and _is(value, metrics[name]) else [f"metric {name}"]
    for span in record.get("spans", []):
        wrong += [] if list(span) == ["name", "start", "durationMs"] else ["span"]
    return wrong


def _is(value: object, kind: type) -> bool:
    return isinstance(value, (int, float) if kind is float else kind)


def order_violations(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """Invocations of which something does not come when it should: start, lines, runtimeDone, report, times rising."""
    wrong, request, stage = [], None, ""
    for event in events:
        kind, record = event["type"], event["record"]
        if kind == "platform.start":
            wrong += [] if stage in ("", "report") else [f"start after {stage}"]
            request, stage = record["requestId"], "start"
        elif kind in ("platform.runtimeDone", "platform.report"):
            after = {"platform.runtimeDone": "start", "platform.report": "runtimeDone"}[kind]
            wrong += (
                []
                if (stage, request) == (after, record["requestId"])
                else [f"{kind} after {stage} of {request}"]
            )
            stage = kind.removeprefix("platform.")
        elif kind == "function" and record.startswith("handling"):
            wrong += (
                [] if (stage, f"handling {request}\n") == ("start", record) else [f"{record} after {stage}"]
            )
        elif kind == "extension" and record.startswith("saw"):
            here = stage in ("start", "runtimeDone") and record == f"saw {request}\n"
            wrong += [] if here else [f"{record} after {stage} of {request}"]
    times = [event["time"] for event in events]
    return wrong + ([] if times == sorted(times) else ["time runs back"])
