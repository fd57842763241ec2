"""The Extensions API of one environment: HTTP in, calls of `rapid.environment` out.

Routes, statuses and texts of API version 2020-01-01. What an extension may do next is `rapid.extensions`'s to say;
here is only what a request must be like to be a call at all.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from rapid import errors
from rapid.bodies import read_body
from rapid.environment import Environment
from rapid.exchange import Registered
from rapid.extension_headers import IDENTIFIER_HEADER, header, identifier_of
from rapid.extensions import INVOKE, SHUTDOWN, ExtensionRefused
from rapid.responses import JSON, accept, answer, is_waiting, not_found
from rapid.states import ExtensionCall

PREFIX = "/2020-01-01/extension/"
NAME_HEADER = "Lambda-Extension-Name"
FEATURE_HEADER = "Lambda-Extension-Accept-Feature"
EVENT_HEADER = "Lambda-Extension-Event-Identifier"
ERROR_TYPE_HEADER = "Lambda-Extension-Function-Error-Type"

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class ExtensionsApi:
    """Serves one environment."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._routes: Mapping[tuple[str, str], Handler] = {
            ("POST", f"{PREFIX}register"): self._register,
            ("GET", f"{PREFIX}event/next"): self._next,
            ("POST", f"{PREFIX}init/error"): self._init_error,
            ("POST", f"{PREFIX}exit/error"): self._exit_error,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of an extension. What it raises is `rapid.apis`'s to render."""
        if not self._environment.has_extensions:
            return await not_found(request)
        return await self._routes.get((request.method, request.path), not_found)(request)

    async def _register(self, request: web.BaseRequest) -> web.StreamResponse:
        name = header(request, NAME_HEADER)
        if not name:
            raise ExtensionRefused(errors.EMPTY_EXTENSION_NAME)
        events = _events(await read_body(request, errors.MAX_EXTENSION_BODY))
        registered = self._environment.register_extension(name, events)
        headers = JSON | {IDENTIFIER_HEADER: registered.identifier}
        return answer(request, headers, _about_function(registered, _features(request)))

    async def _next(self, request: web.BaseRequest) -> web.StreamResponse:
        notice = await self._environment.extension_next(identifier_of(request), is_waiting(request))
        return answer(request, JSON | {EVENT_HEADER: notice.identifier}, notice.body)

    async def _init_error(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._error(request, ExtensionCall.INIT_ERROR)

    async def _exit_error(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._error(request, ExtensionCall.EXIT_ERROR)

    async def _error(self, request: web.BaseRequest, call: ExtensionCall) -> web.StreamResponse:
        identifier = identifier_of(request)
        error_type = header(request, ERROR_TYPE_HEADER)
        if not error_type:
            raise ExtensionRefused(errors.MISSING_ERROR_TYPE)
        await read_body(request, errors.MAX_EXTENSION_BODY)  # an error that nobody is shown
        self._environment.extension_error(identifier, call, error_type)
        return accept(request)


def _features(request: web.BaseRequest) -> set[str]:
    return {feature.strip() for feature in request.headers.get(FEATURE_HEADER, "").split(",")}


def _events(body: bytes) -> list[str]:
    """The events that a registration subscribes to, each once."""
    events = _document(body).get("events") or []
    if not isinstance(events, list) or not all(isinstance(event, str) for event in events):
        raise ExtensionRefused(errors.invalid_request_format("events must be a list of strings"))
    for event in events:
        if event not in (INVOKE, SHUTDOWN):
            raise ExtensionRefused(errors.invalid_event_type(event, "ErrorInvalidEventType"))
    return list(dict.fromkeys(events))


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise ExtensionRefused(errors.invalid_request_format(str(error))) from error
    if document is None:  # as good as no body
        return {}
    if not isinstance(document, dict):
        raise ExtensionRefused(errors.invalid_request_format("the body must be a JSON object"))
    if document.get("configurationKeys"):
        text = "configurationKeys are deprecated; use environment variables instead"
        raise ExtensionRefused(errors.invalid_request_format(text))
    return document


def _about_function(registered: Registered, features: set[str]) -> bytes:
    function = registered.function
    members = {
        "functionName": function.name,
        "functionVersion": function.version,
        "handler": function.handler,
    }
    if "accountId" in features:
        members["accountId"] = function.account_id
    return json.dumps(members, separators=(",", ":")).encode()
