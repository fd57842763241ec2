"""Whom a door lets in."""

import asyncio
import socket

from aiohttp import web

from rapid.server import Door

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CALLERS = 30


async def test_what_a_refused_caller_sends_is_not_read() -> None:
    """Nor is it when it comes together with the connection, before that can be hung up on."""
    handled: list[str] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        handled.append(request.path)
        return web.Response()

    door = Door(handle, access_log=None)
    door.admit = lambda transport, others: False
    listener = await asyncio.get_running_loop().create_server(door, "127.0.0.1", 0)
    address = listener.sockets[0].getsockname()

    def call() -> bytes:
        with socket.create_connection(address, timeout=5) as connection:
            try:
                connection.sendall(REQUEST)
                return connection.recv(100)
            except ConnectionError:
                return b""

    try:
        answers = [await asyncio.to_thread(call) for _ in range(CALLERS)]
    finally:
        listener.close()
        await door.shutdown(1)
    assert (set(answers), handled) == ({b""}, [])
