"""Tunnels, the control plane's end: connections to listeners inside a sandbox, carried by its link.

What listeners say is bounded by the window: a tunnel that nobody reads from holds `WINDOW` bytes and no more comes.
This module knows frames, not what is said through a tunnel.
"""

import asyncio
from asyncio import Future
from collections.abc import Callable

from rapid.supervisor import Tunnel, TunnelBroken
from rapid.wire import CHUNK, CREDIT, TUNNEL, WINDOW, Kind, WireError, fields, frame, message

Send = Callable[[bytes], None]

PIECE = CHUNK // 4
"""Bytes of a frame that carries data."""
ABOUT_TUNNELS = frozenset({Kind.DIALLED, Kind.RECEIVED, Kind.SENT, Kind.HUNG_UP})
"""What agents say of tunnels."""


class CarriedTunnel:
    """One connection. See `rapid.supervisor.Tunnel`."""

    def __init__(self, number: int, send: Send, forget: Callable[[int], None]) -> None:
        self.number = number
        self._send = send
        self._forget = forget
        self._unsent = bytearray()
        self._room = WINDOW
        #: Bytes that the far end can still hold.
        self._received: list[bytes] = []
        self._held = 0
        #: Bytes in `_received`.
        self._broken: str | None = None
        #: Why the connection is over, once it is.
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Tunnel {self.number} {self._broken or 'open'}>"

    @property
    def is_open(self) -> bool:
        return self._broken is None

    # The user's side

    def write(self, data: bytes) -> None:
        if self._broken is None:
            self._unsent += data
            self._push()

    async def drain(self) -> None:
        while self._broken is not None or self._unsent or self._room < WINDOW:
            await self._change()

    async def read(self) -> bytes:
        while not self._received:
            if self._broken is not None:
                return b""
            await self._change()
        data = b"".join(self._received)
        self._received.clear()
        self._held = 0
        if self._broken is None:
            self._send(frame(Kind.TAKEN, CREDIT.pack(self.number, len(data))))
        return data

    def close(self) -> None:
        if self._broken is None:
            self._send(frame(Kind.HANG_UP, TUNNEL.pack(self.number)))
            self.broke("it was closed")
            self._forget(self.number)

    async def _change(self) -> None:
        if self._broken is not None:
            raise TunnelBroken(self._broken)
        self._changed.clear()
        await self._changed.wait()

    def _push(self) -> None:
        while self._unsent and self._room:
            count = min(len(self._unsent), self._room, PIECE)
            self._send(frame(Kind.SEND, TUNNEL.pack(self.number) + self._unsent[:count]))
            del self._unsent[:count]
            self._room -= count

    # The link's side

    def received(self, data: bytes) -> None:
        """Raises `WireError` where the agent sends more than it may."""
        self._held += len(data)
        if self._held > WINDOW:
            raise WireError(f"more than {WINDOW} bytes on their way through a tunnel")
        self._received.append(data)
        self._changed.set()

    def sent(self, count: int) -> None:
        """Raises `WireError` where the agent has sent what it was not given."""
        self._room += count
        if self._room > WINDOW:
            raise WireError("a tunnel has sent more than it was given")
        self._push()
        self._changed.set()

    def broke(self, reason: str) -> None:
        """The connection is over; what has been received can still be read."""
        self._broken = reason
        self._unsent.clear()
        self._changed.set()


class Tunnels:
    """The tunnels of one link, by number."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._number = 0
        self._dialling: dict[int, Future[Tunnel]] = {}
        self._open: dict[int, CarriedTunnel] = {}

    def dial(self, port: int) -> Future[Tunnel]:
        """See `rapid.supervisor.Supervisor.connect`."""
        self._number = number = (self._number + 1) & 0xFFFFFFFF
        future: Future[Tunnel] = asyncio.get_running_loop().create_future()
        self._dialling[number] = future
        future.add_done_callback(lambda done: self._given_up(number) if done.cancelled() else None)
        self._send(message(Kind.DIAL, tunnel=number, port=port))
        return future

    def _given_up(self, number: int) -> None:
        if self._dialling.pop(number, None) is not None:
            self._send(frame(Kind.HANG_UP, TUNNEL.pack(number)))

    def hear(self, kind: Kind, payload: bytes) -> None:
        """A frame about a tunnel; one that has been hung up on this side meanwhile is of no interest."""
        if kind is Kind.DIALLED:
            said = fields(payload)
            self._dialled(int(str(said["tunnel"])), said["error"])
        elif tunnel := self._open.get(TUNNEL.unpack_from(payload)[0]):
            self._hear(tunnel, kind, payload)

    def _dialled(self, number: int, error: object) -> None:
        future = self._dialling.pop(number, None)
        if future is None or future.done():  # whoever wanted it has hung up
            return
        if error is not None:
            future.set_exception(TunnelBroken(str(error)))
            return
        self._open[number] = tunnel = CarriedTunnel(number, self._send, self._forget)
        future.set_result(tunnel)

    def _hear(self, tunnel: "CarriedTunnel", kind: Kind, payload: bytes) -> None:
        if kind is Kind.RECEIVED:
            tunnel.received(payload[TUNNEL.size :])
        elif kind is Kind.SENT:
            tunnel.sent(CREDIT.unpack(payload)[1])
        else:
            self._forget(tunnel.number)
            tunnel.broke("the listener hung up")

    def lost(self, reason: str, failure: Exception) -> None:
        """The link is gone."""
        for tunnel in self._open.values():
            tunnel.broke(reason)
        self._open.clear()
        for future in self._dialling.values():
            if not future.done():
                future.set_exception(failure)
                future.exception()  # whoever waits sees it; nobody waiting is no error
        self._dialling.clear()

    def _forget(self, number: int) -> None:
        self._open.pop(number, None)
