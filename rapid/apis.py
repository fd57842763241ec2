"""All that a sandbox may ask of its environment, behind one address."""

from collections.abc import Awaitable

from aiohttp import web

from rapid.environment import Environment
from rapid.extensions_api import PREFIX as EXTENSIONS
from rapid.extensions_api import ExtensionsApi
from rapid.runtime_api import RuntimeApi


class Apis:
    """The Runtime API and the Extensions API of one environment."""

    def __init__(self, environment: Environment) -> None:
        self._runtime = RuntimeApi(environment)
        self._extensions = ExtensionsApi(environment)

    def handle(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """Answer one request; what belongs to neither API is the Runtime API's to say no to."""
        api = self._extensions if request.path.startswith(EXTENSIONS) else self._runtime
        return api.handle(request)
