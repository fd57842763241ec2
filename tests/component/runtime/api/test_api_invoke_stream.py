"""InvokeWithResponseStream through boto3 and by hand."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer

from rapid.exchange import Ticket
from rapid.invocation import Fault, Outcome, timed_out
from rapid.streams import CAPACITY, Stream

PATH = "/2021-11-15/functions/f/response-streaming-invocations"
ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"
FAILED = Outcome(b'{"errorType":"E"}', function_error=True, error_type="Function.Oops")


async def events(door: Any, **params: Any) -> tuple[Any, list[Any]]:
    """boto3's response and all events of its stream."""

    def run() -> tuple[Any, list[Any]]:
        answer = door.client().invoke_with_response_stream(**({"FunctionName": "f"} | params))
        return answer, list(answer["EventStream"])

    return await door.aside(run)  # type: ignore[no-any-return]


def chunks(found: list[Any]) -> list[bytes]:
    return [event["PayloadChunk"]["Payload"] for event in found if "PayloadChunk" in event]


def writes(
    *pieces: bytes, kind: str = "text/plain", then: Outcome | None = None
) -> Callable[[Stream, Ticket], Awaitable[Outcome]]:
    """A function that writes the pieces and then ends like this."""

    async def script(stream: Stream, _: Ticket) -> Outcome:
        for piece in pieces:
            stream.begin(kind)
            await stream.write(piece)
        return then or Outcome(b"", content_type=kind, streamed=stream.size)

    return script


class Raw:
    """A client that reads messages by hand, when it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._buffer = EventStreamBuffer()

    @classmethod
    async def invoke(cls, door: Any) -> "Raw":
        host, port = door.url.removeprefix("http://").split(":")
        made = cls(*await asyncio.open_connection(host, int(port)))
        made.writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        return made

    async def head(self) -> bytes:
        return await self._reader.readuntil(b"\r\n\r\n")

    async def payload(self) -> bytes:
        """The next message's; the chunks of HTTP are taken off."""
        while True:
            for message in self._buffer:
                return bytes(message.payload)
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            self._buffer.add_data(await self._reader.readexactly(size))
            await self._reader.readexactly(2)


async def test_stream(door: Any) -> None:
    """Chunks as they were written, then the end without an error; headers are Invoke's, the type the function's."""
    await door.created()
    door.invoker.script = writes(b"a", b"\x00\xff", kind="text/event-stream; charset=utf-8")
    answer, found = await events(door, Payload=b'{"a": 1}')
    assert b"".join(chunks(found)) == b"a\x00\xff"
    assert found[-1] == {"InvokeComplete": {}}
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert answer["ResponseStreamContentType"] == "text/event-stream; charset=utf-8"
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    (request,) = door.invoker.requests
    assert headers["x-amzn-requestid"] == request.request_id
    assert headers["x-amzn-trace-id"].startswith("Root=1-")
    assert request.payload == b'{"a": 1}'


async def test_each_chunk_before_the_next(door: Any) -> None:
    """A chunk is with the client while the function has not written the next one."""
    await door.created()
    goes_on: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(stream: Stream, _: Ticket) -> Outcome:
        stream.begin("text/plain")
        while piece := await goes_on.get():
            await stream.write(piece)
        return Outcome(b"", streamed=stream.size)

    door.invoker.script = script
    client = await Raw.invoke(door)
    goes_on.put_nowait(b"first")
    assert b"HTTP/1.1 200 OK" in await client.head()
    assert await client.payload() == b"first"
    for number in range(3):
        goes_on.put_nowait(b"%d" % number)
        assert await client.payload() == b"%d" % number
    goes_on.put_nowait(b"")
    assert await client.payload() == b"{}"
    client.writer.close()


async def test_a_client_that_does_not_read(door: Any) -> None:
    """The function is held up, and little is held for it."""
    await door.created()
    streams: list[Stream] = []

    async def script(stream: Stream, _: Ticket) -> Outcome:
        streams.append(stream)
        stream.begin("text/plain")
        for _number in range(512):
            await stream.write(b"x" * 65536)
        return Outcome(b"", streamed=stream.size)

    door.invoker.script = script
    client = await Raw.invoke(door)
    await client.head()
    (stream,) = streams
    before = -1
    while stream.size != before or stream.waiting <= CAPACITY:  # until nothing moves any more
        before = stream.size
        for _ in range(100):
            await asyncio.sleep(0)
    assert stream.size < 512 * 65536
    assert stream.waiting <= CAPACITY + 65536
    total = 0
    while (payload := await client.payload()) != b"{}":
        total += len(payload)
    assert total == 512 * 65536
    client.writer.close()


async def test_a_client_that_leaves(door: Any) -> None:
    """The function goes on to its end, and what it writes is dropped."""
    await door.created()
    left = asyncio.Event()

    async def script(stream: Stream, _: Ticket) -> Outcome:
        stream.begin("text/plain")
        await stream.write(b"first")
        await left.wait()
        for _number in range(512):
            await stream.write(b"x" * 65536)
        return Outcome(b"", streamed=stream.size)

    door.invoker.script = script
    client = await Raw.invoke(door)
    await client.head()
    await client.payload()
    client.writer.transport.abort()
    left.set()
    await asyncio.wait_for(door.invoker.finished.wait(), 5)
    door.invoker.script = None
    assert chunks((await events(door))[1]) == [b"{}"]


async def test_a_client_that_leaves_early(door: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The same before the first byte; nobody is told of it as of an error."""
    await door.created()
    left = asyncio.Event()

    async def script(stream: Stream, _: Ticket) -> Outcome:
        await left.wait()
        stream.begin("text/plain")
        for _number in range(512):
            await stream.write(b"x" * 65536)
        return Outcome(b"", streamed=stream.size)

    door.invoker.script = script
    client = await Raw.invoke(door)
    await door.invoker.started.wait()
    client.writer.transport.abort()
    await client.writer.wait_closed()
    left.set()
    await asyncio.wait_for(door.invoker.finished.wait(), 5)
    assert caplog.records == []


async def test_not_streamed(door: Any) -> None:
    """A function that answers in one piece is a stream of one, or of a few."""
    await door.created()
    answer, found = await events(door, Payload=b'"whole"')
    assert found == [{"PayloadChunk": {"Payload": b'"whole"'}}, {"InvokeComplete": {}}]
    assert answer["ResponseStreamContentType"] == "application/json"
    largest = b'"' + b"x" * 6_000_000 + b'"'
    assert b"".join(chunks((await events(door, Payload=largest))[1])) == largest


async def test_empty(door: Any) -> None:
    """A response of nothing is the end alone."""
    await door.created()
    door.invoker.script = writes()
    assert (await events(door))[1] == [{"InvokeComplete": {}}]


@pytest.mark.parametrize("outcome", [FAILED, timed_out(1).outcome("r")])
async def test_error_before_the_first_byte(door: Any, outcome: Outcome) -> None:
    """Status 200, no payload, and the error in the end."""
    await door.created()
    door.invoker.script = writes(then=outcome)
    answer, found = await events(door)
    assert answer["StatusCode"] == 200
    assert found == [{"InvokeComplete": {"ErrorCode": "Unhandled", "ErrorDetails": outcome.payload.decode()}}]


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(FAILED, "Unhandled"), (Fault("Runtime.ExitError", "x").outcome("r"), "Runtime.TruncatedResponse")],
)
async def test_error_in_mid_stream(door: Any, outcome: Outcome, code: str) -> None:
    """What was written comes first, then the error."""
    await door.created()
    door.invoker.script = writes(b"a part", then=outcome)
    _, found = await events(door)
    assert found == [
        {"PayloadChunk": {"Payload": b"a part"}},
        {"InvokeComplete": {"ErrorCode": code, "ErrorDetails": outcome.payload.decode()}},
    ]


@pytest.mark.parametrize("then", [None, FAILED])
async def test_log_tail(door: Any, then: Outcome | None) -> None:
    """LogType Tail gives the end of the log in base64, whatever the end was."""
    await door.created()
    door.invoker.script = writes(b"a", then=then)
    _, found = await events(door, LogType="Tail")
    (request,) = door.invoker.requests
    log = base64.b64decode(found[-1]["InvokeComplete"]["LogResult"]).decode()
    assert log == f"START RequestId: {request.request_id}\n"


@pytest.mark.parametrize("kind", ["ä/b", "x" * 2000, "a\udcffb", ""])
async def test_content_types_that_cannot_travel(door: Any, kind: str) -> None:
    """What a function writes there is no way to break the response for clients."""
    await door.created()
    door.invoker.script = writes(b"a", kind=kind)
    answer, found = await events(door)
    assert answer["ResponseStreamContentType"] == "application/octet-stream"
    assert chunks(found) == [b"a"]


async def test_an_old_client(door: Any) -> None:
    """HTTP/1.0 knows no chunks: the end of the connection is the end."""
    await door.created()
    host, port = door.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST {PATH} HTTP/1.0\r\nContent-Length: 2\r\n\r\n[]".encode())
    _, _, body = (await reader.read()).partition(b"\r\n\r\n")
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    assert [message.payload for message in buffer] == [b"[]", b"{}"]
    writer.close()


async def test_a_fault_of_ours(
    door: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In mid-stream it cannot be told but by hanging up; the log has the reason."""
    await door.created()
    door.invoker.script = writes(b"a")
    monkeypatch.setattr("rapid.streamed.Streamed.end", lambda *_, **__: 1 / 0)
    client = await Raw.invoke(door)
    await client.head()
    assert await client.payload() == b"a"
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await client.payload()
    assert "ZeroDivisionError" in caplog.text
    client.writer.close()


# What is Invoke's


async def test_what_the_invoker_gets(door: Any) -> None:
    """All members of the request count as in Invoke."""
    await door.created()
    context = base64.b64encode(b'{"custom": {"a": 1}}').decode()
    params = {"FunctionName": f"{ARN}:$LATEST", "ClientContext": context, "LogType": "Tail"}
    await events(door, **params)
    await events(door, Qualifier="$LATEST", LogType="None")
    first, second = door.invoker.requests
    assert (first.function, first.qualifier, first.payload, first.tail) == ("f", "$LATEST", b"{}", True)
    assert json.loads(first.client_context) == {"custom": {"a": 1}}
    assert (second.qualifier, second.tail) == ("$LATEST", False)


async def test_dry_run(door: Any) -> None:
    """DryRun checks and runs nothing."""
    await door.created()
    status, _, body = await door.raw("POST", PATH, X_Amz_Invocation_Type="DryRun")
    assert (status, body) == (204, b"")
    answer, found = await events(door, InvocationType="DryRun")
    assert (answer["StatusCode"], found) == (204, [])
    assert not door.invoker.requests
    status, _, _ = await door.raw("POST", PATH.replace("/f/", "/g/"), X_Amz_Invocation_Type="DryRun")
    assert status == 404


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"InvocationType": "Event"}, 400, "ValidationException"),
        ({"LogType": "All"}, 400, "ValidationException"),
        ({"Qualifier": "a b"}, 400, "ValidationException"),
        ({"TenantId": "t"}, 400, "InvalidParameterValueException"),
        ({"Payload": b"{"}, 400, "InvalidRequestContentException"),
        ({"ClientContext": "no base64!"}, 400, "InvalidRequestContentException"),
        ({"Payload": b'"' + b"x" * 6_291_455 + b'"'}, 413, "RequestEntityTooLargeException"),
        ({"FunctionName": "g"}, 404, "ResourceNotFoundException"),
    ],
)
async def test_refused(door: Any, params: dict[str, Any], status: int, code: str) -> None:
    """What is wrong before the start is an ordinary error, Invoke's own."""
    await door.created()
    refused = await door.refused("invoke_with_response_stream", **({"FunctionName": "f"} | params))
    assert refused[:2] == (status, code)
    assert not door.invoker.requests
