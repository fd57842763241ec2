"""What a runtime asks for around the snapshot of its environment (SnapStart): HTTP in, calls of `rapid.environment` out.

`restore/next` waits until the environment has been restored, `restore/error` says that a hook failed afterwards, and
the credentials are fetched, not inherited, because a snapshot must not carry them. Where snapshots are off there are no
such routes.
"""

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from rapid import errors
from rapid.bodies import read_body
from rapid.environment import Environment
from rapid.responses import JSON, accept, answer, is_waiting, not_found, refuse
from rapid.runtime_api import ERROR_TYPE_HEADER, known_error_type

RESTORE = "/2018-06-01/runtime/restore/"
CREDENTIALS = "/2021-04-23/credentials"

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class SnapshotsApi:
    """Serves one environment."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._routes: Mapping[tuple[str, str], Handler] = {
            ("GET", f"{RESTORE}next"): self._next,
            ("POST", f"{RESTORE}error"): self._error,
            ("GET", CREDENTIALS): self._credentials,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of the runtime. What it raises is `rapid.apis`'s to render."""
        if not self._environment.has_snapshots:
            return await not_found(request)
        return await self._routes.get((request.method, request.path), not_found)(request)

    async def _next(self, request: web.BaseRequest) -> web.StreamResponse:
        await self._environment.restore_next(is_waiting(request))
        return answer(request, {}, b"")

    async def _error(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await read_body(request, errors.MAX_RESPONSE)
        kind = known_error_type(request.headers.get(ERROR_TYPE_HEADER, ""))
        self._environment.restore_error(kind, body)
        return accept(request)

    async def _credentials(self, request: web.BaseRequest) -> web.StreamResponse:
        credentials = self._environment.credentials
        sent = request.headers.get("Authorization", "").encode(errors="replace")
        if credentials is None or not hmac.compare_digest(sent, credentials.token.encode()):
            return refuse(errors.NOT_AUTHORIZED)
        document = {
            "AccessKeyId": credentials.access_key_id,
            "SecretAccessKey": credentials.secret_access_key,
            "Token": credentials.session_token,
            "Expiration": credentials.expiration,
        }
        return answer(request, JSON, json.dumps(document, separators=(",", ":")).encode())
