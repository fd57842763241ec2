"""How the APIs of an environment answer.

On the hot path, what `aiohttp.web.Response` does for a small body is done in one piece and without the rest: a
response of aiohttp's is made to be changed until it is sent, with several dictionaries, a chain of coroutines, a
dozen decisions. Three of them are made for each invocation, and these know all they will ever know when they are made.
"""

import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from rapid import errors

JSON = {"Content-Type": "application/json"}

_STATUS_LINES = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n" for each in HTTPStatus}


def answer(
    request: web.BaseRequest, headers: Mapping[str, str], body: bytes, *, status: int = 200
) -> web.StreamResponse:
    """A response with a body. What is not an ordinary exchange over a kept connection is left to aiohttp."""
    if request.version != HttpVersion11 or not request.keep_alive or request.method == "HEAD":
        return web.Response(status=status, headers=headers, body=body)
    return _Ready(status, headers, body)


def accept(request: web.BaseRequest) -> web.StreamResponse:
    """What was sent has been taken."""
    return answer(request, JSON, errors.ACCEPTED, status=202)


def refuse(refusal: errors.Refusal) -> web.Response:
    return web.Response(status=refusal.status, body=refusal.body(), headers=JSON)


async def not_found(_: web.BaseRequest) -> web.Response:
    """There is no such route."""
    return web.Response(status=404, text="404 page not found\n")


def is_waiting(request: web.BaseRequest) -> Callable[[], bool]:
    """Tells, when asked, whether the sender still waits for its answer."""
    transport = request.transport
    return lambda: transport is not None and not transport.is_closing()


def ready(status: int, headers: Mapping[str, str], body: bytes, *, behind: str = "") -> bytes:
    """An answer with a body, as it is written to a kept connection; `behind`: header lines that come last."""
    return _head(status, headers, len(body), behind) + body


def ready_acceptance() -> bytes:
    """As `accept`."""
    date = _date()
    if date is not _Accepted.date:
        _Accepted.date, _Accepted.answer = date, ready(202, JSON, errors.ACCEPTED)
    return _Accepted.answer


def ready_refusal(refusal: errors.Refusal) -> bytes:
    """As `refuse`."""
    return ready(refusal.status, JSON, refusal.body())


class _Ready(web.StreamResponse):
    """Bytes to be written as they are."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(status=status)
        self._bytes = ready(status, headers, body)
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


def _head(status: int, headers: Mapping[str, str], length: int, behind: str) -> bytes:
    """Raises ValueError where a value would end its line: headers carry what clients sent."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise ValueError("a header's value has a line end in it")
    return (
        f"{_STATUS_LINES[status]}{lines}Content-Length: {length}\r\nDate: {_date()}\r\n{behind}\r\n".encode()
    )


class _Accepted:
    """The same answer to every response, made once for each date."""

    date = ""
    answer = b""


class _Clock:
    """The date as headers show it, formatted once a second."""

    second = 0
    text = ""


def _date() -> str:
    now = int(time.time())
    if now != _Clock.second:
        _Clock.second, _Clock.text = now, formatdate(now, usegmt=True)
    return _Clock.text
