"""The Invoke operation, and how the request of any operation that invokes is read.

It is the hot path, so it reads its few members itself and goes through the service model only when something about
them is unusual, to say what. How a function runs is the Invoker's matter.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Protocol as Interface
from urllib.parse import unquote

import orjson
from aiohttp import web
from botocore.model import OperationModel
from multidict import MultiMapping

from rapid.plain_answers import ready
from rapid.responses import answer
from rapid.values import value
from runtime.api.bodies import INVOKE_LIMIT, read_body
from runtime.api.calls import not_implemented
from runtime.api.parsing import RawRequest
from runtime.api.protocol import Protocol
from runtime.errors import LambdaError
from runtime.invoker import InvokeRequest, InvokeResult, Told
from runtime.model import Scope
from runtime.names import parse_function, resolve_function

PREFIX = "/2015-03-31/functions/"
CLIENT_CONTEXT_LIMIT = 3583
_QUALIFIER = r"\$LATEST|[a-zA-Z0-9_-]{1,128}"
_USUAL_NAME = re.compile(
    rf"(arn:aws:lambda:[a-z]{{2}}-[a-z]+-[0-9]:[0-9]{{12}}:function:)?[a-zA-Z0-9_-]{{1,64}}(:({_QUALIFIER}))?"
)
_LONGEST_USUAL = 300
"""Characters of an encoded identifier; longer ones are not remembered."""
_USUAL_QUALIFIER = re.compile(_QUALIFIER)
_USUAL_TENANT = re.compile(r"[a-zA-Z0-9._:/=+\-@ ]{1,256}")
_LOG_TYPES = (None, "None", "Tail")

_Target = tuple[str, str | None]
"""Function and qualifier."""


class Invoker(Interface):
    """What this door needs of `runtime.invoker.Invoker`."""

    def check(self, request: InvokeRequest) -> object: ...
    async def invoke(self, request: InvokeRequest) -> InvokeResult: ...
    def start(self, request: InvokeRequest, told: Told) -> None: ...


def invoked_name(method: str, path: str) -> str | None:
    """The still encoded function identifier, if the request line is an Invoke."""
    return name_between(PREFIX, "invocations", method, path)


def name_between(prefix: str, rest: str, method: str, path: str) -> str | None:
    """What stands in the path between these two, a slash at the end or not."""
    if method != "POST" or not path.startswith(prefix):
        return None
    name, _, found = path[len(prefix) :].partition("/")
    return name if name and found.removesuffix("/") == rest else None


@value(frozen=True, slots=True)
class Call:
    """What there is of a request to invoke before its body; the function's name still encoded."""

    headers: Mapping[str, str]
    scope: Scope
    name: str
    query: MultiMapping[str]
    request_id: str


class InvokeDoor:
    def __init__(self, invoker: Invoker, protocol: Protocol) -> None:
        self.invoker = invoker
        self.reader = RequestReader(protocol, "Invoke", ("RequestResponse", "DryRun", "Event"), invoker.check)

    async def handle(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        kind, asked = await self.reader.read(request, call)
        if kind == "DryRun":
            self.invoker.check(asked)
            return dry_run(call.request_id)
        result = await self.invoker.invoke(asked)
        return answer(request, _result_headers(result, asked), result.payload)


def result_bytes(result: InvokeResult, asked: InvokeRequest) -> bytes:
    """The answer that `InvokeDoor` gives, for a kept connection."""
    return ready(200, _result_headers(result, asked), result.payload)


class RequestReader:
    """Reads requests of one operation that invokes; `kinds` are its invocation types, `check` is the invoker's."""

    def __init__(
        self,
        protocol: Protocol,
        operation: str,
        kinds: Sequence[str],
        check: Callable[[InvokeRequest], object],
    ) -> None:
        self._check = check
        self._protocol = protocol
        self._operation: OperationModel = protocol.service.operation_model(operation)
        self._kinds = kinds

    async def read(self, request: web.BaseRequest, call: Call) -> tuple[str, InvokeRequest]:
        """The invocation type and what is to be invoked. Raises `LambdaError`."""
        target = self._target(call)
        try:
            body = await read_body(request, INVOKE_LIMIT, "InvokeFunction")
        except LambdaError:
            self._refuse_missing(call, target)
            raise
        return self._whole(call, target, body)

    def read_whole(self, call: Call, body: bytes) -> tuple[str, InvokeRequest]:
        """The same where the body is there, and not too long."""
        return self._whole(call, self._target(call), body)

    def _target(self, call: Call) -> _Target:
        """Function and qualifier, where what comes before the body is in order."""
        headers = call.headers
        kind, tenant = headers.get("X-Amz-Invocation-Type", "RequestResponse"), headers.get("X-Amz-Tenant-Id")
        usual = (
            kind in self._kinds
            and headers.get("X-Amz-Log-Type") in _LOG_TYPES
            and (tenant is None or _USUAL_TENANT.fullmatch(tenant) is not None)
        )
        target = self._named(call, usual=usual)
        _refuse_unimplemented(kind, headers)
        return target

    def _named(self, call: Call, *, usual: bool) -> _Target:
        """Anything unusual is held against the model first."""
        query, encoded, scope = call.query, call.name, call.scope
        qualifier = query.get("Qualifier") if query else None
        found = _usual_name(encoded) if usual and len(encoded) <= _LONGEST_USUAL else None
        if found is not None and (qualifier is None or _USUAL_QUALIFIER.fullmatch(qualifier)):
            there, function, own = found
            if (there is None or there == scope) and (own is None or qualifier is None or own == qualifier):
                return function, own or qualifier
        name = unquote(encoded)
        self._protocol.read(self._operation, RawRequest({"FunctionName": name}, query, call.headers, b""))
        resolved = resolve_function(name, qualifier, scope)
        return resolved.name, resolved.qualifier

    def _whole(self, call: Call, target: _Target, body: bytes) -> tuple[str, InvokeRequest]:
        headers = call.headers
        try:
            payload = _payload(body)
            client_context = _client_context(headers.get("X-Amz-Client-Context"))
        except LambdaError:
            self._refuse_missing(call, target)
            raise
        function, qualifier = target
        return headers.get("X-Amz-Invocation-Type", "RequestResponse"), InvokeRequest(
            scope=call.scope,
            function=function,
            qualifier=qualifier,
            payload=payload,
            request_id=call.request_id,
            content_type=_plain(headers.get("Content-Type")),
            client_context=client_context,
            trace_id=_plain(headers.get("X-Amzn-Trace-Id")),
            tail=headers.get("X-Amz-Log-Type") == "Tail",
            tenant_id=headers.get("X-Amz-Tenant-Id"),
        )

    def _refuse_missing(self, call: Call, target: _Target) -> None:
        """Whether there is such a function comes before what is wrong with the event; all else about it comes after."""
        function, qualifier = target
        try:
            self._check(
                InvokeRequest(
                    scope=call.scope,
                    function=function,
                    qualifier=qualifier,
                    payload=b"",
                    request_id=call.request_id,
                )
            )
        except LambdaError as error:
            if error.code == "ResourceNotFoundException":
                raise error from None


@lru_cache(maxsize=1024)
def _usual_name(encoded: str) -> tuple[Scope | None, str, str | None] | None:
    """An identifier of one of the usual forms: where it says that the function is, name and qualifier."""
    identifier = unquote(encoded)
    found = parse_function(identifier) if _USUAL_NAME.fullmatch(identifier) else None
    if found is None or (found.account is None) != (found.region is None):
        return None
    there = Scope(found.account, found.region) if found.account and found.region else None
    return there, found.name, found.qualifier


def _refuse_unimplemented(kind: str, headers: Mapping[str, str]) -> None:
    if kind == "Event":
        raise not_implemented("asynchronous invocation (InvocationType Event)")
    if "X-Amz-Durable-Execution-Name" in headers:
        raise not_implemented("durable functions (DurableExecutionName)")


def _payload(body: bytes) -> bytes:
    """The event: checked to be JSON and handed on as it came. An empty body is an empty event."""
    if not body:
        return b"{}"
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _bad_content(
            f"Could not parse request body into json: Could not parse payload into json: {error}"
        ) from None
    return body


def _client_context(header: str | None) -> str | None:
    """The JSON text inside `X-Amz-Client-Context`."""
    if header is None:
        return None
    if len(header) > CLIENT_CONTEXT_LIMIT:
        raise _bad_content(f"Client context must be no larger than {CLIENT_CONTEXT_LIMIT} bytes.")
    try:
        text = base64.b64decode(header.encode("ascii"), validate=True)
        decoded = orjson.loads(text)
    except (UnicodeEncodeError, binascii.Error, orjson.JSONDecodeError):
        decoded = None
    if not isinstance(decoded, dict):
        raise _bad_content("Client context must be a valid Base64-encoded JSON object.")
    return text.decode()


def _plain(header: str | None) -> str | None:
    """A header that travels on: one with bytes that cannot is taken for absent."""
    return header if header is not None and header.isascii() else None


def dry_run(request_id: str) -> web.Response:
    """The answer where everything is in order and nothing is to be done."""
    return web.Response(status=204, headers=_common(request_id))


def _result_headers(result: InvokeResult, asked: InvokeRequest) -> dict[str, str]:
    headers = _common(asked.request_id)
    headers["X-Amz-Executed-Version"] = result.executed_version
    headers["X-Amzn-Trace-Id"] = result.trace_id
    if result.function_error is not None:
        headers["X-Amz-Function-Error"] = result.function_error
    if asked.tail:
        headers["X-Amz-Log-Result"] = base64.b64encode(result.log_tail).decode()
    return headers


def _common(request_id: str) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "x-amzn-RequestId": request_id,
        "x-amzn-Remapped-Content-Length": "0",
    }


def _bad_content(message: str) -> LambdaError:
    return LambdaError("InvalidRequestContentException", message)
