"""A response on its way from a runtime to a client while it is being written: a bounded pipe with one end for each.

Both ends may go away at any time. A reader that leaves stops nobody: what is still written is dropped. A writer that
is cut off lets the reader have what is there, and no more. What the bytes mean is not known here.
"""

import asyncio
from asyncio import Future
from collections import deque
from contextlib import suppress

CAPACITY = 256 * 1024
"""Bytes that wait for the reader before the writer does; one write may go beyond."""


class Stream:
    """One response. `begin`, `write`, `close` are the writer's side; `started`, `read`, `leave` the reader's."""

    __slots__ = ("_chunks", "_closed", "_left", "_loop", "_waiters", "content_type", "size", "waiting")

    def __init__(self) -> None:
        self.content_type: str | None = None
        #: Set when the response has begun.
        self.size = 0
        #: Bytes written so far.
        self.waiting = 0
        #: Bytes that the reader has not taken yet.
        self._chunks: deque[bytes] = deque()
        self._closed = False
        self._left = False
        self._loop = asyncio.get_running_loop()
        self._waiters: list[Future[None]] = []
        #: Whoever waits for the other side to do something.

    def __repr__(self) -> str:
        state = "closed" if self._closed else "left" if self._left else "open"
        return f"<Stream {state}, {self.size} bytes, {self.waiting} waiting>"

    # The writer's side

    def begin(self, content_type: str) -> None:
        if self.content_type is None and not self._closed:
            self.content_type = content_type
            self._wake()

    async def write(self, chunk: bytes) -> None:
        """Hand on; waits while too much is waiting already."""
        self.size += len(chunk)
        if self._closed or self._left or not chunk:
            return
        self._chunks.append(chunk)
        self.waiting += len(chunk)
        self._wake()
        while self.waiting > CAPACITY and not self._closed:
            await self._change()

    def close(self) -> None:
        """The response is over, whole or not. A writer that waits does so no longer."""
        self._closed = True
        self._wake()

    async def ended(self, patience: float) -> None:
        """Wait so many seconds at the most until somebody closes it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while not self._closed:
                    await self._change()

    # The reader's side

    async def started(self) -> None:
        """Wait until the response has begun, or is over without having begun."""
        while self.content_type is None and not self._closed:
            await self._change()

    async def read(self) -> bytes:
        """What was written, as it was written; empty at the end."""
        while not self._chunks:
            if self._closed:
                return b""
            await self._change()
        chunk = self._chunks.popleft()
        self.waiting -= len(chunk)
        self._wake()
        return chunk

    def leave(self) -> None:
        """Nobody reads any more."""
        self._left = True
        self._chunks.clear()
        self.waiting = 0
        self._wake()

    def _change(self) -> Future[None]:
        """Done as soon as anything has changed."""
        future: Future[None] = self._loop.create_future()
        self._waiters.append(future)
        return future

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for each in waiters:
            if not each.done():  # cancelled with its task
                each.set_result(None)
