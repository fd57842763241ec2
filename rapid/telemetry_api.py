"""The Telemetry API of one environment, and the Logs API that it supersedes: HTTP in, calls of `rapid.environment` out.

Both have one call, a subscription. What it may ask for is `rapid.subscriptions`'s to say, and who may subscribe when is
the environment's.
"""

from collections.abc import Mapping
from typing import Protocol

from aiohttp import web

from rapid import errors
from rapid.bodies import read_body
from rapid.extension_headers import identifier_of
from rapid.extensions import ExtensionRefused
from rapid.responses import JSON, answer, not_found
from rapid.subscriptions import Api, Invalid, Subscription, parse

PATHS: Mapping[str, Api] = {
    "/2022-07-01/telemetry": Api.TELEMETRY,
    "/2022-07-01/telemetry/": Api.TELEMETRY,  # as AWS's reference writes it
    "/2020-08-15/logs": Api.LOGS,
}
SUBSCRIBED = b'"OK"'


class Subscribable(Protocol):
    """What is needed of an environment. Both raise `ExtensionRefused`."""

    def check_extension(self, identifier: str) -> None:
        """Whether anybody has registered under the identifier."""
        ...

    def subscribe(self, identifier: str, subscription: Subscription) -> None: ...


class TelemetryApi:
    """Serves one environment."""

    def __init__(self, environment: Subscribable) -> None:
        self._environment = environment

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of an extension. What it raises is `rapid.apis`'s to render."""
        api = PATHS.get(request.path)
        if api is None or request.method != "PUT":
            return await not_found(request)
        return await self._subscribe(request, api)

    async def _subscribe(self, request: web.BaseRequest, api: Api) -> web.StreamResponse:
        identifier = identifier_of(request)
        self._environment.check_extension(identifier)
        body = await read_body(request, errors.MAX_EXTENSION_BODY)
        self._environment.subscribe(identifier, _subscription(api, body))
        return answer(request, JSON, SUBSCRIBED)


def _subscription(api: Api, body: bytes) -> Subscription:
    try:
        return parse(api, body)
    except Invalid as error:
        raise ExtensionRefused(errors.invalid_subscription(api.value, str(error))) from error
