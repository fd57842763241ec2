"""All that a sandbox may ask of its environment, behind one address; and how each kind of refusal is answered."""

import logging

from aiohttp import web

from rapid import errors
from rapid.bodies import BodyBroken, BodyTooLong
from rapid.concurrent_lifecycle import TooLate, TooManyWaiting
from rapid.environment import Environment
from rapid.extensions import ExtensionRefused
from rapid.extensions_api import PREFIX as EXTENSIONS
from rapid.extensions_api import ExtensionsApi
from rapid.lifecycle import UnknownRequest
from rapid.responses import refuse
from rapid.runtime_api import RuntimeApi
from rapid.server import Api
from rapid.shortcut import Shortcut
from rapid.snapshots_api import CREDENTIALS, RESTORE, SnapshotsApi
from rapid.states import IllegalTransition
from rapid.telemetry_api import PATHS as TELEMETRY
from rapid.telemetry_api import TelemetryApi

logger = logging.getLogger(__name__)


class Apis:
    """The Runtime API, with what belongs to snapshots, the Extensions API and the Telemetry API of one environment."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._runtime = RuntimeApi(environment)
        self._extensions = ExtensionsApi(environment)
        self._snapshots = SnapshotsApi(environment)
        self._telemetry = TelemetryApi(environment)
        self.shortcut = Shortcut(self._runtime, self._refusal)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever comes of it."""
        try:
            return await self._api(request.path).handle(request)
        except Exception as error:  # noqa: BLE001  whoever asked is answered, and the log has the reason
            return refuse(self._refusal(f"{request.method} {request.path}", error))

    def _api(self, path: str) -> Api:
        """Whose the path is; what belongs to no API is the Runtime API's to say no to."""
        if path.startswith(EXTENSIONS):
            return self._extensions
        if path.startswith((RESTORE, CREDENTIALS)):
            return self._snapshots
        return self._telemetry if path in TELEMETRY else self._runtime

    def _refusal(self, what: str, error: Exception) -> errors.Refusal:
        for kind, refusal in _REFUSALS:
            if isinstance(error, kind):
                return refusal
        match error:
            case ExtensionRefused():
                return error.refusal
            case IllegalTransition():
                return errors.illegal_transition(error.current, error.target)
            case BodyTooLong():
                return errors.too_large(error.limit)
        logger.error("%s of %r failed", what, self._environment, exc_info=error)
        return errors.INTERNAL


_REFUSALS: tuple[tuple[type[Exception], errors.Refusal], ...] = (
    (TooManyWaiting, errors.INTERNAL),
    (TooLate, errors.TOO_LATE),
    (UnknownRequest, errors.INVALID_REQUEST_ID),
    (BodyBroken, errors.TRUNCATED),
)
"""Those that say the same whatever is refused; of two that apply, the first."""
