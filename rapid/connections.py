"""A connection from a sandbox: one with a shorter way, and with the end of the body that comes in.

The end of a body, as it was sent, is for trailers, which aiohttp's parser drops. Nothing is kept of requests that announce
none, which are all but the streamed responses. Which trailers there may be is not known here.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from aiohttp import StreamReader, hdrs, web
from aiohttp.http_parser import RawRequestMessage

from rapid.plain_connections import PlainConnection
from rapid.shorter_way import ShorterWay
from rapid.trailers import LIMIT


class Connection(PlainConnection):
    """See the module's text."""

    __slots__ = ("_body", "_is_last", "_kept", "_seen", "_tail", "torn")

    def __init__(self, server: web.Server, shortcut: Callable[[], ShorterWay | None], **options: Any) -> None:
        super().__init__(server, shortcut, **options)
        self._tail: deque[bytes] | None = None
        #: What came last, while the request that it belongs to has announced trailers: pieces as they came.
        self._kept = 0
        self._seen = 0
        self._body: StreamReader | None = None
        #: Of the last request.
        self._is_last = False
        #: That request has said that no other will come on its connection.
        self.torn: StreamReader | None = None
        #: The body whose sender stopped in the middle of it.

    def _take(self, data: bytes) -> None:
        super()._take(data)
        if self._request_count != self._seen:
            self._seen = self._request_count
            head, self._body = self._messages[-1]
            self._is_last = isinstance(head, RawRequestMessage) and head.should_close
            self._tail = deque() if _announces(head) else None
            self._kept = 0
        if self._tail is not None:
            self._keep(self._tail, data)

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp's own never keeps the connection
        """A sender that stops in mid-body may still listen: to being told that its body is not whole.

        Whoever has sent all of it, and hangs up, is gone: that is how the end of a process is noticed. Unless it had said
        that it would send no more, as one does who pipes a request into `nc`.
        """
        super().eof_received()
        if self._body is None:
            return False
        if self._body is self.torn:  # told again, as uvloop does when reading goes on
            return True
        if self._body.is_eof():
            return self._is_last
        self.torn = self._body
        self._body.feed_eof()  # what came before is still to be read, which an exception would prevent
        self.close()  # when the request that is being worked on has been answered
        return True

    def _keep(self, tail: deque[bytes], data: bytes) -> None:
        """Add what came and let go of what is too far from the end. No piece is copied."""
        tail.append(data)
        self._kept += len(data)
        while self._kept - len(tail[0]) >= LIMIT:
            self._kept -= len(tail.popleft())

    def take_tail(self) -> bytes | None:
        """The last bytes of the body, `LIMIT` at the most, if the request announced trailers; they are let go of."""
        tail, self._tail = self._tail, None
        return None if tail is None else b"".join(tail)[-LIMIT:]


def tail_of(request: web.BaseRequest) -> bytes | None:
    """The end of a request's body as it was sent, once it is there. None where the request announced no trailers."""
    connection = request.protocol
    return connection.take_tail() if isinstance(connection, Connection) else None


def is_torn(request: web.BaseRequest) -> bool:
    """Whether the end of a request's body is not its end: its sender stopped in the middle."""
    connection = request.protocol
    return isinstance(connection, Connection) and connection.torn is request.content


def _announces(message: object) -> bool:
    return isinstance(message, RawRequestMessage) and message.chunked and hdrs.TRAILER in message.headers
