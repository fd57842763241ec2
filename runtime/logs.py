"""The log store: takes log events from the event loop at once, writes them behind its back, hands them to readers.

`write` only notes an event, as the line that it becomes. A short while later, or when much is waiting, everything noted
goes as one batch to the store's one thread, which appends to the files (see `runtime.logfiles`). The lines are made
here, because a thread that is busy with them would hold up the event loop at each of its turns; what the loop does is
the links' to dose. Reading runs on the same thread, so it sees every event noted before.

Memory is bounded. From `AHEAD_BYTES` waiting for the disk on, the streams that much of it comes from are told to wait;
who can, does, so that a flood is slowed down. Beyond `PENDING_BYTES` events are dropped, and each stream that lost some
gets a line saying how many. A follower that does not keep up loses its own oldest events in the same way.

All methods belong to the event loop's thread. Nothing here knows what a line means.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self
from weakref import WeakValueDictionary

from runtime.logfiles import LogEvent, LogFiles, Place, decode, encode
from runtime.model import Scope
from runtime.readable import readable

__all__ = ["LogEvent", "LogStore", "LogWriter"]

PENDING_BYTES = 16 * 1024 * 1024
AHEAD_BYTES = 4 * 1024 * 1024
"""Of all streams together; then those wait that have `STREAM_BYTES` and more among them."""
STREAM_BYTES = 64 * 1024
FOLLOWER_BYTES = 4 * 1024 * 1024
EVENT_BYTES = 1024 * 1024
"""The rest of a longer event is cut off, as CloudWatch's limit would."""
LINGER = 0.05
"""Seconds that events may wait for company on their way to the disk; `kill -9` loses at most these."""

_BATCH_BYTES = 1024 * 1024
_OVERHEAD = 200  # what an event costs in memory beside its text, about
_log = logging.getLogger(__name__)
_echo = logging.getLogger("berth.functions")
"""What functions log, for a terminal; silent unless its own level is set to INFO."""


class LogStore:
    """The logs of every function under `<data_dir>/logs`."""

    def __init__(self, data_dir: Path) -> None:
        self._files = LogFiles(data_dir / "logs")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="berth-logs")
        self._noted: dict[LogWriter, _Batch] = {}
        self._noted_bytes = 0
        self._pending_bytes = 0  # those, and of the batches under way
        self._writers: WeakValueDictionary[Place, LogWriter] = WeakValueDictionary()
        self._dropped: dict[LogWriter, tuple[int, int]] = {}  # how many, and the last one's time
        self._timer: asyncio.TimerHandle | None = None
        self._followers: dict[tuple[Scope, str], set[Follower]] = {}
        self._closed = False

    def writer(self, scope: Scope, group: str, stream: str) -> "LogWriter":
        """What writes to a stream."""
        place = Place(scope.account, scope.region, group, stream)
        writer = self._writers.get(place)
        if writer is None:
            writer = self._writers[place] = LogWriter(self, scope, place)
        return writer

    def write(self, writer: "LogWriter", timestamp_ms: int, text: bytes) -> None:
        """Note an event. One line feed at the end of its text is not part of it. After `close` nothing happens."""
        if self._closed:
            return
        data = text.removesuffix(b"\n")[:EVENT_BYTES]
        if self._followers:
            for follower in self._followers.get((writer.scope, writer.place.group), ()):
                follower.push(timestamp_ms, writer.place.stream, data)
        self._note(writer, timestamp_ms, data)

    def is_ahead(self, writer: "LogWriter") -> bool:
        """Whether the stream has so much on its way to the disk that it had better wait."""
        return self._pending_bytes >= AHEAD_BYTES and writer.pending_bytes >= STREAM_BYTES

    async def flush(self) -> None:
        """Return when every event noted so far is on disk, or was given up."""
        # Shielded: to cancel the waiting must not cancel the writing.
        await asyncio.shield(asyncio.wrap_future(self._hand_over()))

    async def tail(self, scope: Scope, group: str, *, limit: int, part: str = "") -> list[LogEvent]:
        """The last `limit` events of a group by time, oldest first, of the streams with `part` in their names."""
        self._hand_over()
        return await self._read(scope, group, limit, part)

    async def follow(
        self, scope: Scope, group: str, *, limit: int = 0, part: str = ""
    ) -> AsyncGenerator[LogEvent, None]:
        """The last `limit` events, then every event noted from the first step on, without gap or repetition.

        Takes the streams with `part` in their names. Ends when the store is closed.
        """
        follower = Follower()
        # No await until the follower is there: the thread reads right after what was noted before, and before the rest.
        self._hand_over()
        past = self._read(scope, group, limit, part)
        self._followers.setdefault((scope, group), set()).add(follower)
        try:
            for event in await past:
                yield event
            async for event in follower:
                if part in event.stream:
                    yield event
        finally:
            self._forget(scope, group, follower)

    def end_followers(self) -> None:
        """Let everybody who follows get what is waiting and stop: before a server waits for its last requests."""
        for followers in self._followers.values():
            for follower in followers:
                follower.end()

    async def close(self) -> None:
        """Write what is noted, end all followers, let the thread go."""
        if self._closed:
            return
        self._closed = True
        self.end_followers()
        try:
            await self.flush()
        finally:
            self._thread.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _note(self, writer: "LogWriter", timestamp: int, data: bytes) -> None:
        size = len(data) + _OVERHEAD
        if self._pending_bytes + size > PENDING_BYTES:
            self._dropped[writer] = (self._dropped.get(writer, (0, 0))[0] + 1, timestamp)
            return
        batch = self._batch(writer)
        batch.add(timestamp, data)
        batch.size += size
        self._noted_bytes += size
        self._pending_bytes += size
        writer.pending_bytes += size
        if self._noted_bytes >= _BATCH_BYTES:
            self._hand_over()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LINGER, self._hand_over)

    def _batch(self, writer: "LogWriter") -> "_Batch":
        batch = self._noted.get(writer)
        if batch is None:
            batch = self._noted[writer] = _Batch()
        return batch

    def _hand_over(self) -> "Future[None]":
        """Give everything noted to the thread. The future is done when it and all before is written."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for writer, (count, time) in self._dropped.items():
            self._batch(writer).add(time, _loss(count))
        batches, self._noted, self._noted_bytes, self._dropped = self._noted, {}, 0, {}
        written = self._thread.submit(self._append, batches)
        if batches:
            loop = asyncio.get_running_loop()
            written.add_done_callback(lambda _: loop.call_soon_threadsafe(self._written, batches))
        return written

    def _written(self, batches: "Mapping[LogWriter, _Batch]") -> None:
        for writer, batch in batches.items():
            writer.pending_bytes -= batch.size
            self._pending_bytes -= batch.size
        if self._dropped and self._timer is None:
            self._hand_over()

    def _append(self, batches: "Mapping[LogWriter, _Batch]") -> None:
        """On the thread: write each stream's events in one piece."""
        for writer, batch in batches.items():
            if (
                0 < _echo.level <= logging.INFO
            ):  # its own level: a talkative root logger does not mean functions
                _repeat(writer.place, batch)
            try:
                self._files.append(writer.place, b"".join(batch.lines), batch.newest)
            except OSError as error:
                _log.error("%d log events of %s are lost: %s", len(batch.lines), writer.place.group, error)

    def _read(self, scope: Scope, group: str, limit: int, part: str) -> asyncio.Future[list[LogEvent]]:
        job = self._thread.submit(self._files.tail, scope.account, scope.region, group, limit, part)
        return asyncio.wrap_future(job)

    def _forget(self, scope: Scope, group: str, follower: "Follower") -> None:
        followers = self._followers[scope, group]
        followers.remove(follower)
        if not followers:
            del self._followers[scope, group]


class LogWriter:
    """One stream's way into the store."""

    __slots__ = ("__weakref__", "_store", "pending_bytes", "place", "scope")

    def __init__(self, store: LogStore, scope: Scope, place: Place) -> None:
        self._store = store
        self.scope = scope
        self.place = place
        self.pending_bytes = 0
        #: The store's count of what is on its way to the disk.

    def write(self, timestamp_ms: int, text: bytes) -> None:
        """See `LogStore.write`."""
        self._store.write(self, timestamp_ms, text)

    @property
    def is_ahead(self) -> bool:
        """See `LogStore.is_ahead`."""
        return self._store.is_ahead(self)


class _Batch:
    """Events of one stream that go to the disk together."""

    __slots__ = ("lines", "newest", "size")

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.newest = 0
        #: The time of the last event.
        self.size = 0
        #: What the events count for.

    def add(self, timestamp: int, text: bytes) -> None:
        self.lines.append(encode(timestamp, text))
        self.newest = timestamp


class Follower:
    """The events of one group on their way to one reader, woken by each event; bounded in bytes."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, str, bytes]] = deque()
        self._bytes = 0
        self._dropped = 0
        self._ended = False
        self._woken = asyncio.Event()

    def push(self, timestamp: int, stream: str, text: bytes) -> None:
        self._waiting.append((timestamp, stream, text))
        self._bytes += len(text) + _OVERHEAD
        while self._bytes > FOLLOWER_BYTES:
            self._bytes -= len(self._waiting.popleft()[2]) + _OVERHEAD
            self._dropped += 1
        self._woken.set()

    def end(self) -> None:
        """Let the reader have what is waiting, then stop."""
        self._ended = True
        self._woken.set()

    def __aiter__(self) -> AsyncIterator[LogEvent]:
        return self

    async def __anext__(self) -> LogEvent:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._woken.clear()
            await self._woken.wait()
        timestamp, stream, text = self._waiting[0]
        if self._dropped:
            count, self._dropped = self._dropped, 0
            return LogEvent(timestamp, stream, _loss(count).decode())
        self._waiting.popleft()
        self._bytes -= len(text) + _OVERHEAD
        return LogEvent(timestamp, stream, text.decode(errors="replace"))


def _loss(count: int) -> bytes:
    return b"[berth] %d log events were dropped: they came faster than they could be taken" % count


def _repeat(place: Place, batch: _Batch) -> None:
    for line in batch.lines:
        if event := decode(line.removesuffix(b"\n"), place.stream):
            _echo.info("%s", readable(event.text), extra={"group": place.group})
