"""Invoke as Lambda has it, for one function under any name: what a request comes to, and what is said to it.

Shared by the emulator's door (`rapid.invoke_door`) and the shorter way past it (`InvokeShortcut`), which needs no HTTP
server. It knows nothing of how the function runs.
"""

import asyncio
import base64
import binascii
import json
import logging
import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from rapid.exchange import Ticket
from rapid.identifiers import new_uuid
from rapid.invocation import Invocation
from rapid.plain_answers import ready
from rapid.plain_requests import PlainHead
from rapid.shorter_way import Peer
from rapid.streamed import UNHANDLED
from rapid.streams import Stream
from rapid.traces import trace_header

logger = logging.getLogger("rapid")

INVOKE = ("/2015-03-31/functions/", "/invocations")
HEALTH = {"/health": "ok\n", "/2018-06-01/ping": "pong"}
"""Where it says that it is up, and how."""
LONGEST_EVENT = 6 * 1024 * 1024
"""Bytes of an event (Lambda quotas)."""
ACCOUNT = "012345678912"
CLIENT_CONTEXT = "Client context must be a valid Base64-encoded JSON object."

_PLAIN_INVOKE = re.compile(rb"POST /2015-03-31/functions/[0-9A-Za-z_.:$-]{1,200}/invocations/? HTTP/1\.1")
_PLAIN_HEALTH = re.compile(rb"GET (/health|/2018-06-01/ping) HTTP/1\.1")


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


_STRICT = json.JSONDecoder(parse_constant=_no_number)
"""Reads what Lambda reads: Python's own takes `NaN` and `Infinity` too."""


@dataclass(frozen=True, slots=True)
class Refused(Exception):
    """A request that does not become an invocation."""

    status: int
    kind: str
    message: str


class Runner(Protocol):
    """Runs the function."""

    def run(self, invocation: Invocation, stream: Stream | None = None) -> Awaitable[Ticket]: ...


class InvokeCalls:
    """See the module's text. `cors` is the origin whose pages may invoke."""

    def __init__(
        self, runner: Runner, *, name: str, version: str, region: str, cors: str | None = None
    ) -> None:
        self.runner = runner
        self.version = version
        self.cors = _cors_headers(cors) if cors else {}
        self._arn = f"arn:aws:lambda:{region}:{ACCOUNT}:function:{name}"

    def invocation(
        self,
        request_id: str,
        body: bytes,
        *,
        qualifier: str | None = None,
        trace: str | None = None,
        client_context: str | None = None,
        tenant: str | None = None,
    ) -> Invocation:
        """Raises `Refused`. The content type is not told: `curl -d` names one that makes runtime clients hand over bytes."""
        return Invocation(
            request_id=request_id,
            arn=self._arn + (f":{plain_header(qualifier) or ''}" if qualifier else ""),
            payload=_payload(body),
            trace_id=trace_header(plain_header(trace)),
            client_context=_client_context(client_context),
            tenant_id=plain_header(tenant) or None,
        )

    async def invoke(self, invocation: Invocation, *, tail: bool = False) -> tuple[dict[str, str], bytes]:
        """Headers and body of the answer; `tail`: with the end of the invocation's log. Raises `Refused`."""
        ticket = await self.runner.run(invocation)
        outcome = await ticket.outcome
        headers = self.headers(invocation.request_id, invocation)
        if outcome.function_error:
            headers["X-Amz-Function-Error"] = UNHANDLED
        if tail:
            await asyncio.wait([ticket.completed])
            headers["X-Amz-Log-Result"] = base64.b64encode(ticket.tail.content()).decode()
        return headers, outcome.payload

    def headers(self, request_id: str, invocation: Invocation | None = None) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "x-amzn-RequestId": request_id, **self.cors}
        if invocation is not None:
            headers["X-Amz-Executed-Version"] = self.version
            headers["X-Amzn-Trace-Id"] = invocation.trace_id
        return headers

    def refusal(self, refused: Refused, request_id: str) -> tuple[dict[str, str], bytes]:
        """Headers and body."""
        document = {"Type": "User" if refused.status < 500 else "Service", "message": refused.message}
        if refused.kind == "TooManyRequestsException":
            document["Reason"] = "ConcurrentInvocationLimitExceeded"
        headers = {**self.headers(request_id), "X-Amzn-ErrorType": refused.kind}
        return headers, json.dumps(document).encode()


class InvokeShortcut:
    """Invocations as `curl` and the like send them, without an HTTP server. It answers as the long way does."""

    def __init__(self, calls: InvokeCalls) -> None:
        self._calls = calls
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, head: PlainHead, body: bytes, peer: Peer) -> bool:
        """Answer the request now or later, if nothing about it is unusual."""
        if not head.fields.is_harmless:
            return False
        if (health := _PLAIN_HEALTH.fullmatch(head.line)) is not None and not body:
            kind = {"Content-Type": "text/plain; charset=utf-8", **self._calls.cors}
            peer.answer(ready(200, kind, HEALTH[health[1].decode()].encode()))
            return True
        if _PLAIN_INVOKE.fullmatch(head.line) is None or len(body) > LONGEST_EVENT:
            return False
        task = asyncio.get_running_loop().create_task(self._invoke(body, peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _invoke(self, body: bytes, peer: Peer) -> None:
        request_id = new_uuid()
        status = 200
        try:
            headers, content = await self._calls.invoke(self._calls.invocation(request_id, body))
        except Refused as refused:
            status, (headers, content) = refused.status, self._calls.refusal(refused, request_id)
        except (OSError, RuntimeError) as error:
            logger.exception("an invocation failed")
            status, (headers, content) = 500, self._calls.refusal(failed(error), request_id)
        peer.answer(ready(status, headers, content))


def failed(error: Exception) -> Refused:
    return Refused(500, "ServiceException", str(error))


def plain_header(header: str | None) -> str | None:
    """A header that travels on: one with bytes that cannot is taken for absent."""
    return header if header is not None and header.isascii() and header.isprintable() else None


def _payload(body: bytes) -> bytes:
    """The event: checked to be JSON and handed on as it came. An empty body is an empty event."""
    if not body:
        return b"{}"
    try:
        _STRICT.decode(body.decode())
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


def _cors_headers(origin: str) -> Mapping[str, str]:
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": "POST, OPTIONS",
        "Access-Control-Allow-Headers": "*",
        "Access-Control-Expose-Headers": "*",
        "Access-Control-Max-Age": "86400",
    }
