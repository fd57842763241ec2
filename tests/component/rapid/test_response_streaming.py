"""Streamed responses over real sockets: a runtime that writes them by hand, and a reader that takes them when it likes."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from rapid import errors
from rapid.errors import MAX_RESPONSE
from rapid.events import Arm, Timer
from rapid.invocation import ExitStatus
from rapid.streams import CAPACITY, Stream
from rapid.trailers import LIMIT

MB = 1024 * 1024
ERROR = {"errorType": "Oops", "errorMessage": "in mid-stream", "trace": ["a", "b"]}
TRAILERS = (
    b"Lambda-Runtime-Function-Error-Type: Function.Oops\r\n"
    b"Lambda-Runtime-Function-Error-Body: %b\r\n" % base64.b64encode(json.dumps(ERROR).encode())
)


class Poster:
    """A runtime's connection on which a response is written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def head(self, request_id: str = "r1", kind: str = "text/event-stream") -> bytes:
        return (
            f"POST /2018-06-01/runtime/invocation/{request_id}/response HTTP/1.1\r\nHost: x\r\n"
            f"Content-Type: {kind}\r\nLambda-Runtime-Function-Response-Mode: streaming\r\n"
            "Transfer-Encoding: chunked\r\n"
            "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n"
        ).encode()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self, trailers: bytes = b"") -> None:
        self.send(b"0\r\n%b\r\n" % trailers)

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of what the Runtime API says to it."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        body = await self._reader.readexactly(int(length.split(b":")[1]))
        return int(head.split()[1]), body

    async def cut(self) -> None:
        self.writer.transport.abort()


@pytest.fixture
async def post(house: Any) -> AsyncIterator[Callable[..., Any]]:
    """Opens connections for responses."""
    posters: list[Poster] = []

    async def open_one() -> Poster:
        posters.append(Poster(*await asyncio.open_connection("127.0.0.1", house.listener.port)))
        return posters[-1]

    yield open_one
    for each in posters:
        each.writer.close()


@pytest.fixture
async def begun(house: Any, post: Callable[..., Any]) -> tuple[Any, Stream, Poster]:
    """An invocation with a stream whose response has begun: ticket, stream, poster."""
    stream = Stream()
    ticket = await house.delivered(stream=stream)
    poster = await post()
    poster.send(poster.head())
    poster.chunk(b"first")
    assert await stream.read() == b"first"
    return ticket, stream, poster


async def all_of(stream: Stream) -> bytes:
    parts = []
    while part := await stream.read():
        parts.append(part)
    return b"".join(parts)


class TestPassingOn:
    async def test_each_chunk_before_the_next(self, begun: Any) -> None:
        """A chunk is with the reader while the next one has not been written; the content type came first."""
        ticket, stream, poster = begun
        assert stream.content_type == "text/event-stream"
        for number in range(5):
            poster.chunk(b"chunk %d" % number)
            assert await stream.read() == b"chunk %d" % number
        assert not ticket.outcome.done()
        poster.end()
        assert await poster.answer() == (202, errors.ACCEPTED)
        assert await stream.read() == b""
        outcome = ticket.outcome.result()
        assert (outcome.payload, outcome.streamed, outcome.function_error) == (b"", 40, False)
        assert outcome.content_type == "text/event-stream"

    async def test_end_of_the_invocation(self, house: Any, begun: Any) -> None:
        """After a stream the runtime asks for its next event, as after any response."""
        ticket, _, poster = begun
        poster.end()
        await poster.answer()
        await house.poll()
        assert (await ticket.completed).status == "success"

    async def test_default_content_type(self, house: Any) -> None:
        """A stream that says nothing of itself is bytes."""

        async def pieces() -> Any:
            yield b"data"

        stream = Stream()
        await house.delivered(stream=stream)
        skip = {"skip_auto_headers": ["Content-Type"]}
        url = f"{house.url}/runtime/invocation/r1/response"
        headers = {"Lambda-Runtime-Function-Response-Mode": "streaming"}
        async with house.client.post(url, data=pieces(), headers=headers, **skip) as answer:
            assert answer.status == 202
        assert stream.content_type == "application/octet-stream"

    async def test_with_a_stated_length(self, house: Any) -> None:
        """A runtime that knows the length need not send chunks."""
        stream = Stream()
        ticket = await house.delivered(stream=stream)
        answer = await house.respond(b"0\r\n\r\n", Lambda_Runtime_Function_Response_Mode="streaming")
        assert answer.status == 202
        assert await all_of(stream) == b"0\r\n\r\n"
        assert ticket.outcome.result().streamed == 5

    async def test_empty(self, house: Any, post: Callable[..., Any]) -> None:
        """A stream of nothing is a response."""
        stream = Stream()
        ticket = await house.delivered(stream=stream)
        poster = await post()
        poster.send(poster.head())
        poster.end()
        assert (await poster.answer())[0] == 202
        assert await all_of(stream) == b""
        assert (ticket.outcome.result().size, ticket.outcome.result().function_error) == (0, False)

    async def test_prelude_passes(self, begun: Any) -> None:
        """Metadata for HTTP in front of the body is the client's to read: JSON, eight zeros, the body."""
        _, stream, poster = begun
        prelude = b'{"statusCode":418,"headers":{"a":"b"},"cookies":["c=d"]}' + bytes(8)
        poster.chunk(prelude + b"<html>")
        poster.end()
        assert await all_of(stream) == prelude + b"<html>"

    async def test_a_buffered_response(self, house: Any) -> None:
        """A function that does not stream is heard of at its end."""
        stream = Stream()
        ticket = await house.delivered(stream=stream)
        await house.respond(b"whole", Content_Type="application/unknown")
        await stream.started()
        assert (stream.content_type, await stream.read()) == (None, b"")
        assert ticket.outcome.result().payload == b"whole"

    async def test_a_posted_error(self, house: Any) -> None:
        """An error in place of a response ends the stream before it began."""
        stream = Stream()
        ticket = await house.delivered(stream=stream)
        await house.error(b'{"errorType":"E"}', Lambda_Runtime_Function_Error_Type="Function.Oops")
        assert await stream.read() == b""
        outcome = ticket.outcome.result()
        assert (outcome.payload, outcome.error_type) == (b'{"errorType":"E"}', "Function.Oops")


class TestBackPressure:
    async def test_a_reader_that_does_not_read(self, house: Any, begun: Any) -> None:
        """It stops the runtime by way of TCP, and little is held for it; what it reads later is whole."""
        ticket, stream, poster = begun
        sent = bytes(range(256)) * (32 * MB // 256)  # more than any socket buffers
        writing = asyncio.create_task(self._write(poster, sent))
        await house.until(lambda: stream.waiting > CAPACITY)
        for _ in range(1000):  # turns of the loop in which more would come if it could
            await asyncio.sleep(0)
        assert stream.waiting < CAPACITY + MB
        assert not writing.done()
        assert not ticket.outcome.done()
        assert await all_of(stream) == sent
        await writing
        assert ticket.outcome.result().streamed == len(sent) + 5

    async def test_a_reader_that_leaves(self, house: Any, begun: Any) -> None:
        """The function goes on to its end; what it writes is counted and dropped."""
        ticket, stream, poster = begun
        writing = asyncio.create_task(self._write(poster, b"x" * 16 * MB))
        await house.until(lambda: stream.waiting > CAPACITY)
        stream.leave()
        await writing
        assert (await poster.answer())[0] == 202
        outcome = ticket.outcome.result()
        assert (outcome.streamed, outcome.function_error) == (16 * MB + 5, False)

    @staticmethod
    async def _write(poster: Poster, data: bytes) -> None:
        for start in range(0, len(data), MB):
            poster.chunk(data[start : start + MB])
            await poster.writer.drain()
        poster.end()
        await poster.writer.drain()


class TestErrorTrailers:
    @pytest.mark.parametrize("size", [1, 7, 100_000])
    async def test_in_mid_stream(self, begun: Any, size: int) -> None:
        """The document in the trailers is the outcome, however the network cuts them."""
        ticket, stream, poster = begun
        rest = b"4\r\nmore\r\n0\r\n" + TRAILERS + b"\r\n"
        for start in range(0, len(rest), size):
            poster.send(rest[start : start + size])
            await asyncio.sleep(0)
        assert (await poster.answer())[0] == 202
        assert await all_of(stream) == b"more"
        outcome = ticket.outcome.result()
        assert json.loads(outcome.payload) == ERROR
        assert (outcome.function_error, outcome.error_type, outcome.streamed) == (True, "Function.Oops", 9)

    async def test_all_at_once(self, house: Any, post: Callable[..., Any]) -> None:
        """Head, data and trailers in one piece of the network are told apart."""
        stream = Stream()
        ticket = await house.delivered(stream=stream)
        poster = await post()
        poster.send(poster.head() + b"4\r\ndata\r\n0\r\n" + TRAILERS + b"\r\n")
        await poster.answer()
        assert await all_of(stream) == b"data"
        assert json.loads(ticket.outcome.result().payload) == ERROR

    async def test_nothing_before_them(self, house: Any, post: Callable[..., Any]) -> None:
        """An error before the first byte is one without a stream."""
        stream = Stream()
        ticket = await house.delivered(stream=stream)
        poster = await post()
        poster.send(poster.head() + b"0\r\n" + TRAILERS + b"\r\n")
        await poster.answer()
        assert (stream.content_type, await stream.read()) == (None, b"")
        assert ticket.outcome.result().function_error

    async def test_data_that_looks_like_them(self, begun: Any) -> None:
        """What is inside a chunk is data."""
        ticket, stream, poster = begun
        data = b"\r\n0\r\n" + TRAILERS + b"\r\n"
        poster.chunk(data)
        poster.end()
        await poster.answer()
        assert await all_of(stream) == data
        assert not ticket.outcome.result().function_error

    async def test_the_next_response_on_the_connection(self, house: Any, begun: Any) -> None:
        """An error belongs to its own response: one after it on the same connection is none."""
        _, _, poster = begun
        poster.end(TRAILERS)
        await poster.answer()
        poll = await house.poll()
        stream = Stream()
        ticket = house.invoke(request_id="r2", stream=stream)
        await poll
        poster.send(poster.head("r2"))
        poster.chunk(b"fine")
        poster.end()
        assert (await poster.answer())[0] == 202
        assert (await all_of(stream), ticket.outcome.result().function_error) == (b"fine", False)

    async def test_after_much_data(self, begun: Any) -> None:
        """They are found behind megabytes."""
        ticket, stream, poster = begun
        reading = asyncio.create_task(all_of(stream))
        poster.chunk(b"\r\n0\r\n\r\n" * MB)
        poster.end(TRAILERS)
        await poster.answer()
        assert len(await reading) == 7 * MB
        assert json.loads(ticket.outcome.result().payload) == ERROR

    async def test_little_is_kept(self, house: Any, begun: Any) -> None:
        """Of a long body its end, and nothing of requests that announce no trailers."""
        _, stream, poster = begun
        for _ in range(8):
            poster.chunk(b"x" * MB)
            left = MB
            while left:
                left -= len(await stream.read())
        kept = sorted(sum(map(len, each._tail or ())) for each in house.listener._web.connections)
        assert LIMIT <= kept.pop() < LIMIT + MB
        assert not any(kept)
        assert kept  # that of the client that fetched the event

    async def test_too_long(self, begun: Any) -> None:
        """Trailers beyond any good faith are not kept; the response counts as cut off."""
        ticket, _, poster = begun
        poster.end(b"A: " + b"x" * LIMIT + b"\r\n")
        assert (await poster.answer())[0] == 202
        assert ticket.outcome.result().error_type == "Runtime.TruncatedResponse"


class TestCutOff:
    async def test_in_mid_stream(
        self, begun: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What has gone out cannot be taken back: the outcome is an error, and the invocation has its response."""
        monkeypatch.setattr("rapid.runtime_api.EXIT_PATIENCE", 0)
        ticket, stream, poster = begun
        await poster.cut()
        outcome = await ticket.outcome
        assert (outcome.error_type, outcome.streamed) == ("Runtime.TruncatedResponse", 5)
        assert await stream.read() == b""
        assert caplog.records == []

    async def test_what_came_before_the_end(
        self, house: Any, post: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A runtime that writes and ends in the same moment: all that it wrote reaches the client."""
        monkeypatch.setattr("rapid.runtime_api.EXIT_PATIENCE", 0)
        stream = Stream()
        ticket = await house.delivered(stream=stream)
        poster = await post()
        poster.send(poster.head())
        for number in range(3):
            poster.chunk(b"chunk %d" % number)
        poster.writer.write_eof()
        assert await all_of(stream) == b"chunk 0chunk 1chunk 2"
        outcome = await ticket.outcome
        assert (outcome.error_type, outcome.streamed) == ("Runtime.TruncatedResponse", 21)
        assert (await poster.answer())[0] == 400

    async def test_afterwards(self, house: Any, begun: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """The runtime may not post again, but go on."""
        monkeypatch.setattr("rapid.runtime_api.EXIT_PATIENCE", 0)
        ticket, _, poster = begun
        await poster.cut()
        await ticket.outcome
        assert (await house.respond()).status == 403
        await house.poll()
        assert (await ticket.completed).status == "failure"

    async def test_a_runtime_that_goes_on_at_once(self, house: Any, begun: Any) -> None:
        """It need not wait for what a runtime that died would be waited for."""
        ticket, stream, poster = begun
        await poster.cut()
        await house.until(lambda: len(stream._waiters))
        await house.poll()
        assert ticket.outcome.result().error_type == "Runtime.TruncatedResponse"
        assert (await ticket.completed).status == "failure"

    async def test_before_the_first_byte(self, house: Any, post: Callable[..., Any]) -> None:
        """Nothing has gone out, so the runtime may post again."""
        stream = Stream()
        ticket = await house.delivered(stream=stream)
        poster = await post()
        poster.send(poster.head())
        await house.until(lambda: "InvocationResponse" in repr(house.environment))
        await poster.cut()
        await house.until(lambda: "Running" in repr(house.environment))
        assert (await house.respond(b"whole")).status == 202
        assert ticket.outcome.result().payload == b"whole"

    async def test_by_an_exit(self, house: Any, begun: Any) -> None:
        """A runtime that dies is told as one that died, although its connection broke first."""
        ticket, stream, poster = begun
        await poster.cut()
        await house.until(lambda: len(stream._waiters))  # it waits for the word of the exit
        house.environment.exited(house.supervisor.started[0], ExitStatus(-9, out_of_memory=True))
        assert await stream.read() == b""
        assert b"signal: killed" in ticket.outcome.result().payload
        await ticket.completed

    async def test_by_the_timeout(self, house: Any, post: Callable[..., Any]) -> None:
        """The deadline ends the stream, a writer that is blocked included; what comes later is dropped."""
        stream = Stream()
        ticket = await house.delivered(stream=stream)
        poster = await post()
        poster.send(poster.head())
        poster.chunk(b"x" * 2 * MB)
        await house.until(lambda: stream.waiting > CAPACITY)
        house.environment._fire(Arm(Timer.INVOKE, 0, house.environment._core.generation))
        assert b"Task timed out" in (await ticket.outcome).payload
        assert repr(stream).startswith("<Stream closed")
        assert len(await all_of(stream)) < 2 * MB
        poster.end()
        assert (await poster.answer())[0] == 202

    async def test_by_the_end_of_the_sandbox(self, house: Any, begun: Any) -> None:
        ticket, stream, _ = begun
        house.environment.lost("the engine says so")
        assert await stream.read() == b""
        assert ticket.outcome.result().error_type == "Sandbox.Failure"


class TestTooLong:
    @pytest.fixture(autouse=True)
    def limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(errors, "MAX_STREAM", 1000)

    async def test_a_stream(self, begun: Any) -> None:
        """What is allowed goes out; then the stream is cut, the client is told, and so is the runtime."""
        ticket, stream, poster = begun
        poster.chunk(b"x" * 2000)
        status, body = await poster.answer()
        assert (status, json.loads(body)["errorMessage"]) == (
            413,
            "Exceeded maximum allowed payload size (1000 bytes).",
        )
        assert await all_of(stream) == b"x" * 995
        outcome = ticket.outcome.result()
        assert json.loads(outcome.payload) == {
            "errorMessage": "Response payload size exceeded maximum allowed payload size (1000 bytes).",
            "errorType": "Function.ResponseSizeTooLarge",
        }
        assert outcome.size == 1000

    async def test_largest(self, begun: Any) -> None:
        """The limit itself is allowed."""
        ticket, stream, poster = begun
        poster.chunk(b"x" * 995)
        poster.end()
        assert (await poster.answer())[0] == 202
        assert (len(await all_of(stream)), ticket.outcome.result().streamed) == (995, 1000)

    async def test_stated_length(self, house: Any) -> None:
        """A length that says so is refused before anything goes out."""
        stream = Stream()
        ticket = await house.delivered(stream=stream)
        answer = await house.respond(b"x" * 1001, Lambda_Runtime_Function_Response_Mode="streaming")
        assert (answer.status, stream.content_type) == (413, None)
        assert ticket.outcome.result().error_type == "Function.ResponseSizeTooLarge"

    async def test_nobody_reads(self, begun: Any) -> None:
        """The limit holds where the bytes are dropped, too."""
        _, stream, poster = begun
        stream.leave()
        poster.chunk(b"x" * 2000)
        assert (await poster.answer())[0] == 413


class TestInvokedWithoutAStream:
    async def test_error_trailers(self, house: Any, post: Callable[..., Any]) -> None:
        """A stream that fails is a function error, although its first part arrived."""
        ticket = await house.delivered()
        poster = await post()
        poster.send(poster.head())
        poster.chunk(b"a part")
        poster.end(TRAILERS)
        assert (await poster.answer())[0] == 202
        outcome = ticket.outcome.result()
        assert json.loads(outcome.payload) == ERROR
        assert (outcome.function_error, outcome.error_type) == (True, "Function.Oops")

    async def test_whole(self, house: Any, post: Callable[..., Any]) -> None:
        """A stream is collected and delivered whole, prelude and all."""
        ticket = await house.delivered()
        poster = await post()
        kind = "application/vnd.awslambda.http-integration-response"
        poster.send(poster.head(kind=kind))
        poster.chunk(b'{"statusCode":200}' + bytes(8))
        poster.chunk(b"body")
        poster.end()
        assert (await poster.answer())[0] == 202
        outcome = ticket.outcome.result()
        assert outcome.payload == b'{"statusCode":200}' + bytes(8) + b"body"
        assert outcome.content_type == kind

    async def test_limit(self, house: Any, post: Callable[..., Any]) -> None:
        """The limit is that of a buffered response."""
        ticket = await house.delivered()
        poster = await post()
        poster.send(poster.head())
        poster.chunk(b"x" * (MAX_RESPONSE + 1))
        status, body = await poster.answer()
        assert (status, b"(6291556 bytes)" in body) == (413, True)
        assert ticket.outcome.result().error_type == "Function.ResponseSizeTooLarge"
