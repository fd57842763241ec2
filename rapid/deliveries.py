"""How a batch of events reaches its listener: as one HTTP request, or as lines on a TCP connection.

Listeners are a function's, thus hostile: what is read of their answers is bounded, and whoever delivers bounds the
time. A connection is made for each HTTP request, since a listener that serves one connection at a time would be
blocked by one that is kept; the one for lines is kept, and made anew when it breaks.
"""

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from rapid.subscriptions import HttpDestination, Subscription, TcpDestination
from rapid.supervisor import Supervisor, SupervisorLost, Tunnel

ANSWER = 1 << 16
"""Bytes of an answer that are read."""
POLITENESS = 2.0
"""Seconds for the rest of an answer once its status is known."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |\r?\n)")
_LENGTH = re.compile(rb"\r?\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r?\n", re.IGNORECASE)
_HEAD_END = re.compile(rb"\r?\n\r?\n")


class Rejected(Exception):
    """The listener did not answer with a status below 400."""


FAILURES = (OSError, SupervisorLost, Rejected)
"""Why a batch may not have been delivered."""


class Delivery(Protocol):
    """The way to one listener."""

    async def send(self, events: Sequence[bytes]) -> None:
        """Raises one of `FAILURES`; what came through then is not known."""
        ...

    def close(self) -> None: ...


def delivery(subscription: Subscription, supervisor: Supervisor) -> Delivery:
    """The way that a subscription asks for."""
    destination = subscription.destination
    if isinstance(destination, TcpDestination):
        return LineDelivery(destination, supervisor)
    return HttpDelivery(destination, supervisor)


class LineDelivery:
    """Each event is a line. Delivered is what the listener's socket has taken: TCP does not tell more."""

    def __init__(self, destination: TcpDestination, supervisor: Supervisor) -> None:
        self._port = destination.port
        self._supervisor = supervisor
        self._tunnel: Tunnel | None = None

    async def send(self, events: Sequence[bytes]) -> None:
        if self._tunnel is None or not self._tunnel.is_open:
            self._tunnel = await _connect(self._supervisor, self._port)
        try:
            self._tunnel.write(b"\n".join(events) + b"\n")
            await self._tunnel.drain()
        except BaseException:  # a line may have gone half: what follows must not continue it
            self.close()
            raise

    def close(self) -> None:
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.close()


class HttpDelivery:
    """A batch is the array in a request's body."""

    def __init__(self, destination: HttpDestination, supervisor: Supervisor) -> None:
        self._port = destination.port
        self._supervisor = supervisor
        self._head = (
            f"{destination.method} {destination.path} HTTP/1.1\r\n"
            f"Host: {destination.host}:{destination.port}\r\n"
            "Content-Type: application/json\r\n"
            "Connection: close\r\n"
        ).encode()

    async def send(self, events: Sequence[bytes]) -> None:
        body = b"[" + b",".join(events) + b"]"
        tunnel = await _connect(self._supervisor, self._port)
        try:
            tunnel.write(self._head + b"Content-Length: %d\r\n\r\n" % len(body))
            tunnel.write(body)
            await _accepted(tunnel)
        finally:
            tunnel.close()

    def close(self) -> None:
        """Nothing is kept between requests."""


async def _connect(supervisor: Supervisor, port: int) -> Tunnel:
    dialled = supervisor.connect(port)
    try:
        return await dialled
    except asyncio.CancelledError:
        if dialled.done() and not dialled.cancelled() and dialled.exception() is None:
            dialled.result().close()  # made in the moment in which it was given up
        raise


async def _accepted(tunnel: Tunnel) -> None:
    """Wait for the answer. Raises one of `FAILURES` unless it is a good one."""
    answer = _Answer()
    while answer.status is None:
        if not answer.feed(data := await tunnel.read()) and not data:
            raise Rejected("the listener hung up without an answer")
    if answer.status >= 400:
        raise Rejected(f"the listener answered with status {answer.status}")
    with suppress(OSError):
        # Some answer before they have read everything, and all dislike being hung up on in mid-word.
        async with asyncio.timeout(POLITENESS):
            await tunnel.drain()
            while not answer.is_whole and (data := await tunnel.read()):
                answer.feed(data)


class _Answer:
    """As much of an HTTP answer as matters: its status, and where it ends."""

    def __init__(self) -> None:
        self._data = b""
        self._length: int | None = None
        self._read = 0
        self.status: int | None = None

    def feed(self, data: bytes) -> bool:
        """Whether the status has become known. Raises `Rejected` where it cannot."""
        self._read += len(data)
        if self.status is not None:
            return False
        self._data += data
        while head := _HEAD_END.search(self._data):
            found = _STATUS_LINE.match(self._data)
            if found is None:
                break
            if not found[1].startswith(b"1"):
                self._head(int(found[1]), self._data[: head.end()])
                return True
            self._data = self._data[head.end() :]  # an interim answer; the real one follows
        if len(self._data) > ANSWER or (self._data and head):
            raise Rejected("the listener did not answer in HTTP")
        return False

    def _head(self, status: int, head: bytes) -> None:
        self.status = status
        self._read = len(self._data) - len(head)
        length = _LENGTH.search(head)
        if length is not None:
            self._length = int(length[1])
        elif status in (204, 304):
            self._length = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing more is to come, or it has been enough. Without a length, the end of the connection tells."""
        return self._read >= (ANSWER if self._length is None else min(ANSWER, self._length))
