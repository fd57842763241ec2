"""The shorter way for `next` and whole responses answers as the long one does, and leaves to that what is not plain."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rapid.connections import Connection
from rapid.errors import MAX_RESPONSE
from rapid.plain_requests import PlainHead
from rapid.shortcut import Shortcut
from rapid.shorter_way import Peer

INVOCATION = "/2018-06-01/runtime/invocation/"
UNUSUAL = "X-Unusual: yes\r\n"
"""A field with which a call takes the long way."""


def call(line: str, fields: str = "", body: bytes = b"") -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if line.startswith("POST") else ""
    return f"{line} HTTP/1.1\r\nHost: x\r\n{fields}{length}\r\n".encode() + body


def next_call(fields: str = "") -> bytes:
    return call(f"GET {INVOCATION}next", fields)


def response(body: bytes = b"{}", fields: str = "", request_id: str = "r1") -> bytes:
    return call(f"POST {INVOCATION}{request_id}/response", fields, body)


PING = call("GET /2018-06-01/ping")


class Client:
    """One connection of a runtime; `taken` are the lines of what went the shorter way on any."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, taken: list[bytes]
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.taken = taken

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer to a request."""
        self.writer.write(request)
        return await self.answer()

    async def answer(self) -> tuple[int, bytes]:
        async with asyncio.timeout(5):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().splitlines() if line.startswith(b"content-length:"))
            return int(head.split()[1]), await self.reader.readexactly(int(length.split()[1]))


@pytest.fixture
async def client(house: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    taken: list[bytes] = []
    take = Shortcut.take

    def noted(self: Shortcut, head: PlainHead, body: bytes, peer: Peer) -> bool:
        if is_taken := take(self, head, body, peer):
            taken.append(head.line)
        return is_taken

    monkeypatch.setattr(Shortcut, "take", noted)
    reader, writer = await asyncio.open_connection("127.0.0.1", house.listener.port)
    yield Client(reader, writer, taken)
    writer.close()


async def invoked(house: Any, client: Client, fields: str = "", **members: Any) -> tuple[int, bytes]:
    """The answer to a `next`."""
    idle = house.idle
    client.writer.write(next_call(fields))
    await house.until(lambda: house.idle > idle)
    house.invoke(**members)
    return await client.answer()


@pytest.mark.parametrize("fields", ["", UNUSUAL])
async def test_both_ways(house: Any, client: Client, fields: str) -> None:
    """An event, its response, and every refusal are the same whichever way a call takes."""
    said = [await client.ask(response(fields=fields))]
    said += [await invoked(house, client, fields, payload=b"1")]
    said += [await client.ask(response(fields=fields, request_id="r0"))]
    said += [await client.ask(response(b"x", fields))]
    said += [await client.ask(response(b"x", fields))]
    assert [status for status, _ in said] == [400, 200, 400, 202, 403]
    unknown = b'{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}'
    assert [body for _, body in said[:-1]] == [unknown, b"1", unknown, b'{"status":"OK"}\n']
    assert b"InvalidStateTransition" in said[-1][1]
    assert len(client.taken) == (0 if fields else 5)


async def test_a_call_that_is_piped(house: Any, client: Client) -> None:
    """Who says that it is its last, and has no more to say, waits for the answer all the same; as `nc` does."""
    idle = house.idle
    client.writer.write(next_call("Connection: close\r\n"))
    client.writer.write_eof()
    await house.until(lambda: house.idle > idle)
    house.invoke(payload=b"1")
    assert await client.answer() == (200, b"1")
    assert await client.reader.read() == b""


@pytest.mark.parametrize("fields", ["", UNUSUAL])
async def test_who_hangs_up_is_gone(house: Any, client: Client, fields: str) -> None:
    """Whichever way its call went: it had not said that it would."""
    idle = house.idle
    client.writer.write(next_call(fields))
    await house.until(lambda: house.idle > idle)
    client.writer.write_eof()
    async with asyncio.timeout(5):
        assert await client.reader.read() == b""


async def test_unusual_calls_in_between(house: Any, client: Client) -> None:
    """What takes the long way, whole or in pieces, leaves the connection free for the shorter one."""
    assert (await client.ask(PING)) == (200, b"pong")
    await invoked(house, client)
    assert (await client.ask(response(b"12")))[0] == 202
    await invoked(house, client, request_id="r2")
    whole = response(b"x" * 100_000, request_id="r2")
    client.writer.write(whole[:500])
    await house.until(lambda: "InvocationResponse" in repr(house.environment))
    assert (await client.ask(whole[500:]))[0] == 202
    await invoked(house, client, request_id="r3")
    assert (await client.ask(response(request_id="r3")))[0] == 202
    assert sum(line.startswith(b"GET") for line in client.taken) == 3
    assert client.taken[-1].startswith(f"POST {INVOCATION}r3/".encode())


async def test_more_than_one_at_once(house: Any, client: Client) -> None:
    """What is sent before the answer is read after it."""
    client.writer.write(next_call())
    await house.until(lambda: house.idle)
    client.writer.write(PING)
    client.writer.write(PING)
    house.invoke(b"event")
    assert [await client.answer() for _ in range(3)] == [(200, b"event"), (200, b"pong"), (200, b"pong")]
    client.writer.write(response() + next_call())
    assert (await client.answer())[0] == 202
    await house.until(lambda: house.idle == 2)
    house.invoke(b"again", request_id="r2")
    assert await client.answer() == (200, b"again")


async def test_too_large(house: Any, client: Client) -> None:
    """A response that is too long is the invocation's result, however it came."""
    await invoked(house, client)
    assert (await client.ask(response(b"x" * (MAX_RESPONSE + 1))))[0] == 413


async def test_long_wait(house: Any, client: Client) -> None:
    """A connection is not given up while a call waits on it, however long that takes."""
    client.writer.write(next_call())
    await house.until(lambda: house.idle)
    [connection] = house.listener._web.connections
    assert isinstance(connection, Connection)
    connection._next_keepalive_close_time = 0.0
    connection._process_keepalive()
    house.invoke(b"event")
    assert await client.answer() == (200, b"event")


async def test_hung_up_while_it_waits(house: Any, client: Client) -> None:
    """An event that was given to a connection that is gone is given to the next one who asks."""
    client.writer.write(next_call())
    await house.until(lambda: house.idle)
    is_alive = house.environment._poll._is_alive
    client.writer.close()
    await house.until(lambda: not is_alive())
    house.invoke(b"event")
    assert (await house.next()).body == b"event"


async def test_who_does_not_read(house: Any, client: Client) -> None:
    """Whoever asks again and again without reading the answers does not get them piled up."""
    event = b"1" * 5_000_000
    client.writer.write(next_call())
    await house.until(lambda: house.idle)
    [connection] = house.listener._web.connections
    house.invoke(event)
    await house.until(lambda: connection.writing_paused)
    for asked in range(1, 10):
        client.writer.write(next_call())
        await house.until(lambda asked=asked: connection._request_count == asked)
    assert len(client.taken) == 1
    assert connection.transport.get_write_buffer_size() < 2.5 * len(event)
    assert [await client.answer() for _ in range(3)] == [(200, event)] * 3
