import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from runtime import logs
from runtime.logfiles import LogFiles
from runtime.logs import LogEvent, LogStore
from runtime.model import Scope

SCOPE = Scope("123456789012", "us-east-1")
GROUP = "/aws/lambda/hello"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LogStore]:
    async with LogStore(tmp_path) as opened:
        yield opened


def write(
    store: LogStore, *texts: str | bytes, stream: str = "s", start: int = 0, group: str = GROUP
) -> None:
    writer = store.writer(SCOPE, group, stream)
    for time, text in enumerate(texts, start):
        writer.write(time, text.encode() if isinstance(text, str) else text)


async def texts(store: LogStore, limit: int = 1000) -> list[str]:
    return [event.text for event in await store.tail(SCOPE, GROUP, limit=limit)]


def follow(store: LogStore, limit: int = 0) -> aclosing[AsyncGenerator[LogEvent, None]]:
    """`follow` that is closed with its block."""
    return aclosing(store.follow(SCOPE, GROUP, limit=limit))


@contextmanager
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk that takes nothing until the event is set."""
    spins = threading.Event()
    append = LogFiles.append

    def waiting(self: LogFiles, *arguments: Any) -> None:
        spins.wait(10)
        append(self, *arguments)

    monkeypatch.setattr(LogFiles, "append", waiting)
    try:
        yield spins
    finally:
        spins.set()


async def test_tail_sees_what_was_just_written(store: LogStore) -> None:
    """Reading needs no flush before it: events noted are events seen, in order."""
    write(store, "START", b"hello\n", "END\n\n")
    assert await texts(store) == ["START", "hello", "END\n"]
    assert await texts(store, 1) == ["END\n"]


async def test_file_is_where_and_what_it_is_said_to_be(store: LogStore, tmp_path: Path) -> None:
    """Account, region, group and stream make the path; a line is time and text."""
    store.writer(SCOPE, GROUP, "2024/01/31/[$LATEST]af").write(1_706_702_400_123, b"a\nb")
    await store.flush()
    path = tmp_path / "logs/123456789012/us-east-1/+aws+lambda+hello/2024+01+31+[$LATEST]af.log"
    assert path.read_text() == "2024-01-31T12:00:00.123Z a\\nb\n"


async def test_events_reach_the_disk_unasked(
    store: LogStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that stops writing still finds its events on disk a moment later."""
    arrived, loop = asyncio.Event(), asyncio.get_running_loop()
    append = LogFiles.append

    def telling(self: LogFiles, *arguments: Any) -> None:
        append(self, *arguments)
        loop.call_soon_threadsafe(arrived.set)

    monkeypatch.setattr(LogFiles, "append", telling)
    write(store, "one")
    async with asyncio.timeout(10):
        await arrived.wait()
    assert LogFiles(tmp_path / "logs").tail(SCOPE.account, SCOPE.region, GROUP, 9) == [
        LogEvent(0, "s", "one")
    ]


async def test_close_writes_everything(tmp_path: Path) -> None:
    """What was noted before closing is there afterwards; what comes later is ignored, closing twice is fine."""
    store = LogStore(tmp_path)
    write(store, *["x"] * 5000)
    await store.close()
    await store.close()
    write(store, "too late")
    async with LogStore(tmp_path) as again:
        assert await texts(again, 10_000) == ["x"] * 5000


async def test_cancelled_flush_loses_nothing(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gives up waiting for the disk does not take the events away from it."""
    with slow_disk(monkeypatch) as spins:
        write(store, "first")
        write_first = asyncio.create_task(store.flush())
        write(store, "second")
        write_second = asyncio.create_task(store.flush())
        await asyncio.sleep(0)
        write_second.cancel()
        write_first.cancel()
        await asyncio.gather(write_first, write_second, return_exceptions=True)
        spins.set()
    assert await texts(store) == ["first", "second"]


async def test_flood_is_bounded_and_told(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the bound events are dropped without waiting, and their stream says how many."""
    monkeypatch.setattr(logs, "PENDING_BYTES", 10_000)
    with slow_disk(monkeypatch) as spins:
        write(store, *["x" * 800] * 15)
        spins.set()
        found = await texts(store)
    assert found[:10] == ["x" * 800] * 10
    assert found[10:] == ["[berth] 5 log events were dropped: they came faster than they could be taken"]


async def test_flood_is_told_without_another_event(
    store: LogStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line about dropped events does not wait for somebody to write or read."""
    monkeypatch.setattr(logs, "PENDING_BYTES", 2_000)
    monkeypatch.setattr(logs, "_BATCH_BYTES", 1_000)
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    append = LogFiles.append

    def telling(self: LogFiles, place: Any, lines: bytes, newest: int) -> None:
        append(self, place, lines, newest)
        if b"dropped" in lines:
            loop.call_soon_threadsafe(told.set)

    monkeypatch.setattr(LogFiles, "append", telling)
    write(store, "x" * 1500, "y" * 1500)
    async with asyncio.timeout(10):
        await told.wait()


async def test_a_flood_is_told_to_wait(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that much of what waits for the disk comes from are ahead, others are not; written, nobody is."""
    monkeypatch.setattr(logs, "AHEAD_BYTES", 10_000)
    monkeypatch.setattr(logs, "STREAM_BYTES", 5_000)
    loud, quiet = store.writer(SCOPE, GROUP, "loud"), store.writer(SCOPE, GROUP, "quiet")
    with slow_disk(monkeypatch) as spins:
        loud.write(0, b"x" * 9_000)
        assert not loud.is_ahead
        quiet.write(0, b"y" * 1_000)
        assert loud.is_ahead
        assert not quiet.is_ahead
        spins.set()
        await store.flush()
    assert not loud.is_ahead
    assert loud.pending_bytes == quiet.pending_bytes == 0


async def test_a_stream_has_one_writer(store: LogStore) -> None:
    """Whoever asks for it: its events are counted in one place. It goes with the last that holds it."""
    first = store.writer(SCOPE, GROUP, "s")
    assert store.writer(SCOPE, GROUP, "s") is first
    assert store.writer(SCOPE, GROUP, "t") is not first
    assert len(store._writers) == 1


async def test_overlong_event_is_cut(store: LogStore) -> None:
    """One event holds at most a mebibyte."""
    write(store, "x" * (logs.EVENT_BYTES + 5))
    assert [len(text) for text in await texts(store)] == [logs.EVENT_BYTES]


async def test_full_disk_costs_the_batch_only(
    store: LogStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without space events are lost with a word about it, and later ones are written again."""
    with monkeypatch.context() as patch:

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(LogFiles, "append", full)
        write(store, "lost")
        await store.flush()
    write(store, "kept")
    assert await texts(store) == ["kept"]
    assert "1 log events of /aws/lambda/hello are lost: [Errno 28] No space left on device" in caplog.text


async def test_follower_sees_past_and_future_without_gap(store: LogStore) -> None:
    """The last events come first, then new ones as they are written, each once."""
    write(store, "1", "2", "3")
    async with asyncio.timeout(10), follow(store, 2) as events:
        seen = [(await anext(events)).text]
        write(store, "4", "5", start=3)
        seen += [(await anext(events)).text for _ in range(3)]
        assert seen == ["2", "3", "4", "5"]
        waiting = asyncio.create_task(anext(events))
        await asyncio.sleep(0)
        write(store, "6", stream="t", start=6)
        write(store, "other group", group="g")
        assert await waiting == LogEvent(6, "t", "6")


async def test_follower_sees_an_event_before_the_disk_does(
    store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Following is told by the writer, not by the files."""
    async with asyncio.timeout(10), follow(store) as events:
        first = asyncio.create_task(anext(events))
        await store.flush()
        with slow_disk(monkeypatch):
            write(store, "now")
            assert (await first).text == "now"


async def test_slow_follower_loses_its_oldest_and_is_told(
    store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that stands still costs bounded memory; it learns what it missed."""
    monkeypatch.setattr(logs, "FOLLOWER_BYTES", 2_100)
    async with asyncio.timeout(10), follow(store) as events:
        first = asyncio.create_task(anext(events))
        await store.flush()
        write(store, *[f"{number:0500}" for number in range(10)])
        assert "7 log events were dropped" in (await first).text
        assert [int((await anext(events)).text) for _ in range(3)] == [7, 8, 9]


async def test_closing_ends_followers(tmp_path: Path) -> None:
    """A follower gets what is waiting, then its loop ends."""
    store = LogStore(tmp_path)
    write(store, "past")

    async def read() -> list[str]:
        return [event.text async for event in store.follow(SCOPE, GROUP, limit=5)]

    reader = asyncio.create_task(read())
    await store.flush()
    write(store, "last")
    await store.close()
    async with asyncio.timeout(10):
        assert await reader == ["past", "last"]


async def test_follower_that_leaves_is_forgotten(store: LogStore) -> None:
    """After a reader has gone nothing is kept for it."""
    write(store, "1")
    async with asyncio.timeout(10), follow(store, 1) as events:
        await anext(events)
        assert store._followers
    assert not store._followers


async def test_shared_group_can_be_read_by_stream(store: LogStore) -> None:
    """Functions that share a group are told apart by their streams' names, in the past and while following."""
    write(store, "mine", stream="2024/01/31/me[1]aa")
    write(store, "yours", stream="2024/01/31/you[1]bb", start=1)
    assert [event.text for event in await store.tail(SCOPE, GROUP, limit=9, part="/me[")] == ["mine"]
    async with asyncio.timeout(10), aclosing(store.follow(SCOPE, GROUP, limit=9, part="/you[")) as events:
        assert (await anext(events)).text == "yours"
        write(store, "mine", stream="2024/01/31/me[1]aa", start=2)
        write(store, "yours again", stream="2024/01/31/you[1]bb", start=3)
        assert (await anext(events)).text == "yours again"


async def test_terminal_may_listen(store: LogStore, caplog: pytest.LogCaptureFixture) -> None:
    """With the level of `berth.functions` at INFO, what functions log is repeated there with its group."""
    with caplog.at_level("DEBUG"):
        write(store, "unheard")
        await store.flush()
    with caplog.at_level("INFO", "berth.functions"):
        write(store, "one\rtwo\x1b[2J")
        await store.flush()
    assert [(record.getMessage(), record.__dict__["group"]) for record in caplog.records] == [
        ("one\ntwo^[[2J", GROUP)
    ]
