"""What an environment exchanges with those around it: what it is told about its function, and what it hands out.

Values, but for the ticket, which holds what is still to come.
"""

import asyncio
import json
import time
from asyncio import Future
from collections.abc import Mapping, Sequence
from dataclasses import field

from rapid.buffering import Tail
from rapid.events import InvokeNotice, ShutdownNotice
from rapid.extensions import INVOKE, SHUTDOWN
from rapid.identifiers import new_uuid
from rapid.invocation import Invocation, Outcome
from rapid.records import Report
from rapid.streams import Stream
from rapid.values import value


@value(frozen=True, slots=True)
class Program:
    """What the runtime process is, and where extensions are."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    opt: str = "/opt"
    """The directory of layers; the files in its `extensions` are external extensions."""
    extension_env: Mapping[str, str] = field(default_factory=dict)
    log_fd: int | None = None
    """The descriptor of the runtime for log events in frames, if it writes any."""
    log_desk: bool = False
    """Whether the runtime has workers, which write to streams of their own."""
    files: int | None = None
    """How many files each process may have open; None: as many as whoever starts them."""


@value(frozen=True, slots=True)
class Function:
    """What extensions learn about the function when they register."""

    name: str
    version: str
    handler: str
    account_id: str


@value(frozen=True, slots=True)
class FetchedCredentials:
    """What stands for the execution role's session, where the runtime fetches it by `token` instead of inheriting it."""

    token: str
    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: str
    """ISO 8601, UTC."""


@value(frozen=True, slots=True)
class Registered:
    """The answer to an extension's registration."""

    identifier: str
    function: Function


@value(frozen=True, slots=True)
class Notice:
    """The answer to an extension's `event/next`: the event's own identifier, and the event as JSON."""

    identifier: str
    body: bytes


@value(frozen=True, slots=True)
class Delivery:
    """The answer to a `next`. `deadline_ms` in milliseconds of the Unix epoch."""

    invocation: Invocation
    deadline_ms: int


class Ticket:
    """One invocation in an environment: its answer, its end, its log; and its answer's bytes, if wanted early."""

    __slots__ = ("completed", "is_first", "lingers", "outcome", "returns", "stream", "tail")

    def __init__(self, stream: Stream | None = None) -> None:
        self.stream = stream
        loop = asyncio.get_running_loop()
        self.outcome: Future[Outcome] = loop.create_future()
        self.completed: Future[Report] = loop.create_future()
        self.tail = Tail()
        self.is_first = False
        #: Its environment has had no invocation before.
        self.lingers = False
        #: Extensions heard of it, and may work on after the answer; known with the answer.
        self.returns = 0
        #: How many environments have given the invocation back.

    def respond(self, outcome: Outcome) -> None:
        """The answer is known, and a stream of it over."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)
        if self.stream is not None:
            self.stream.close()

    def give_back(self) -> None:
        """It begins anew, elsewhere."""
        self.returns += 1
        self.tail = Tail()

    def fail(self, error: Exception) -> None:
        """There is no environment for it after all."""
        if not self.outcome.done():
            self.outcome.set_exception(error)
        if self.stream is not None:
            self.stream.close()
        self.completed.cancel()

    def complete(self, report: Report) -> None:
        """The invocation is over and logged."""
        if not self.completed.done():
            self.completed.set_result(report)


def clock_offset() -> float:
    """What the clock of events, which is `time.monotonic()`, lacks to the Unix epoch, in seconds."""
    return time.time() - time.monotonic()


def delivery(invocation: Invocation, deadline: float) -> Delivery:
    """An event for the runtime; `deadline` on the clock of events."""
    return Delivery(invocation, _epoch_ms(deadline))


def event_of(notice: InvokeNotice | ShutdownNotice) -> Notice:
    """An event for an extension."""
    body: dict[str, object]
    if isinstance(notice, InvokeNotice):
        body = {
            "eventType": INVOKE,
            "deadlineMs": _epoch_ms(notice.deadline),
            "requestId": notice.invocation.request_id,
            "invokedFunctionArn": notice.invocation.arn,
            "tracing": {"type": "X-Amzn-Trace-Id", "value": notice.invocation.trace_id},
        }
    else:
        body = {
            "eventType": SHUTDOWN,
            "shutdownReason": notice.reason,
            "deadlineMs": _epoch_ms(notice.deadline),
        }
    return Notice(new_uuid(), json.dumps(body, separators=(",", ":")).encode())


def _epoch_ms(at: float) -> int:
    return int((at + clock_offset()) * 1000)
