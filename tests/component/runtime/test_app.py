"""The way down: what is under way has one limit, however many parts wait for it."""

import asyncio

import pytest
from aiohttp import web

from runtime import app


async def test_request_that_never_ends_costs_the_patience_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that goes on is cut off when the patience is spent, and environments are given none beyond it."""
    monkeypatch.setattr(app, "PATIENCE", 0.5)
    begun, loop = asyncio.Event(), asyncio.get_running_loop()

    async def endless(_: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        await loop.create_future()
        raise AssertionError("unreachable")

    server = web.Server(endless)
    listener = await loop.create_server(server, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await begun.wait()
    stopping, patience = loop.time(), app._Patience()
    await app._drain(server, patience)
    elapsed, left = loop.time() - stopping, patience.left()
    answer = await reader.read()
    writer.close()
    listener.close()
    assert elapsed < 0.9
    assert left < 0.1
    assert answer == b""
