"""Tunnels from a real link through a real agent to real listeners: those that behave, and those that do not."""

import asyncio
import contextlib
import os
import socket
import struct
import sys
import uuid
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rapid.supervisor import StartFailed, SupervisorLost, Tunnel, TunnelBroken
from rapid.wire import (
    CREDIT,
    MOST_TUNNELS,
    OUTPUT_HEADER,
    TUNNEL,
    WINDOW,
    Frames,
    Kind,
    fields,
    frame,
    message,
)
from runtime.links import Link, LinkServer

ROOT = Path(__file__).resolve().parents[3]
AGENT = f"import sys; sys.path.append({str(ROOT)!r}); from rapid.agent import main; main()"
PATIENCE = 20.0
BIG = os.urandom(1 << 20)

Talk = Callable[[StreamReader, StreamWriter], Awaitable[None]]
Listen = Callable[[Talk], Awaitable[int]]


@pytest.fixture
async def server() -> AsyncIterator[LinkServer]:
    server = LinkServer()
    await server.open("127.0.0.1")
    yield server
    await server.close()


@pytest.fixture
async def link(server: LinkServer) -> AsyncIterator[Link]:
    """The link of an agent that runs beside us, in the same network."""
    name, token = uuid.uuid4().hex, uuid.uuid4().hex
    expected = server.expect(name, token)
    environment = {"BERTH_LINK": f"127.0.0.1:{server.port}", "BERTH_SANDBOX": name, "BERTH_TOKEN": token}
    arguments = [sys.executable, "-I", "-S", "-B", "-c", AGENT]
    process = await asyncio.create_subprocess_exec(*arguments, env=environment)
    async with asyncio.timeout(PATIENCE):
        link = await expected
    yield link
    link.cut("the test is over")
    await process.wait()


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    servers: list[asyncio.Server] = []
    writers: list[StreamWriter] = []

    async def listen(talk: Talk) -> int:
        async def met(reader: StreamReader, writer: StreamWriter) -> None:
            writers.append(writer)
            await talk(reader, writer)

        servers.append(await asyncio.start_server(met, "127.0.0.1", 0))
        return int(servers[-1].sockets[0].getsockname()[1])

    yield listen
    for server in servers:
        server.close()
    for writer in writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.fixture(autouse=True)
async def _limit() -> AsyncIterator[None]:
    async with asyncio.timeout(PATIENCE):
        yield


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def everything(tunnel: Tunnel) -> bytes:
    """What comes until the end."""
    parts = []
    while data := await tunnel.read():
        parts.append(data)
    return b"".join(parts)


async def alive(link: Link) -> None:
    """The agent still answers."""
    await link.settle()


async def echo(reader: StreamReader, writer: StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


class TestListenersThatBehave:
    async def test_an_echo(self, link: Link, listen: Listen) -> None:
        """What is written comes back, whole and in order, far more of it than a window."""
        tunnel = await link.connect(await listen(echo))
        tunnel.write(BIG)
        back = b""
        while len(back) < len(BIG):
            back += await tunnel.read()
        assert back == BIG
        await tunnel.drain()
        assert tunnel.is_open
        tunnel.close()
        assert not tunnel.is_open

    async def test_several(self, link: Link, listen: Listen) -> None:
        """Each tunnel has its own words."""
        port = await listen(echo)
        tunnels = [await link.connect(port) for _ in range(MOST_TUNNELS)]
        for number, tunnel in enumerate(tunnels):
            tunnel.write(b"%d" % number)
        assert [await tunnel.read() for tunnel in tunnels] == [b"%d" % n for n in range(MOST_TUNNELS)]

    async def test_the_listener_hears_the_end(self, link: Link, listen: Listen) -> None:
        """It has all that had been drained, then the end."""
        heard: asyncio.Queue[bytes] = asyncio.Queue()

        async def hear(reader: StreamReader, writer: StreamWriter) -> None:
            heard.put_nowait(await reader.read())
            writer.close()

        tunnel = await link.connect(await listen(hear))
        tunnel.write(b"all")
        await tunnel.drain()
        tunnel.close()
        tunnel.close()
        assert await heard.get() == b"all"
        with pytest.raises(TunnelBroken, match="it was closed"):
            await tunnel.drain()

    async def test_an_answer_before_the_end(self, link: Link, listen: Listen) -> None:
        """What a listener says before it closes is heard."""

        async def answer(reader: StreamReader, writer: StreamWriter) -> None:
            writer.write(BIG)
            writer.close()

        tunnel = await link.connect(await listen(answer))
        assert await everything(tunnel) == BIG
        assert not tunnel.is_open
        assert repr(tunnel) == "<Tunnel 1 the listener hung up>"


class TestListenersThatDoNot:
    async def test_nobody_listens(self, link: Link) -> None:
        """Refused at once, with the system's words."""
        with pytest.raises(TunnelBroken, match="connection refused"):
            await link.connect(closed_port())
        await alive(link)

    async def test_one_that_never_reads(self, link: Link, listen: Listen) -> None:
        """The system's buffers fill up; then writing waits, and the agent holds a window's worth at the most."""

        async def ignore(reader: StreamReader, writer: StreamWriter) -> None:
            """Beyond what a stream reader buffers by itself, nothing is taken."""

        tunnel: Any = await link.connect(await listen(ignore))
        tunnel.write(BIG * 16)
        await _stuck(link, tunnel)
        assert len(tunnel._unsent) > len(BIG)
        tunnel.close()
        await alive(link)

    async def test_one_that_floods(self, link: Link, listen: Listen) -> None:
        """No more than a window comes before somebody reads, and all of it comes then."""
        flood = BIG * 4

        async def speak(reader: StreamReader, writer: StreamWriter) -> None:
            writer.write(flood)
            await writer.drain()
            writer.close()

        tunnel: Any = await link.connect(await listen(speak))
        while tunnel._held < WINDOW:
            await tunnel._change()
        await alive(link)
        assert tunnel._held == WINDOW
        assert await everything(tunnel) == flood

    async def test_one_that_never_accepts(self, link: Link) -> None:
        """Connecting is given up from our side; the agent goes on and has a place for another tunnel."""
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            made, waiting = await _fill(link, full.getsockname()[1])
            await alive(link)
            for each in waiting:
                each.cancel()
            for tunnel in made:
                tunnel.close()
            await alive(link)
            with pytest.raises(TunnelBroken, match="refused"):
                await link.connect(closed_port())

    async def test_one_that_resets(self, link: Link, listen: Listen) -> None:
        """A reset is an end like any other, whether we are writing, reading or neither."""

        async def reset(reader: StreamReader, writer: StreamWriter) -> None:
            await reader.read(1)
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.close()

        tunnel = await link.connect(await listen(reset))
        tunnel.write(BIG)
        await everything(tunnel)
        assert not tunnel.is_open
        with pytest.raises(TunnelBroken):
            await tunnel.drain()
        await alive(link)

    async def test_one_that_speaks_and_resets_while_nobody_reads(self, link: Link, listen: Listen) -> None:
        """Then the socket is always ready: the agent does not look at it, and finds the end when we read on."""

        async def reset(reader: StreamReader, writer: StreamWriter) -> None:
            raw = writer.get_extra_info("socket")
            writer.write(bytes(WINDOW + 10))
            await reader.read(1)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.close()

        tunnel: Any = await link.connect(await listen(reset))
        while tunnel._held < WINDOW:
            await tunnel._change()
        tunnel.write(b"go")
        await tunnel.drain()
        await alive(link)
        tunnel.write(b"more")
        assert len(await everything(tunnel)) >= WINDOW

    async def test_too_many(self, link: Link, listen: Listen) -> None:
        """There is a limit, and room again when one is closed."""
        port = await listen(echo)
        tunnels = [await link.connect(port) for _ in range(MOST_TUNNELS)]
        with pytest.raises(TunnelBroken, match="too many tunnels"):
            await link.connect(port)
        tunnels[3].close()
        again = await link.connect(port)
        again.write(b"here")
        assert await again.read() == b"here"


class TestTheLink:
    async def test_a_function_beside_it(self, link: Link, listen: Listen) -> None:
        """Processes are started while a listener does not read."""

        async def ignore(reader: StreamReader, writer: StreamWriter) -> None:
            """Beyond what a stream reader buffers by itself, nothing is taken."""

        tunnel = await link.connect(await listen(ignore))
        tunnel.write(BIG * 16)
        with pytest.raises(StartFailed):
            await link.start(1, ["/does/not/exist"], {}, "/")
        tunnel.close()

    async def test_its_end(self, link: Link, listen: Listen) -> None:
        """Tunnels break with the link; more are refused."""
        tunnel = await link.connect(await listen(echo))
        link.cut("unplugged")
        assert await tunnel.read() == b""
        with pytest.raises(TunnelBroken, match="unplugged"):
            await tunnel.drain()
        with pytest.raises(SupervisorLost, match="unplugged"):
            await link.connect(1)

    async def test_its_end_while_dialling(self, server: LinkServer) -> None:
        """Whoever waits for a connection hears of it."""
        agent = await _Hand.shake(server)
        dialled = agent.link.connect(1)
        agent.link.cut("unplugged")
        with pytest.raises(SupervisorLost, match="unplugged"):
            await dialled
        agent.writer.close()


class _Hand:
    """An agent whose words are chosen by hand."""

    def __init__(self, link: Link, reader: StreamReader, writer: StreamWriter) -> None:
        self.link, self.reader, self.writer = link, reader, writer
        self._frames = Frames()

    @classmethod
    async def shake(cls, server: LinkServer) -> "_Hand":
        expected = server.expect("s1", "secret")
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(message(Kind.HELLO, sandbox="s1", token="secret"))
        return cls(await expected, reader, writer)

    async def tunnel(self) -> Tunnel:
        dialled = self.link.connect(80)
        [(kind, payload)] = self._frames.feed(await self.reader.read(65536))
        assert (kind, fields(payload)) == (Kind.DIAL, {"tunnel": 1, "port": 80})
        self.writer.write(message(Kind.DIALLED, tunnel=1, error=None))
        return await dialled


class TestWordsByHand:
    @pytest.mark.parametrize(
        "words",
        [
            frame(Kind.RECEIVED, TUNNEL.pack(1) + bytes(WINDOW + 1)),
            frame(Kind.SENT, CREDIT.pack(1, 1)),
            frame(Kind.SENT, b"\0\0"),
            frame(Kind.SENT, TUNNEL.pack(1)),
            message(Kind.DIALLED, tunnel=1),
            message(Kind.DIALLED, tunnel="x", error=None),
        ],
        ids=["beyond the window", "nothing was given", "no number", "no count", "no outcome", "a word"],
    )
    async def test_cut_off(self, server: LinkServer, words: bytes) -> None:
        """They are cut off, and their tunnels with them."""
        agent = await _Hand.shake(server)
        tunnel = await agent.tunnel()
        agent.writer.write(words)
        assert await everything(tunnel) in (b"", bytes(WINDOW + 1))
        assert agent.link.lost is not None
        assert agent.link.lost.startswith("it broke the link's protocol")
        agent.writer.close()

    async def test_words_behind_a_flood(self, server: LinkServer) -> None:
        """What is said about a tunnel does not wait for output that nobody wants yet."""
        agent = await _Hand.shake(server)
        tunnel = await agent.tunnel()
        agent.link.has_enough = lambda: True
        flood = frame(Kind.OUTPUT, OUTPUT_HEADER.pack(1, 1) + b"x\n" * 20_000)
        agent.writer.write(flood + frame(Kind.RECEIVED, TUNNEL.pack(1) + b"words"))
        assert await tunnel.read() == b"words"
        assert agent.link._heard
        agent.link.cut("the test is over")  # it rests, and would not see that we hang up
        agent.writer.close()

    async def test_late_words(self, server: LinkServer) -> None:
        """What was on its way about a tunnel that we have hung up, or given up dialling, is passed over."""
        agent = await _Hand.shake(server)
        tunnel = await agent.tunnel()
        tunnel.close()
        given_up = agent.link.connect(81)
        given_up.cancel()
        await asyncio.sleep(0)
        settled = agent.link.settle()
        agent.writer.write(frame(Kind.RECEIVED, TUNNEL.pack(1) + b"late"))
        agent.writer.write(frame(Kind.SENT, CREDIT.pack(1, 5)))
        agent.writer.write(frame(Kind.HUNG_UP, TUNNEL.pack(1)))
        agent.writer.write(message(Kind.DIALLED, tunnel=2, error=None))
        agent.writer.write(frame(Kind.SETTLED, struct.pack("!IQ", 1, 5)))
        assert await settled == 5
        assert agent.link.lost is None
        agent.writer.close()


async def _stuck(link: Link, tunnel: Any) -> None:
    """Until two answers of the agent in a row have brought no progress."""
    before, same = -1, 0
    while same < 50:
        await link.settle()
        same = same + 1 if len(tunnel._unsent) == before else 0
        before = len(tunnel._unsent)


async def _fill(link: Link, port: int) -> tuple[list[Tunnel], list[Any]]:
    """Connect until the listener's queue is full: what is made by then, and what waits."""
    made, waiting = [], []
    for _ in range(MOST_TUNNELS - 1):
        dialled = link.connect(port)
        await link.settle()
        await link.settle()
        if dialled.done():
            made.append(dialled.result())
        else:
            waiting.append(dialled)
    assert waiting, "there is no end to the listener's queue"
    return made, waiting
