"""How an execution environment fails, and how it ends: a part of the state machine of `rapid.lifecycle`. Pure.

All faults and all ends walk the same way: whoever waits for an answer gets it, the parties say goodbye
(`rapid.farewell`), what is left is killed, and what had to wait for the last output is written then. Where no sandbox is
left there is nothing to say goodbye to. Whether something new begins afterwards is for `rapid.lifecycle` to say.
"""

from rapid.condition import RUNTIME_READY, Condition, status_of, written
from rapid.events import (
    Complete,
    Do,
    Effects,
    ExtensionExited,
    ExtensionNotStarted,
    GiveBack,
    InvokeArrived,
    Respond,
    RuntimeExited,
    RuntimeNotStarted,
    SandboxLost,
    ShutdownAsked,
    Timer,
    TimerFired,
    Write,
)
from rapid.extensions import Extension, Extensions
from rapid.farewell import FAILURE, SPINDOWN, TIMEOUT, Farewell
from rapid.invocation import ExitStatus, Fault, exited, extension_exited, timed_out
from rapid.progress import Progress
from rapid.records import Start
from rapid.settings import RESTORE_LIMIT
from rapid.states import ExtensionMove, Phase, RuntimeState, Turn

_ARMED_IN = {
    Timer.INIT: Phase.INIT,
    Timer.RESTORE: Phase.RESTORE,
    Timer.INVOKE: Phase.INVOKE,
    Timer.STOP: Phase.STOPPING,
}


class Endings(Condition):
    """Of one environment. See the module's text."""

    # Faults

    def _extension_not_started(self, event: ExtensionNotStarted) -> Effects:
        if not self._is_live(event.generation):
            return []
        extension = self.extensions.named(event.name)
        extension.move(ExtensionMove.NOT_STARTED)
        return self._extension_failed(
            event.now, extension, Fault("Extension.LaunchError", event.text), event.generation
        )

    def _extension_exited(self, event: ExtensionExited) -> Effects:
        if event.generation != self.generation or self.phase in (Phase.COLD, Phase.ENDED):
            return []
        extension = self.extensions.named(event.name)
        extension.move(ExtensionMove.EXITED)
        if self._farewell is not None:
            self._farewell.extension_gone()
            return self._after_farewell()
        return self._extension_failed(event.now, extension, extension_exited(event.status), event.generation)

    def _extension_failed(self, now: float, extension: Extension, fault: Fault, generation: int) -> Effects:
        if not self._is_live(generation):
            return []
        extension.fault = fault.shown_type or fault.error_type
        return self._fail(now, fault)

    def _runtime_not_started(self, event: RuntimeNotStarted) -> Effects:
        return self._fail(event.now, event.fault) if self._is_live(event.generation) else []

    def _runtime_exited(self, event: RuntimeExited) -> Effects:
        if self._farewell is not None and event.generation == self.generation:
            return [*self._farewell.runtime_gone(), *self._after_farewell()]
        if not self._is_live(event.generation):
            return []
        current = self._current
        if current is not None and self._announced is None and self._is_unread(current, event.unread):
            return self._begin_anew(event.now, current)
        return self._fail(event.now, exited(event.status))

    def _begin_anew(self, now: float, current: Progress) -> Effects:
        """Its runtime has ended before it heard of the invocation: that waits for another, as if it had come then.

        Once: a runtime that always ends so must not keep an invocation for ever.
        """
        self._announced = current.invocation.request_id
        self._current, self._waiting = None, InvokeArrived(now, current.invocation, current.timeout)
        return [Do.DISARM, *self._end_parties(now, FAILURE, Turn.FAILED)]

    def _timer_fired(self, event: TimerFired) -> Effects:
        if event.generation != self.generation or self.phase is not _ARMED_IN[event.timer]:
            return []
        if self._farewell is not None:
            return [*self._farewell.time_over(), *self._after_farewell()]
        limits = {Timer.INIT: self._settings.init_limit, Timer.RESTORE: RESTORE_LIMIT}
        limit = self._current.timeout if self._current else limits[event.timer]
        return self._fail(event.now, timed_out(limit))

    def _fail(self, now: float, fault: Fault) -> Effects:
        """End what is left and begin anew: before the next invocation, or inside it."""
        effects: Effects = [Do.DISARM, *self._init_failed(now, fault)]
        current = self._current
        if current is not None and self.phase is Phase.INVOKE:
            effects += self._faulted(now, current, fault)
        reason = TIMEOUT if fault.status == "timeout" else FAILURE
        return [*effects, *self._end_parties(now, reason, Turn.FAILED)]

    def _init_failed(self, now: float, fault: Fault) -> Effects:
        """What is to be logged of it: now, and once its output has arrived."""
        init, self._init = self._init, None
        if init is None:
            return []
        self.init_failure = fault
        statuses = [status_of(each) for each in self.extensions.all if each.identifier or each.fault]
        self._failed = [*([] if init.is_restoring else statuses), *init.failed(now, fault)]
        if self.runtime is RuntimeState.ABSENT:
            return []
        return written(init.runtime_done(None if self.runtime in RUNTIME_READY else fault))

    def _faulted(self, now: float, current: Progress, fault: Fault) -> Effects:
        """An invocation meets a fault: the client hears of it, unless it has its answer already."""
        current.ended = now
        current.fault = fault
        effects: Effects = []
        if current.delivered is not None and not current.is_told:
            effects.append(Write(current.runtime_done(now)))
        if current.outcome is None:
            current.outcome = fault.outcome(current.invocation.request_id)
            effects.append(Respond(current.outcome))
        return effects

    # Ends

    def _shutdown_asked(self, event: ShutdownAsked) -> Effects:
        if self._is_ending or not self._allows(Turn.END_ASKED):
            return []
        self._is_ending = True
        fault = Fault("Sandbox.Failure", "The execution environment was shut down")
        given_up = self._give_up(event.now, fault)
        if self.phase in (Phase.STOPPING, Phase.CLEARING):  # it serves the shutdown too
            self._turn(Turn.END_ASKED)
            return given_up
        return [Do.DISARM, *given_up, *self._end_parties(event.now, SPINDOWN, Turn.END_ASKED)]

    def _sandbox_lost(self, event: SandboxLost) -> Effects:
        if not self._allows(Turn.LOST):
            return []
        fault = Fault("Sandbox.Failure", f"The execution environment was lost: {event.reason}")
        if event.out_of_memory:
            fault = exited(ExitStatus(-9, out_of_memory=True))
            self._memory_peak = self._settings.memory_size * 1024**2
        given_back = self._give_back(fault, event)
        given_up = self._give_up(event.now, fault)
        completed = self._completed(event.now, 0)
        self._turn(Turn.LOST)
        self._forget_parties()
        return [Do.DISARM, *given_back, *given_up, *completed, Do.ENDED]

    def _give_back(self, fault: Fault, event: SandboxLost) -> Effects:
        """Hand back an invocation of which the runtime has heard nothing; its START, if written, gets its END.

        One for which the environment was coming up is told where that took too much memory: it would again.
        """
        waiting, current = self._waiting, self._current
        if waiting is not None:
            current = Progress(waiting.invocation, event.now, waiting.timeout)
        elif current is None or current.outcome is not None:
            return []
        is_due = (
            self._is_unread(current, event.unread)
            if current.delivered is not None
            else not event.out_of_memory
        )
        if not is_due:
            return []
        request_id = current.invocation.request_id
        is_logged = current.delivered is not None or request_id == self._announced
        current.outcome = fault.outcome(request_id)
        self._waiting, self._current = None, current if is_logged else None
        return [GiveBack(current.invocation)]

    def _is_unread(self, current: Progress, unread: frozenset[str]) -> bool:
        return current.invocation.request_id in unread and self.runtime is RuntimeState.RUNNING

    def _give_up(self, now: float, fault: Fault) -> Effects:
        """Answer whoever waits for one, at the end of the environment."""
        self._init = None
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._current = Progress(waiting.invocation, now, waiting.timeout)
        current = self._current
        return self._faulted(now, current, fault) if current is not None and current.ended is None else []

    def _end_parties(self, now: float, reason: str, turn: Turn) -> Effects:
        """End all processes, those of extensions with the time that they have."""
        self._turn(turn)
        self._farewell = Farewell(reason, self.extensions, self.generation, now)
        runs = self.runtime is not RuntimeState.ABSENT
        return [*self._farewell.begin(runtime_runs=runs), *self._after_farewell()]

    def _after_farewell(self) -> Effects:
        if self._farewell is None or not self._farewell.is_over:
            return []
        self._farewell = None
        self._turn(Turn.FAREWELL_OVER)
        return [Do.DISARM, Do.CLEAR] if self.extensions.any_registered else [Do.CLEAR]

    def _completed(self, now: float, memory_peak: int) -> Effects:
        """What is logged once all output is there: a failed initialisation, the end of the current invocation."""
        self._memory_peak = max(self._memory_peak, memory_peak)
        failed, self._failed = self._failed, []
        effects = written(failed)
        current, self._current = self._current, None
        if current is None:
            return effects
        if current.delivered is None:
            effects += self._started(current)
        if not current.is_told:
            effects.append(Write(current.runtime_done(now)))
        self._announced = None
        prepared, self._prepared = self._prepared, None
        report = current.report(
            self._settings.memory_size,
            self._memory_peak,
            prepared.duration if prepared else None,
            prepared.restore_duration if prepared else None,
        )
        return [*effects, Write(report), Complete(report)]

    def _started(self, current: Progress) -> Effects:
        invocation = current.invocation
        if invocation.request_id == self._announced:
            return []
        start = Start(
            invocation.request_id,
            self._settings.version,
            invocation.arn,
            invocation.trace_id,
            invocation.tenant_id,
        )
        return [Write(start)]

    def _forget_parties(self) -> None:
        self.runtime = RuntimeState.ABSENT
        self.extensions = Extensions()
        self._init = self._prepared = self._farewell = None
