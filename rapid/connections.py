"""A connection from a sandbox: aiohttp's, with a shorter way beside it, and with the end of the body that comes in.

The shorter way (`rapid.shortcut`) is for requests that are whole and plain and come while aiohttp has nothing to do and
holds no part of one.

The end of a body, as it was sent, is for trailers, which aiohttp's parser drops. Nothing is kept of requests that announce
none, which are all but the streamed responses. Which trailers there may be is not known here.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import StreamReader, hdrs, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from rapid.plain_requests import plain_head
from rapid.trailers import LIMIT

if TYPE_CHECKING:
    from rapid.shortcut import Shortcut


class Connection(RequestHandler):
    """See the module's text. `shortcut` gives the shorter way, as long as there is one."""

    __slots__ = (
        "_body",
        "_held",
        "_is_asking",
        "_is_last",
        "_kept",
        "_missing",
        "_seen",
        "_shortcut",
        "_tail",
        "torn",
    )

    def __init__(self, server: web.Server, shortcut: "Callable[[], Shortcut | None]", **options: Any) -> None:
        super().__init__(server, **options)
        self._shortcut = shortcut
        self._missing: int | None = 0
        #: Bytes of a request that aiohttp is still to get; None: not known, and never again.
        self._is_asking = False
        #: A call went the shorter way and has no answer yet.
        self._held = b""
        #: What came meanwhile.
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

    def data_received(self, data: bytes) -> None:
        if self._is_asking:
            self._hold(data)
        elif not (data and self._is_short(data)):
            self._take(data)

    # The shorter way

    def _is_short(self, data: bytes) -> bool:
        """Whether it went the shorter way; else what is missing of it is noted."""
        if self._missing != 0:
            self._expect(None if self._missing is None else self._missing - len(data))
            return False
        head = plain_head(data)
        if head is None or head.size != len(data):
            self._expect(None if head is None else head.size - len(data))
            return False
        shortcut = self._shortcut()
        if shortcut is None or not self._is_at_rest():
            return False
        self._is_asking = True  # it may have been answered when it is taken
        is_taken = shortcut.take(head, data[head.begin :], self)
        self._is_asking &= is_taken
        return is_taken

    def _expect(self, missing: int | None) -> None:
        self._missing = None if missing is None or missing < 0 else missing

    def _is_at_rest(self) -> bool:
        """Whether aiohttp waits for a request, and has none."""
        waiter = self._waiter
        is_waiting = waiter is not None and not waiter.done() and not self._messages
        return is_waiting and not (self._close or self._force_close)

    def _hold(self, data: bytes) -> None:
        """More comes before there was an answer: read nothing until there is."""
        self._held += data
        self._pause_transport_reading()

    def is_waiting(self) -> bool:
        """Whether the other side still waits for an answer."""
        return self.transport is not None and not self.transport.is_closing()

    def answer(self, data: bytes) -> None:
        """The answer to a call that went the shorter way."""
        self._is_asking = False
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self.transport is None:
            return
        self.transport.write(data)
        if self._held:
            held, self._held = self._held, b""
            self._resume_transport_reading()
            self.data_received(held)

    def hang_up(self) -> None:
        """There is no answer."""
        self.force_close()

    def _process_keepalive(self) -> None:
        if self._is_asking:  # that may take as long as it likes
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

    # aiohttp's

    def _take(self, data: bytes) -> None:
        super().data_received(data)
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
