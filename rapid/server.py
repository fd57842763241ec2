"""The listener of one environment's Runtime API: a port of its own, and only its own sandbox may speak to it.

A port, because runtime clients take `host:port` and nothing more. The check of the peer's address keeps neighbours
out: a function can reach every port of the control plane's address, but only from its own.
"""

import asyncio
import errno
import logging
from asyncio import Server

from aiohttp import web

from rapid.runtime_api import RuntimeApi

logger = logging.getLogger(__name__)

KEEP_ALIVE = 24 * 3600.0
"""Seconds that an idle connection is kept: a handler may run for 15 minutes between two calls, and sleep frozen."""

MAX_HEADER = 1024 * 1024
"""Longest header: clients send the cause of an error, stack and all, in `Lambda-Runtime-Function-XRay-Error-Cause`."""
LINGER = 0.05
"""Seconds that calls under way get to end by themselves when the listener closes. Not 0, which means no limit."""


class Listener:
    """Listens on `host` at a port that the system chooses, from `open` to `close`."""

    def __init__(self, host: str, peer: str) -> None:
        self.api: RuntimeApi | None = None
        #: Set once the port is known, which the environment's variables name.
        self._host = host
        self._peer = peer
        self._web = web.Server(
            self._handle,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE,
            max_field_size=MAX_HEADER,
            auto_decompress=False,
        )
        self._server: Server | None = None
        self.port = 0

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._web, self._host, 0, backlog=64)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and drop what is connected."""
        if self._server is not None:
            self._server.close()
        await self._web.shutdown(LINGER)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        transport = request.transport
        peer = transport.get_extra_info("peername") if transport else None
        if peer is None or peer[0] != self._peer:
            logger.warning("refused a Runtime API call from %s: the environment is %s", peer, self._peer)
            return web.Response(status=403, text=f"{errno.errorcode[errno.EACCES]}: not your Runtime API\n")
        if self.api is None:
            return web.Response(status=503, text="not ready\n")
        return await self.api.handle(request)
