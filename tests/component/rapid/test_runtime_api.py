"""The Runtime API over real sockets: statuses, bodies and headers as AWS's."""

import asyncio
import gc
import gzip
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rapid.errors import MAX_RESPONSE
from rapid.invocation import ExitStatus
from rapid.peers import CONNECTIONS

PING = b"GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\n\r\n"

INVALID_ID = b'{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}'


def refused(current: str, target: str) -> bytes:
    text = f"State transition from {current} to {target} failed for runtime. Error: State transition is not allowed"
    return json.dumps(
        {"errorMessage": text, "errorType": "InvalidStateTransition"}, separators=(",", ":")
    ).encode()


class TestNext:
    async def test_headers(self, house: Any) -> None:
        """The event comes as it is, with its metadata; what is not there is not sent."""
        poll = await house.poll()
        before = time.time()
        house.invoke(b"\x00\xff binary", timeout=7)
        answer = await poll
        assert (answer.status, answer.body) == (200, b"\x00\xff binary")
        sent = {name: value for name, value in answer.headers.items() if name not in ("Date", "Server")}
        deadline = int(sent.pop("Lambda-Runtime-Deadline-Ms")) / 1000
        assert before + 6.9 < deadline < time.time() + 7.1
        assert sent == {
            "Content-Type": "application/json",
            "Content-Length": "9",
            "Lambda-Runtime-Aws-Request-Id": "r1",
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:f:live",
            "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000000;Sampled=0",
        }

    async def test_optional_headers(self, house: Any) -> None:
        """Client context and identity come as JSON in one line, whatever white space they had."""
        poll = await house.poll()
        house.invoke(
            trace_id="",
            content_type="text/plain",
            client_context='{\n\t"custom": {"name": "Grüße"}\r\n}',
            cognito_identity='{"cognitoIdentityId":"i"}',
            tenant_id="blue",
        )
        headers = (await poll).headers
        assert headers["Lambda-Runtime-Aws-Tenant-Id"] == "blue"
        assert json.loads(headers["Lambda-Runtime-Client-Context"]) == {"custom": {"name": "Grüße"}}
        assert headers["Lambda-Runtime-Cognito-Identity"] == '{"cognitoIdentityId":"i"}'
        assert headers["Content-Type"] == "text/plain"
        assert "Lambda-Runtime-Trace-Id" not in headers

    async def test_again_while_running(self, house: Any) -> None:
        """Asking again before a response gives the same event."""
        await house.delivered(payload=b"1")
        answer = await house.next()
        assert (answer.status, answer.body, answer.headers["Lambda-Runtime-Aws-Request-Id"]) == (
            200,
            b"1",
            "r1",
        )

    async def test_two_at_a_time(self, house: Any) -> None:
        """A second `next` beside one that waits is out of order."""
        poll = await house.poll()
        answer = await house.next()
        assert (answer.status, answer.body) == (403, refused("Ready", "Ready"))
        house.invoke(b"1")
        assert (await poll).body == b"1"

    async def test_abandoned(self, house: Any) -> None:
        """A `next` whose connection broke may be asked again; the event goes to the one that lives."""
        first = await house.poll()
        alive = house.environment._poll._is_alive
        first.cancel()
        await asyncio.wait([first])
        await house.until(lambda: not alive())
        second = await house.poll()
        house.invoke(b"1")
        assert (await second).body == b"1"

    async def test_abandoned_at_delivery(self, house: Any) -> None:
        """An event that went to a broken connection is given again."""
        first = await house.poll()
        alive = house.environment._poll._is_alive
        first.cancel()
        await asyncio.wait([first])
        await house.until(lambda: not alive())
        house.invoke(b"1")
        assert (await house.next()).body == b"1"

    async def test_end_of_the_environment(self, house: Any) -> None:
        """A `next` that waits when the environment ends is hung up on."""
        reader, writer = await asyncio.open_connection("127.0.0.1", house.listener.port)
        writer.write(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n")
        await house.until(lambda: house.idle)
        house.environment.shut_down()
        assert await reader.read() == b""
        writer.close()
        await house.until(lambda: house.ended)


class TestResponse:
    async def test_accepted(self, house: Any) -> None:
        """The client has the bytes before the runtime is back at `next`."""
        ticket = await house.delivered()
        answer = await house.respond(b"\x00\xff", Content_Type="application/unknown")
        assert (answer.status, answer.body) == (202, b'{"status":"OK"}\n')
        assert answer.headers["Content-Type"] == "application/json"
        outcome = ticket.outcome.result()
        assert (outcome.payload, outcome.content_type, outcome.function_error) == (
            b"\x00\xff",
            "application/unknown",
            False,
        )
        assert not ticket.completed.done()

    async def test_empty(self, house: Any) -> None:
        """An empty response is one."""
        ticket = await house.delivered()
        assert (await house.respond(b"")).status == 202
        assert ticket.outcome.result().payload == b""

    async def test_compressed_stays_compressed(self, house: Any) -> None:
        """Payloads pass as they are, whatever their encoding header says."""
        ticket = await house.delivered()
        data = gzip.compress(b"x" * 1000)
        await house.respond(data, Content_Encoding="gzip")
        assert ticket.outcome.result().payload == data

    async def test_chunked(self, house: Any) -> None:
        """A body that comes in pieces is put together."""

        async def pieces() -> Any:
            for _ in range(20):
                yield b"x" * 10_000

        ticket = await house.delivered()
        assert (
            await house.respond(pieces(), Lambda_Runtime_Function_Response_Mode="streaming")
        ).status == 202
        assert ticket.outcome.result().payload == b"x" * 200_000

    @pytest.mark.parametrize("request_id", ["other", "", "a/b"])
    async def test_unknown_id(self, house: Any, request_id: str) -> None:
        """Another invocation's id is refused, first of all."""
        await house.delivered()
        answer = await house.respond(b"x" * (MAX_RESPONSE + 1) if request_id == "other" else b"", request_id)
        assert (answer.status, answer.body) == (400, INVALID_ID)

    async def test_before_any_event(self, house: Any) -> None:
        """There is nothing to respond to."""
        assert (await house.respond()).body == INVALID_ID
        assert (await house.error()).status == 400

    async def test_twice(self, house: Any) -> None:
        """A second response is refused with both states named; it changes nothing."""
        ticket = await house.delivered()
        await house.respond(b"1")
        second = await house.respond(b"2")
        assert (second.status, second.body) == (
            403,
            refused("RuntimeResponseSentState", "InvocationResponse"),
        )
        third = await house.error(b"3")
        assert third.body == refused("RuntimeResponseSentState", "InvocationErrorResponse")
        assert ticket.outcome.result().payload == b"1"

    async def test_after_release(self, house: Any) -> None:
        """Once the environment is free again the id is unknown."""
        ticket = await house.delivered()
        await house.respond(b"1")
        poll = await house.poll()
        await ticket.completed
        assert (await house.respond(b"2")).body == INVALID_ID
        house.invoke(request_id="r2")
        assert (await poll).status == 200

    @pytest.mark.parametrize("chunked", [False, True])
    async def test_too_large(self, house: Any, *, chunked: bool) -> None:
        """One byte too many: 413 for the runtime, a function error for the client, and both go on."""

        async def pieces(data: bytes) -> Any:
            for start in range(0, len(data), 500_000):
                yield data[start : start + 500_000]

        ticket = await house.delivered()
        data = b"x" * (MAX_RESPONSE + 1)
        answer = await house.respond(pieces(data) if chunked else data)
        assert (answer.status, answer.body) == (
            413,
            b'{"errorMessage":"Exceeded maximum allowed payload size (6291556 bytes).","errorType":"RequestEntityTooLarge"}',
        )
        outcome = ticket.outcome.result()
        assert outcome.function_error
        assert json.loads(outcome.payload)["errorType"] == "Function.ResponseSizeTooLarge"
        await house.poll()
        await ticket.completed

    async def test_largest(self, house: Any) -> None:
        """The limit itself is allowed."""
        ticket = await house.delivered()
        assert (await house.respond(b"x" * MAX_RESPONSE)).status == 202
        assert len(ticket.outcome.result().payload) == MAX_RESPONSE

    async def test_mode(self, house: Any) -> None:
        """Only `streaming` is a mode; after a refusal the runtime may respond properly."""
        ticket = await house.delivered()
        answer = await house.respond(b"1", Lambda_Runtime_Function_Response_Mode="Streaming")
        assert (answer.status, json.loads(answer.body)["errorType"]) == (400, "InvalidFunctionResponseMode")
        assert (await house.respond(b"2")).status == 202
        assert ticket.outcome.result().payload == b"2"

    async def test_broken_off(self, house: Any, caplog: pytest.LogCaptureFixture) -> None:
        """A body that breaks off is no response; the runtime may post again."""
        ticket = await house.delivered()
        _, writer = await asyncio.open_connection("127.0.0.1", house.listener.port)
        writer.write(
            b"POST /2018-06-01/runtime/invocation/r1/response HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"
        )
        await house.until(lambda: "InvocationResponse" in repr(house.environment))
        writer.close()
        await house.until(lambda: "Running" in repr(house.environment))
        assert (await house.respond(b"whole")).status == 202
        assert ticket.outcome.result().payload == b"whole"
        assert caplog.records == []

    @pytest.mark.parametrize(
        "half", [b"Content-Length: 9\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n9\r\nhalf"]
    )
    @pytest.mark.parametrize("door", ["response", "error"])
    async def test_cut_off(self, house: Any, door: str, half: bytes) -> None:
        """Who stops in mid-body and still listens is told so, hung up on, and may post again."""
        ticket = await house.delivered()
        reader, writer = await asyncio.open_connection("127.0.0.1", house.listener.port)
        path = b"/2018-06-01/runtime/invocation/r1/" + door.encode()
        writer.write(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + half)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.endswith(
            b'{"errorMessage":"HTTP request detected as truncated","errorType":"TruncatedHTTPRequest"}'
        )
        assert (await house.respond(b"whole")).status == 202
        assert ticket.outcome.result().payload == b"whole"

    async def test_after_the_deadline(self, house: Any) -> None:
        """What comes after the timeout is not heard."""
        poll = await house.poll()
        house.supervisor.hold = True
        ticket = house.invoke(timeout=0.02)
        await poll
        assert b"Task timed out after 0.02 seconds" in (await ticket.outcome).payload
        assert (await house.respond(b"late")).status == 403
        house.supervisor.held[0].set_result(1)
        await ticket.completed
        assert (await house.respond(b"later")).status == 400

    async def test_during_the_deadline(self, house: Any) -> None:
        """A response that is half there when the timeout passes is accepted and not heard."""
        ticket = await house.delivered(timeout=0.05)

        async def slow() -> Any:
            yield b"a"
            await ticket.completed
            yield b"b"

        assert (await house.respond(slow())).status == 202
        assert b"timed out" in ticket.outcome.result().payload


class TestError:
    @pytest.mark.parametrize("json", [False, True])
    async def test_hostile_type(self, make_house: Callable[..., Any], json: bool) -> None:
        """A type of any bytes is logged as text, in either format; the environment goes on."""
        house = await make_house(json=json)
        house.environment.begin()
        await house.until(lambda: house.supervisor.started)
        await house.delivered()
        reader, writer = await asyncio.open_connection("127.0.0.1", house.listener.port)
        head = b"POST /2018-06-01/runtime/invocation/r1/error HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
        writer.write(head + b"Lambda-Runtime-Function-Error-Type: Function.Odd\xff\tEND\r\n\r\n{}")
        assert b" 202 " in await reader.readline()
        writer.close()
        poll = await house.poll()
        house.invoke(request_id="r2")
        assert (await poll).status == 200
        assert ("Function.Odd\ufffd END" in house.log()) == json

    async def test_hostile_init_error(self, house: Any) -> None:
        """Nor can the line about a failed initialisation be broken."""
        reader, writer = await asyncio.open_connection("127.0.0.1", house.listener.port)
        head = b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
        writer.write(head + b"Lambda-Runtime-Function-Error-Type: Function.Odd\xff\x85END\r\n\r\n{}")
        assert b" 202 " in await reader.readline()
        writer.close()
        await house.until(lambda: house.idle)
        assert "Error Type: Function.Odd\ufffd\ufffdEND\n" in house.log()

    async def test_accepted(self, house: Any) -> None:
        """The client gets the runtime's document as it is."""
        ticket = await house.delivered()
        body = b'{"errorMessage": "x", "anything": [1]}'
        answer = await house.error(body, Lambda_Runtime_Function_Error_Type="Handled.Oops")
        assert (answer.status, answer.body) == (202, b'{"status":"OK"}\n')
        outcome = ticket.outcome.result()
        assert (outcome.payload, outcome.function_error) == (body, True)

    @pytest.mark.parametrize(
        ("body", "shown"),
        [
            (
                b'{"errorMessage":"m","errorType":"t","stackTrace":["a"],"errorCause":"{}","requestId":"r"}',
                {"errorMessage": "m", "errorType": "t", "stackTrace": ["a"]},
            ),
            (b"not JSON", {"errorMessage": "Invalid error body"}),
            (b"7", {"errorMessage": "Invalid error body"}),
            (b"[" * 100_000, {"errorMessage": "Invalid error body"}),
        ],
    )
    async def test_cause(self, house: Any, body: bytes, shown: dict[str, Any]) -> None:
        """A document with a cause is shown without it."""
        ticket = await house.delivered()
        await house.error(body, Content_Type="application/vnd.aws.lambda.error.cause+json")
        assert json.loads(ticket.outcome.result().payload) == shown

    async def test_long_cause_header(self, house: Any) -> None:
        """The cause of a deep stack is a header of many kilobytes, which clients do send."""
        ticket = await house.delivered()
        cause = "x" * 900_000
        assert (await house.error(b"{}", Lambda_Runtime_Function_XRay_Error_Cause=cause)).status == 202
        assert ticket.outcome.result().function_error
        assert ticket.outcome.result().cause is None, "it is no document"

    async def test_causes_are_kept(self, house: Any) -> None:
        """For whoever traces: out of the header, or out of the document that the client sees without it."""
        cause = {"working_directory": "/", "message": "m", "exceptions": [], "paths": ["/a"]}
        ticket = await house.delivered()
        await house.error(b"{}", Lambda_Runtime_Function_XRay_Error_Cause=json.dumps(cause))
        assert json.loads(ticket.outcome.result().cause) == cause
        poll = await house.poll()
        ticket = house.invoke(request_id="r2")
        await poll
        document = json.dumps({"errorMessage": "no", "errorCause": cause}).encode()
        await house.error(
            document, request_id="r2", Content_Type="application/vnd.aws.lambda.error.cause+json"
        )
        assert json.loads(ticket.outcome.result().cause) == cause
        assert ticket.outcome.result().payload == b'{"errorMessage":"no"}'

    async def test_too_large(self, house: Any) -> None:
        """An error document has the limit of a response."""
        ticket = await house.delivered()
        assert (await house.error(b"x" * (MAX_RESPONSE + 1))).status == 413
        assert b"ResponseSizeTooLarge" in ticket.outcome.result().payload


class TestInitError:
    @pytest.mark.parametrize(
        ("sent", "shown"),
        [
            ("Runtime.ImportModuleError", "Runtime.ImportModuleError"),
            ("Function.Oops", "Function.Oops"),
            ("Function.oops", "Function.Unknown"),
            ("ValueError", "Runtime.Unknown"),
            ("", "Runtime.Unknown"),
        ],
    )
    async def test_accepted(self, house: Any, sent: str, shown: str) -> None:
        """The log shows the type, normalised; the environment starts over with the next invocation."""
        answer = await house.init_error(b'{"errorMessage":"no"}', Lambda_Runtime_Function_Error_Type=sent)
        assert (answer.status, answer.body) == (202, b'{"status":"OK"}\n')
        await house.until(lambda: house.idle == 1)
        assert f"Phase: init\tStatus: error\tError Type: {shown}\n" in house.log()
        house.invoke()
        await house.until(lambda: house.supervisor.started == [16, 32])

    async def test_inside_an_invocation(self, house: Any) -> None:
        """The client gets the document when the second initialisation fails too."""
        await house.init_error(b"1")
        await house.until(lambda: house.idle == 1)
        ticket = house.invoke()
        await house.init_error(b'{"errorMessage":"no"}')
        assert ticket.outcome.result().payload == b'{"errorMessage":"no"}'

    async def test_afterwards_nothing_is_allowed(self, house: Any) -> None:
        """After an initialisation error every call is out of order."""
        house.supervisor.hold = True
        await house.init_error()
        assert (await house.next()).body == refused("InitError", "Ready")
        assert (await house.init_error()).body == refused("InitError", "InitError")

    async def test_one_at_a_time(self, house: Any) -> None:
        """While the body of one arrives, no second one is read: bodies that never end would pile up."""
        reader, writer = await asyncio.open_connection("127.0.0.1", house.listener.port)
        writer.write(b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{")
        await house.call("GET", "/ping")  # on another connection: by its answer the first one has been heard
        assert (await house.init_error()).body == refused("InitError", "InitError")
        writer.write(b"}")
        assert (await reader.readline()) == b"HTTP/1.1 202 Accepted\r\n"
        writer.close()

    async def test_too_late(self, house: Any) -> None:
        """After the first `next` it is out of order, and the reason why is the first thing told."""
        await house.poll()
        assert (await house.init_error()).body == refused("Ready", "InitError")

    async def test_too_large(self, house: Any) -> None:
        assert (await house.init_error(b"x" * (MAX_RESPONSE + 1))).status == 413


class TestOtherCalls:
    async def test_ping(self, house: Any) -> None:
        answer = await house.call("GET", "/ping")
        assert (answer.status, answer.body) == (200, b"pong")

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/runtime/nonsense"),
            ("GET", "/runtime/restore/next"),
            ("POST", "/runtime/invocation/next"),
            ("PUT", "/runtime/invocation/r1/response"),
        ],
    )
    async def test_unknown(self, house: Any, method: str, path: str) -> None:
        """Paths that do not exist are not found, in plain text."""
        answer = await house.call(method, path)
        assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (404, "text/plain")

    async def test_platform_fault(
        self, house: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A bug of ours is told as one, and logged."""
        monkeypatch.setattr(house.environment, "next", lambda _: 1 / 0)
        answer = await house.next()
        assert (answer.status, answer.body) == (
            500,
            b'{"errorMessage":"Internal Server Error","errorType":"InternalServerError"}',
        )
        assert "ZeroDivisionError" in caplog.text


class TestListener:
    async def test_other_peers(
        self, make_house: Callable[..., Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Only the sandbox's own address may speak; others are hung up on, and cannot fill the log."""
        house = await make_house(peer="127.0.0.2")
        house.environment.begin()
        for _ in range(3):
            with pytest.raises(aiohttp.ClientConnectionError):
                await house.next()
        assert caplog.text.count("refused a connection to the Runtime API") == 1
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", house.listener.port, local_addr=("127.0.0.2", 0)
        )
        writer.write(PING)
        assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
        writer.close()

    async def test_too_many_connections(self, house: Any, caplog: pytest.LogCaptureFixture) -> None:
        """A function that opens connection after connection is hung up on, said once; those that it has go on."""
        held = [
            await asyncio.open_connection("127.0.0.1", house.listener.port) for _ in range(CONNECTIONS + 3)
        ]
        served = 0
        for reader, writer in held:
            with suppress(ConnectionError):
                writer.write(PING)
                served += (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
        assert served == CONNECTIONS
        for _, writer in held:
            writer.close()
        gc.collect()  # a task that failed unseen says so when it is collected
        [said] = caplog.messages
        assert said.endswith("which holds 64 already")

    @pytest.mark.parametrize(
        "request_",
        [
            PING.removesuffix(b"\r\n") + b"".join(b"X-%d: x\r\n" % number for number in range(40)),
            b"GET / HTTP/1.1\r\nno header\r\n\r\n",
            b"\x16\x03\x01 \x1b[2J\r\n\r\n",
        ],
        ids=["headers without end", "no header", "no HTTP"],
    )
    async def test_malformed(self, house: Any, request_: bytes, caplog: pytest.LogCaptureFixture) -> None:
        """What is no request is refused, and does not fill the log."""
        reader, writer = await asyncio.open_connection("127.0.0.1", house.listener.port)
        writer.write(request_)
        assert (await reader.readline()) == b"HTTP/1.0 400 Bad Request\r\n"
        assert caplog.records == []
        writer.close()

    async def test_before_the_environment(self, house: Any) -> None:
        """Whoever calls too early is told so."""
        house.listener.api = None
        assert (await house.next()).status == 503

    async def test_close_with_a_call_under_way(self, house: Any) -> None:
        """Closing does not wait for who never finishes."""
        await house.delivered()
        _, writer = await asyncio.open_connection("127.0.0.1", house.listener.port)
        writer.write(
            b"POST /2018-06-01/runtime/invocation/r1/response HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"
        )
        await house.until(lambda: "InvocationResponse" in repr(house.environment))
        async with asyncio.timeout(5):
            await house.listener.close()
        writer.close()


HANDLER = """
def handler(event, context):
    if event == "big":
        return "x" * 6_291_556
    if event == "deep":
        return deep(900)
    return {"event": event, "id": context.aws_request_id, "arn": context.invoked_function_arn}

def deep(level):
    return deep(level - 1) if level else 1 / 0
"""


async def test_real_client(house: Any, tmp_path: Path) -> None:
    """AWS's own client for Python: a result, a deep stack as an error, a result that is too large."""
    (tmp_path / "app.py").write_text(HANDLER)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "awslambdaric",
        "app.handler",
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{house.listener.port}"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    outcomes = []
    async with asyncio.timeout(30):
        for number, event in enumerate(("small", "deep", "big")):
            await house.become_idle(number + 1)
            ticket = house.invoke(json.dumps(event).encode(), request_id=f"r{number}")
            outcomes.append(await ticket.outcome)
            if event == "big":  # this client gives up when its response is refused; the environment does not
                _, errors = await process.communicate()
                house.environment.exited(16, ExitStatus(process.returncode or 0))
            await ticket.completed
    house.invoke()
    await house.until(lambda: house.supervisor.started == [16, 32])
    assert json.loads(outcomes[0].payload) == {
        "event": "small",
        "id": "r0",
        "arn": "arn:aws:lambda:us-east-1:123456789012:function:f:live",
    }
    assert json.loads(outcomes[1].payload)["errorType"] == "ZeroDivisionError", errors
    assert json.loads(outcomes[2].payload)["errorType"] == "Function.ResponseSizeTooLarge"
