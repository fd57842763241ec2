"""Where connections of the emulator wait: requests that are plain are answered here, anything else brings the HTTP server.

The server takes longer to import than all the rest, and a function that is invoked by `curl` never needs it. So a
connection begins here, reads what `rapid.plain_requests` can read, and is handed to the server, with what has come,
as soon as something else comes. It stays there.
"""

import asyncio
from asyncio import Future, Transport
from collections.abc import Callable
from typing import cast

from rapid.partings import Parting
from rapid.plain_requests import PlainHead, plain_head, remembered_fields
from rapid.shorter_way import Peer

LONGEST = 1 << 20
"""Bytes of a request that are gathered here. One that is longer is the server's, which reads it piece by piece."""

Take = Callable[[PlainHead, bytes, Peer], bool]
"""Answers a request now or later through the connection that it came by, or does not want it."""


class Entrance:
    """The connections of one address. `long_way` makes the HTTP server's protocol for one of them."""

    def __init__(
        self,
        take: Take,
        long_way: Callable[[], asyncio.Protocol],
        *,
        admit: Callable[[Transport, int], bool],
        keep_alive: float,
    ) -> None:
        self.take = take
        self.long_way = long_way
        self.admit = admit
        #: Takes a connection and how many there are already.
        self.keep_alive = keep_alive
        self.waiting: set[Connection] = set()

    def __call__(self) -> "Connection":
        return Connection(self)

    def close(self) -> None:
        """Hang up, when what has been written is sent."""
        for connection in tuple(self.waiting):
            connection.hang_up()


class Connection(asyncio.Protocol):
    """One whose requests have been plain so far."""

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self.transport: Transport | None = None
        self._head: PlainHead | None = None
        #: Of a request whose body is not whole.
        self._parts: list[bytes] = []
        self._missing = 0
        self._is_asking = False
        #: A request has no answer yet.
        self._parting = Parting()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("Transport", transport)
        others = len(self._entrance.waiting)
        self._entrance.waiting.add(self)
        if not self._entrance.admit(self.transport, others):
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._parting.over(exc)
        self.transport = None

    def data_received(self, data: bytes) -> None:
        self._rest(None)
        if self._is_asking:  # read nothing more until there is an answer
            self._parts.append(data)
            self._there.pause_reading()
        elif self._head is None:
            self._begin(data)
        else:
            self._go_on(self._head, data)

    def eof_received(self) -> bool | None:
        """Who stops in the middle of a request is the server's to answer; else who has sent all it wanted is gone."""
        self._parting.ends(self.transport)
        if self._is_asking or not self._parts:
            return False
        return self._hand_over().eof_received()

    def _begin(self, data: bytes) -> None:
        head = plain_head(data, remembered_fields)
        if head is None or head.size > LONGEST:
            self._parts.append(data)
            self._hand_over()
            return
        self._head, self._missing = head, head.size
        self._go_on(head, data)

    def _go_on(self, head: PlainHead, data: bytes) -> None:
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return
        if self._missing < 0:  # the next one has begun
            self._hand_over()
            return
        request = b"".join(self._parts)
        self._is_asking = True  # it may have been answered when it is taken
        self._head, self._parts = None, []
        if not self._entrance.take(head, request[head.begin :], self):
            self._is_asking = False
            self._parts = [request]
            self._hand_over()

    def _hand_over(self) -> asyncio.Protocol:
        """From now on the server has the connection, and what has come of a request."""
        transport, data = self._there, b"".join(self._parts)
        self._parts.clear()
        self._leave()
        server = self._entrance.long_way()
        transport.set_protocol(server)
        server.connection_made(transport)
        if data and not transport.is_closing():
            server.data_received(data)
        return server

    def _leave(self) -> None:
        self._rest(None)
        self._entrance.waiting.discard(self)

    # Answers: see `rapid.shorter_way.Peer`

    def is_waiting(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def parted(self) -> Future[bool]:
        return self._parting.known()

    def answer(self, data: bytes) -> None:
        self._is_asking = False
        if self.transport is None:
            return
        self.transport.write(data)
        self._rest(self._entrance.keep_alive)
        if self._parts:
            held, self._parts = b"".join(self._parts), []
            self.transport.resume_reading()
            self.data_received(held)

    def hang_up(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def _rest(self, limit: float | None) -> None:
        """Hang up after so long, unless something comes."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = None if limit is None else loop.call_later(limit, self.hang_up)

    @property
    def _there(self) -> Transport:
        if self.transport is None:
            raise RuntimeError("the connection is lost")
        return self.transport
