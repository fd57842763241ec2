"""Answers on the hot path: what `aiohttp.web.Response` does for a small body, in one piece and without the rest.

A response of aiohttp's is made to be changed until it is sent: several dictionaries, a chain of coroutines, a dozen
decisions. Three of them are made for each invocation, and these know all they will ever know when they are made.
"""

import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

_STATUS_LINES = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n" for each in HTTPStatus}


def answer(
    request: web.BaseRequest, headers: Mapping[str, str], body: bytes, *, status: int = 200
) -> web.StreamResponse:
    """A response with a body. What is not an ordinary exchange over a kept connection is left to aiohttp."""
    if request.version != HttpVersion11 or not request.keep_alive or request.method == "HEAD":
        return web.Response(status=status, headers=headers, body=body)
    return _Ready(status, headers, body)


class _Ready(web.StreamResponse):
    """Bytes to be written as they are."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(status=status)
        self._bytes = _head(status, headers, len(body)) + body
        self._writer: AbstractStreamWriter | None = None

    @property
    def keep_alive(self) -> bool:
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        self._writer = request.writer
        return self._writer

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002  all is there already
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.write(self._bytes)


def _head(status: int, headers: Mapping[str, str], length: int) -> bytes:
    """Raises ValueError where a value would end its line: headers carry what clients sent."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise ValueError("a header's value has a line end in it")
    return f"{_STATUS_LINES[status]}{lines}Content-Length: {length}\r\nDate: {_date()}\r\n\r\n".encode()


class _Clock:
    """The date as headers show it, formatted once a second."""

    second = 0
    text = ""


def _date() -> str:
    now = int(time.time())
    if now != _Clock.second:
        _Clock.second, _Clock.text = now, formatdate(now, usegmt=True)
    return _Clock.text
