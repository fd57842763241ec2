"""How the APIs of an environment answer.

On the hot path, what `aiohttp.web.Response` does for a small body is done in one piece and without the rest: a
response of aiohttp's is made to be changed until it is sent, with several dictionaries, a chain of coroutines, a
dozen decisions. Three of them are made for each invocation, and these know all they will ever know when they are made.
"""

from collections.abc import Callable, Mapping
from typing import cast

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from rapid import errors
from rapid.partings import is_listening
from rapid.plain_answers import JSON, ready
from rapid.plain_connections import PlainConnection
from rapid.shorter_way import Peer

__all__ = ["JSON", "accept", "answer", "is_there", "is_waiting", "not_found", "receiver", "refuse"]


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
    """Tells, when asked, whether the sender still waits for its answer, as far as has been noticed."""
    transport = request.transport
    return lambda: transport is not None and not transport.is_closing()


def is_there(request: web.BaseRequest) -> bool:
    """Whether there is somebody to answer, as far as the system knows."""
    if request.keep_alive:
        return is_listening(request.transport)
    return is_waiting(request)()  # one that has said that it sends no more may do so before it has its answer


def receiver(request: web.BaseRequest) -> Peer:
    """Whoever gets the answer."""
    return cast("PlainConnection", request.protocol)


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
