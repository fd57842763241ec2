"""All that a sandbox may ask of its environment, behind one address."""

from collections.abc import Awaitable

from aiohttp import web

from rapid.environment import Environment
from rapid.extensions_api import PREFIX as EXTENSIONS
from rapid.extensions_api import ExtensionsApi
from rapid.runtime_api import RuntimeApi
from rapid.snapshots_api import CREDENTIALS, RESTORE, SnapshotsApi
from rapid.telemetry_api import PATHS as TELEMETRY
from rapid.telemetry_api import TelemetryApi


class Apis:
    """The Runtime API, with what belongs to snapshots, the Extensions API and the Telemetry API of one environment."""

    def __init__(self, environment: Environment) -> None:
        self._runtime = RuntimeApi(environment)
        self._extensions = ExtensionsApi(environment)
        self._snapshots = SnapshotsApi(environment)
        self._telemetry = TelemetryApi(environment)

    def handle(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """Answer one request; what belongs to no API is the Runtime API's to say no to."""
        path = request.path
        if path.startswith(EXTENSIONS):
            return self._extensions.handle(request)
        if path.startswith((RESTORE, CREDENTIALS)):
            return self._snapshots.handle(request)
        if path in TELEMETRY:
            return self._telemetry.handle(request)
        return self._runtime.handle(request)
