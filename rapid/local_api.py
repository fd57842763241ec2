"""The address of the APIs of the emulator's environments, one after the other, without the HTTP server while it is not needed."""

import asyncio
from asyncio import Server
from functools import partial
from typing import TYPE_CHECKING

from rapid.environment import Environment
from rapid.peers import Admission
from rapid.plain_requests import PlainHead
from rapid.porch import Entrance
from rapid.refusals import refusal
from rapid.runtime_calls import RuntimeCalls
from rapid.shortcut import Shortcut
from rapid.shorter_way import Peer

if TYPE_CHECKING:
    from rapid.server import Listener

KEEP_ALIVE = 24 * 3600.0
"""Seconds that an idle connection is kept: a handler may take as long as it likes between two calls."""


class LocalApi:
    """Listens on `host`, from `open` to `close`; `peer` is where the runtime comes from."""

    def __init__(self, host: str, peer: str) -> None:
        self._host = host
        self._peer = peer
        self._environment: Environment | None = None
        self._calls: RuntimeCalls | None = None
        self._shortcut: Shortcut | None = None
        self._entrance = Entrance(self._take, self._long_way, admit=Admission(peer), keep_alive=KEEP_ALIVE)
        self._server: Server | None = None
        self._listener: Listener | None = None
        #: The HTTP server, once something has needed it.
        self.port = 0

    def serve(self, environment: Environment | None) -> None:
        """From now on the calls are this environment's."""
        self._environment = environment
        self._calls = self._shortcut = None
        if environment is not None:
            self._calls = RuntimeCalls(environment)
            self._shortcut = Shortcut(self._calls, partial(refusal, where=environment))
        self._tell()

    async def open(self, port: int = 0) -> None:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._entrance, self._host, port, backlog=64)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and drop what is connected."""
        if self._server is not None:
            self._server.close()
        self._entrance.close()
        if self._listener is not None:
            await self._listener.close()

    def _take(self, head: PlainHead, body: bytes, peer: Peer) -> bool:
        return self._shortcut is not None and self._shortcut.take(head, body, peer)

    def _long_way(self) -> asyncio.Protocol:
        from rapid.server import Listener  # noqa: PLC0415  see `rapid.porch`

        if self._listener is None:
            self._listener = Listener(self._host, self._peer)
            self._tell()
        return self._listener.protocol()

    def _tell(self) -> None:
        if self._listener is None:
            return
        from rapid.apis import Apis  # noqa: PLC0415  as above

        self._listener.api = None if self._environment is None else Apis(self._environment, self._calls)
