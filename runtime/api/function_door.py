"""The door that functions call Berth through: a port of its own where sandboxes reach this machine.

Only addresses of sandboxes that live are let in, so it may listen where the REST API must not; who asks is told by the
session's token (`runtime.api.identity`), for addresses may be shared. What speaks here is hostile: connections are
bounded for each sandbox, and bodies are the API's to bound. What the API answers is not known here.
"""

import logging
from asyncio import Server, Transport, get_running_loop
from collections import Counter
from collections.abc import Callable

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from rapid.server import Door
from runtime.api.server import HEADER_LIMIT, Api, peer_of
from runtime.model import Scope
from runtime.sessions import Sessions
from runtime.variables import Credentials

logger = logging.getLogger(__name__)
_unheard = logging.getLogger(f"{__name__}.http")
_unheard.setLevel(logging.CRITICAL)
#: aiohttp writes a traceback for each malformed request. A function could fill the log with them.

CONNECTIONS = 32
"""Of one sandbox, open at a time. Each may hold a request of 6 MB; further ones are hung up on."""
KEEP_ALIVE = 75.0
"""Seconds that an idle connection is kept."""
LINGER = 0.05
"""Seconds that calls under way get when the door closes: the environments that made them have ended before."""


class _Counting(Door):
    """Tells of the end of each connection too."""

    gone: Callable[[Transport], None]

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        transport = self._connections.get(handler)
        super().connection_lost(handler, exc)
        if transport is not None:
            self.gone(transport)


class FunctionDoor:
    """Closed until `open`, and deaf until it has an API. One that does not listen only keeps the sessions."""

    def __init__(self, sessions: Sessions, *, listens: bool = True) -> None:
        self._api: Api | None = None
        self._sessions = sessions
        self._listens = listens
        self._peers: dict[Transport, str] = {}
        #: Where open connections come from.
        self._open: Counter[str] = Counter()
        self._has_refused = False
        self._server: Server | None = None
        self._web = _Counting(
            self._handle,
            access_log=None,
            logger=_unheard,
            keepalive_timeout=KEEP_ALIVE,
            auto_decompress=False,
            max_line_size=HEADER_LIMIT,
            max_field_size=HEADER_LIMIT,
        )
        self._web.admit = self._admit
        self._web.gone = self._gone

    @property
    def api(self) -> Api | None:
        """What answers."""
        return self._api

    @api.setter
    def api(self, api: Api | None) -> None:
        self._api = api
        self._web.shortcut = None if api is None else api.shortcut

    async def open(self, host: str) -> None:
        """Listen at a port that the system chooses. Raises OSError."""
        if self._listens:
            self._server = await get_running_loop().create_server(self._web, host, 0, backlog=256)

    def url(self, host: str) -> str | None:
        """Where functions find it, if it is open; `host` is this machine as they see it."""
        if self._server is None:
            return None
        port = self._server.sockets[0].getsockname()[1]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def begin(self, sandbox_id: str, scope: Scope, peer: str) -> Credentials:
        """Credentials for the function of a sandbox that has come up; with them it may call."""
        return self._sessions.begin(sandbox_id, scope, peer)

    def end(self, sandbox_id: str) -> None:
        """The sandbox is gone; what it left open is closed, for it may not have come to that."""
        peer = self._sessions.end(sandbox_id)
        if peer is not None:
            for transport in [each for each, theirs in self._peers.items() if theirs == peer]:
                transport.abort()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._web.shutdown(LINGER)

    def _admit(self, transport: Transport, _: int) -> bool:
        peer = peer_of(transport)
        allowed = CONNECTIONS * self._sessions.at(peer)
        if self._open.get(peer, 0) >= allowed:
            self._refuse(f"{peer}, which may hold {allowed}")
            return False
        self._peers[transport] = peer
        self._open[peer] += 1
        return True

    def _gone(self, transport: Transport) -> None:
        peer = self._peers.pop(transport, None)
        if peer is None:  # it was not admitted
            return
        self._open[peer] -= 1
        if not self._open[peer]:
            del self._open[peer]

    def _refuse(self, whom: str) -> None:
        """Said once: who is refused must not be able to fill the log."""
        if not self._has_refused:
            logger.warning("refused a connection for functions' calls from %s", whom)
        self._has_refused = True

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._api is None:
            return web.Response(status=503, text="not ready\n")
        return await self._api.handle(request)
