"""The life of one execution environment, as a pure state machine.

Theory of operation
-------------------

An environment is a sandbox in which processes come and go. Two things have a state:

* the **runtime**, the process that fetches events. Its states and the calls that each allows are the table
  `RUNTIME_CALLS`; a call that the table does not allow raises `IllegalTransition` and changes nothing.
* the environment's **phase**, which says what the platform is doing with the sandbox:

      COLD ──Began──▶ INIT ──next──▶ IDLE ──InvokeArrived──▶ INVOKE ──next──▶ SETTLING ──Settled──▶ IDLE
       ▲ │              │ fault       │ exit                   │ fault           │ exit
       │ │              ▼             ▼                        ▼                 ▼
       │ │            CLEARING ◀──────┴────────────────────────┴─────────────────┘
       │ └─InvokeArrived (the initialisation runs inside the invocation) ──▶ INVOKE
       └──────Cleared───┘
      any ──ShutdownAsked──▶ SHUTDOWN ──Cleared──▶ ENDED          any ──SandboxLost──▶ ENDED

Events are facts, past tense: something called, something ended, a time passed. `handle(event)` is the one method that
changes state; it returns effects, which the shell around the core carries out. Four rules keep it small:

1. No clock: every event carries `now` (seconds of a monotonic clock).
2. Nothing waits here: an effect that takes time (`StartRuntime`, `Settle`, `Clear`) comes back as a later event.
   Each start of a runtime has a number, its generation; events about an earlier generation are ignored.
3. `Do.IDLE` and `Do.ENDED` are always the last effect: whoever hears of them may hand in the next event at once.
4. A response reaches the client at once (`Respond`). Then what had been written until then is drained (`Settle`),
   while the runtime is on its way back to `next`; only when both have happened the environment is free, because only
   then the log of the invocation is whole. Usually `Settled` comes first and SETTLING lasts no time.

A failed environment is not thrown away: its processes are killed (`Clear`), `/tmp` and identity stay, and the next
invocation starts a new runtime inside its own time. That one mechanism serves failed initialisations, crashes and
timeouts alike.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from rapid.events import (
    Arm,
    Began,
    Cleared,
    Complete,
    Deliver,
    Do,
    Effects,
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
    Timer,
    TimerFired,
    Write,
)
from rapid.invocation import ExitStatus, Fault, Invocation, exited, timed_out
from rapid.records import InitReport, InitStart, Report, Start

INIT_LIMIT = 10.0
"""Seconds for an initialisation ahead of any invocation (AWS: init phase, on-demand)."""


class RuntimeState(StrEnum):
    """The runtime's states; values are the names that AWS prints in refusals."""

    ABSENT = "Absent"
    STARTED = "Started"
    READY = "Ready"
    RUNNING = "Running"
    RESPONDING = "InvocationResponse"
    ERRING = "InvocationErrorResponse"
    RESPONSE_SENT = "RuntimeResponseSentState"
    INIT_ERROR = "InitError"


RUNTIME_CALLS: Mapping[RuntimeState, Mapping[RuntimeCall, RuntimeState]] = {
    RuntimeState.ABSENT: {},
    RuntimeState.STARTED: {
        RuntimeCall.NEXT: RuntimeState.READY,
        RuntimeCall.INIT_ERROR: RuntimeState.INIT_ERROR,
    },
    RuntimeState.READY: {},
    RuntimeState.RUNNING: {
        RuntimeCall.NEXT: RuntimeState.RUNNING,  # the same event once more
        RuntimeCall.RESPONSE: RuntimeState.RESPONDING,
        RuntimeCall.ERROR: RuntimeState.ERRING,
    },
    RuntimeState.RESPONDING: {},
    RuntimeState.ERRING: {},
    RuntimeState.RESPONSE_SENT: {RuntimeCall.NEXT: RuntimeState.READY},
    RuntimeState.INIT_ERROR: {},
}


class Phase(StrEnum):
    COLD = "cold"
    INIT = "init"
    IDLE = "idle"
    INVOKE = "invoke"
    SETTLING = "settling"
    CLEARING = "clearing"
    SHUTDOWN = "shutdown"
    ENDED = "ended"


class IllegalTransition(Exception):
    """The runtime's state does not allow the call. Nothing has changed."""

    def __init__(self, current: str, target: str) -> None:
        super().__init__(f"{current} to {target}")
        self.current = current
        self.target = target


class UnknownRequest(Exception):
    """The call names an invocation that is not the current one. Nothing has changed."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an environment is told about its function. `memory_size` in MB, `init_limit` in seconds."""

    version: str
    memory_size: int
    runtime_version: str
    runtime_version_arn: str
    init_limit: float = INIT_LIMIT


@dataclass(slots=True)
class _Current:
    """The invocation being worked on."""

    invocation: Invocation
    began: float
    timeout: float
    started: bool = False
    #: START has been logged: the event was delivered, or failed before it could be.
    responded: bool = False
    failed: bool = False
    #: The function answered with an error.
    settled: int | None = None
    #: The memory peak, once all that was written before the response has arrived.
    ended: float | None = None
    fault: Fault | None = None

    @property
    def deadline(self) -> float:
        return self.began + self.timeout


class Lifecycle:
    """One environment. See the module's text."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.phase = Phase.COLD
        self.runtime = RuntimeState.ABSENT
        self.generation = 0
        self._current: _Current | None = None
        self._waiting: InvokeArrived | None = None
        #: An invocation that came while a dead runtime's leftovers were being killed.
        self._init_began = 0.0
        #: When the running or last initialisation began.
        self._init_duration: float | None = None
        #: Of a successful initialisation ahead of any invocation, until a report has carried it.
        self._failed_init: InitReport | None = None
        #: Until the output of that initialisation has arrived.
        self._memory_peak = 0
        #: The greatest reported so far, in bytes; a sandbox that is lost reports none.

    def __repr__(self) -> str:
        current = f" {self._current.invocation.request_id}" if self._current else ""
        return f"<Lifecycle {self.phase} runtime={self.runtime} generation={self.generation}{current}>"

    @property
    def invocation(self) -> Invocation | None:
        """The current invocation."""
        return self._current.invocation if self._current else None

    def handle(self, event: Event) -> Effects:
        """Take an event, return what is to be done.

        Raises `IllegalTransition` or `UnknownRequest` for calls of the runtime that are out of order; the state is
        then as before.
        """
        return _HANDLERS[type(event)](self, event)

    def check(self) -> None:
        """Raise AssertionError where the state contradicts itself (tests keep this on)."""
        busy = {Phase.INVOKE, Phase.SETTLING}
        assert (self._current is not None) or self.phase not in busy, self
        assert (self._current is None) or self.phase in busy | {Phase.CLEARING, Phase.SHUTDOWN}, self
        assert (self.runtime is RuntimeState.ABSENT) or self.phase not in {Phase.COLD, Phase.ENDED}, self
        assert (self.runtime is RuntimeState.READY) or self.phase is not Phase.IDLE, self
        running = {RuntimeState.RUNNING, RuntimeState.RESPONDING, RuntimeState.ERRING}
        assert (
            self.phase in {Phase.INVOKE, Phase.CLEARING, Phase.SHUTDOWN}
        ) or self.runtime not in running, self

    # Beginning

    def _began(self, event: Began) -> Effects:
        if self.phase is not Phase.COLD:
            raise IllegalTransition(self.phase, Phase.INIT)
        self.phase = Phase.INIT
        start = InitStart(self._settings.runtime_version, self._settings.runtime_version_arn)
        armed = Arm(Timer.INIT, event.now + self._settings.init_limit, self.generation + 1)
        return [Write(start), self._start(event.now), armed]

    def _start(self, now: float) -> StartRuntime:
        self.generation += 1
        self.runtime = RuntimeState.STARTED
        self._init_began = now
        return StartRuntime(self.generation)

    def _invoke_arrived(self, event: InvokeArrived) -> Effects:
        if self.phase is Phase.CLEARING and self._current is None and self._waiting is None:
            self._waiting = (
                event  # the runtime died while nobody looked; a new one starts when the old is gone
            )
            return []
        if self.phase not in (Phase.IDLE, Phase.COLD):
            raise IllegalTransition(self.phase, Phase.INVOKE)
        cold = self.phase is Phase.COLD
        self.phase = Phase.INVOKE
        self._current = current = _Current(event.invocation, event.now, event.timeout)
        if not cold:
            return [Do.THAW, *self._deliver(current), self._armed(current)]
        start = self._start(event.now)
        return [start, self._armed(current)]

    def _armed(self, current: _Current) -> Arm:
        return Arm(Timer.INVOKE, current.deadline, self.generation)

    def _deliver(self, current: _Current) -> Effects:
        self.runtime = RuntimeState.RUNNING
        return [*self._log_start(current), Deliver(current.invocation, current.deadline)]

    def _log_start(self, current: _Current) -> Effects:
        if current.started:
            return []
        current.started = True
        invocation = current.invocation
        return [Write(Start(invocation.request_id, self._settings.version, invocation.arn))]

    # Calls of the runtime

    def _target(self, call: RuntimeCall) -> RuntimeState:
        """The state that `call` leads to. Raises `IllegalTransition`."""
        target = RUNTIME_CALLS[self.runtime].get(call)
        if target is None or self.phase in (Phase.CLEARING, Phase.SHUTDOWN):
            raise IllegalTransition(self.runtime, call.value)
        return target

    def _next_called(self, event: NextCalled) -> Effects:
        before, self.runtime = self.runtime, self._target(RuntimeCall.NEXT)
        current = self._current
        if current is None:
            return self._initialised(event.now)
        if before is RuntimeState.STARTED:  # initialised inside the invocation
            return self._deliver(current)
        if before is RuntimeState.RUNNING:
            return [Deliver(current.invocation, current.deadline)]
        self.phase = Phase.SETTLING
        current.ended = event.now
        if current.settled is None:
            return [Do.DISARM]
        return [Do.DISARM, *self._finished(current.settled)]

    def _initialised(self, now: float) -> Effects:
        self.phase = Phase.IDLE
        self._init_duration = now - self._init_began
        return [Do.DISARM, Do.FREEZE, Do.IDLE]

    def _response_began(self, event: ResponseBegan) -> Effects:
        current = self._current
        if current is None or current.invocation.request_id != event.request_id:
            raise UnknownRequest
        self.runtime = self._target(event.call)
        return []

    def _response_ended(self, event: ResponseEnded) -> Effects:
        if not self._is_responding(event.request_id):
            return []  # the deadline or the process's end came first
        assert self._current is not None
        self.runtime = RuntimeState.RESPONSE_SENT
        self._current.responded = True
        self._current.failed = event.outcome.function_error
        return [Respond(event.outcome), Do.SETTLE]

    def _response_broke(self, event: ResponseBroke) -> Effects:
        if self._is_responding(event.request_id):
            self.runtime = RuntimeState.RUNNING
        return []

    def _is_responding(self, request_id: str) -> bool:
        mine = self._current is not None and self._current.invocation.request_id == request_id
        return (
            mine
            and self.phase is Phase.INVOKE
            and self.runtime in (RuntimeState.RESPONDING, RuntimeState.ERRING)
        )

    def _init_error_posted(self, event: InitErrorPosted) -> Effects:
        self.runtime = self._target(RuntimeCall.INIT_ERROR)
        return self._fail(event.now, Fault(event.error_type, "", payload=event.payload))

    # Faults

    def _runtime_not_started(self, event: RuntimeNotStarted) -> Effects:
        return self._fail(event.now, event.fault) if self._is_live(event.generation) else []

    def _runtime_exited(self, event: RuntimeExited) -> Effects:
        return self._fail(event.now, exited(event.status)) if self._is_live(event.generation) else []

    def _timer_fired(self, event: TimerFired) -> Effects:
        armed_in = {Timer.INIT: Phase.INIT, Timer.INVOKE: Phase.INVOKE}[event.timer]
        if event.generation != self.generation or self.phase is not armed_in:
            return []
        limit = self._current.timeout if self._current else self._settings.init_limit
        return self._fail(event.now, timed_out(limit))

    def _is_live(self, generation: int) -> bool:
        gone = (Phase.COLD, Phase.CLEARING, Phase.SHUTDOWN, Phase.ENDED)
        return generation == self.generation and self.phase not in gone

    def _fail(self, now: float, fault: Fault) -> Effects:
        """Kill what is left and begin anew: before the next invocation, or inside it."""
        effects: Effects = [Do.DISARM]
        current = self._current
        if self.runtime in (RuntimeState.STARTED, RuntimeState.INIT_ERROR):
            self._failed_init = self._init_report(now, fault)
        if current is not None and self.phase is Phase.INVOKE:
            current.ended = now
            current.fault = fault
            if not current.responded:
                current.responded = True
                effects.append(Respond(fault.outcome(current.invocation.request_id)))
        self.phase = Phase.CLEARING
        return [*effects, Do.CLEAR]

    def _init_report(self, now: float, fault: Fault) -> InitReport:
        phase = "invoke" if self._current else "init"
        return InitReport(now - self._init_began, phase, fault.status, fault.shown_type or fault.error_type)

    # Ends

    def _settled(self, event: Settled) -> Effects:
        if self.phase is Phase.INVOKE and self._current and self.runtime is RuntimeState.RESPONSE_SENT:
            self._current.settled = event.memory_peak
            return []
        return self._finished(event.memory_peak) if self.phase is Phase.SETTLING else []

    def _finished(self, memory_peak: int) -> Effects:
        completed = self._completed(memory_peak)
        self.phase = Phase.IDLE
        return [*completed, Do.FREEZE, Do.IDLE]

    def _cleared(self, event: Cleared) -> Effects:
        if self.phase not in (Phase.CLEARING, Phase.SHUTDOWN):
            return []
        completed = self._completed(event.memory_peak)
        self.runtime = RuntimeState.ABSENT
        if self.phase is Phase.SHUTDOWN:
            self.phase = Phase.ENDED
            return [*completed, Do.ENDED]
        self.phase = Phase.COLD
        self._init_duration = None
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            return [*completed, *self._invoke_arrived(replace(waiting, now=event.now))]
        return [*completed, Do.IDLE]

    def _completed(self, memory_peak: int) -> Effects:
        """What is logged once all output is there: a failed initialisation, the end of the current invocation."""
        self._memory_peak = max(self._memory_peak, memory_peak)
        failed_init, self._failed_init = self._failed_init, None
        effects: Effects = [Write(failed_init)] if failed_init else []
        current, self._current = self._current, None
        if current is None:
            return effects
        assert current.ended is not None
        report = Report(
            request_id=current.invocation.request_id,
            duration=current.ended - current.began,
            init_duration=self._init_duration,
            memory_size=self._settings.memory_size,
            memory_peak=self._memory_peak,
            status="failure" if current.failed else "success",
        )
        self._init_duration = None
        if fault := current.fault:
            report = replace(report, status=fault.status, error_type=fault.shown_type or fault.error_type)
        return [*effects, *self._log_start(current), Write(report), Complete(report)]

    def _shutdown_asked(self, event: ShutdownAsked) -> Effects:
        if self.phase in (Phase.SHUTDOWN, Phase.ENDED):
            return []
        effects = self._give_up(
            event.now, Fault("Sandbox.Failure", "The execution environment was shut down")
        )
        clearing = self.phase is Phase.CLEARING
        self.phase = Phase.SHUTDOWN
        return effects if clearing else [*effects, Do.CLEAR]

    def _sandbox_lost(self, event: SandboxLost) -> Effects:
        if self.phase is Phase.ENDED:
            return []
        fault = Fault("Sandbox.Failure", f"The execution environment was lost: {event.reason}")
        if event.out_of_memory:
            fault = exited(ExitStatus(-9, out_of_memory=True))
            self._memory_peak = self._settings.memory_size * 1024**2
        effects = self._give_up(event.now, fault)
        completed = self._completed(0)
        self.phase = Phase.ENDED
        self.runtime = RuntimeState.ABSENT
        return [*effects, *completed, Do.ENDED]

    def _give_up(self, now: float, fault: Fault) -> Effects:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._current = _Current(waiting.invocation, now, waiting.timeout)
        current = self._current
        effects: Effects = [Do.DISARM]
        if current is None:
            return effects
        if current.ended is None:
            current.ended = now
            current.fault = fault
        if not current.responded:
            current.responded = True
            effects.append(Respond(fault.outcome(current.invocation.request_id)))
        return effects


_HANDLERS: Mapping[type, Callable[[Lifecycle, Any], Effects]] = {
    Began: Lifecycle._began,
    InvokeArrived: Lifecycle._invoke_arrived,
    NextCalled: Lifecycle._next_called,
    ResponseBegan: Lifecycle._response_began,
    ResponseEnded: Lifecycle._response_ended,
    ResponseBroke: Lifecycle._response_broke,
    InitErrorPosted: Lifecycle._init_error_posted,
    RuntimeNotStarted: Lifecycle._runtime_not_started,
    RuntimeExited: Lifecycle._runtime_exited,
    TimerFired: Lifecycle._timer_fired,
    Settled: Lifecycle._settled,
    Cleared: Lifecycle._cleared,
    ShutdownAsked: Lifecycle._shutdown_asked,
    SandboxLost: Lifecycle._sandbox_lost,
}
