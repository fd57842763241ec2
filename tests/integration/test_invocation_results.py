"""What the client of an invocation gets, whatever the function does: the table of client-visible results."""

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helpers.languages import NODE, PYTHON, Language, everywhere

CRASHES = [
    ({"do": "exit", "code": 0}, "Runtime exited without providing a reason"),
    ({"do": "exit", "code": 3}, "Runtime exited with error: exit status 3"),
    ({"do": "kill", "signal": 9}, "Runtime exited with error: signal: killed"),
    ({"do": "kill", "signal": 11}, "Runtime exited with error: signal: segmentation fault"),
]


@pytest.fixture(scope="module")
def function(berth: Any, language: Language, zip_of: Callable[..., bytes]) -> Iterator[str]:
    language.deploy(berth, zip_of, "results", language.handler, Timeout=2)
    yield "results"
    berth.client.delete_function(FunctionName="results")


@everywhere
def test_an_answer_comes_with_its_log(berth: Any, language: Language, function: str) -> None:
    """The payload, the executed version, and START, output, END, REPORT with true figures."""
    answer = berth.invoke(function)
    assert answer.error is None
    assert answer.version == "$LATEST"
    assert answer.payload["arn"] == f"arn:aws:lambda:us-east-1:123456789012:function:{function}"
    lines = answer.log.splitlines()
    start = lines.index(f"START RequestId: {answer.request_id} Version: $LATEST")
    assert lines[start + 1].startswith("run ")
    assert lines[start + 2] == f"END RequestId: {answer.request_id}"
    report = dict(part.split(": ") for part in lines[start + 3].rstrip("\t").split("\t"))
    assert report["REPORT RequestId"] == answer.request_id
    assert 0 < float(report["Duration"].removesuffix(" ms")) < 2000
    assert 5 <= int(report["Max Memory Used"].removesuffix(" MB")) <= 128


@everywhere
def test_what_is_billed(berth: Any, language: Language, name: str, zip_of: Callable[..., bytes]) -> None:
    """Every begun millisecond; the first time those of the initialisation too."""
    language.deploy(berth, zip_of, name, language.handler)
    for is_first in (True, False):
        report = berth.invoke(name).log.splitlines()[-1]
        times = dict(re.findall(r"\t([A-Z ]+?): ([0-9.]+) ms", report, re.IGNORECASE))
        assert ("Init Duration" in times) == is_first
        whole = float(times["Duration"]) + float(times.get("Init Duration", 0))
        # What is shown is rounded, so a sum beside a whole number may have been on its other side.
        assert int(times["Billed Duration"]) in {math.ceil(whole - 0.01), math.ceil(whole + 0.01)}


@everywhere
def test_globals_are_kept_between_invocations(berth: Any, language: Language, function: str) -> None:
    """A warm environment is the same process."""
    first = berth.invoke(function).payload["runs"]
    assert berth.invoke(function).payload["runs"] == first + 1


@everywhere
def test_nothing_is_null(berth: Any, language: Language, function: str) -> None:
    """A handler that returns None or undefined gives `null`."""
    assert berth.invoke(function, {"do": "nothing"}).payload is None


@everywhere
def test_a_raised_exception(berth: Any, language: Language, function: str) -> None:
    """The runtime's own document, with the trace; the environment goes on."""
    answer = berth.invoke(function, {"do": "raise"})
    assert answer.error == "Unhandled"
    document = answer.payload
    assert document["errorMessage"] == "boom"
    if language is PYTHON:
        assert list(document) == ["errorMessage", "errorType", "requestId", "stackTrace"]
        assert document["errorType"] == "ValueError"
        assert document["requestId"] == answer.request_id
        assert "/var/task/app.py" in document["stackTrace"][0] or berth.spawner == "process"
        assert "[ERROR] ValueError: boom" in answer.log
    else:
        assert list(document) == ["errorType", "errorMessage", "trace"]
        assert document["errorType"] == "RangeError"
        assert document["trace"][0] == "RangeError: boom"
        assert "(/var/task/app.js:" in document["trace"][1]
        said = (
            f'\t{answer.request_id}\tERROR\tInvoke Error \t{{"errorType":"RangeError","errorMessage":"boom",'
        )
        assert said in answer.log
    assert "Status:" not in answer.log
    assert berth.invoke(function).payload["runs"] > 1


@everywhere
def test_an_unserialisable_result(berth: Any, language: Language, function: str) -> None:
    """The runtime client says what it cannot marshal."""
    answer = berth.invoke(function, {"do": "unserialisable"})
    assert answer.error == "Unhandled"
    if language is PYTHON:
        assert answer.payload["errorType"] == "Runtime.MarshalError"
    else:
        assert answer.payload["errorMessage"] == "Unable to stringify response body"


@everywhere
@pytest.mark.parametrize(
    ("event", "text"), CRASHES, ids=lambda value: str(value) if isinstance(value, str) else ""
)
def test_a_crash(berth: Any, language: Language, function: str, event: dict[str, Any], text: str) -> None:
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


@everywhere
def test_a_timeout(berth: Any, language: Language, function: str) -> None:
    """Two seconds are two seconds, and the next invocation works."""
    answer = berth.invoke(function, {"do": "sleep", "seconds": 30})
    assert answer.error == "Unhandled"
    assert answer.payload == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {answer.request_id} Error: Task timed out after 2.00 seconds",
    }
    assert answer.log.rstrip().endswith("Status: timeout")
    assert berth.invoke(function).payload["runs"] == 1


@everywhere
def test_tmp_outlives_a_crash(berth: Any, language: Language, function: str) -> None:
    """The environment is the same, its process a new one."""
    assert berth.invoke(function, {"do": "write"}).error == "Unhandled"
    assert berth.invoke(function, {"do": "read"}).payload == "kept"


@everywhere
def test_a_response_of_exactly_the_limit(berth: Any, language: Language, function: str) -> None:
    """6,291,556 bytes pass (two of them are quotation marks)."""
    answer = berth.invoke(function, {"do": "grow", "bytes": 6_291_554})
    assert answer.error is None
    assert len(answer.payload) == 6_291_554


@everywhere
def test_a_response_above_the_limit(berth: Any, language: Language, function: str) -> None:
    """One byte more is refused. Python's client exits when it is told so, Node's goes on; the next invocation works."""
    before = berth.invoke(function).payload["runs"]
    answer = berth.invoke(function, {"do": "grow", "bytes": 6_291_555})
    assert answer.error == "Unhandled"
    assert answer.payload == {
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        "errorType": "Function.ResponseSizeTooLarge",
    }
    assert berth.invoke(function).payload["runs"] == (before + 2 if language is NODE else 1)


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
@pytest.mark.parametrize("language", [PYTHON, NODE], ids=str)
def test_out_of_memory(
    new_berth: Callable[..., Any], name: str, language: Language, zip_of: Callable[..., bytes]
) -> None:
    """The kernel kills the function, not the sandbox; the report says why."""
    berth = new_berth("docker")
    berth.start()
    language.deploy(berth, zip_of, name, language.handler)
    answer = berth.invoke(name, {"do": "take", "mb": 400})
    assert answer.error == "Unhandled"
    assert answer.payload == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {answer.request_id} Error: Runtime exited with error: signal: killed",
    }
    assert answer.log.rstrip().endswith("Status: error\tError Type: Runtime.OutOfMemory")
    assert "Max Memory Used: 128 MB" in answer.log
    assert berth.invoke(name, {"do": "take", "mb": 10}).payload == 10 << 20


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
