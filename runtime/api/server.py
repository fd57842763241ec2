"""The REST door: one handler for aiohttp's low-level server, from request line to response.

In the order of life: refuse browsers, tell Invoke from everything else, find the operation, read and check its input,
run it, render the outcome. Operations are in their own modules; here is the table that joins them.
"""

import asyncio
import logging
import time
from asyncio import Transport
from collections.abc import Awaitable, Callable, Container, Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web
from botocore.model import OperationModel
from multidict import MultiDict, MultiMapping

from rapid.identifiers import new_uuid
from rapid.server import Door
from runtime.api import (
    account,
    aliases,
    capacity_providers,
    code_signing,
    concurrency,
    durable,
    event_invoke,
    event_sources,
    function_settings,
    function_updates,
    function_urls,
    functions,
    layer_permissions,
    layers,
    permissions,
    provisioned_concurrency,
    resource_policies,
    sts,
    tags,
    versions,
)
from runtime.api.answers import refusal_of, response
from runtime.api.bodies import limit_of, read_body
from runtime.api.browsers import refuse_browsers
from runtime.api.calls import Call, Operation, Provisioning, Services, not_implemented
from runtime.api.code_links import PREFIX as CODE_PREFIX
from runtime.api.code_links import CodeLinks
from runtime.api.identity import Identifier, Identities, Identity, SessionIdentities
from runtime.api.image_uris import Images
from runtime.api.invoke import Call as InvokeCall
from runtime.api.invoke import InvokeDoor, invoked_name
from runtime.api.invoke_stream import Invoker, StreamDoor, streamed_name
from runtime.api.live_code import LiveCode
from runtime.api.other_services import OURS, refuse_other
from runtime.api.parsing import RawRequest
from runtime.api.protocol import Protocol
from runtime.api.routing import Match
from runtime.api.shortcut import InvokeShortcut
from runtime.api.workshop import Readiness, Workshop
from runtime.core.limits import Limits
from runtime.errors import LambdaError
from runtime.function_images import NoFunctionImages
from runtime.model import Scope
from runtime.objects import Objects
from runtime.sessions import Sessions
from runtime.store import Store

_log = logging.getLogger(__name__)
OPERATIONS: dict[str, Operation] = {
    **account.OPERATIONS,
    **aliases.OPERATIONS,
    **capacity_providers.OPERATIONS,
    **code_signing.OPERATIONS,
    **concurrency.OPERATIONS,
    **durable.OPERATIONS,
    **event_invoke.OPERATIONS,
    **event_sources.OPERATIONS,
    **function_settings.OPERATIONS,
    **function_updates.OPERATIONS,
    **function_urls.OPERATIONS,
    **functions.OPERATIONS,
    **layer_permissions.OPERATIONS,
    **layers.OPERATIONS,
    **permissions.OPERATIONS,
    **provisioned_concurrency.OPERATIONS,
    **resource_policies.OPERATIONS,
    **tags.OPERATIONS,
    **versions.OPERATIONS,
}
INVOCATIONS = frozenset({"Invoke", "InvokeWithResponseStream"})
IMPLEMENTED = frozenset(OPERATIONS) | INVOCATIONS
"""The operations that do something; the others of the service model are refused by name."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_NO_QUERY: MultiDict[str] = MultiDict()
_BIG_BODY = 1 << 17
"""From this size on, parsing is done in a thread."""
HEADER_LIMIT = 1 << 16
"""Of one header field or the request line."""


class Api:
    """See the module's text. `handle` is the handler; `server` wraps it with the right options."""

    def __init__(
        self,
        services: Services,
        invoker: Invoker,
        *,
        identities: Identifier,
        base_url: Callable[[], str | None],
        extra: Mapping[str, Handler],
        sessions: Sessions,
        allowed: Container[str] = IMPLEMENTED,
    ) -> None:
        self._services = services
        self._invoker = invoker
        self._identities = identities
        self._base_url = base_url
        self._extra = extra
        self._sessions = sessions
        self._allowed = allowed
        self._has_refused = False
        self._protocol = Protocol()
        self._invocations = InvokeDoor(invoker, self._protocol)
        self._streams = StreamDoor(invoker, self._protocol)
        self.shortcut = InvokeShortcut(self._invocations, identities)
        #: For the connections of whatever server has `handle`.

    def for_functions(self, allowed: Container[str] = IMPLEMENTED) -> "Api":
        """The same for callers inside sandboxes, who may do less: only Lambda's operations, and of them the allowed."""
        return Api(
            replace(self._services, live=replace(self._services.live, for_functions=True)),
            self._invoker,
            identities=SessionIdentities(self._sessions),
            base_url=lambda: None,
            extra={},
            sessions=self._sessions,
            allowed=allowed,
        )

    def server(self) -> web.Server:
        """The low-level server. Bodies stay as sent, for their limits count what is sent."""
        server = Door(
            self.handle,
            access_log=None,
            auto_decompress=False,
            max_line_size=HEADER_LIMIT,
            max_field_size=HEADER_LIMIT,
        )
        server.admit = self._admit
        server.shortcut = self.shortcut
        return server

    def _admit(self, transport: Transport, _: int) -> bool:
        """Everyone but sandboxes, where they can be told: functions have a door of their own."""
        sandbox = self._sessions.sandbox_at(peer_of(transport))
        if sandbox is not None and not self._has_refused:
            self._has_refused = True  # said once: functions must not be able to fill the log
            _log.warning(
                "Hung up on sandbox %s, which called the REST API: functions call Berth at AWS_ENDPOINT_URL_LAMBDA",
                sandbox,
            )
        return sandbox is None

    async def resume_pending(self) -> None:
        """Take up functions that an earlier process left Pending or InProgress."""
        self._services.workshop.resume()

    async def close(self) -> None:
        await self._services.workshop.close()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request. Only a client that has left gets no answer."""
        request_id = new_uuid()
        try:
            return await self._respond(request, request_id)
        except web.HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer and the log the reason
            what, has_left = f"{request.method} {request.raw_path}", request.transport is None
            return response(refusal_of(error, what, request_id, has_left=has_left), request_id)

    async def _respond(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        headers, path = request.headers, request.raw_path
        query: MultiMapping[str] = _NO_QUERY
        refuse_browsers(headers, request.transport)
        if not path.startswith("/"):
            path = request.rel_url.raw_path_qs  # a proxy's form, with scheme and host
        if "?" in path:
            path, query = path.partition("?")[0], request.query
        if path.startswith(CODE_PREFIX):  # a link that only we can have made, and that is not signed
            return self._services.links.serve(request)
        identity = self._identities.of(headers, query)
        for door, named in ((self._invocations, invoked_name), (self._streams, streamed_name)):
            if (name := named(request.method, path)) is not None:
                return await door.handle(
                    request, InvokeCall(headers, identity.scope, name, query, request_id)
                )
        if (handler := self._extra.get(path)) is not None:
            return await handler(request)
        return await self._other_than_invoke(request, path, identity, request_id)

    async def _other_than_invoke(
        self, request: web.BaseRequest, path: str, identity: Identity, request_id: str
    ) -> web.Response:
        other = identity.service not in OURS and identity.service
        if identity.service == "sts" or (path == "/" and not other):
            return await _sts(request, identity, request_id)
        match = self._protocol.match(request.method, path, request.query)
        if match is not None:
            return await self._operate(request, match, identity, request_id)
        if other:
            return response(refuse_other(other, request.headers, request_id), request_id)
        raise LambdaError(
            "UnknownOperationException", f"Lambda has no operation {request.method} {request.path}"
        )

    async def _operate(
        self, request: web.BaseRequest, match: Match, identity: Identity, request_id: str
    ) -> web.Response:
        name = match.operation.name
        if (operation := OPERATIONS.get(name)) is None:
            raise refusal(match.operation)
        if name not in self._allowed:
            raise _not_allowed(name)
        params = await self._params(request, match)
        call = Call(scope=identity.scope, params=params, base_url=self._address(request))
        result = await operation(self._services, call)
        return response(self._protocol.write(match.operation, result), request_id)

    async def _params(self, request: web.BaseRequest, match: Match) -> dict[str, Any]:
        name = match.operation.name
        body = await read_body(request, limit_of(name), name)
        raw = RawRequest(match.labels, request.query, request.headers, body)
        if len(body) < _BIG_BODY:
            return self._protocol.read(match.operation, raw)
        return await asyncio.to_thread(self._protocol.read, match.operation, raw)

    def _address(self, request: web.BaseRequest) -> str:
        """Where this caller reaches us: as configured, else as it has just done."""
        return self._base_url() or f"http://{request.headers.get('Host', 'localhost')}"


def build_api(
    *,
    store: Store,
    invoker: Invoker,
    readiness: Readiness,
    retired: Callable[[Scope, str], None],
    limits: Callable[[Scope], Limits],
    provisioning: Provisioning,
    account_id: str,
    region: str,
    lenient_routing: bool = False,
    base_url: Callable[[], str | None] = lambda: None,
    now: Callable[[], float] = time.time,
    extra: Mapping[str, Handler] | None = None,
    sessions: Sessions | None = None,
    objects: Objects | None = None,
    images: Images | None = None,
    live: LiveCode | None = None,
) -> Api:
    """The REST door with its collaborators. `extra` are further handlers by exact path, `sessions` those of functions."""
    sessions = sessions or Sessions()
    services = Services(
        store=store,
        workshop=Workshop(store, readiness, retired),
        links=CodeLinks(store.blobs),
        objects=objects or Objects(None, region),
        images=images or NoFunctionImages(),
        live=live or LiveCode(),
        retired=retired,
        limits=limits,
        provisioning=provisioning,
        now=now,
        lenient_routing=lenient_routing,
    )
    return Api(
        services,
        invoker,
        identities=Identities(account_id, region, sessions.account_of),
        base_url=base_url,
        extra=extra or {},
        sessions=sessions,
    )


def peer_of(transport: Transport) -> str:
    """The address that a connection comes from; none where it is gone already."""
    return str((transport.get_extra_info("peername") or [""])[0]).removeprefix("::ffff:")


def refusal(operation: OperationModel) -> LambdaError:
    """The answer to an operation that is not implemented: modelled, and if possible one that clients do not retry.

    Durable executions and callbacks are not there, whichever is asked for.
    """
    modelled = {shape.name for shape in operation.error_shapes}
    first = ("ResourceNotFoundException",) if "DurableExecution" in operation.name else ()
    code = next((code for code in (*first, *_REFUSALS) if code in modelled), "ServiceException")
    return LambdaError(code, not_implemented(operation.name).message)


def _not_allowed(name: str) -> LambdaError:
    return LambdaError(
        "AccessDeniedException",
        f"Functions may not call {name} here: they may invoke others. The setting functions_may_call can allow more.",
    )


_REFUSALS = ("InvalidParameterValueException", "InvalidRequestContentException", "ResourceConflictException")


async def _sts(request: web.BaseRequest, identity: Identity, request_id: str) -> web.Response:
    body = await read_body(request, limit_of("STS"), "STS")
    params = sts.parameters(request.query, body)
    return response(sts.answer(params, identity, request_id), request_id)
