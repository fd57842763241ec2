"""Connections of the emulator before there is an HTTP server: real sockets, and a server that writes down what it gets."""

import asyncio
from asyncio import Transport
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import pytest

from rapid.plain_requests import PlainHead
from rapid.porch import LONGEST, Entrance
from rapid.shorter_way import Peer

GET = b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n"
ODD = b"GET /odd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
"""One that takes a closer look."""


def post(body: bytes) -> bytes:
    return b"POST /plain HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class Server(asyncio.Protocol):
    """Stands for the HTTP server: says what it has got, and when its client has no more to say."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"server got " + data)

    def eof_received(self) -> bool:
        self.transport.write(b" and the end")
        return False


@dataclass
class Porch:
    """An address, and what plain requests it has taken."""

    port: int = 0
    taken: list[tuple[bytes, bytes]] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)
    is_welcome: bool = True
    is_prompt: bool = True
    """Whether requests are answered at once."""
    admitted: int = 100
    entrance: Entrance | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, head: PlainHead, body: bytes, peer: Peer) -> bool:
        if not self.is_welcome:
            return False
        self.taken.append((head.line, body))
        self.peers.append(peer)
        self.news.set()
        if self.is_prompt:
            peer.answer(b"plain ")
        return True

    async def client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., object]]:
    servers: list[asyncio.Server] = []

    async def start(keep_alive: float = 60, **options: object) -> Porch:
        porch = Porch(**options)  # type: ignore[arg-type]
        porch.entrance = Entrance(
            porch.take, Server, admit=lambda _, others: others < porch.admitted, keep_alive=keep_alive
        )
        servers.append(await asyncio.get_running_loop().create_server(porch.entrance, "127.0.0.1", 0))
        porch.port = servers[-1].sockets[0].getsockname()[1]
        return porch

    yield start
    for server in servers:
        server.close()


@pytest.fixture
async def porch(opened: Callable[..., object]) -> Porch:
    started: Porch = await opened()  # type: ignore[misc]
    return started


async def test_plain_requests_are_answered_here(porch: Porch) -> None:
    """One after the other on the same connection, with and without a body."""
    reader, writer = await porch.client()
    for request, expected in ((GET, b""), (post(b"{}"), b"{}"), (GET, b"")):
        writer.write(request)
        assert await reader.readexactly(6) == b"plain "
        assert porch.taken[-1][1] == expected
    writer.close()


async def test_a_body_may_come_later(porch: Porch) -> None:
    """As clients send it that write head and body apart: in pieces that come when they come."""
    reader, writer = await porch.client()
    whole = post(b"a" * 100_000)
    begin = len(whole) - 100_000
    assert porch.entrance is not None
    for piece in (whole[:begin], whole[begin : begin + 10], whole[begin + 10 :]):
        assert porch.taken == []
        writer.write(piece)
        await writer.drain()
    assert await reader.readexactly(6) == b"plain "
    assert porch.taken == [(b"POST /plain HTTP/1.1", b"a" * 100_000)]
    writer.close()


@pytest.mark.parametrize(
    "request_",
    [ODD, b"GET /half HTTP/1.1\r\nHost:", GET + GET, post(b"")[:-2] + b"X-Framing: \x01\r\n\r\n"],
    ids=["closing", "half a head", "two at once", "a control character"],
)
async def test_anything_else_is_the_servers(porch: Porch, request_: bytes) -> None:
    """With all that has come; and so is what comes afterwards, plain or not."""
    reader, writer = await porch.client()
    writer.write(request_)
    assert await reader.readexactly(11 + len(request_)) == b"server got " + request_
    writer.write(GET)
    assert await reader.readexactly(11 + len(GET)) == b"server got " + GET
    assert porch.taken == []
    assert porch.entrance is not None
    assert porch.entrance.waiting == set()
    writer.close()


async def test_a_long_body_is_the_servers(porch: Porch) -> None:
    """It is not gathered here; its head tells."""
    reader, writer = await porch.client()
    head = b"POST /plain HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (LONGEST + 1)
    writer.write(head)
    assert await reader.readexactly(11 + len(head)) == b"server got " + head
    writer.close()


async def test_what_nobody_takes_is_the_servers(opened: Callable[..., object]) -> None:
    """Plain as it is, it was not wanted."""
    porch: Porch = await opened(is_welcome=False)  # type: ignore[misc]
    reader, writer = await porch.client()
    writer.write(post(b"{}"))
    assert await reader.readexactly(11 + len(post(b"{}"))) == b"server got " + post(b"{}")
    writer.close()


async def test_one_request_at_a_time(opened: Callable[..., object]) -> None:
    """What comes before there is an answer waits, and is read when there is one: by the server if it is odd."""
    porch: Porch = await opened(is_prompt=False)  # type: ignore[misc]
    reader, writer = await porch.client()
    writer.write(GET)
    await porch.news.wait()
    writer.write(ODD)
    await writer.drain()
    porch.peers[0].answer(b"plain ")
    assert await reader.readexactly(6) == b"plain "
    assert await reader.readexactly(11 + len(ODD)) == b"server got " + ODD
    assert len(porch.taken) == 1
    writer.close()


async def test_who_stops_in_mid_body_is_the_servers(porch: Porch) -> None:
    """It gets what came, and the end."""
    reader, writer = await porch.client()
    torn = post(b"whole")[:-2]
    writer.write(torn)
    writer.write_eof()
    assert await reader.read() == b"server got " + torn + b" and the end"
    writer.close()


async def test_who_hangs_up_is_not_waiting(opened: Callable[..., object]) -> None:
    """Nor answered, and it is forgotten."""
    porch: Porch = await opened(is_prompt=False)  # type: ignore[misc]
    _, writer = await porch.client()
    writer.write(GET)
    await porch.news.wait()
    assert porch.peers[0].is_waiting()
    writer.close()
    assert porch.entrance is not None
    async with asyncio.timeout(5):
        while porch.entrance.waiting:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0)
    assert not porch.peers[0].is_waiting()
    porch.peers[0].answer(b"plain ")


async def test_idle_connections_end(opened: Callable[..., object]) -> None:
    """So long after an answer."""
    porch: Porch = await opened(keep_alive=0.01)  # type: ignore[misc]
    reader, writer = await porch.client()
    writer.write(GET)
    assert await reader.read() == b"plain "
    writer.close()


async def test_who_is_not_admitted(opened: Callable[..., object]) -> None:
    """Is hung up on, and the others stay."""
    porch: Porch = await opened(admitted=1)  # type: ignore[misc]
    reader, writer = await porch.client()
    writer.write(GET)
    assert await reader.readexactly(6) == b"plain "
    late, other = await porch.client()
    with suppress(ConnectionResetError):  # which of the two ends it is, is the event loop's choice
        assert await late.read() == b""
    writer.write(GET)
    assert await reader.readexactly(6) == b"plain "
    writer.close()
    other.close()


async def test_closing(porch: Porch) -> None:
    """Ends what is connected, with what was written before."""
    reader, writer = await porch.client()
    writer.write(GET)
    await porch.news.wait()
    assert porch.entrance is not None
    porch.entrance.close()
    assert await reader.read() == b"plain "
    writer.close()
