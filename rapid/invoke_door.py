"""The emulator's door: Invoke and InvokeWithResponseStream over HTTP, for one function under any name.

Requests are those of AWS's emulator and of the Lambda API alike; answers are Lambda's. It knows nothing of how the
function runs.
"""

import asyncio
import base64
import binascii
import json
import logging
import uuid
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from aiohttp import web

from rapid.bodies import BodyBroken, BodyTooLong, read_body
from rapid.event_stream import invoke_complete, payload_chunks
from rapid.exchange import Ticket
from rapid.invocation import Invocation
from rapid.responses import answer
from rapid.streamed import UNHANDLED, Streamed
from rapid.streams import Stream
from rapid.traces import trace_header

logger = logging.getLogger("rapid")

INVOKE, STREAM = (
    ("/2015-03-31/functions/", "/invocations"),
    ("/2021-11-15/functions/", "/response-streaming-invocations"),
)
HEALTH = ("/health", "/2018-06-01/ping")
LONGEST_EVENT = 6 * 1024 * 1024
"""Bytes of an event (Lambda quotas)."""
MOST_EVENTS = 1000
"""Asynchronous invocations that are under way or wait."""
ACCOUNT = "012345678912"
CLIENT_CONTEXT = "Client context must be a valid Base64-encoded JSON object."


@dataclass(frozen=True, slots=True)
class Refused(Exception):
    """A request that does not become an invocation."""

    status: int
    kind: str
    message: str


class Runner(Protocol):
    """Runs the function."""

    def run(self, invocation: Invocation, stream: Stream | None = None) -> Awaitable[Ticket]: ...


class InvokeDoor:
    """See the module's text. `cors` is the origin whose pages may invoke."""

    def __init__(
        self, runner: Runner, *, name: str, version: str, region: str, cors: str | None = None
    ) -> None:
        self._runner = runner
        self._version = version
        self._arn = f"arn:aws:lambda:{region}:{ACCOUNT}:function:{name}"
        self._cors = _cors_headers(cors) if cors else {}
        self._events: set[asyncio.Task[None]] = set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever comes of it."""
        request_id = str(uuid.uuid4())
        try:
            return await self._handle(request, request_id)
        except Refused as refusal:
            return self._refusal(request, refusal, request_id)
        except BodyTooLong as error:
            text = f"Request must be smaller than {error.limit} bytes for the InvokeFunction operation"
            return self._refusal(request, Refused(413, "RequestTooLargeException", text), request_id)
        except BodyBroken:
            broken = Refused(400, "InvalidRequestContentException", "The request's body is not whole.")
            return self._refusal(request, broken, request_id)
        except (OSError, RuntimeError) as error:
            logger.exception("an invocation failed")
            return self._refusal(request, Refused(500, "ServiceException", str(error)), request_id)

    async def close(self) -> None:
        """Give up asynchronous invocations."""
        for task in self._events:
            task.cancel()
        await asyncio.gather(*self._events, return_exceptions=True)

    async def _handle(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        streamed = _is(request.path, STREAM)
        if not streamed and not _is(request.path, INVOKE):
            if request.method in ("GET", "HEAD") and request.path in HEALTH:
                return web.Response(
                    text="pong" if request.path.endswith("ping") else "ok\n", headers=self._cors
                )
            return web.Response(status=404, text="404 page not found\n")
        if request.method == "OPTIONS" and self._cors:
            return web.Response(status=204, headers=self._cors)
        if request.method != "POST":
            raise Refused(405, "MethodNotAllowedException", "Invocations are requests with the method POST.")
        kind = request.headers.get("X-Amz-Invocation-Type") or "RequestResponse"
        invocation = await self._invocation(request, request_id)
        if kind == "DryRun":
            return web.Response(status=204, headers=self._headers(request_id))
        if kind == "RequestResponse":
            return await (self._stream if streamed else self._invoke)(request, invocation)
        if kind == "Event" and not streamed:
            return self._accept(request, invocation)
        raise Refused(
            400, "InvalidParameterValueException", f"InvocationType {kind!r} is not one of this operation."
        )

    async def _invocation(self, request: web.BaseRequest, request_id: str) -> Invocation:
        """The content type stays here: `curl -d` names one that makes runtime clients hand over bytes."""
        headers = request.headers
        qualifier = request.query.get("Qualifier")
        return Invocation(
            request_id=request_id,
            arn=self._arn + (f":{_plain(qualifier) or ''}" if qualifier else ""),
            payload=_payload(await read_body(request, LONGEST_EVENT)),
            trace_id=trace_header(_plain(headers.get("X-Amzn-Trace-Id"))),
            client_context=_client_context(headers.get("X-Amz-Client-Context")),
            tenant_id=_plain(headers.get("X-Amz-Tenant-Id")) or None,
        )

    async def _invoke(self, request: web.BaseRequest, invocation: Invocation) -> web.StreamResponse:
        ticket = await self._runner.run(invocation)
        outcome = await ticket.outcome
        headers = self._headers(invocation.request_id, invocation)
        if outcome.function_error:
            headers["X-Amz-Function-Error"] = UNHANDLED
        if _wants_tail(request):
            await asyncio.wait([ticket.completed])
            headers["X-Amz-Log-Result"] = base64.b64encode(ticket.tail.content()).decode()
        return answer(request, headers, outcome.payload)

    async def _stream(self, request: web.BaseRequest, invocation: Invocation) -> web.StreamResponse:
        stream = Stream()
        ticket = await self._runner.run(invocation, stream)
        streamed = Streamed(
            ticket, stream, executed_version=self._version, trace_id=invocation.trace_id
        )  # fmt: skip
        try:
            headers = self._headers(invocation.request_id, invocation)
            headers["Content-Type"] = _plain(await streamed.start()) or "application/octet-stream"
            response = web.StreamResponse(headers=headers)
            await response.prepare(request)
            while piece := await streamed.read():
                for message in payload_chunks(piece):
                    await response.write(message)
            tail = _wants_tail(request)
            ending = await streamed.end(tail=tail)
            last = invoke_complete(ending.error_code, ending.error_details, ending.log_tail if tail else None)
            await response.write(last)
            await response.write_eof()
        except ConnectionError:
            logger.debug("the client of %s left in mid-stream", invocation.request_id)
        finally:
            streamed.leave()
        return response

    def _accept(self, request: web.BaseRequest, invocation: Invocation) -> web.StreamResponse:
        if len(self._events) >= MOST_EVENTS:
            raise Refused(429, "TooManyRequestsException", f"{MOST_EVENTS} events wait already.")
        task = asyncio.create_task(self._run_event(invocation))
        self._events.add(task)
        task.add_done_callback(self._events.discard)
        return answer(request, self._headers(invocation.request_id, invocation), b"", status=202)

    async def _run_event(self, invocation: Invocation) -> None:
        try:
            ticket = await self._runner.run(invocation)
            await asyncio.wait([ticket.completed])
        except (Refused, OSError) as error:
            logger.error("event %s failed: %s", invocation.request_id, error)  # noqa: TRY400

    def _headers(self, request_id: str, invocation: Invocation | None = None) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "x-amzn-RequestId": request_id, **self._cors}
        if invocation is not None:
            headers["X-Amz-Executed-Version"] = self._version
            headers["X-Amzn-Trace-Id"] = invocation.trace_id
        return headers

    def _refusal(self, request: web.BaseRequest, refusal: Refused, request_id: str) -> web.StreamResponse:
        document = {"Type": "User" if refusal.status < 500 else "Service", "message": refusal.message}
        headers = {**self._headers(request_id), "X-Amzn-ErrorType": refusal.kind}
        if refusal.kind == "TooManyRequestsException":
            document["Reason"] = "ConcurrentInvocationLimitExceeded"
        response = web.Response(status=refusal.status, body=json.dumps(document).encode(), headers=headers)
        if not request.content.at_eof():
            response.force_close()  # what is left of a body that nobody reads
        return response


def _is(path: str, place: tuple[str, str]) -> bool:
    """Whether a path is this operation's, for whatever function."""
    prefix, suffix = place
    name = path[len(prefix) :].removesuffix("/").removesuffix(suffix)
    return (
        path.startswith(prefix) and path.removesuffix("/").endswith(suffix) and bool(name) and "/" not in name
    )


def _payload(body: bytes) -> bytes:
    """The event: checked to be JSON and handed on as it came. An empty body is an empty event."""
    if not body:
        return b"{}"
    try:
        json.loads(body)
    except (ValueError, RecursionError) as error:
        text = f"Could not parse request body into json: {error}"
        raise Refused(HTTPStatus.BAD_REQUEST, "InvalidRequestContentException", text) from None
    return body


def _client_context(header: str | None) -> str | None:
    """The JSON text inside `X-Amz-Client-Context`."""
    if not header:
        return None
    try:
        text = base64.b64decode(header.encode("ascii"), validate=True).decode()
        decoded = json.loads(text)
    except (UnicodeError, binascii.Error, ValueError, RecursionError):
        decoded = None
    if not isinstance(decoded, dict):
        raise Refused(HTTPStatus.BAD_REQUEST, "InvalidRequestContentException", CLIENT_CONTEXT)
    return json.dumps(decoded, separators=(",", ":"))  # one line: it travels in a header


def _plain(header: str | None) -> str | None:
    """A header that travels on: one with bytes that cannot is taken for absent."""
    return header if header is not None and header.isascii() and header.isprintable() else None


def _wants_tail(request: web.BaseRequest) -> bool:
    return request.headers.get("X-Amz-Log-Type") == "Tail"


def _cors_headers(origin: str) -> Mapping[str, str]:
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": "POST, OPTIONS",
        "Access-Control-Allow-Headers": "*",
        "Access-Control-Expose-Headers": "*",
        "Access-Control-Max-Age": "86400",
    }
