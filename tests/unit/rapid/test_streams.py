"""The pipe between a runtime and a client."""

import asyncio
from collections.abc import Awaitable

from rapid.streams import CAPACITY, Stream

FULL = b"x" * (CAPACITY + 1)


async def begun(work: Awaitable[object]) -> "asyncio.Future[object]":
    """A task that has run until it waits."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    return task


async def test_in_order() -> None:
    """What is written is read as it was written, and nothing at the end, as often as one asks."""
    stream = Stream()
    stream.begin("text/plain")
    for chunk in (b"a", b"", b"bc"):
        await stream.write(chunk)
    stream.close()
    assert [await stream.read() for _ in range(4)] == [b"a", b"bc", b"", b""]
    assert (stream.size, stream.waiting, stream.content_type) == (3, 0, "text/plain")


async def test_a_reader_waits_for_a_writer() -> None:
    """A chunk reaches a reader that was there first."""
    stream = Stream()
    reading = await begun(stream.read())
    assert not reading.done()
    await stream.write(b"a")
    assert await reading == b"a"


async def test_a_writer_waits_for_a_reader() -> None:
    """Beyond the capacity a write lasts until enough has been taken."""
    stream = Stream()
    await stream.write(b"a")
    writing = await begun(stream.write(FULL))
    await asyncio.sleep(0)
    assert not writing.done()
    assert await stream.read() == b"a"
    await asyncio.sleep(0)
    assert not writing.done()
    assert await stream.read() == FULL
    await writing


async def test_started() -> None:
    """A reader learns of the beginning, or that there will be none."""
    stream, other = Stream(), Stream()
    first, second = await begun(stream.started()), await begun(other.started())
    assert not first.done()
    stream.begin("a/b")
    stream.begin("c/d")
    await first
    assert stream.content_type == "a/b"
    other.close()
    await second
    other.begin("a/b")
    assert other.content_type is None


async def test_close_wakes_everybody() -> None:
    """The end reaches a writer that is blocked; what was in the pipe can still be read, later writes are dropped."""
    stream = Stream()
    writing = await begun(stream.write(FULL))
    ending = await begun(stream.ended(60))
    stream.close()
    await writing
    await ending
    await stream.write(b"late")
    assert [await stream.read(), await stream.read()] == [FULL, b""]


async def test_a_reader_that_waits_is_told_of_the_end() -> None:
    stream = Stream()
    reading = await begun(stream.read())
    stream.close()
    assert await reading == b""


async def test_nobody_reads_any_more() -> None:
    """A writer that is blocked goes on, and what it writes takes no room; it is still counted."""
    stream = Stream()
    writing = await begun(stream.write(FULL))
    stream.leave()
    await writing
    for _ in range(3):
        await stream.write(FULL)
    assert (stream.waiting, stream.size) == (0, 4 * len(FULL))


async def test_ended_has_patience() -> None:
    """Waiting for an end that does not come is over when patience is."""
    stream = Stream()
    await stream.ended(0.001)
    assert repr(stream).startswith("<Stream open")


async def test_cancelled_while_waiting() -> None:
    """Somebody who was cancelled in waiting is not woken, and others are."""
    stream = Stream()
    gone, here = await begun(stream.read()), await begun(stream.started())
    gone.cancel()
    stream.begin("a/b")
    await here
    assert gone.cancelled() or await asyncio.wait([gone])
