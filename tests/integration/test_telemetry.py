"""Telemetry told to extensions as real processes, by both APIs and both protocols."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.helpers.hearing import HANDLER, HEARING, heard, order_violations, schema_violations

START = """\
#!/var/lang/bin/python3
import os, sys
sys.path.insert(0, "/opt/python")
from hearing import Ear
"""
LOOP = """
while True:
    event = ear.next()
    if event["eventType"] == "SHUTDOWN":
        sys.exit()
    print("saw", event["requestId"], flush=True)
    {work}
"""
PATIENT = LOOP.format(work="ear.await_done(event)")


class Function:
    """The function of one test."""

    def __init__(self, berth: Any, name: str, zip_of: Callable[..., bytes]) -> None:
        self.berth = berth
        self.name = name
        self._zip_of = zip_of

    def deploy(self, *, handler: str = HANDLER, options: Any = None, **extensions: str) -> None:
        """Create it with extensions by name, those that hear among them."""
        files = {f"extensions/{each}": START + text for each, text in extensions.items()}
        content = self._zip_of({**files, "python/hearing.py": HEARING}, dict.fromkeys(files, 0o755))
        layer = self.berth.client.publish_layer_version(LayerName=self.name, Content={"ZipFile": content})
        self.berth.deploy(self.name, handler, Layers=[layer["LayerVersionArn"]], **(options or {}))

    def invoke(self, event: Any = None) -> Any:
        return self.berth.invoke(self.name, event)

    def heard(self, name: str) -> list[dict[str, Any]]:
        """What an extension has kept. An invocation's report comes with the next one."""
        self.invoke()
        return heard(self.invoke, name)


@pytest.fixture
def function(berth: Any, name: str, zip_of: Callable[..., bytes]) -> Iterator[Function]:
    given = Function(berth, name, zip_of)
    yield given
    with suppress(berth.client.exceptions.ResourceNotFoundException):
        berth.client.delete_function(FunctionName=name)


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("platform.") for event in events]


def test_a_thousand_invocations(function: Function) -> None:
    """Every event as in AWS's schema, in AWS's order; an extension that waits for the end of each is not disappointed."""
    hearing = (
        'ear = Ear("agent")\near.register("INVOKE", "SHUTDOWN")\nassert ear.subscribe() == (200, "OK")\n'
    )
    function.deploy(agent=hearing + PATIENT)
    times = 1000 if function.berth.spawner == "docker" else 100
    requests = [function.invoke().request_id for _ in range(times)]
    events = function.heard("agent")
    assert schema_violations(events) == []
    assert order_violations(events) == []
    reported = [event["record"]["requestId"] for event in events if event["type"] == "platform.report"]
    assert reported[:times] == requests
    told = Counter(kinds(events))
    assert (told["logsDropped"], told["start"]) == (0, told["runtimeDone"])
    assert [event["record"] for event in events if event["type"] == "extension"][:times] == [
        f"saw {request}\n" for request in requests
    ]
    first = events[: kinds(events).index("start")]
    lines = [event["record"] for event in first if event["type"] == "function"]
    assert lines == ["static line\n"]
    assert [kind for kind in kinds(first) if kind != "function"] == [
        "initStart",
        "telemetrySubscription",
        "extension",
        "initRuntimeDone",
        "initReport",
    ]


def test_lines_on_a_connection(function: Function) -> None:
    """The same by TCP."""
    hearing = 'ear = Ear("agent", tcp=True)\near.register("INVOKE")\nassert ear.subscribe() == (200, "OK")\n'
    function.deploy(agent=hearing + PATIENT)
    requests = [function.invoke().request_id for _ in range(20)]
    events = function.heard("agent")
    assert schema_violations(events) == []
    assert order_violations(events) == []
    assert kinds(events)[:2] == ["initStart", "telemetrySubscription"]
    reported = [event["record"]["requestId"] for event in events if event["type"] == "platform.report"]
    assert reported[:20] == requests


def test_the_logs_api(function: Function) -> None:
    """The older API's events; the later of its versions tells of the runtime."""
    hearing = """
ear = Ear("agent")
ear.register("INVOKE", "SHUTDOWN")
assert ear.subscribe("/2020-08-15/logs", "2021-03-18") == (200, "OK")
"""
    function.deploy(agent=hearing + PATIENT)
    requests = [function.invoke().request_id for _ in range(20)]
    events = function.heard("agent")
    assert kinds(events)[:4] == ["logsSubscription", "function", "extension", "start"]
    for number, request in enumerate(requests):
        start = {"requestId": request, "version": "$LATEST"}
        mine = [event for event in events if request in str(event)]
        told = [(kind, event["record"]) for kind, event in zip(kinds(mine), mine, strict=True)]
        assert ("start", start) in told
        assert ("runtimeDone", {"requestId": request, "status": "success"}) in told
        assert ("end", {"requestId": request}) in told
        [report] = [record for kind, record in told if kind == "report"]
        assert set(report) == {"requestId", "metrics"}
        assert ("initDurationMs" in report["metrics"]) is (number == 0)
        order = [kind for kind, _ in told if kind not in ("function", "extension")]
        assert order == ["start", "runtimeDone", "end", "report"]


def test_faults(function: Function) -> None:
    """What a crash leaves behind is told to those that subscribe next, a fault of it to the older API."""
    hearing = 'ear = Ear("{name}")\near.register("INVOKE", "SHUTDOWN")\n'
    subscribing = 'assert ear.subscribe("/2020-08-15/logs", "2020-08-15")[0] == 200\n'
    function.deploy(
        older=hearing.format(name="older") + subscribing + LOOP.format(work="pass"),
        newer=hearing.format(name="newer") + "assert ear.subscribe()[0] == 200\n" + PATIENT,
    )
    failed = function.invoke({"do": "raise"}).request_id
    crashed = function.invoke({"do": "exit"}).request_id
    function.invoke()
    newer = function.heard("newer")
    assert schema_violations(newer) == []
    endings = {
        (kind, event["record"]["requestId"]): event["record"]
        for kind, event in zip(kinds(newer), newer, strict=True)
        if kind in ("runtimeDone", "report")
    }
    assert endings["runtimeDone", failed]["status"] == endings["report", failed]["status"] == "failure"
    for kind in ("runtimeDone", "report"):
        assert endings[kind, crashed]["status"] == "error"
        assert endings[kind, crashed]["errorType"] == "Runtime.ExitError"
    assert [event["record"]["phase"] for event in newer if event["type"] == "platform.initStart"] == [
        "init",
        "invoke",
    ]
    assert ("function", "about to exit\n") in [(event["type"], event["record"]) for event in newer]
    older = function.heard("older")
    faults = [event["record"] for event in older if event["type"] == "platform.fault"]
    assert faults == [f"RequestId: {crashed} Status: error\tErrorType: Runtime.ExitError"]


def test_refusals(function: Function) -> None:
    """Limits are kept, and after the initialisation it is too late."""
    function.deploy(
        agent="""
ear = Ear("agent")
ear.register("INVOKE")
for buffering in ({"maxItems": 999}, {"timeoutMs": 24}):
    ear.note("limit", ear.subscribe(buffering=buffering))
ear.note("port", ear.subscribe(destination={"protocol": "TCP", "port": 9001}))
ear.subscribe()
ear.note("other", ear.subscribe("/2020-08-15/logs", "2020-08-15"))
ear.next()
ear.note("late", ear.subscribe())
ear.note("late", ear.subscribe("/2020-08-15/logs", "2020-08-15"))
"""
        + LOOP.format(work="pass")
    )
    function.invoke()
    notes = [(event["type"], *event["record"]) for event in function.heard("agent") if not event["time"]]
    assert [(what, status, document["errorType"]) for what, status, document in notes] == [
        ("limit", 400, "ValidationError"),
        ("limit", 400, "ValidationError"),
        ("port", 400, "ValidationError"),
        ("other", 400, "Logs.ValidationError"),
        ("late", 403, "Telemetry.SubscriptionClosed"),
        ("late", 400, "Logs.ValidationError"),
    ]


def test_json_lines(function: Function) -> None:
    """A function that logs in JSON tells its objects as objects."""
    hearing = 'ear = Ear("agent")\near.register("INVOKE")\nassert ear.subscribe() == (200, "OK")\n'
    handler = HANDLER + 'print(\'{"level": "INFO", "message": "an object"}\', flush=True)\n'
    function.deploy(
        agent=hearing + PATIENT, handler=handler, options={"LoggingConfig": {"LogFormat": "JSON"}}
    )
    function.invoke()
    records = [event["record"] for event in function.heard("agent") if event["type"] == "function"]
    assert {"level": "INFO", "message": "an object"} in records
    assert "static line\n" in records


def test_an_internal_subscriber(function: Function) -> None:
    """Code inside the runtime may subscribe too."""
    handler = (
        'import sys, threading\nfrom hearing import Ear\n\near = Ear("inside")\near.register("INVOKE")\n'
        'assert ear.subscribe() == (200, "OK")\n'
        "def follow():\n    while True:\n        ear.await_done(ear.next())\n\n"
        "threading.Thread(target=follow, daemon=True).start()\n" + HANDLER
    )
    function.deploy(handler=handler)
    request = function.invoke().request_id
    events = function.heard("inside")
    assert schema_violations(events) == []
    assert order_violations(events) == []
    assert f"handling {request}\n" in [event["record"] for event in events if event["type"] == "function"]


def test_the_last_report(function: Function) -> None:
    """Before an extension hears of the end, it hears what was left to tell."""
    hearing = """
import time
ear = Ear("agent")
ear.register("INVOKE", "SHUTDOWN")
ear.subscribe(buffering={"timeoutMs": 30000})
"""
    function.deploy(
        agent=hearing + LOOP.format(work="pass"), options={"Timeout": 1}, handler=HANDLER + SLEEPER
    )
    timed_out = function.invoke({"do": "sleep"}).request_id
    events = function.heard("agent")
    done = [event["record"] for event in events if event["type"] == "platform.runtimeDone"]
    assert (done[0]["requestId"], done[0]["status"]) == (timed_out, "timeout")
    assert schema_violations(events) == []


SLEEPER = """
import time
answer = handler

def handler(event, context):
    if event.get("do") == "sleep":
        time.sleep(60)
    return answer(event, context)
"""
