"""The operation InvokeWithResponseStream: the response goes to the client while the function writes it.

Everything up to the invocation is Invoke's. What goes wrong before the response begins is an ordinary error; from
then on the status is 200, and how it ended is said in the last message. The messages' format is `event_stream`'s.
"""

import logging
import re
from typing import Protocol as Interface

from aiohttp import web

from rapid.event_stream import invoke_complete, payload_chunks
from rapid.streamed import Ending, Streamed
from runtime.api import invoke
from runtime.api.invoke import Call, RequestReader, dry_run, name_between
from runtime.api.protocol import Protocol
from runtime.invoker import InvokeRequest

PREFIX = "/2021-11-15/functions/"
_SENDABLE = re.compile(r"[\x20-\x7e]{1,1024}")
"""Content types that travel on: functions write them, and clients read them from a header."""

_log = logging.getLogger(__name__)


class StreamingInvoker(Interface):
    """What this door needs of `runtime.invoker.Invoker`."""

    def check(self, request: InvokeRequest) -> object: ...
    async def stream(self, request: InvokeRequest) -> Streamed: ...


class Invoker(invoke.Invoker, StreamingInvoker, Interface):
    """What both doors need of it."""


def streamed_name(method: str, path: str) -> str | None:
    """The still encoded function identifier, if the request line is an InvokeWithResponseStream."""
    return name_between(PREFIX, "response-streaming-invocations", method, path)


class StreamDoor:
    def __init__(self, invoker: StreamingInvoker, protocol: Protocol) -> None:
        self._invoker = invoker
        self._reader = RequestReader(
            protocol, "InvokeWithResponseStream", ("RequestResponse", "DryRun"), invoker.check
        )

    async def handle(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        request_id = call.request_id
        kind, asked = await self._reader.read(request, call)
        if kind == "DryRun":
            self._invoker.check(asked)
            return dry_run(request_id)
        streamed = await self._invoker.stream(asked)
        try:
            response = await _begun(request, streamed, request_id)
            await _send(request, response, streamed, tail=asked.tail)
        finally:
            streamed.leave()
        return response


async def _begun(request: web.BaseRequest, streamed: Streamed, request_id: str) -> web.StreamResponse:
    """The response with its head on the way. A client that left meanwhile is an error like anywhere else."""
    content_type = await streamed.start()
    headers = {
        "Content-Type": content_type if _SENDABLE.fullmatch(content_type) else "application/octet-stream",
        "x-amzn-RequestId": request_id,
        "X-Amz-Executed-Version": streamed.executed_version,
        "X-Amzn-Trace-Id": streamed.trace_id,
    }
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    return response


async def _send(
    request: web.BaseRequest, response: web.StreamResponse, streamed: Streamed, *, tail: bool
) -> None:
    """All messages. Whatever happens from here on cannot be told in another way than by hanging up."""
    try:
        while piece := await streamed.read():
            for message in payload_chunks(piece):
                await response.write(message)
        await response.write(_last(await streamed.end(tail=tail), tail=tail))
        await response.write_eof()
    except ConnectionError:
        _log.debug("The client of %s left in mid-stream", request.raw_path)
    except Exception:
        if request.transport is not None:
            request.transport.abort()
        raise


def _last(ending: Ending, *, tail: bool) -> bytes:
    return invoke_complete(ending.error_code, ending.error_details, ending.log_tail if tail else None)
