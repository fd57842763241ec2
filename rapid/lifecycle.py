"""The life of one execution environment, as a pure state machine.

Theory of operation
-------------------

An environment is a sandbox in which processes come and go. Three kinds of things have a state:

* the **runtime**, the process that fetches events. Its states and the calls that each allows are the table
  `RUNTIME_CALLS`; a call that the table does not allow raises `IllegalTransition` and changes nothing.
* each **extension**, a party of its own with the table `EXTENSION_CALLS` in `rapid.extensions`. An initialisation
  starts the external ones first, waits until they have registered, starts the runtime, and is over when every party
  has asked for its next event; so is an invocation.
* the environment's **phase**, which says what the platform is doing with the sandbox:

      COLD ──Began──▶ INIT ──next──▶ IDLE ──InvokeArrived──▶ INVOKE ──next──▶ SETTLING ──Settled──▶ IDLE
       ▲ │              │ fault       │ exit                   │ fault           │ exit
       │ │              ▼             ▼                        ▼                 ▼
       │ │           (STOPPING) ▶ CLEARING ◀────────────────────┴─────────────────┘
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
   then the log of the invocation is whole. Usually `Settled` comes first and SETTLING lasts no time. Where extensions
   are registered, which write on, the draining begins when the last party is back.

STOPPING is passed through only where extensions have registered: they, and at a normal end the runtime, get time to
say goodbye (`RUNTIME_GRACE`, `INTERNAL_BUDGET`, `EXTERNAL_BUDGET`) before everything that is left is killed.

A failed environment is not thrown away: its processes are killed (`Clear`), `/tmp` and identity stay, and the next
invocation starts a new runtime inside its own time. That one mechanism serves failed initialisations, crashes and
timeouts alike.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from signal import SIGKILL, SIGTERM
from typing import Any

from rapid import errors
from rapid.events import (
    Arm,
    Began,
    Cleared,
    Complete,
    Deliver,
    Do,
    Effects,
    Event,
    ExtensionErrorPosted,
    ExtensionExited,
    ExtensionNextCalled,
    ExtensionNotStarted,
    ExtensionRegistered,
    ExtensionsFound,
    FindExtensions,
    InitErrorPosted,
    InvokeArrived,
    InvokeNotice,
    NextCalled,
    Notify,
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
    ShutdownNotice,
    SignalRuntime,
    StartExtension,
    StartRuntime,
    Timer,
    TimerFired,
    Write,
)
from rapid.extensions import MAX_EXTENSIONS, ExtensionCall, ExtensionRefused, Extensions, ExtensionState
from rapid.invocation import ExitStatus, Fault, Invocation, exited, extension_exited, timed_out
from rapid.records import ExtensionReady, InitReport, InitStart, Report, Start

INIT_LIMIT = 10.0
"""Seconds for an initialisation ahead of any invocation (AWS: init phase, on-demand)."""


RUNTIME_GRACE = 0.3
"""Seconds between SIGTERM and SIGKILL for the runtime, where an external extension is registered."""
INTERNAL_BUDGET = 0.5
"""The same where all registered extensions are internal."""
EXTERNAL_BUDGET = 2.0
"""Seconds for the whole of a shutdown with external extensions."""


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
    STOPPING = "stopping"
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


@dataclass(slots=True)
class _Stop:
    """The end of all parties, while those that may say goodbye are waited for."""

    reason: str
    final: Phase
    #: CLEARING or SHUTDOWN: where it leads.
    deadline: float
    dismissed: bool = False
    #: The runtime's time is over, the extensions have been told.


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
        self.extensions = Extensions()
        #: Of the current generation.
        self._stop: _Stop | None = None
        #: Only while STOPPING.
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
        ending = {Phase.STOPPING, Phase.CLEARING, Phase.SHUTDOWN}
        assert (self._current is None) or self.phase in busy | ending, self
        assert (self._stop is not None) == (self.phase is Phase.STOPPING), self
        assert (self.runtime is RuntimeState.ABSENT) or self.phase not in {Phase.COLD, Phase.ENDED}, self
        assert (self.runtime is RuntimeState.READY) or self.phase is not Phase.IDLE, self
        running = {RuntimeState.RUNNING, RuntimeState.RESPONDING, RuntimeState.ERRING}
        assert (self.phase in {Phase.INVOKE} | ending) or self.runtime not in running, self
        assert self.extensions.all_ready or self.phase not in {Phase.IDLE, Phase.SETTLING}, self

    # Beginning

    def _began(self, event: Began) -> Effects:
        if self.phase is not Phase.COLD:
            raise IllegalTransition(self.phase, Phase.INIT)
        self.phase = Phase.INIT
        start = InitStart(self._settings.runtime_version, self._settings.runtime_version_arn)
        armed = Arm(Timer.INIT, event.now + self._settings.init_limit, self.generation + 1)
        return [Write(start), self._start(event.now), armed]

    def _start(self, now: float) -> FindExtensions:
        self.generation += 1
        self._init_began = now
        return FindExtensions(self.generation)

    def _extensions_found(self, event: ExtensionsFound) -> Effects:
        looked = self.runtime is not RuntimeState.ABSENT or self.extensions.names
        if looked or not self._is_live(event.generation):
            return []
        if len(event.names) > MAX_EXTENSIONS:
            return self._fail(
                event.now, Fault("Extension.TooManyExtensions", errors.TOO_MANY_EXTENSIONS.message)
            )
        self.extensions = Extensions.launched(event.names)
        starts: Effects = [StartExtension(self.generation, name) for name in event.names]
        return starts or self._start_runtime()

    def _start_runtime(self) -> Effects:
        self.runtime = RuntimeState.STARTED
        return [StartRuntime(self.generation)]

    def _invoke_arrived(self, event: InvokeArrived) -> Effects:
        ending = self.phase is Phase.CLEARING or (
            self._stop is not None and self._stop.final is Phase.CLEARING
        )
        if ending and self._current is None and self._waiting is None:
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
        notice = InvokeNotice(current.invocation, current.deadline)
        hearing = [Notify(each.identifier, notice) for each in self.extensions.begin_invocation()]
        return [*self._log_start(current), Deliver(current.invocation, current.deadline), *hearing]

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
        if target is None or self.phase in (Phase.STOPPING, Phase.CLEARING, Phase.SHUTDOWN):
            raise IllegalTransition(self.runtime, call.value)
        return target

    def _next_called(self, event: NextCalled) -> Effects:
        before, self.runtime = self.runtime, self._target(RuntimeCall.NEXT)
        if before is RuntimeState.RUNNING and self._current is not None:
            return [Deliver(self._current.invocation, self._current.deadline)]
        self.extensions.close_registration()
        return self._advance(event.now)

    def _advance(self, now: float) -> Effects:
        """Go on if every party is back at its `next`."""
        if self.runtime is not RuntimeState.READY or not self.extensions.all_ready:
            return []
        current = self._current
        if current is None:
            return self._initialised(now) if self.phase is Phase.INIT else []
        if self.phase is not Phase.INVOKE:
            return []
        if not current.started:  # initialised inside the invocation
            return [*self._log_extensions(), *self._deliver(current)]
        return self._all_back(current, now)

    def _all_back(self, current: _Current, now: float) -> Effects:
        self.phase = Phase.SETTLING
        current.ended = now
        if self.extensions.any_registered:  # they may have written since the response
            return [Do.DISARM, Do.SETTLE]
        if current.settled is None:
            return [Do.DISARM]
        return [Do.DISARM, *self._finished(current.settled)]

    def _log_extensions(self) -> Effects:
        return [Write(ExtensionReady(each.name, each.events)) for each in self.extensions.registered]

    def _initialised(self, now: float) -> Effects:
        self.phase = Phase.IDLE
        self._init_duration = now - self._init_began
        return [Do.DISARM, *self._log_extensions(), Do.FREEZE, Do.IDLE]

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
        if self.extensions.any_registered:
            return [Respond(event.outcome)]
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

    # Calls of extensions

    def _extension_registered(self, event: ExtensionRegistered) -> Effects:
        extension = self.extensions.register(event.name, event.events, event.identifier)
        starts = extension.external and self.extensions.all_registered and self.runtime is RuntimeState.ABSENT
        return self._start_runtime() if starts and self._is_live(self.generation) else []

    def _extension_next_called(self, event: ExtensionNextCalled) -> Effects:
        extension = self.extensions.find(event.identifier)
        if extension is None:
            raise ExtensionRefused(errors.unknown_extension(event.identifier))
        extension.call(ExtensionCall.NEXT)
        return self._advance(event.now)

    def _extension_error_posted(self, event: ExtensionErrorPosted) -> Effects:
        extension = self.extensions.find(event.identifier)
        if extension is None:
            raise ExtensionRefused(errors.UNKNOWN_IDENTIFIER)
        extension.call(event.call)
        kind = "Extension.InitError" if event.call is ExtensionCall.INIT_ERROR else "Extension.ExitError"
        return self._fail(event.now, Fault(kind, event.error_type)) if self._is_live(self.generation) else []

    # Faults

    def _extension_not_started(self, event: ExtensionNotStarted) -> Effects:
        fault = Fault("Extension.LaunchError", event.text)
        return self._fail(event.now, fault) if self._is_live(event.generation) else []

    def _extension_exited(self, event: ExtensionExited) -> Effects:
        if event.generation != self.generation or self.phase is Phase.COLD:
            return []
        self.extensions.named(event.name).state = ExtensionState.EXITED
        if self.phase is Phase.STOPPING:
            return self._farewell_heard()
        return (
            self._fail(event.now, extension_exited(event.status)) if self._is_live(event.generation) else []
        )

    def _runtime_not_started(self, event: RuntimeNotStarted) -> Effects:
        return self._fail(event.now, event.fault) if self._is_live(event.generation) else []

    def _runtime_exited(self, event: RuntimeExited) -> Effects:
        if self.phase is Phase.STOPPING and event.generation == self.generation:
            return self._dismiss_extensions()
        return self._fail(event.now, exited(event.status)) if self._is_live(event.generation) else []

    def _timer_fired(self, event: TimerFired) -> Effects:
        if event.generation != self.generation or self.phase is not _ARMED_IN[event.timer]:
            return []
        if event.timer is Timer.STOP:
            return self._dismiss_extensions() or self._clear()
        limit = self._current.timeout if self._current else self._settings.init_limit
        return self._fail(event.now, timed_out(limit))

    def _is_live(self, generation: int) -> bool:
        gone = (Phase.COLD, Phase.STOPPING, Phase.CLEARING, Phase.SHUTDOWN, Phase.ENDED)
        return generation == self.generation and self.phase not in gone

    def _fail(self, now: float, fault: Fault) -> Effects:
        """Kill what is left and begin anew: before the next invocation, or inside it."""
        effects: Effects = [Do.DISARM]
        current = self._current
        invoking = current is not None and self.phase is Phase.INVOKE
        if self.phase is Phase.INIT or (invoking and current is not None and not current.started):
            self._failed_init = self._init_report(now, fault)
        if current is not None and invoking:
            current.ended = now
            current.fault = fault
            if not current.responded:
                current.responded = True
                effects.append(Respond(fault.outcome(current.invocation.request_id)))
        reason = "timeout" if fault.status == "timeout" else "failure"
        return [*effects, *self._end_parties(now, reason, Phase.CLEARING)]

    def _end_parties(self, now: float, reason: str, final: Phase) -> Effects:
        """End all processes; those of extensions, and at a normal end the runtime's, get time to end themselves."""
        if not self.extensions.any_registered:
            self.phase = final
            return [Do.CLEAR]
        external = self.extensions.any_external
        self._stop = _Stop(reason, final, now + (EXTERNAL_BUDGET if external else INTERNAL_BUDGET))
        self.phase = Phase.STOPPING
        if reason != "spindown" or self.runtime is RuntimeState.ABSENT:
            return [Do.THAW, *(self._dismiss_extensions() or self._clear())]
        patience = now + (RUNTIME_GRACE if external else INTERNAL_BUDGET)
        return [Do.THAW, SignalRuntime(self.generation, SIGTERM), Arm(Timer.STOP, patience, self.generation)]

    def _dismiss_extensions(self) -> Effects:
        """The runtime's time is over: tell the extensions, once. Empty where they have been told."""
        stop = self._stop
        if stop is None or stop.dismissed:
            return []
        stop.dismissed = True
        hearing = self.extensions.hearing_shutdown
        if not hearing:
            return self._clear()
        notice = ShutdownNotice(stop.reason, stop.deadline)
        told: Effects = [Notify(each.identifier, notice) for each in hearing]
        return [
            SignalRuntime(self.generation, SIGKILL),
            *told,
            Arm(Timer.STOP, stop.deadline, self.generation),
        ]

    def _farewell_heard(self) -> Effects:
        """An extension has ended. When the last one of those that were told has, nothing is waited for."""
        stop = self._stop
        waits = stop is None or not stop.dismissed or self.extensions.hearing_shutdown
        return [] if waits else self._clear()

    def _clear(self) -> Effects:
        stop, self._stop = self._stop, None
        if stop is None:
            return []
        self.phase = stop.final
        return [Do.DISARM, Do.CLEAR]

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
        self.extensions = Extensions()
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
        stopping = self._stop is not None and self._stop.final is Phase.SHUTDOWN
        if self.phase in (Phase.SHUTDOWN, Phase.ENDED) or stopping:
            return []
        effects = self._give_up(
            event.now, Fault("Sandbox.Failure", "The execution environment was shut down")
        )
        if self._stop is not None:  # a reset is under way; its timer is needed
            self._stop.final = Phase.SHUTDOWN
            return [effect for effect in effects if effect is not Do.DISARM]
        if self.phase is Phase.CLEARING:
            self.phase = Phase.SHUTDOWN
            return effects
        return [*effects, *self._end_parties(event.now, "spindown", Phase.SHUTDOWN)]

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
        self.extensions = Extensions()
        self._stop = None
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


_ARMED_IN = {Timer.INIT: Phase.INIT, Timer.INVOKE: Phase.INVOKE, Timer.STOP: Phase.STOPPING}

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
    ExtensionsFound: Lifecycle._extensions_found,
    ExtensionRegistered: Lifecycle._extension_registered,
    ExtensionNextCalled: Lifecycle._extension_next_called,
    ExtensionErrorPosted: Lifecycle._extension_error_posted,
    ExtensionNotStarted: Lifecycle._extension_not_started,
    ExtensionExited: Lifecycle._extension_exited,
    TimerFired: Lifecycle._timer_fired,
    Settled: Lifecycle._settled,
    Cleared: Lifecycle._cleared,
    ShutdownAsked: Lifecycle._shutdown_asked,
    SandboxLost: Lifecycle._sandbox_lost,
}
