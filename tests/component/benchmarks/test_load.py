"""The load generator, against a server that answers as it is told; and other programs that the benchmark starts."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from benchmarks import asking, load
from benchmarks.asking import Target, answered, ask, document
from benchmarks.load import Job, generate
from benchmarks.measures.turns import load_meanwhile
from benchmarks.programs import Failed, finished, output
from benchmarks.sdk import PAYLOAD

OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"


class Server:
    """Answers requests without looking at them."""

    def __init__(self, answers: Callable[[int], bytes]) -> None:
        self._answers = answers
        self.requests = 0
        self.changed = asyncio.Event()
        self.left = asyncio.Event()
        """Set when a client has closed its connection."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = load.LENGTH.search(head)
                await reader.readexactly(int(length[1]) if length else 0)
                self.requests += 1
                self.changed.set()
                writer.write(self._answers(self.requests))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
            writer.close()

    async def heard(self, requests: int) -> None:
        while self.requests < requests:
            self.changed.clear()
            await self.changed.wait()


@asynccontextmanager
async def serving(answers: Callable[[int], bytes]) -> AsyncIterator[tuple[Server, Target]]:
    server = Server(answers)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    try:
        yield server, Target("127.0.0.1", listener.sockets[0].getsockname()[1])
    finally:
        listener.close()


def echo(_: int) -> bytes:
    return OK % (len(PAYLOAD), PAYLOAD)


def job(target: Target, **values: object) -> Job:
    text = {"request": target.request(), "expected": PAYLOAD}
    encoded = {name: base64.b64encode(each).decode() for name, each in text.items()}
    whole = {"host": target.host, "port": target.port, "clients": 1, "seconds": None, **encoded, **values}
    return Job(**whole)  # type: ignore[arg-type]


async def test_it_goes_on_until_it_is_told() -> None:
    """A job without an end of its own."""
    async with serving(echo) as (server, target):
        result = await generate(job(target, clients=3), lambda: server.heard(50))
    assert result.errors == 0
    assert 50 <= result.answers == server.requests
    assert 0 < result.p50 <= result.p95 <= result.p99


async def test_a_wrong_answer_ends_a_client() -> None:
    """It is counted, and told as it was; what came before it counts as well."""
    async with serving(lambda number: echo(number) if number < 5 else OK % (2, b"no")) as (_, target):
        result = await generate(job(target, seconds=30.0), _never)
    assert (result.answers, result.errors) == (4, 1)
    assert result.first_error == "HTTP/1.1 200 OK: no"


async def _never() -> None:
    raise AssertionError("a job with an end of its own is not told when to end")


async def test_a_load_meanwhile() -> None:
    """It is a process of its own, which ends when it is told to, and says what it found."""
    async with serving(echo) as (server, target), load_meanwhile(target, pause=0.0) as finish:
        await server.heard(10)
        result = await finish()
    assert result.errors == 0
    assert result.answers >= 10


async def test_a_load_that_nobody_waits_for_ends() -> None:
    """Where what it goes on beside fails."""
    async with serving(echo) as (server, target):
        with pytest.raises(Failed, match="the other"):
            await _fail_beside(server, target)
        await server.left.wait()


async def _fail_beside(server: Server, target: Target) -> None:
    async with load_meanwhile(target, pause=0.0):
        await server.heard(1)
        raise Failed("the other")


async def test_single_requests() -> None:
    """An answer is what was expected, or the failure says what it was."""
    async with serving(echo) as (_, target):
        await answered(target, target.request())
        assert await ask(target, target.get("/")) == (200, PAYLOAD)
        assert await document(target, "/") == json.loads(PAYLOAD)
    async with serving(lambda _: b"HTTP/1.1 429 Slow\r\nContent-Length: 4\r\n\r\nslow") as (_, target):
        with pytest.raises(Failed, match="answered 429: slow"):
            await answered(target, target.request())
        with pytest.raises(Failed, match="/x answered 429: slow"):
            await document(target, "/x")


async def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for somebody to listen is told where nobody did."""
    monkeypatch.setattr(asking, "START_LIMIT", 0.0)
    async with serving(echo) as (_, target):
        pass
    with pytest.raises(Failed, match=f"nobody listened at {target.url}"):
        await asking.connectable(target)


async def test_a_program_that_fails_says_why() -> None:
    """And one that is not there, who."""
    with pytest.raises(Failed, match="ended with 3: no such thing"):
        await output(sys.executable, "-c", "import sys; print('no such thing', file=sys.stderr); sys.exit(3)")
    with pytest.raises(Failed, match="no-such-program"):
        await output("no-such-program")


async def test_what_must_end_ends() -> None:
    """Who waits for it and is cancelled hears of that when it is over, not before."""
    going, go, done = asyncio.Event(), asyncio.Event(), []

    async def work() -> None:
        going.set()
        await go.wait()
        done.append(True)

    waiting = asyncio.create_task(finished(work()))
    await going.wait()
    waiting.cancel()
    asyncio.get_running_loop().call_soon(go.set)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert done
