"""The load generator: a process of its own that sends one prepared request over keep-alive connections.

    python -m benchmarks.load < job.json        # the answer, a `Result`, is one line of JSON

The job is one line. One without an end of its own ends when its input does.
It costs as little as Python can, for on a small machine it competes with what it measures: one callback an answer,
no tasks, no HTTP library. Knows nothing of whom it measures; an answer counts only if it is status 200 with exactly
the expected body.
"""

import asyncio
import base64
import json
import math
import re
import statistics
import sys
import time
from asyncio import Future, Transport
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import cast

import uvloop

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
END = b"\r\n\r\n"
PATIENCE = 60.0
"""Seconds after the job's own in which what is under way must be answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """`request` and `expected` in base64. `pause`: seconds between an answer and the client's next request.

    `seconds` is None where it goes on until it is told to end.
    """

    host: str
    port: int
    request: str
    expected: str
    clients: int
    seconds: float | None
    pause: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Latencies in milliseconds; `seconds` is how long it took, `processor` what it took of the processor for it."""

    answers: int
    errors: int
    seconds: float
    processor: float
    p50: float
    p95: float
    p99: float
    first_error: str = ""

    @property
    def rate(self) -> float:
        return self.answers / self.seconds


class Crowd:
    """What all clients of a job share."""

    def __init__(self, job: Job) -> None:
        self.request = base64.b64decode(job.request)
        self.expected = base64.b64decode(job.expected)
        self.pause = job.pause
        self.latencies: list[float] = []
        self.errors: list[str] = []
        self.end = math.inf if job.seconds is None else time.perf_counter() + job.seconds


class Client(asyncio.Protocol):
    """One connection: the next request goes out when the answer to the last one is in."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._loop = asyncio.get_running_loop()
        self._transport: Transport | None = None
        self._answer = b""
        self._began = 0.0
        self.finished: Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._answer = answer = self._answer + data if self._answer else data
        body = body_of(answer)
        if body is None:
            return
        now = time.perf_counter()
        self._answer = b""
        if body != self._crowd.expected or not answer.startswith(b"HTTP/1.1 200"):
            status, _, _ = answer.partition(b"\r\n")
            self._fail(b"%b: %b" % (status, body[:400]))
            return
        self._crowd.latencies.append(now - self._began)
        if now >= self._crowd.end:
            self._finish()
        elif self._crowd.pause:
            self._loop.call_later(self._crowd.pause, self._send)
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.finished.done():
            self._fail(f"the connection was closed: {exc or 'no reason given'}".encode())

    def _send(self) -> None:
        if self._transport is not None and not self.finished.done():
            self._began = time.perf_counter()
            self._transport.write(self._crowd.request)

    def _fail(self, reason: bytes) -> None:
        self._crowd.errors.append(reason.decode(errors="replace"))
        self._finish()

    def _finish(self) -> None:
        if not self.finished.done():
            self.finished.set_result(None)
        if self._transport is not None:
            self._transport.close()


def body_of(answer: bytes) -> bytes | None:
    """The body of a whole answer; None while something of it is missing."""
    head = answer.find(END)
    if head < 0:
        return None
    length = LENGTH.search(answer, 0, head)
    body = answer[head + len(END) :]
    return body if length is None or len(body) >= int(length[1]) else None


async def generate(job: Job, told: Callable[[], Awaitable[None]]) -> Result:
    """Send the job's requests until its time is over, and wait for the last answers. `told` returns when to end."""
    loop = asyncio.get_running_loop()
    began, spent = time.perf_counter(), time.process_time()
    crowd = Crowd(job)
    clients = [Client(crowd) for _ in range(job.clients)]
    connecting = [
        asyncio.create_task(loop.create_connection(lambda each=each: each, job.host, job.port))  # type: ignore[misc]
        for each in clients
    ]
    for outcome in await asyncio.gather(*connecting, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
    if job.seconds is None:
        await told()
        crowd.end = 0
    patience = (job.seconds or 0) + PATIENCE
    _, late = await asyncio.wait([each.finished for each in clients], timeout=patience)
    crowd.errors += [f"no answer within {PATIENCE:g} s"] * len(late)
    return summary(crowd, time.perf_counter() - began, time.process_time() - spent)


def summary(crowd: Crowd, seconds: float, processor: float) -> Result:
    milliseconds = sorted(1000 * each for each in crowd.latencies)
    return Result(
        answers=len(milliseconds),
        errors=len(crowd.errors),
        seconds=seconds,
        processor=processor,
        p50=quantile(milliseconds, 0.50),
        p95=quantile(milliseconds, 0.95),
        p99=quantile(milliseconds, 0.99),
        first_error=crowd.errors[0] if crowd.errors else "",
    )


def quantile(ordered: list[float], share: float) -> float:
    """The value below which `share` of all lie; 0 where there are none."""
    if len(ordered) < 2:
        return ordered[0] if ordered else 0.0
    return statistics.quantiles(ordered, n=1000, method="inclusive")[round(share * 1000) - 1]


async def _input_ends() -> None:
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    job = Job(**json.loads(sys.stdin.readline()))
    print(json.dumps(asdict(uvloop.run(generate(job, _input_ends)))))


if __name__ == "__main__":
    main()
