"""Streamed responses of a runtime in a real sandbox, as boto3 reads them."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helpers.desk import PARTY, Desk

RUNTIME = """
# A runtime that streams, in place of the managed one.
import base64, http.client, json, os, sys, time
from party import Desk

api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
INVOCATION = "/2018-06-01/runtime/invocation/"
PREFIX = "Lambda-Runtime-Function-"


def ask(method, path, body=None, headers={}):
    api.request(method, path, body, headers)
    answer = api.getresponse()
    return answer, answer.read()


class Response:
    def __init__(self, request_id, kind):
        api.putrequest("POST", INVOCATION + request_id + "/response")
        api.putheader("Content-Type", kind)
        api.putheader(PREFIX + "Response-Mode", "streaming")
        api.putheader("Transfer-Encoding", "chunked")
        api.putheader("Trailer", f"{PREFIX}Error-Type, {PREFIX}Error-Body")
        api.endheaders()

    def write(self, data):
        api.send(b"%x\\r\\n%b\\r\\n" % (len(data), data))

    def end(self, error=None):
        print("all written", flush=True)
        api.send(b"0\\r\\n")
        if error:
            body = base64.b64encode(json.dumps(error).encode()).decode()
            api.send(f"{PREFIX}Error-Type: Function.Oops\\r\\n{PREFIX}Error-Body: {body}\\r\\n".encode())
        api.send(b"\\r\\n")
        api.getresponse().read()


def work(event, request_id):
    do = event.get("do")
    if do == "buffered":
        return ask("POST", INVOCATION + request_id + "/response", json.dumps(event).encode())
    if do == "post error":
        return ask("POST", INVOCATION + request_id + "/error", b'{"errorType":"E","errorMessage":"m"}')
    if do == "exit before":
        os._exit(3)
    response = Response(request_id, event.get("kind", "text/event-stream"))
    for number in range(event.get("chunks", 2)):
        response.write(b"chunk %d\\n" % number + bytes(event.get("size", 0)))
        if "desk" in event:
            desk.tell("written")
    if do == "exit":
        os._exit(3)
    if do == "hang":
        time.sleep(60)
    response.end({"errorType": "Oops", "errorMessage": "in mid-stream"} if do == "fail" else None)
    if "desk" in event:
        desk.tell("done")


desk = Desk("runtime")
while True:
    answer, body = ask("GET", INVOCATION + "next")
    work(json.loads(body), answer.headers["Lambda-Runtime-Aws-Request-Id"])
"""
WRAPPER = '#!/bin/sh\nexec "$1" /var/task/runtime.py\n'
ERROR = {"errorType": "Oops", "errorMessage": "in mid-stream"}


@pytest.fixture(scope="module")
def desk(berth: Any) -> Iterator[Desk]:
    berth.deploy("any", "def handler(event, context): pass")  # the host is known once one is active
    with Desk(berth.function_host) as opened:
        yield opened


@pytest.fixture(scope="module")
def function(berth: Any, desk: Desk, zip_package: bytes) -> str:
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper", "DESK": desk.address}
    berth.deploy("streams", zip_package, Timeout=60, Environment={"Variables": variables})
    return "streams"


@pytest.fixture(scope="module")
def zip_package() -> bytes:
    from tests.integration.conftest import make_zip

    files = {"app.py": "", "runtime.py": RUNTIME, "party.py": PARTY, "wrapper": WRAPPER}
    return make_zip(files, {"wrapper": 0o755})


@pytest.fixture
def stream(berth: Any, function: str) -> Callable[..., Any]:
    """Invokes; gives boto3's response, whose events come as they come."""

    def stream(event: Any = None, **options: Any) -> Any:
        payload = json.dumps(event or {}).encode()
        return berth.client.invoke_with_response_stream(FunctionName=function, Payload=payload, **options)

    return stream


def read(answer: Any) -> tuple[bytes, dict[str, Any]]:
    """The whole response, and how it ended."""
    *chunks, last = answer["EventStream"]
    return b"".join(each["PayloadChunk"]["Payload"] for each in chunks), last["InvokeComplete"]


def test_stream(stream: Callable[..., Any]) -> None:
    """What the function writes, under its own content type, then an end without an error."""
    answer = stream({"chunks": 3, "kind": "application/x-test"})
    assert answer["ResponseStreamContentType"] == "application/x-test"
    assert answer["ExecutedVersion"] == "$LATEST"
    assert read(answer) == (b"chunk 0\nchunk 1\nchunk 2\n", {})


def test_each_chunk_before_the_next(stream: Callable[..., Any], desk: Desk) -> None:
    """A chunk can be read while the function waits with the next one, and the end while it still works."""
    desk.hold("written", "done")
    try:
        answer = stream({"chunks": 2, "desk": True})
        events = iter(answer["EventStream"])
        assert next(events) == {"PayloadChunk": {"Payload": b"chunk 0\n"}}
        desk.release("written")
        assert next(events) == {"PayloadChunk": {"Payload": b"chunk 1\n"}}
        assert next(events) == {"InvokeComplete": {}}
        answer["EventStream"].close()
    finally:
        desk.release("written", "done")


def test_log_tail(stream: Callable[..., Any]) -> None:
    """The log of the whole invocation is in the end."""
    answer = stream(LogType="Tail")
    request_id = answer["ResponseMetadata"]["RequestId"]
    log = base64.b64decode(read(answer)[1]["LogResult"]).decode()
    assert log.startswith(f"START RequestId: {request_id}")
    assert "all written\n" in log
    assert f"REPORT RequestId: {request_id}" in log


def test_large(stream: Callable[..., Any]) -> None:
    """Far beyond what a buffered response may have."""
    body, end = read(stream({"chunks": 40, "size": 1024 * 1024}))
    assert (len(body), end) == (40 * 1024 * 1024 + sum(len(f"chunk {n}\n") for n in range(40)), {})


def test_error_in_mid_stream(stream: Callable[..., Any]) -> None:
    """Trailers end the stream with the function's own document."""
    body, end = read(stream({"do": "fail"}))
    assert body == b"chunk 0\nchunk 1\n"
    assert (end["ErrorCode"], json.loads(end["ErrorDetails"])) == ("Unhandled", ERROR)


def test_exit_in_mid_stream(stream: Callable[..., Any]) -> None:
    """A runtime that ends leaves a truncated response; the details say how it ended, and the next one works."""
    answer = stream({"do": "exit"}, LogType="Tail")
    body, end = read(answer)
    assert body == b"chunk 0\nchunk 1\n"
    assert end["ErrorCode"] == "Runtime.TruncatedResponse"
    assert json.loads(end["ErrorDetails"]) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {answer['ResponseMetadata']['RequestId']} "
        "Error: Runtime exited with error: exit status 3",
    }
    assert "Error Type: Runtime.ExitError" in base64.b64decode(end["LogResult"]).decode()
    assert read(stream())[1] == {}


def test_timeout_in_mid_stream(berth: Any, function: str, stream: Callable[..., Any]) -> None:
    """The deadline ends the stream."""
    berth.client.update_function_configuration(FunctionName=function, Timeout=4)
    try:
        body, end = read(stream({"do": "hang"}))
    finally:
        berth.client.update_function_configuration(FunctionName=function, Timeout=60)
    assert body == b"chunk 0\nchunk 1\n"
    assert end["ErrorCode"] == "Sandbox.Timedout"
    assert "Task timed out after 4.00 seconds" in end["ErrorDetails"]


@pytest.mark.parametrize(("do", "error_type"), [("post error", "E"), ("exit before", "Runtime.ExitError")])
def test_error_before_the_first_byte(stream: Callable[..., Any], do: str, error_type: str) -> None:
    """There is no payload; the error is in the end."""
    body, end = read(stream({"do": do}))
    assert (body, end["ErrorCode"]) == (b"", "Unhandled")
    assert json.loads(end["ErrorDetails"])["errorType"] == error_type


def test_not_streamed(stream: Callable[..., Any]) -> None:
    """A response in one piece comes as a stream."""
    body, end = read(stream({"do": "buffered"}))
    assert (json.loads(body), end) == ({"do": "buffered"}, {})


def test_the_managed_runtime(berth: Any) -> None:
    """Functions that know nothing of streams can be invoked with one."""
    berth.deploy("plain", "def handler(event, context): return event['n'] + 1")
    for payload, expected in ((b'{"n": 1}', (b"2", None)), (b"{}", (b"", "Unhandled"))):
        answer = berth.client.invoke_with_response_stream(FunctionName="plain", Payload=payload)
        body, end = read(answer)
        assert (body, end.get("ErrorCode")) == expected


def test_invoked_without_a_stream(berth: Any, function: str) -> None:
    """Invoke collects a stream; an error in its trailers is the function's error."""
    given = berth.client.invoke(FunctionName=function, Payload=b"{}")
    assert (given["Payload"].read(), given.get("FunctionError")) == (b"chunk 0\nchunk 1\n", None)
    failed = berth.invoke(function, {"do": "fail"})
    assert (failed.payload, failed.error) == (ERROR, "Unhandled")
    large = berth.invoke(function, {"chunks": 7, "size": 1024 * 1024})
    assert (large.payload["errorType"], large.error) == ("Function.ResponseSizeTooLarge", "Unhandled")


def test_a_client_that_leaves(berth: Any, function: str, stream: Callable[..., Any], desk: Desk) -> None:
    """The function writes on to its end, and is there for the next."""
    before = desk.order.count("runtime done")
    desk.hold("written")
    try:
        answer = stream({"chunks": 20, "size": 1024 * 1024, "desk": True})
        assert next(iter(answer["EventStream"]))
        answer["EventStream"].close()
    finally:
        desk.release("written")
    desk.hear("runtime", "done", before + 1)
    assert read(stream())[1] == {}
