"""The emulator's door: Invoke and InvokeWithResponseStream over HTTP, for one function under any name.

Requests are those of AWS's emulator and of the Lambda API alike; answers are Lambda's. It knows nothing of how the
function runs.
"""

import asyncio
import logging

from aiohttp import web

from rapid.bodies import BodyBroken, BodyTooLong, read_body
from rapid.event_stream import invoke_complete, payload_chunks
from rapid.identifiers import new_uuid
from rapid.invocation import Invocation
from rapid.invoke_calls import HEALTH, INVOKE, LONGEST_EVENT, InvokeCalls, Refused, failed, plain_header
from rapid.responses import answer
from rapid.streamed import Streamed
from rapid.streams import Stream

logger = logging.getLogger("rapid")

STREAM = ("/2021-11-15/functions/", "/response-streaming-invocations")
MOST_EVENTS = 1000
"""Asynchronous invocations that are under way or wait."""


class InvokeDoor:
    """See the module's text."""

    def __init__(self, calls: InvokeCalls) -> None:
        self._calls = calls
        self._events: set[asyncio.Task[None]] = set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever comes of it."""
        request_id = new_uuid()
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
            return self._refusal(request, failed(error), request_id)

    async def close(self) -> None:
        """Give up asynchronous invocations."""
        for task in self._events:
            task.cancel()
        await asyncio.gather(*self._events, return_exceptions=True)

    async def _handle(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        streamed = _is(request.path, STREAM)
        if not streamed and not _is(request.path, INVOKE):
            if request.method in ("GET", "HEAD") and request.path in HEALTH:
                return web.Response(text=HEALTH[request.path], headers=self._calls.cors)
            return web.Response(status=404, text="404 page not found\n")
        if request.method == "OPTIONS" and self._calls.cors:
            return web.Response(status=204, headers=self._calls.cors)
        if request.method != "POST":
            raise Refused(405, "MethodNotAllowedException", "Invocations are requests with the method POST.")
        kind = request.headers.get("X-Amz-Invocation-Type") or "RequestResponse"
        invocation = await self._invocation(request, request_id)
        if kind == "DryRun":
            return web.Response(status=204, headers=self._calls.headers(request_id))
        if kind == "RequestResponse":
            return await (self._stream if streamed else self._invoke)(request, invocation)
        if kind == "Event" and not streamed:
            return self._accept(request, invocation)
        raise Refused(
            400, "InvalidParameterValueException", f"InvocationType {kind!r} is not one of this operation."
        )

    async def _invocation(self, request: web.BaseRequest, request_id: str) -> Invocation:
        headers = request.headers
        return self._calls.invocation(
            request_id,
            await read_body(request, LONGEST_EVENT),
            qualifier=request.query.get("Qualifier"),
            trace=headers.get("X-Amzn-Trace-Id"),
            client_context=headers.get("X-Amz-Client-Context"),
            tenant=headers.get("X-Amz-Tenant-Id"),
        )

    async def _invoke(self, request: web.BaseRequest, invocation: Invocation) -> web.StreamResponse:
        headers, body = await self._calls.invoke(invocation, tail=_wants_tail(request))
        return answer(request, headers, body)

    async def _stream(self, request: web.BaseRequest, invocation: Invocation) -> web.StreamResponse:
        stream = Stream()
        ticket = await self._calls.runner.run(invocation, stream)
        streamed = Streamed(
            ticket, stream, executed_version=self._calls.version, trace_id=invocation.trace_id
        )  # fmt: skip
        try:
            headers = self._calls.headers(invocation.request_id, invocation)
            headers["Content-Type"] = plain_header(await streamed.start()) or "application/octet-stream"
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
        return answer(request, self._calls.headers(invocation.request_id, invocation), b"", status=202)

    async def _run_event(self, invocation: Invocation) -> None:
        try:
            ticket = await self._calls.runner.run(invocation)
            await asyncio.wait([ticket.completed])
        except (Refused, OSError) as error:
            logger.error("event %s failed: %s", invocation.request_id, error)  # noqa: TRY400

    def _refusal(self, request: web.BaseRequest, refusal: Refused, request_id: str) -> web.StreamResponse:
        headers, body = self._calls.refusal(refusal, request_id)
        response = web.Response(status=refusal.status, body=body, headers=headers)
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


def _wants_tail(request: web.BaseRequest) -> bool:
    return request.headers.get("X-Amz-Log-Type") == "Tail"
