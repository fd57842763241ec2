"""The floor: the least that a hosted Runtime API can cost in Python, as a yardstick. Not a product.

    python -m benchmarks.floor HOST [FUNCTIONS]    # prints [{"door": port, "api": port}, ...], serves until it is ended

Clients speak to the door on 127.0.0.1, runtimes to the API on HOST; each function has both to itself. Raw asyncio protocols on uvloop: no HTTP library,
no checks, no logs, no deadlines, no isolation. A request answers a pending `next`, a posted response
answers the request. It reads only what well-behaved clients send: a `Content-Length`, no pipelining.
"""

import asyncio
import itertools
import json
import sys
import time
from abc import ABC, abstractmethod
from asyncio import Transport
from collections import deque
from typing import cast

import uvloop

END = b"\r\n\r\n"
DEADLINE_MS = 300_000
ACCEPTED = (
    b'HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"status":"OK"}\n'
)


class Exchange:
    """Matches invocations with runtimes, and responses with who waits for them."""

    def __init__(self) -> None:
        self._idle: list[Runtime] = []
        self._waiting: deque[tuple[Door, bytes]] = deque()
        self._running: dict[bytes, Door] = {}
        self._numbers = itertools.count(1)

    def invoke(self, door: "Door", event: bytes) -> None:
        if self._idle:
            self._hand(self._idle.pop(), door, event)
        else:
            self._waiting.append((door, event))

    def next(self, runtime: "Runtime") -> None:
        if self._waiting:
            self._hand(runtime, *self._waiting.popleft())
        else:
            self._idle.append(runtime)

    def respond(self, request_id: bytes, response: bytes) -> None:
        self._running.pop(request_id).write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(response), response)
        )

    def forget(self, runtime: "Runtime") -> None:
        if runtime in self._idle:
            self._idle.remove(runtime)

    def _hand(self, runtime: "Runtime", door: "Door", event: bytes) -> None:
        request_id = b"00000000-0000-4000-8000-%012d" % next(self._numbers)
        self._running[request_id] = door
        runtime.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: %b\r\n"
            b"Lambda-Runtime-Deadline-Ms: %d\r\n"
            b"Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:123456789012:function:floor\r\n"
            b"Content-Length: %d\r\n\r\n%b"
            % (request_id, int(time.time() * 1000) + DEADLINE_MS, len(event), event)
        )


class Connection(asyncio.Protocol, ABC):
    """Cuts requests out of one connection's bytes."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._transport: Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer = request = self._buffer + data if self._buffer else data
        head = request.find(END)
        if head < 0:
            return
        length = 0
        at = request.lower().find(b"\r\ncontent-length:", 0, head)
        if at >= 0:
            length = int(request[at + 17 : request.find(b"\r\n", at + 17)])
        body = request[head + len(END) :]
        if len(body) >= length:
            self._buffer = b""
            self.requested(request, body)

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    @abstractmethod
    def requested(self, request: bytes, body: bytes) -> None:
        """A whole request has arrived."""


class Door(Connection):
    """A client."""

    def requested(self, request: bytes, body: bytes) -> None:  # noqa: ARG002  everything is an Invoke
        self.exchange.invoke(self, body)


class Runtime(Connection):
    """A runtime process in its container."""

    def requested(self, request: bytes, body: bytes) -> None:
        if request.startswith(b"GET "):
            self.exchange.next(self)
            return
        self.exchange.respond(request.split(b"/", 5)[4], body)
        self.write(ACCEPTED)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.exchange.forget(self)


async def serve(host: str, functions: int) -> None:
    ports = [await _function(host) for _ in range(functions)]
    print(json.dumps(ports), flush=True)
    await asyncio.get_running_loop().create_future()


async def _function(host: str) -> dict[str, int]:
    loop = asyncio.get_running_loop()
    exchange = Exchange()
    door = await loop.create_server(lambda: Door(exchange), "127.0.0.1", 0, backlog=1024)
    api = await loop.create_server(lambda: Runtime(exchange), host, 0, backlog=1024)
    return {"door": door.sockets[0].getsockname()[1], "api": api.sockets[0].getsockname()[1]}


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1))
