"""The listener of one environment's APIs: a port of its own, and only its own sandbox may speak to it.

A port, because runtime clients take `host:port` and nothing more. The check of the peer's address keeps neighbours
out: a function can reach every port of the control plane's address, but only from its own. What speaks here is
hostile code, so how much of the control plane it can hold is bounded: connections, headers, bodies (`rapid.bodies`).
"""

import asyncio
import logging
from asyncio import Server, Transport
from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from rapid.connections import Connection
from rapid.peers import Admission
from rapid.plain_connections import PlainConnection
from rapid.shortcut import Shortcut
from rapid.shorter_way import ShorterWay

_unheard = logging.getLogger(f"{__name__}.http")
_unheard.setLevel(logging.CRITICAL)
#: aiohttp writes a traceback for each malformed request. A function could fill the log with them.

KEEP_ALIVE = 24 * 3600.0
"""Seconds that an idle connection is kept: a handler may run for 15 minutes between two calls, and sleep frozen."""

MAX_HEADER = 1024 * 1024
"""Longest header: clients send the cause of an error, stack and all, in `Lambda-Runtime-Function-XRay-Error-Cause`."""
MAX_HEADERS = 32
"""In one request; real clients send about twelve."""
LINGER = 0.05
"""Seconds that calls under way get to end by themselves when the listener closes. Not 0, which means no limit."""


class Api(Protocol):
    """Whatever answers requests."""

    def handle(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]: ...


class Apis(Api, Protocol):
    """All that is answered on a connection, and the shorter way for some of it."""

    shortcut: Shortcut


class Door(web.Server):
    """aiohttp's server; whom `admit` does not let in is hung up on before a byte is read."""

    admit: Callable[[Transport, int], bool]
    """Takes the connection and how many there are already."""
    shortcut: ShorterWay | None = None
    """The shorter way of its connections, if there is one."""

    def __call__(self) -> RequestHandler:
        return PlainConnection(self, lambda: self.shortcut, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: Transport) -> None:
        admitted = self.admit(transport, len(self._connections))
        super().connection_made(handler, transport)
        if not admitted:
            handler.close()  # until it is gone nothing is read: uvloop may hand over what has come already
            # After its task's first step: one that is lost before that ends with a traceback in the log.
            self._loop.call_soon(transport.abort)


class OwnDoor(Door):
    """One whose connections know where bodies end and who still waits."""

    def __call__(self) -> RequestHandler:
        return Connection(self, lambda: self.shortcut, loop=self._loop, **self._kwargs)


class Listener:
    """Listens on `host`, at a port that the system chooses unless one is named, from `open` to `close`."""

    def __init__(self, host: str, peer: str) -> None:
        self._api: Apis | None = None
        self._host = host
        self._web = OwnDoor(
            self._handle,
            access_log=None,
            logger=_unheard,
            keepalive_timeout=KEEP_ALIVE,
            max_field_size=MAX_HEADER,
            max_headers=MAX_HEADERS,
            auto_decompress=False,
        )
        self._web.admit = Admission(peer)
        self._server: Server | None = None
        self.port = 0

    @property
    def api(self) -> Apis | None:
        """Set once the port is known, which the environment's variables name."""
        return self._api

    @api.setter
    def api(self, api: Apis | None) -> None:
        self._api = api
        self._web.shortcut = None if api is None else api.shortcut

    async def open(self, port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._web, self._host, port, backlog=64)
        self.port = self._server.sockets[0].getsockname()[1]

    def protocol(self) -> asyncio.Protocol:
        """For a connection that somebody else has taken."""
        return self._web()

    async def close(self) -> None:
        """Stop listening and drop what is connected."""
        if self._server is not None:
            self._server.close()
        await self._web.shutdown(LINGER)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._api is None:
            return web.Response(status=503, text="not ready\n")
        return await self._api.handle(request)
