"""All that a sandbox may ask of its environment, behind one address; and how each kind of refusal is answered."""

from functools import partial

from aiohttp import web

from rapid.environment import Environment
from rapid.extensions_api import PREFIX as EXTENSIONS
from rapid.extensions_api import ExtensionsApi
from rapid.refusals import refusal
from rapid.responses import refuse
from rapid.runtime_api import RuntimeApi
from rapid.runtime_calls import RuntimeCalls
from rapid.server import Api
from rapid.shortcut import Shortcut
from rapid.snapshots_api import CREDENTIALS, RESTORE, SnapshotsApi
from rapid.telemetry_api import PATHS as TELEMETRY
from rapid.telemetry_api import TelemetryApi


class Apis:
    """The Runtime API, with what belongs to snapshots, the Extensions API and the Telemetry API of one environment."""

    def __init__(self, environment: Environment, calls: RuntimeCalls | None = None) -> None:
        self._runtime = RuntimeApi(environment, calls)
        self._extensions = ExtensionsApi(environment)
        self._snapshots = SnapshotsApi(environment)
        self._telemetry = TelemetryApi(environment)
        self._refusal = partial(refusal, where=environment)
        self.shortcut = Shortcut(self._runtime.calls, self._refusal)

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
