"""An execution environment at work on many invocations at once: the shell around `rapid.concurrent_lifecycle`.

What it does about processes, extensions, telemetry and the log is what every environment does (`rapid.environment`);
here is what there is more than one of: pending `next`, tickets, timers.
"""

import time
from asyncio import Future, TimerHandle
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from rapid.concurrent_lifecycle import ConcurrentLifecycle, TooLate
from rapid.environment import Environment
from rapid.events import (
    Answer,
    Complete,
    Deliver,
    Effect,
    InvocationSettled,
    InvokeArrived,
    Limit,
    LimitPassed,
    NextCalled,
    NextGone,
    ResponseBegan,
    Room,
    SettleInvocation,
    Unlimit,
)
from rapid.exchange import Delivery, Ticket, delivery
from rapid.invocation import Invocation
from rapid.polls import Poll
from rapid.records import Report
from rapid.settings import Settings
from rapid.states import RuntimeCall
from rapid.streams import Stream


class ConcurrentEnvironment(Environment):
    """See the module's text. `on_room` hears how many invocations fit in more, or fewer, than it was told before."""

    _core: ConcurrentLifecycle

    def __init__(self, *, on_room: Callable[[int], None], **common: Any) -> None:
        super().__init__(**common)
        self._on_room = on_room
        self._tickets: dict[str, Ticket] = {}
        #: By request id.
        self._limits: dict[str, TimerHandle] = {}
        self._polls: deque[Poll[Delivery]] = deque()
        #: The workers' pending `next`, in the order of their arrival.

    @staticmethod
    def _new_core(settings: Settings) -> ConcurrentLifecycle:
        return ConcurrentLifecycle(settings)

    # The owner's side

    def invoke(
        self,
        invocation: Invocation,
        timeout: float,
        stream: Stream | None = None,
        ticket: Ticket | None = None,
    ) -> Ticket:
        """Hand in an invocation; as many as `on_room` has allowed."""
        self._forget_gone_workers()
        self._tickets[invocation.request_id] = ticket = ticket or Ticket(stream)
        self._journal.tails[invocation.request_id.encode()] = ticket.tail
        self._handle(InvokeArrived(time.monotonic(), invocation, timeout))
        return ticket

    # The runtime's side

    def next(self, is_alive: Callable[[], bool]) -> Future[Delivery]:
        """A worker of the runtime asks for its next event."""
        self._forget_gone_workers()
        poll: Poll[Delivery] = Poll()
        pending = poll.ask(is_alive)
        self._polls.append(poll)
        try:
            self._handle(NextCalled(time.monotonic()))
        except Exception:
            self._polls.remove(poll)
            poll.drop()
            raise
        return pending

    def begin_response(self, request_id: str, call: RuntimeCall) -> Stream | None:
        self._handle(ResponseBegan(time.monotonic(), request_id, call))
        self._handovers.read(request_id)
        ticket = self._tickets.get(request_id)
        return ticket.stream if ticket else None

    def _forget_gone_workers(self) -> None:
        """Those whose connection is closed: they have ended, or given up."""
        for poll in [each for each in self._polls if each.is_abandoned]:
            self._polls.remove(poll)
            poll.drop()
            self._handle(NextGone(time.monotonic()))

    # Carrying out what the core says

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Deliver(invocation, deadline):
                self._handovers.given(invocation.request_id)
                self._polls.popleft().give(delivery(invocation, deadline))
            case Answer(request_id, outcome):
                self._tickets[request_id].respond(outcome)
            case Complete(report):
                self._complete(report)
            case SettleInvocation(request_id):
                settled = partial(self._invocation_settled, request_id)
                self._supervisor.settle().add_done_callback(settled)
            case Limit(request_id, at):
                delay = at - time.monotonic()
                self._limits[request_id] = self._loop.call_later(delay, self._limit_passed, request_id, at)
            case Unlimit(request_id):
                if limit := self._limits.pop(request_id, None):
                    limit.cancel()
            case Room(change):
                self._on_room(change)
            case _:
                super()._perform(effect)

    def _limit_passed(self, request_id: str, at: float) -> None:
        self._limits.pop(request_id, None)
        self._handle(LimitPassed(max(time.monotonic(), at), request_id))

    def _invocation_settled(self, request_id: str, future: Future[int]) -> None:
        if not future.cancelled() and future.exception() is None:
            if not self._core.is_answering:  # else it would cut lines that other workers are writing
                self._journal.flush(final=False)
            self.memory_peak = future.result()
            self._handle(InvocationSettled(time.monotonic(), request_id, self.memory_peak))

    def _give_back(self, invocation: Invocation) -> None:
        self._journal.tails.pop(invocation.request_id.encode(), None)
        self._handovers.over(invocation.request_id)
        self._hand_back(invocation, self._tickets.pop(invocation.request_id))

    def _complete(self, report: Report) -> None:
        self._journal.tails.pop(report.request_id.encode(), None)
        self._handovers.over(report.request_id)
        if ticket := self._tickets.pop(report.request_id, None):
            ticket.complete(report)

    def _tell(self, refusal: Exception) -> None:
        """A late answer is the function's own affair."""
        if not isinstance(refusal, TooLate):
            super()._tell(refusal)

    def _drop_polls(self) -> None:
        super()._drop_polls()
        while self._polls:
            self._polls.popleft().drop()

    def _may_be_answering(self) -> bool:
        return self._core.is_answering
