"""What the system tells of the end of a connection. Over real ones, with both event loops."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import cast

import pytest
import uvloop

from rapid.partings import Parting, is_listening


class Side(asyncio.Protocol):
    """Ours."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.parting = Parting()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def eof_received(self) -> bool:
        self.parting.ends(self.transport)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.parting.over(exc)
        self.lost = True


class Line:
    """Both ends of a connection, the other one a plain socket."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.side = Side()
        self._server = loop.run_until_complete(loop.create_server(lambda: self.side, "127.0.0.1", 0))
        self.other = socket.create_connection(self._server.sockets[0].getsockname())
        self.other.settimeout(3)
        self.turn(lambda: self.side.transport)

    @property
    def transport(self) -> asyncio.Transport:
        assert self.side.transport is not None
        return self.side.transport

    def turn(self, until: Callable[[], object]) -> None:
        async def turn() -> None:
            async with asyncio.timeout(3):
                while not until():  # noqa: ASYNC110
                    await asyncio.sleep(0)

        self.loop.run_until_complete(turn())

    def write(self) -> None:
        """It is in the system's hands when this returns."""
        self.transport.write(b"event")
        self.turn(lambda: not self.transport.get_write_buffer_size())

    def unread(self) -> bool:
        """Whether something was left unread, once that is known."""

        async def known() -> bool:
            return await asyncio.wait_for(self.side.parting.known(), 3)

        return self.loop.run_until_complete(known())

    def close(self) -> None:
        self.other.close()
        self.transport.abort()
        self._server.close()
        self.turn(lambda: self.side.lost)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    loop = request.param()
    line = Line(loop)
    yield line
    line.close()
    loop.close()


def test_read(line: Line) -> None:
    """All was read, and so the connection ends in order."""
    line.write()
    assert line.other.recv(100) == b"event"
    line.other.close()
    assert not line.unread()


def test_nothing_sent(line: Line) -> None:
    """Where nothing was sent, nothing was left."""
    line.other.close()
    assert not line.unread()


def test_unread(line: Line) -> None:
    """Nothing was read."""
    line.write()
    line.other.close()
    assert line.unread()


def test_read_in_part(line: Line) -> None:
    """That counts as nothing."""
    line.write()
    assert line.other.recv(2) == b"ev"
    line.other.close()
    assert line.unread()


def test_written_to_who_is_gone(line: Line) -> None:
    """The end is not noticed yet, whichever way round the loop then hears of the end and of the event that comes back."""
    line.other.close()
    line.transport.write(b"event")
    assert line.unread()


def test_known_later(line: Line) -> None:
    """Whoever asks when it is over is told all the same, and more than once."""
    line.write()
    line.other.close()
    line.turn(lambda: line.side.lost)
    assert line.unread()
    assert line.unread()


def test_hung_up_by_us(line: Line) -> None:
    """What the other side had read is not known: that counts as read."""
    line.write()
    line.transport.abort()
    assert not line.unread()


def test_is_listening(line: Line) -> None:
    """It is known before the loop has turned."""
    assert is_listening(line.transport)
    line.other.sendall(b"something else, which is no sign of leaving")
    assert is_listening(line.transport)
    line.other.close()
    assert not is_listening(line.transport)
    line.turn(lambda: line.side.lost)
    assert not is_listening(line.transport)
    assert not is_listening(None)
