"""A response that is taken as it comes, by whoever holds it."""

import asyncio
from typing import Any

import pytest

from rapid.exchange import Ticket
from rapid.invocation import Fault, Outcome, timed_out, too_large, truncated
from rapid.records import Report
from rapid.streamed import Ending, Streamed
from rapid.streams import Stream

POSTED = Outcome(b'{"errorType":"E"}', function_error=True, error_type="Function.E")


def parts(bucket: Any = None) -> tuple[Ticket, Stream, Streamed]:
    stream = Stream()
    ticket = Ticket(stream)
    streamed = Streamed(ticket, stream, executed_version="7", trace_id="Root=1", bucket=bucket)
    return ticket, stream, streamed


def finish(ticket: Ticket, stream: Stream, outcome: Outcome) -> None:
    ticket.outcome.set_result(outcome)
    stream.close()


async def test_streamed() -> None:
    """Pieces as they were written, the content type of the response, no error."""
    ticket, stream, streamed = parts()
    stream.begin("text/event-stream")
    await stream.write(b"a")
    assert await streamed.start() == "text/event-stream"
    assert await streamed.read() == b"a"
    finish(ticket, stream, Outcome(b"", content_type="text/event-stream", streamed=1))
    assert await streamed.read() == b""
    assert await streamed.end(tail=False) == Ending(None, b"", b"")


async def test_not_streamed() -> None:
    """A response in one piece is read like a stream of one."""
    ticket, stream, streamed = parts()
    finish(ticket, stream, Outcome(b"whole", content_type="application/unknown"))
    assert await streamed.start() == "application/unknown"
    assert [await streamed.read() for _ in range(3)] == [b"whole", b"", b""]
    assert (await streamed.end(tail=False)).error_code is None


@pytest.mark.parametrize("outcome", [POSTED, timed_out(1).outcome("r"), too_large(5), truncated("r", None)])
async def test_error_before_the_first_byte(outcome: Outcome) -> None:
    """Whatever it is, it is `Unhandled`; the document is told at the end, not as the response."""
    ticket, stream, streamed = parts()
    finish(ticket, stream, outcome)
    assert await streamed.start() == "application/json"
    assert await streamed.read() == b""
    assert await streamed.end(tail=False) == Ending("Unhandled", outcome.payload, b"")


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (POSTED, "Unhandled"),
        (truncated("r", 1), "Runtime.TruncatedResponse"),
        (Fault("Runtime.ExitError", "gone").outcome("r"), "Runtime.TruncatedResponse"),
        (timed_out(1).outcome("r"), "Sandbox.Timedout"),
        (too_large(5, 5), "Function.ResponseSizeTooLarge"),
        (Fault("Sandbox.Failure", "lost").outcome("r"), "Sandbox.Failure"),
        (Fault("Extension.Crash", "exit code 1").outcome("r"), "Unhandled"),
    ],
)
async def test_error_in_mid_stream(outcome: Outcome, code: str) -> None:
    """What the function said of itself is `Unhandled`; what cut it off has a code of its own."""
    ticket, stream, streamed = parts()
    stream.begin("a/b")
    await stream.write(b"a")
    finish(ticket, stream, outcome)
    assert [await streamed.read(), await streamed.read()] == [b"a", b""]
    assert await streamed.end(tail=False) == Ending(code, outcome.payload, b"")


async def test_log_tail() -> None:
    """Who wants the log waits until it is whole."""
    ticket, stream, streamed = parts()
    finish(ticket, stream, Outcome(b""))
    ending = asyncio.create_task(streamed.end(tail=True))
    await asyncio.sleep(0)
    ticket.tail.add(b"END\n")
    await asyncio.sleep(0)
    assert not ending.done()
    ticket.completed.set_result(Report("r", 0.1, None, 128, 1))
    assert (await ending).log_tail == b"END\n"


async def test_a_caller_that_is_cancelled_cancels_nothing() -> None:
    """The environment still sets the outcome that nobody waits for any more."""
    ticket, _, streamed = parts()
    for work in (streamed.start(), streamed.end(tail=True)):
        task = asyncio.ensure_future(work)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert not ticket.outcome.cancelled()
    assert not ticket.completed.cancelled()


class Bucket:
    """Says to wait as many seconds as bytes are taken beyond two."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    def take(self, amount: float, _now: float) -> float:
        self.taken.append(amount)
        return max(0.0, sum(self.taken) - 2)


async def test_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece is held back for as long as the bucket says; the end is not."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    bucket = Bucket()
    ticket, stream, streamed = parts(bucket)
    for piece in (b"ab", b"cde"):
        await stream.write(piece)
    finish(ticket, stream, Outcome(b"", streamed=5))
    monkeypatch.setattr(asyncio, "sleep", pause)
    assert [await streamed.read() for _ in range(3)] == [b"ab", b"cde", b""]
    assert (bucket.taken, pauses) == ([2, 3], [3.0])
