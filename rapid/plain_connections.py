"""A connection of aiohttp's with a shorter way beside it.

The shorter way is for requests that are whole and plain and come while aiohttp has nothing to do and holds no part of
one. Who takes them decides whether he does, and answers in the same turn or later; everything else is aiohttp's. Which
requests there are is not known here.
"""

import asyncio
from asyncio import Future
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from rapid.partings import Parting
from rapid.plain_requests import plain_head
from rapid.shorter_way import ShorterWay


class PlainConnection(RequestHandler):
    """See the module's text. `shortcut` gives the shorter way, as long as there is one."""

    __slots__ = ("_answered", "_held", "_is_asking", "_missing", "_parting", "_shortcut")

    def __init__(self, server: web.Server, shortcut: Callable[[], ShorterWay | None], **options: Any) -> None:
        super().__init__(server, **options)
        self._shortcut = shortcut
        self._parting = Parting()
        self._missing: int | None = 0
        #: Bytes of a request that aiohttp is still to get; None: not known, and never again.
        self._is_asking = False
        #: A request went the shorter way and has no answer yet.
        self._held = b""
        #: What came meanwhile.
        self._answered: Future[None] | None = None
        #: Whoever waits for that answer before the connection is closed.

    def data_received(self, data: bytes) -> None:
        if self._is_asking:
            self._hold(data)
        elif not (data and self._is_short(data)):
            self._take(data)

    def _take(self, data: bytes) -> None:
        """It goes the long way."""
        super().data_received(data)

    def _is_short(self, data: bytes) -> bool:
        """Whether it went the shorter way; else what is missing of it is noted."""
        if self._missing != 0:
            self._expect(None if self._missing is None else self._missing - len(data))
            return False
        shortcut = self._shortcut()
        if shortcut is None:
            self._missing = None
            return False
        head = plain_head(data, shortcut.read_fields)
        if head is None or head.size != len(data):
            self._expect(None if head is None else head.size - len(data))
            return False
        if not self._is_at_rest():
            return False
        self._is_asking = True  # it may have been answered when it is taken
        is_taken = shortcut.take(head, data[head.begin :], self)
        self._is_asking &= is_taken
        return is_taken

    def _expect(self, missing: int | None) -> None:
        self._missing = None if missing is None or missing < 0 else missing

    def _is_at_rest(self) -> bool:
        """Whether aiohttp waits for a request, and has none; and whoever sends requests reads the answers to them."""
        waiter = self._waiter
        is_waiting = waiter is not None and not waiter.done() and not self._messages
        return is_waiting and not (self._close or self._force_close or self._paused)

    def _hold(self, data: bytes) -> None:
        """More comes before there was an answer: read nothing until there is."""
        self._held += data
        self._pause_transport_reading()

    def is_waiting(self) -> bool:
        """Whether the other side still waits for an answer."""
        return self.transport is not None and not self.transport.is_closing()

    def parted(self) -> Future[bool]:
        """See `rapid.partings.Receiver`."""
        return self._parting.known()

    def answer(self, data: bytes) -> None:
        """The answer to a request that went the shorter way."""
        self._is_asking = False
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self.transport is None:
            return
        self.transport.write(data)
        if self._close or self._force_close:  # nothing more is read
            self._tell_answered()
            self.force_close()
        elif self._held:
            held, self._held = self._held, b""
            self._resume_transport_reading()
            self.data_received(held)

    def hang_up(self) -> None:
        """There is no answer."""
        self._tell_answered()
        self.force_close()

    def _tell_answered(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)

    # aiohttp's

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp's own never keeps the connection
        self._parting.ends(self.transport)
        return False

    def _process_keepalive(self) -> None:
        if self._is_asking:  # that may take as long as it likes
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._held = b""
        self._tell_answered()
        super().connection_lost(exc)
        self._parting.over(exc)

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109  its signature is aiohttp's
        """Let a request that went the shorter way have its answer, as aiohttp lets its own."""
        if self._is_asking and self.transport is not None:
            self.close()
            self._answered = self._loop.create_future()
            await asyncio.wait([self._answered], timeout=timeout)
        await super().shutdown(timeout)
