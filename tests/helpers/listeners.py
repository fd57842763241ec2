"""Listeners of telemetry in this process, and a supervisor whose tunnels lead to them."""

import asyncio
import json
from asyncio import Future, StreamReader, StreamWriter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rapid.supervisor import Tunnel, TunnelBroken


class LocalTunnel:
    """A connection of this process's own, with a tunnel's manners."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        writer.transport.set_write_buffer_limits(0)

    @property
    def is_open(self) -> bool:
        return not self._reader.at_eof()

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def drain(self) -> None:
        try:
            await self._writer.drain()
        except ConnectionError as error:
            raise TunnelBroken(str(error)) from error

    async def read(self) -> bytes:
        try:
            return await self._reader.read(65536)
        except ConnectionError:
            return b""

    def close(self) -> None:
        self._writer.close()


class Dialler:
    """The part of a supervisor that telemetry uses."""

    def __init__(self) -> None:
        self.dialled: list[int] = []
        self.tunnels: list[LocalTunnel] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def connect(self, port: int) -> "Future[Tunnel]":
        self.dialled.append(port)
        future: Future[Tunnel] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._dial(port, future))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return future

    async def _dial(self, port: int, future: "Future[Tunnel]") -> None:
        try:
            tunnel = LocalTunnel(*await asyncio.open_connection("127.0.0.1", port))
        except OSError as error:
            if not future.done():
                future.set_exception(TunnelBroken(str(error)))
            return
        self.tunnels.append(tunnel)
        if future.done():
            tunnel.close()
        else:
            future.set_result(tunnel)


@dataclass
class Request:
    """What a listener has been sent."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def events(self) -> list[Any]:
        document = json.loads(self.body)
        assert isinstance(document, list)
        return document


Say = Callable[[int], bytes | None]
"""The number of a request → the answer; None for none."""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


def status(code: int) -> bytes:
    return b"HTTP/1.1 %d So it is\r\nContent-Length: 0\r\n\r\n" % code


@dataclass
class Listener:
    """Serves HTTP or lines, answers as it is told, keeps what it hears."""

    say: Say = lambda _: OK
    requests: list[Request] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    connections: int = 0
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    """Answers wait for it."""

    def __post_init__(self) -> None:
        self.hold.set()
        self._changed = asyncio.Condition()
        self._writers: list[StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.port = 0

    async def open(self, *, http: bool, port: int = 0) -> None:
        talk = self._http if http else self._lines
        self._server = await asyncio.start_server(talk, "127.0.0.1", port, limit=1 << 24)
        self.port = self._server.sockets[0].getsockname()[1]

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()

    async def close(self) -> None:
        self.hold.set()
        self.hang_up()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    @property
    def events(self) -> list[Any]:
        """All that has been heard."""
        requests = [event for request in self.requests for event in request.events]
        return [*requests, *(json.loads(line) for line in self.lines)]

    async def heard(self, count: int) -> list[Any]:
        """Wait for so many events."""
        return await self.until(lambda: len(self.events) >= count)

    async def until(self, condition: Callable[[], object]) -> list[Any]:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(condition)
        return self.events

    async def _http(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._met(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers["Content-Length"]))
            self.requests.append(Request(head[0], headers, body))
            answer = self.say(len(self.requests))
            await self._tell()
            await self.hold.wait()
            if answer is not None:
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it was given up on us
        finally:
            writer.close()

    async def _lines(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._met(writer)
        while line := await reader.readline():
            self.lines.append(line)
            await self._tell()
            await self.hold.wait()
        writer.close()

    def _met(self, writer: StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
