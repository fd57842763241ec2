"""What the client of an invocation gets, whatever the function does: the table of client-visible results."""

import json
from collections.abc import Callable
from typing import Any

import pytest

HANDLER = """
import json, os, signal, sys, time

runs = 0

def handler(event, context):
    global runs
    runs += 1
    print("run", runs)
    match event.get("do"):
        case "raise":
            raise ValueError("boom")
        case "exit":
            os._exit(event["code"])
        case "kill":
            os.kill(os.getpid(), event["signal"])
        case "sleep":
            time.sleep(event["seconds"])
        case "grow":
            return "x" * event["bytes"]
        case "write":
            open("/tmp/kept", "w").write("kept")
            os._exit(1)
        case "read":
            return open("/tmp/kept").read()
        case "unserialisable":
            return object()
        case "nothing":
            return None
    return {"runs": runs, "arn": context.invoked_function_arn, "version": context.function_version}
"""

CRASHES = [
    ({"do": "exit", "code": 0}, "Runtime exited without providing a reason"),
    ({"do": "exit", "code": 3}, "Runtime exited with error: exit status 3"),
    ({"do": "kill", "signal": 9}, "Runtime exited with error: signal: killed"),
    ({"do": "kill", "signal": 11}, "Runtime exited with error: signal: segmentation fault"),
]


@pytest.fixture(scope="module")
def function(berth: Any) -> str:
    berth.deploy("results", HANDLER, Timeout=2)
    return "results"


def test_an_answer_comes_with_its_log(berth: Any, function: str) -> None:
    """The payload, the executed version, and START, output, END, REPORT with true figures."""
    answer = berth.invoke(function)
    assert answer.error is None
    assert answer.version == "$LATEST"
    assert answer.payload["arn"] == "arn:aws:lambda:us-east-1:123456789012:function:results"
    lines = answer.log.splitlines()
    start = lines.index(f"START RequestId: {answer.request_id} Version: $LATEST")
    assert lines[start + 1].startswith("run ")
    assert lines[start + 2] == f"END RequestId: {answer.request_id}"
    report = dict(part.split(": ") for part in lines[start + 3].rstrip("\t").split("\t"))
    assert report["REPORT RequestId"] == answer.request_id
    assert 0 < float(report["Duration"].removesuffix(" ms")) < 2000
    assert 5 <= int(report["Max Memory Used"].removesuffix(" MB")) <= 128


def test_globals_are_kept_between_invocations(berth: Any, function: str) -> None:
    """A warm environment is the same process."""
    first = berth.invoke(function).payload["runs"]
    assert berth.invoke(function).payload["runs"] == first + 1


def test_nothing_is_null(berth: Any, function: str) -> None:
    """A handler that returns None gives `null`."""
    assert berth.invoke(function, {"do": "nothing"}).payload is None


def test_a_raised_exception(berth: Any, function: str) -> None:
    """The runtime's own document, with the trace; the environment goes on."""
    answer = berth.invoke(function, {"do": "raise"})
    assert answer.error == "Unhandled"
    assert answer.payload["errorMessage"] == "boom"
    assert answer.payload["errorType"] == "ValueError"
    assert answer.payload["requestId"] == answer.request_id
    assert "/var/task/app.py" in answer.payload["stackTrace"][0] or berth.spawner == "process"
    assert "[ERROR] ValueError: boom" in answer.log
    assert "Status:" not in answer.log
    assert berth.invoke(function).payload["runs"] > 1


def test_an_unserialisable_result(berth: Any, function: str) -> None:
    """The runtime client says what it cannot marshal."""
    answer = berth.invoke(function, {"do": "unserialisable"})
    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] == "Runtime.MarshalError"


@pytest.mark.parametrize(
    ("event", "text"), CRASHES, ids=lambda value: str(value) if isinstance(value, str) else ""
)
def test_a_crash(berth: Any, function: str, event: dict[str, Any], text: str) -> None:
    """The client learns how the process ended; the next invocation starts a new one."""
    answer = berth.invoke(function, event)
    assert answer.error == "Unhandled"
    assert answer.payload == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {answer.request_id} Error: {text}",
    }
    assert answer.log.rstrip().endswith("Status: error\tError Type: Runtime.ExitError")
    after = berth.invoke(function)
    assert after.payload["runs"] == 1
    assert "Init Duration" not in after.log


def test_a_timeout(berth: Any, function: str) -> None:
    """Two seconds are two seconds, and the next invocation works."""
    answer = berth.invoke(function, {"do": "sleep", "seconds": 30})
    assert answer.error == "Unhandled"
    assert answer.payload == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {answer.request_id} Error: Task timed out after 2.00 seconds",
    }
    assert answer.log.rstrip().endswith("Status: timeout")
    assert berth.invoke(function).payload["runs"] == 1


def test_tmp_outlives_a_crash(berth: Any, function: str) -> None:
    """The environment is the same, its process a new one."""
    assert berth.invoke(function, {"do": "write"}).error == "Unhandled"
    assert berth.invoke(function, {"do": "read"}).payload == "kept"


def test_a_response_of_exactly_the_limit(berth: Any, function: str) -> None:
    """6,291,556 bytes pass (two of them are quotation marks)."""
    answer = berth.invoke(function, {"do": "grow", "bytes": 6_291_554})
    assert answer.error is None
    assert len(answer.payload) == 6_291_554


def test_a_response_above_the_limit(berth: Any, function: str) -> None:
    """One byte more is refused. This runtime client exits when it is told so; the next invocation works."""
    answer = berth.invoke(function, {"do": "grow", "bytes": 6_291_555})
    assert answer.error == "Unhandled"
    assert answer.payload == {
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        "errorType": "Function.ResponseSizeTooLarge",
    }
    assert berth.invoke(function).error is None


def test_an_import_error(berth: Any, name: str) -> None:
    """A module that is not there is named, on every invocation anew."""
    berth.deploy(name, "import nosuchmodule\ndef handler(event, context): pass")
    for _ in range(2):
        answer = berth.invoke(name)
        assert answer.error == "Unhandled"
        assert answer.payload["errorType"] == "Runtime.ImportModuleError"
        assert (
            answer.payload["errorMessage"] == "Unable to import module 'app': No module named 'nosuchmodule'"
        )
        assert "INIT_REPORT Init Duration: " in answer.log


@pytest.mark.parametrize(
    ("handler", "error_type", "message"),
    [
        ("app.nosuch", "Runtime.HandlerNotFound", "Handler 'nosuch' missing on module 'app'"),
        (
            "nosuch.handler",
            "Runtime.ImportModuleError",
            "Unable to import module 'nosuch': No module named 'nosuch'",
        ),
        ("nodot", "Runtime.MalformedHandlerName", "Bad handler 'nodot': not enough values to unpack"),
    ],
)
def test_a_wrong_handler_name(berth: Any, name: str, handler: str, error_type: str, message: str) -> None:
    """The runtime client's own words reach the client."""
    berth.deploy(name, "def handler(event, context): pass", Handler=handler)
    answer = berth.invoke(name)
    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] == error_type
    assert answer.payload["errorMessage"].startswith(message)


def test_static_code_that_exits(berth: Any, name: str) -> None:
    """Both initialisations fail: ahead of the invocation, and inside it."""
    berth.deploy(name, "import sys\nsys.exit(1)")
    answer = berth.invoke(name)
    assert answer.payload["errorType"] == "Runtime.ExitError"
    assert answer.payload["errorMessage"].endswith("Error: Runtime exited with error: exit status 1")
    log = berth.run("logs", name, "--data-dir", str(berth.data_dir)).stdout
    assert "Phase: init\tStatus: error\tError Type: Runtime.ExitError" in log
    assert "Phase: invoke\tStatus: error\tError Type: Runtime.ExitError" in log


def test_many_lines_are_whole_and_in_order(berth: Any, name: str) -> None:
    """Two thousand lines on two streams: none lost, none torn, each stream in order."""
    code = """
import sys
def handler(event, context):
    for number in range(1000):
        print("out", number)
        print("err", number, file=sys.stderr)
"""
    berth.deploy(name, code)
    berth.invoke(name)
    log = berth.run("logs", name, "--json", "--limit", "3000", "--data-dir", str(berth.data_dir)).stdout
    messages = [json.loads(line)["message"] for line in log.splitlines()]
    for stream in ("out", "err"):
        assert [text for text in messages if text.startswith(stream)] == [
            f"{stream} {number}" for number in range(1000)
        ]
    assert messages[-1].startswith("REPORT")


@pytest.mark.docker
def test_out_of_memory(new_berth: Callable[..., Any], name: str) -> None:
    """The kernel kills the function, not the sandbox; the report says why."""
    berth = new_berth("docker")
    berth.start()
    berth.deploy(name, "def handler(event, context):\n    return len(bytearray(event['mb'] << 20))")
    answer = berth.invoke(name, {"mb": 400})
    assert answer.payload["errorMessage"].endswith("Runtime exited with error: signal: killed")
    assert answer.log.rstrip().endswith("Error Type: Runtime.OutOfMemory")
    assert berth.invoke(name, {"mb": 10}).payload == 10 << 20


def test_json_logs(berth: Any, name: str) -> None:
    """With the JSON format every event is a document, and the runtime client leaves out what is below the level."""
    code = """
import logging

def handler(event, context):
    logging.getLogger().info("not said")
    logging.getLogger().warning("said")
    print('{"level": "DEBUG", "message": "not kept"}')
"""
    berth.deploy(name, code, LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "WARN"})
    answer = berth.invoke(name)
    documents = [json.loads(line) for line in answer.log.splitlines()]
    assert [each.get("type") or each["message"] for each in documents] == [
        "platform.start",
        "said",
        "platform.report",
    ]
    assert documents[1]["level"] == "WARNING"
    assert documents[1]["requestId"] == answer.request_id
    assert documents[2]["record"]["metrics"]["memorySizeMB"] == 128
