"""One execution environment at work: the shell around `rapid.lifecycle`.

It feeds the core with what the Runtime API, the supervisor and the timers report, and carries out what the core
answers. It owns the timers, the pending `next` and the lines on their way to the log; it holds no state of its own
about what is allowed. It does not know where its processes run, nor who sends it invocations.

Times are `time.monotonic()`: the event loop's own clock counts whole milliseconds under uvloop.
"""

import asyncio
import logging
import time
from asyncio import Future, TimerHandle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rapid.buffering import Lines, Tail
from rapid.events import (
    Arm,
    Began,
    Cleared,
    Complete,
    Deliver,
    Do,
    Effect,
    Event,
    InitErrorPosted,
    InvokeArrived,
    NextCalled,
    Respond,
    ResponseBegan,
    ResponseBroke,
    ResponseEnded,
    RuntimeCall,
    RuntimeExited,
    RuntimeNotStarted,
    SandboxLost,
    Settled,
    ShutdownAsked,
    StartRuntime,
    TimerFired,
    Write,
)
from rapid.invocation import ExitStatus, Fault, Invocation, Outcome
from rapid.lifecycle import Lifecycle, Phase, RuntimeState, Settings
from rapid.log_format import LogFormat
from rapid.records import Report
from rapid.supervisor import StartFailed, Supervisor

logger = logging.getLogger(__name__)

FREEZE_DELAY = 0.005
"""Seconds between the end of an invocation and the freeze. Back-to-back invocations then need neither freeze nor
thaw; what runs in a function's background gains at most this much."""

START_FAULTS = {
    "exec": "Runtime.InvalidEntrypoint",
    "chdir": "Runtime.InvalidWorkingDir",
    "fork": "Runtime.InvalidTaskConfig",
}


@dataclass(frozen=True, slots=True)
class Program:
    """What the runtime process is."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """The answer to a `next`. `deadline_ms` in milliseconds of the Unix epoch."""

    invocation: Invocation
    deadline_ms: int


class Ticket:
    """One invocation in an environment: its answer, its end, its log."""

    __slots__ = ("completed", "outcome", "tail")

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.outcome: Future[Outcome] = loop.create_future()
        self.completed: Future[Report] = loop.create_future()
        self.tail = Tail()


class Environment:
    """See the module's text. `on_idle` and `on_ended` may be called from within any call here, as its last act."""

    def __init__(
        self,
        *,
        settings: Settings,
        program: Program,
        supervisor: Supervisor,
        log: Callable[[bytes], None],
        log_format: LogFormat,
        on_idle: Callable[[], None],
        on_ended: Callable[[], None],
        freeze: bool = True,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._core = Lifecycle(settings)
        self._program = program
        self._supervisor = supervisor
        self._log = log
        self._format = log_format
        self._on_idle = on_idle
        self._on_ended = on_ended
        self._freeze = freeze
        self._ticket: Ticket | None = None
        self._poll: Future[Delivery] | None = None
        #: The runtime's pending `next`.
        self._poll_is_alive: Callable[[], bool] = _nobody
        self._delivery: Delivery | None = None
        #: An event for which no `next` is pending yet.
        self._deadline: TimerHandle | None = None
        self._freezing: TimerHandle | None = None
        self._frozen = False
        self._lines = {1: Lines(), 2: Lines()}
        self.memory_peak = 0
        supervisor.observer = self

    def __repr__(self) -> str:
        return f"<Environment {self._core!r}{' frozen' if self._frozen else ''}>"

    @property
    def phase(self) -> Phase:
        return self._core.phase

    # The owner's side

    def begin(self) -> None:
        """Initialise ahead of any invocation; `on_idle` tells the end of it, successful or not."""
        self._handle(Began(time.monotonic()))

    def invoke(self, invocation: Invocation, timeout: float) -> Ticket:
        """Hand in an invocation; only while idle. `timeout` in seconds."""
        self._ticket = ticket = Ticket()
        self._handle(InvokeArrived(time.monotonic(), invocation, timeout))
        return ticket

    def shut_down(self) -> None:
        """Kill everything; `on_ended` tells the end of it."""
        self._handle(ShutdownAsked(time.monotonic()))

    # The runtime's side. These raise `IllegalTransition` and `UnknownRequest`.

    def next(self, is_alive: Callable[[], bool]) -> Future[Delivery]:
        """The runtime asks for its next event. `is_alive` tells whether it still waits for the answer."""
        abandoned = self._poll is not None and not self._poll_is_alive()
        if not (abandoned and self._core.runtime is RuntimeState.READY):
            self._handle(NextCalled(time.monotonic()))
        elif self._poll is not None:
            self._poll.cancel()
        self._poll = poll = self._loop.create_future()
        self._poll_is_alive = is_alive
        if self._delivery is not None:
            self._answer_poll(self._delivery)
        return poll

    def begin_response(self, request_id: str, call: RuntimeCall) -> None:
        self._handle(ResponseBegan(time.monotonic(), request_id, call))

    def end_response(self, request_id: str, outcome: Outcome) -> None:
        self._handle(ResponseEnded(time.monotonic(), request_id, outcome))

    def break_response(self, request_id: str) -> None:
        self._handle(ResponseBroke(time.monotonic(), request_id))

    def init_error(self, error_type: str, payload: bytes) -> None:
        self._handle(InitErrorPosted(time.monotonic(), error_type, payload))

    # The supervisor's side

    def output(self, process: int, stream: int, data: bytes) -> None:  # noqa: ARG002  one process so far
        for line in self._lines[stream].feed(data):
            if self._format.keeps(line):
                self._write(line)

    def exited(self, process: int, status: ExitStatus) -> None:
        self._flush()
        self._handle(RuntimeExited(time.monotonic(), process, status))

    def lost(self, reason: str, *, out_of_memory: bool = False) -> None:
        self._flush()
        self._handle(SandboxLost(time.monotonic(), reason, out_of_memory))

    # Carrying out what the core says

    def _handle(self, event: Event) -> None:
        for effect in self._core.handle(event):
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:  # the frequent ones first
            case Do():
                self._do(effect)
            case Deliver(invocation, deadline):
                epoch_ms = int((time.time() + deadline - time.monotonic()) * 1000)
                self._answer_poll(Delivery(invocation, epoch_ms))
            case Respond(outcome):
                self._respond(outcome)
            case Complete(report):
                self._complete(report)
            case Write(record):
                for line in self._format.platform(record, time.time()):
                    self._write(line)
            case Arm():
                self._arm(effect)
            case StartRuntime(generation):
                self._start(generation)

    def _do(self, effect: Do) -> None:
        match effect:
            case Do.SETTLE:
                self._supervisor.settle().add_done_callback(self._settled)
            case Do.THAW:
                self._thaw()
            case Do.FREEZE if self._freeze:
                self._freezing = self._loop.call_later(FREEZE_DELAY, self._freeze_now)
            case Do.DISARM:
                self._disarm()
            case Do.CLEAR:
                self._drop_poll()
                self._thaw()
                self._supervisor.clear().add_done_callback(self._cleared)
            case Do.IDLE:
                self._on_idle()
            case Do.ENDED:
                self._drop_poll()
                self._thaw()
                self._on_ended()

    def _answer_poll(self, delivery: Delivery) -> None:
        poll, self._poll = self._poll, None
        if poll is None or poll.done():
            self._delivery = delivery
            return
        self._delivery = None
        poll.set_result(delivery)

    def _drop_poll(self) -> None:
        poll, self._poll, self._delivery = self._poll, None, None
        if poll is not None:
            poll.cancel()

    def _respond(self, outcome: Outcome) -> None:
        if self._ticket is not None and not self._ticket.outcome.done():
            self._ticket.outcome.set_result(outcome)

    def _complete(self, report: Report) -> None:
        ticket, self._ticket = self._ticket, None
        if ticket is not None and not ticket.completed.done():
            ticket.completed.set_result(report)

    def _arm(self, arm: Arm) -> None:
        self._disarm()
        self._deadline = self._loop.call_later(arm.at - time.monotonic(), self._fire, arm)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _fire(self, arm: Arm) -> None:
        self._handle(TimerFired(time.monotonic(), arm.timer, arm.generation))

    def _start(self, generation: int) -> None:
        def done(future: Future[None]) -> None:
            if future.cancelled():
                return
            reason = future.exception()
            if isinstance(reason, StartFailed):
                fault = Fault(START_FAULTS.get(reason.stage, START_FAULTS["fork"]), str(reason))
                self._handle(RuntimeNotStarted(time.monotonic(), generation, fault))

        program = self._program
        self._supervisor.start(generation, program.argv, program.env, program.cwd).add_done_callback(done)

    def _settled(self, future: Future[int]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._flush()
            self.memory_peak = future.result()
            self._handle(Settled(time.monotonic(), self.memory_peak))

    def _cleared(self, future: Future[int]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._flush()
            self.memory_peak = future.result()
            self._handle(Cleared(time.monotonic(), self.memory_peak))

    def _freeze_now(self) -> None:
        self._freezing = None
        self._frozen = True
        self._supervisor.freeze()

    def _thaw(self) -> None:
        if self._freezing is not None:
            self._freezing.cancel()
            self._freezing = None
        if self._frozen:
            self._frozen = False
            self._supervisor.thaw()

    # Logs

    def _write(self, line: bytes) -> None:
        self._log(line)
        if self._ticket is not None:
            self._ticket.tail.add(line)

    def _flush(self) -> None:
        for lines in self._lines.values():
            for line in lines.flush():
                if self._format.keeps(line):
                    self._write(line)


def _nobody() -> bool:
    return False
