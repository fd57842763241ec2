"""Single requests to whoever is measured, over connections of their own."""

import asyncio
import base64
import json
from dataclasses import dataclass
from typing import Any

from benchmarks.load import END, LENGTH
from benchmarks.programs import Failed
from benchmarks.sdk import PAYLOAD, recorded

START_LIMIT = 30.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where a peer answers, and the request that it gets."""

    host: str
    port: int
    function: str = "function"

    @classmethod
    def at(cls, url: str, function: str) -> "Target":
        host, _, port = url.removeprefix("http://").rpartition(":")
        return cls(host, int(port), function)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def request(self, payload: bytes = PAYLOAD) -> bytes:
        return recorded(self.url, "Invoke", FunctionName=self.function, Payload=payload)

    def get(self, path: str) -> bytes:
        """The bytes of a GET."""
        return f"GET {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n\r\n".encode()


async def connectable(target: Target) -> None:
    """Wait until somebody listens there. Raises `Failed`."""
    try:
        async with asyncio.timeout(START_LIMIT):
            while not await _listens(target):  # noqa: ASYNC110  nobody tells when a port opens
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise Failed(f"nobody listened at {target.url} within {START_LIMIT:g} s") from None


async def _listens(target: Target) -> bool:
    try:
        _, writer = await asyncio.open_connection(target.host, target.port)
    except OSError:
        return False
    writer.close()
    return True


async def answered(target: Target, request: bytes, expected: bytes = PAYLOAD) -> None:
    """Send one request over a new connection; `Failed` unless it is answered as expected."""
    status, body = await ask(target, request)
    if status != 200 or body != expected:
        raise Failed(f"{target.url} answered {status}: {body[:400].decode(errors='replace')}")


async def document(target: Target, path: str) -> Any:
    """What a GET answers, read as JSON. Raises `Failed`."""
    status, body = await ask(target, target.get(path))
    if status != 200:
        raise Failed(f"{target.url}{path} answered {status}: {body[:400].decode(errors='replace')}")
    return json.loads(body)


async def ask(target: Target, request: bytes) -> tuple[int, bytes]:
    """Status and body."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        writer.write(request)
        return await answer(reader)
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The status and body that come next."""
    head = await reader.readuntil(END)
    length = LENGTH.search(head)
    body = await reader.readexactly(int(length[1])) if length else await reader.read()
    return int(head.split(None, 2)[1]), body


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
