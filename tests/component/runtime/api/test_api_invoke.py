"""Invoke through boto3 and by hand."""

import asyncio
import base64
import json
import socket
from typing import Any

import pytest

PATH = "/2015-03-31/functions/f/invocations"
ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"


def context_of(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


async def test_result_and_headers(door: Any) -> None:
    """A result comes with AWS's headers; the request id is the invocation's."""
    await door.created()
    status, headers, body = await door.raw("POST", PATH, b'{"a": 1}', X_Amzn_Trace_Id="Root=1-2-3")
    assert (status, body) == (200, b'{"a": 1}')
    (request,) = door.invoker.requests
    expected = {
        "Content-Type": "application/json",
        "x-amzn-RequestId": request.request_id,
        "x-amzn-Remapped-Content-Length": "0",
        "X-Amz-Executed-Version": "$LATEST",
        "X-Amzn-Trace-Id": "Root=1-2-3",
    }
    assert expected.items() <= dict(headers.items()).items()
    assert "X-Amz-Function-Error" not in headers
    assert "X-Amz-Log-Result" not in headers


async def test_error_of_the_function(door: Any) -> None:
    """A failed function is a success on the wire, with a header that tells."""
    await door.created()
    door.invoker.error = True
    answer = await door.call("invoke", FunctionName="f")
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert json.load(answer["Payload"]) == {"errorMessage": "no"}


async def test_log_tail(door: Any) -> None:
    """LogType Tail asks for the end of the log and gives it in base64."""
    await door.created()
    answer = await door.call("invoke", FunctionName="f", LogType="Tail")
    (request,) = door.invoker.requests
    assert request.tail
    assert base64.b64decode(answer["LogResult"]).decode() == f"START RequestId: {request.request_id}\n"


async def test_what_the_invoker_gets(door: Any) -> None:
    """An empty body is an empty event; context is decoded; headers that cannot travel on are absent."""
    await door.created()
    context = {"custom": {"a": "ä"}}
    await door.raw("POST", PATH, b"", X_Amz_Client_Context=context_of(context), Content_Type="text/x")
    await door.raw("POST", PATH, b"1", X_Amzn_Trace_Id="é")
    first, second = door.invoker.requests
    assert (first.payload, first.content_type, first.qualifier) == (b"{}", "text/x", None)
    assert json.loads(first.client_context) == context
    assert (second.payload, second.trace_id) == (b"1", None)


async def test_dry_run(door: Any) -> None:
    """DryRun checks and runs nothing."""
    await door.created()
    answer = await door.call("invoke", FunctionName="f", InvocationType="DryRun")
    assert answer["StatusCode"] == 204
    assert not door.invoker.requests
    assert (await door.refused("invoke", FunctionName="g", InvocationType="DryRun"))[0] == 404


@pytest.mark.parametrize(
    ("params", "what"),
    [
        ({"InvocationType": "Event"}, "asynchronous invocation (InvocationType Event)"),
        ({"DurableExecutionName": "d"}, "durable functions (DurableExecutionName)"),
    ],
)
async def test_not_implemented(door: Any, params: dict[str, str], what: str) -> None:
    """What Berth cannot do yet it refuses instead of doing something else."""
    await door.created()
    refused = await door.refused("invoke", FunctionName="f", **params)
    assert refused == (400, "InvalidParameterValueException", f"Berth does not implement {what} yet.")


@pytest.mark.parametrize("payload", [b"{", b"no json", b"\xff", b"1 2", b"NaN"])
async def test_payload_must_be_json(door: Any, payload: bytes) -> None:
    """Anything but JSON is refused before the function sees it."""
    await door.created()
    status, code, text = await door.refused("invoke", FunctionName="f", Payload=payload)
    assert (status, code) == (400, "InvalidRequestContentException")
    assert text.startswith("Could not parse request body into json: Could not parse payload into json: ")


@pytest.mark.parametrize("context", ["no base64!", "é", context_of([1]), base64.b64encode(b"{").decode()])
async def test_client_context_must_be_an_object(door: Any, context: str) -> None:
    """A context that is not base64 of a JSON object is refused."""
    await door.created()
    status, _, body = await door.raw("POST", PATH, X_Amz_Client_Context=context)
    assert (status, json.loads(body)["message"]) == (
        400,
        "Client context must be a valid Base64-encoded JSON object.",
    )


async def test_client_context_has_a_limit(door: Any) -> None:
    """Of the header as sent."""
    await door.created()
    largest = base64.b64encode(b'{"a":"' + b"x" * 2679 + b'"}').decode()
    assert len(largest) == 3584 - 4 + 4
    status, _, _ = await door.raw("POST", PATH, X_Amz_Client_Context=largest)
    assert status == 400
    status, _, _ = await door.raw("POST", PATH, X_Amz_Client_Context=context_of({"a": "x" * 2670}))
    assert status == 200


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"InvocationType": "Later"}, "invocationType"),
        ({"LogType": "All"}, "logType"),
        ({"Qualifier": "a b"}, "qualifier"),
        ({"FunctionName": "a b"}, "functionName"),
        ({"FunctionName": "f" * 257}, "functionName"),
    ],
)
async def test_unusual_members_meet_the_model(door: Any, params: dict[str, str], path: str) -> None:
    """What the quick check does not know, the service model refuses in AWS's words."""
    status, code, text = await door.refused("invoke", **({"FunctionName": "f"} | params))
    assert (status, code, f"at '{path}' failed to satisfy" in text) == (400, "ValidationException", True)


async def test_qualified_by_name_or_query(door: Any) -> None:
    """The qualifier may come either way; the invoker hears it."""
    await door.created()
    for params in ({"FunctionName": f"{ARN}:$LATEST"}, {"FunctionName": "f", "Qualifier": "$LATEST"}):
        await door.call("invoke", **params)
    assert [request.qualifier for request in door.invoker.requests] == ["$LATEST"] * 2
    assert {request.function for request in door.invoker.requests} == {"f"}
    assert (await door.refused("invoke", FunctionName="f:1", Qualifier="2"))[0] == 400
    foreign = ARN.replace("123456789012", "210987654321")
    assert (await door.refused("invoke", FunctionName=foreign))[:2] == (403, "AccessDeniedException")
    elsewhere = ARN.replace("us-east-1", "eu-west-1")
    assert (await door.refused("invoke", FunctionName=elsewhere))[:2] == (404, "ResourceNotFoundException")


async def test_a_missing_function_comes_before_a_bad_event(door: Any) -> None:
    """Of a function that is there, in whatever state, the event is what is wrong."""
    door.readiness.allowed.clear()
    await door.create("f")
    for path in (PATH, "/2021-11-15/functions/f/response-streaming-invocations"):
        status, headers, _ = await door.raw("POST", path, b"{")
        assert (status, headers["x-amzn-ErrorType"]) == (400, "InvalidRequestContentException")
        for body, context in ((b"{", ""), (b"{}", "no base64"), (b" " * 6_291_457, "")):
            sent = {"X_Amz_Client_Context": context} if context else {}
            status, headers, _ = await door.raw("POST", path.replace("/f/", "/g/"), body, **sent)
            assert (status, headers["x-amzn-ErrorType"]) == (404, "ResourceNotFoundException")
    door.readiness.allowed.set()


async def test_names_that_look_qualified(door: Any) -> None:
    """`function:f` and `123456789012:f` are parts of an ARN."""
    await door.created("f")
    for name in ("function:f", "123456789012:f"):
        await door.call("invoke", FunctionName=name)
        assert (door.invoker.requests[-1].function, door.invoker.requests[-1].qualifier) == ("f", None)
    assert (await door.refused("invoke", FunctionName="210987654321:f"))[0] == 403


async def test_body_limit(door: Any) -> None:
    """6,291,456 bytes go through; one more does not, with and without a stated length."""
    await door.created()
    largest = b'"' + b"x" * 6_291_454 + b'"'
    status, _, body = await door.raw("POST", PATH, largest)
    assert (status, len(body)) == (200, 6_291_456)
    for body_sent in (largest + b" ", iter([largest, b" "])):
        status, headers, body = await door.raw("POST", PATH, body_sent)
        assert (status, headers["x-amzn-ErrorType"]) == (413, "RequestEntityTooLargeException")
        text = "Request must be smaller than 6291456 bytes for the InvokeFunction operation"
        assert json.loads(body) == {"Message": text}


async def test_client_that_leaves(door: Any) -> None:
    """A function goes on to its end although nobody waits for it any more."""
    await door.created()
    door.invoker.finish.clear()
    host, port = door.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    await door.invoker.started.wait()
    writer.transport.abort()
    door.invoker.finish.set()
    await asyncio.wait_for(door.invoker.finished.wait(), 5)
    assert (await door.call("invoke", FunctionName="f"))["StatusCode"] == 200


async def test_expect_100_continue(door: Any) -> None:
    """A client that asks first is told to go on, then answered."""
    await door.created()
    host, port = door.url.removeprefix("http://").split(":")

    def talk() -> tuple[bytes, bytes]:
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n"
            connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
            invitation = connection.recv(1000)
            connection.sendall(b"[]")
            return invitation, b"".join(iter(lambda: connection.recv(1000), b""))

    invitation, answer = await door.aside(talk)
    assert invitation == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n[]")
