"""The life of one execution environment, as a pure state machine.

Theory of operation
-------------------

An environment is a sandbox in which processes come and go. What may follow what is in the tables of `rapid.states`:
for the **runtime** and each **extension** (the parties: whoever has a `next` of its own), and for the environment's
**phase**. This module says what follows *from* it; the part about faults and ends is `rapid.endings`. Events are facts,
past tense: something called, something ended, a time passed. `handle(event)` is the one method that changes state; it
returns effects, which the shell around the core carries out. A call that the tables do not have raises and changes
nothing.

Rules that keep it small:

1. No clock: every event carries `now` (seconds of a monotonic clock).
2. Nothing waits here: an effect that takes time (`StartRuntime`, `Settle`, `Clear`) comes back as a later event.
   Each start of a runtime has a number, its generation; events about an earlier generation are ignored.
3. `Do.IDLE` and `Do.ENDED` are always the last effect: whoever hears of them may hand in the next event at once.
4. The environment goes on when **every party is back at its next**: from INIT to IDLE, from INVOKE to IDLE. Before it
   does, what the processes have written is drained (SETTLING), because only then its log is whole.
5. A response reaches the client at once (`Respond`), whatever the parties still do.

An initialisation starts the external extensions first, waits until they have registered, starts the runtime, and is
over when every party has asked for its next event. Where snapshots are on, the runtime asks for `restore/next` instead;
the environment is then restored on the spot (RESTORE), since there is nothing to be gained by keeping it.

Draining (`Settle`) happens up to three times, each for a record that must come after all that was written before it:

    Drain.INIT        all parties initialised                  INIT_REPORT, or START where that was inside an invocation
    Drain.RUNTIME     runtime back, extensions may go on       what is told of its part, which extensions may wait for
    Drain.INVOCATION  all parties back                         END and REPORT

Without extensions the last two are one, and it is asked for at the response, while the runtime is on its way back: it
then usually has been answered when the runtime arrives, and SETTLING lasts no time.

A fault ends all processes, not the sandbox: extensions, and at a normal end the runtime, get time to say goodbye
(STOPPING, see `rapid.farewell`), what is left is killed (CLEARING), `/tmp` and identity stay, and the next invocation
starts a new runtime inside its own time. That one mechanism serves failed initialisations, crashes and timeouts alike.
A runtime that ended before it had read its event is no fault of the invocation, which waits for the next one, once.
A change of the code walks the same way between invocations; a new runtime may then start at once. So does a shutdown,
and ends in ENDED.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from rapid import errors
from rapid.condition import RUNTIME_READY, status_of, written
from rapid.endings import Endings
from rapid.events import (
    Began,
    Cleared,
    CodeChanged,
    Deliver,
    Do,
    Drain,
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
    RestoreErrorPosted,
    RestoreNextCalled,
    RuntimeExited,
    RuntimeNotStarted,
    SandboxLost,
    Settle,
    Settled,
    ShutdownAsked,
    StartExtension,
    StartRuntime,
    TelemetrySubscribed,
    Timer,
    TimerFired,
    Write,
)
from rapid.extensions import MAX_EXTENSIONS, Extension, ExtensionRefused, Extensions
from rapid.farewell import SPINDOWN
from rapid.initialisation import Initialisation
from rapid.invocation import Fault
from rapid.progress import Progress
from rapid.records import Subscribed
from rapid.settings import RESTORE_LIMIT
from rapid.states import (
    RUNTIME_MOVES,
    ExtensionCall,
    IllegalTransition,
    Phase,
    RuntimeCall,
    RuntimeMove,
    RuntimeState,
    Turn,
)


class UnknownRequest(Exception):
    """The call names an invocation that is not the current one. Nothing has changed."""


class Lifecycle(Endings):
    """One environment. See the module's text."""

    _handlers: ClassVar[Mapping[type, Callable[[Any, Any], Effects]]]
    #: What each kind of event leads to.

    def handle(self, event: Event) -> Effects:
        """Take an event, return what is to be done.

        Raises `IllegalTransition`, `UnknownRequest` or `ExtensionRefused` for calls that are out of order; the state is
        then as before.
        """
        try:
            effects = self._handlers[type(event)](self, event)
        except (IllegalTransition, UnknownRequest, ExtensionRefused) as refusal:
            self.story.add(event, self.phase, self.runtime, str(refusal) or "unknown request")
            raise
        self.story.add(event, self.phase, self.runtime)
        return effects

    # Initialisation

    def _began(self, event: Began) -> Effects:
        self._turn(Turn.BEGAN)
        found = self._initialise(event.now, ahead=True)
        return [*found, *self._arm(Timer.INIT, event.now + self._settings.init_limit)]

    def _initialise(self, now: float, *, ahead: bool) -> Effects:
        self.generation += 1
        self._init = Initialisation(self._settings, now, ahead)
        return [Write(self._init.start()), FindExtensions(self.generation)]

    def _extensions_found(self, event: ExtensionsFound) -> Effects:
        looked = self.runtime is not RuntimeState.ABSENT or self.extensions.names
        if looked or not self._is_live(event.generation):
            return []
        if len(event.names) > MAX_EXTENSIONS:
            fault = Fault("Extension.TooManyExtensions", errors.TOO_MANY_EXTENSIONS.message)
            return self._fail(event.now, fault)
        self.extensions = Extensions.launched(event.names)
        starts: Effects = [StartExtension(self.generation, name) for name in event.names]
        return starts or self._start_runtime()

    def _start_runtime(self) -> Effects:
        self._move(RuntimeMove.STARTED)
        return [StartRuntime(self.generation)]

    def _runtime_ready(self, now: float) -> Effects:
        self.extensions.close_registration()
        told: Effects = [] if self.extensions.all_ready else [Settle(Drain.RUNTIME)]
        return [*told, *self._advance(now)]

    def _parties_ready(self, now: float, init: Initialisation) -> Effects:
        init.parties_ready(now)
        if self.phase is Phase.INVOKE:  # its time runs on
            return [Settle(Drain.INIT)]
        self._turn(Turn.PARTIES_READY)
        return [Do.DISARM, Settle(Drain.INIT)]

    def _snapshot_ready(self, now: float, init: Initialisation) -> Effects:
        """None is kept: the environment goes on as if it had been restored from it."""
        self._move(RuntimeMove.RESTORED)
        if self.phase is not Phase.INIT:  # inside an invocation it is one initialisation, hooks and all
            return [Do.RESTORE]
        self._turn(Turn.SNAPSHOT)
        limit = self._arm(Timer.RESTORE, now + RESTORE_LIMIT)
        return [*self._initialised(now, init), Write(init.restore(now)), Do.RESTORE, *limit]

    def _initialised(self, now: float, init: Initialisation) -> Effects:
        """What is logged when an initialisation, or the restoration after it, has succeeded."""
        logged = [*written(init.runtime_done()), Write(init.report(now))]
        if init.is_restoring:
            return logged
        return [*written(map(status_of, self.extensions.registered)), *logged, Do.CLOSE_SUBSCRIPTIONS]

    def _init_settled(self, event: Settled) -> Effects:
        init, current = self._init, self._current
        if init is None or not init.is_over or self.phase not in (Phase.INVOKE, Phase.SETTLING):
            return []
        self._memory_peak = max(self._memory_peak, event.memory_peak)
        self._init, self._prepared = None, init
        self.init_failure = None
        logged = self._initialised(event.now, init)
        if current is not None:
            return [*logged, *self._deliver(event.now, current)]
        self._turn(Turn.DRAINED)
        return [*logged, Do.FREEZE, Do.IDLE]

    # Invocation

    def _invoke_arrived(self, event: InvokeArrived) -> Effects:
        if self._is_between_runtimes():
            self._waiting = event
            return []
        is_cold = self.phase is Phase.COLD
        self._turn(Turn.INVOKED)
        self._current = current = Progress(event.invocation, event.now, event.timeout)
        begun = (
            self._initialise(event.now, ahead=False)
            if is_cold
            else [Do.THAW, *self._deliver(event.now, current)]
        )
        return [*begun, *self._arm(Timer.INVOKE, current.deadline)]

    def _is_between_runtimes(self) -> bool:
        """The runtime died while nobody looked: an invocation waits until the leftovers are gone."""
        ending = self.phase in (Phase.STOPPING, Phase.CLEARING) and not self._is_ending
        return ending and self._current is None and self._waiting is None

    def _deliver(self, now: float, current: Progress) -> Effects:
        self._move(RuntimeMove.DELIVERED)
        current.delivered = now
        notice = InvokeNotice(current.invocation, current.deadline)
        hearing = [Notify(each.identifier, notice) for each in self.extensions.begin_invocation()]
        return [*self._started(current), Deliver(current.invocation, current.deadline), *hearing]

    # Calls of the runtime

    def _next_called(self, event: NextCalled) -> Effects:
        before = self._call(RuntimeCall.NEXT)
        current = self._current
        if before is RuntimeState.RUNNING and current is not None:
            return [Deliver(current.invocation, current.deadline)]
        if self._init is not None:
            return self._runtime_ready(event.now)
        effects: Effects = []
        if current is not None and self.phase is Phase.INVOKE:
            current.runtime_back = event.now
            effects = [] if self.extensions.all_ready else [Settle(Drain.RUNTIME)]
        return [*effects, *self._advance(event.now)]

    def _restore_next_called(self, event: RestoreNextCalled) -> Effects:
        self._call(RuntimeCall.RESTORE_NEXT)
        return self._runtime_ready(event.now)

    def _advance(self, now: float) -> Effects:
        """Go on if every party is back at its `next`."""
        if not self.extensions.all_ready:
            return []
        if self._init is not None and self.runtime is RuntimeState.RESTORE_READY:
            return self._snapshot_ready(now, self._init)
        if self.runtime is not RuntimeState.READY:
            return []
        if self._init is not None:
            return self._parties_ready(now, self._init)
        return self._all_back(now) if self.phase is Phase.INVOKE else []

    def _all_back(self, now: float) -> Effects:
        current = self._current
        assert current is not None
        self._turn(Turn.PARTIES_READY)
        current.ended = now
        if self.extensions.any_registered:  # they may have written since the response
            return [Do.DISARM, Settle(Drain.INVOCATION)]
        if current.memory_peak is None:
            return [Do.DISARM]
        return [Do.DISARM, *self._finished(now, current.memory_peak)]

    def _response_began(self, event: ResponseBegan) -> Effects:
        current = self._current
        if current is None or current.invocation.request_id != event.request_id:
            raise UnknownRequest
        self._call(event.call)
        current.answer_began = event.now
        return []

    def _response_ended(self, event: ResponseEnded) -> Effects:
        current = self._responding(event.request_id)
        if current is None:
            return []  # the deadline or the process's end came first
        self._move(RuntimeMove.RESPONSE_ENDED)
        current.answer_ended = event.now
        current.outcome = event.outcome
        if self.extensions.any_registered:
            return [Respond(event.outcome)]
        return [Respond(event.outcome), Settle(Drain.INVOCATION)]

    def _response_broke(self, event: ResponseBroke) -> Effects:
        if self._responding(event.request_id) is not None:
            self._move(RuntimeMove.RESPONSE_BROKE)
        return []

    def _responding(self, request_id: str) -> Progress | None:
        """The invocation, if it is this one and its answer is being received."""
        current = self._current
        mine = current is not None and current.invocation.request_id == request_id
        receiving = self.phase is Phase.INVOKE and RuntimeMove.RESPONSE_ENDED in RUNTIME_MOVES[self.runtime]
        return current if mine and receiving else None

    def _init_error_posted(self, event: InitErrorPosted) -> Effects:
        self._call(RuntimeCall.INIT_ERROR)
        return self._fail(event.now, Fault(event.error_type, "", payload=event.payload))

    def _restore_error_posted(self, event: RestoreErrorPosted) -> Effects:
        self._call(RuntimeCall.RESTORE_ERROR)
        return self._fail(event.now, Fault(event.error_type, "", payload=event.payload))

    # Calls of extensions

    def _extension(self, identifier: str, refusal: errors.Refusal) -> Extension:
        extension = self.extensions.find(identifier)
        if extension is None:
            raise ExtensionRefused(refusal)
        return extension

    def _extension_registered(self, event: ExtensionRegistered) -> Effects:
        extension = self.extensions.register(event.name, event.events, event.identifier)
        starts = extension.external and self.extensions.all_registered and self.runtime is RuntimeState.ABSENT
        return self._start_runtime() if starts and self._is_live(self.generation) else []

    def _extension_next_called(self, event: ExtensionNextCalled) -> Effects:
        extension = self._extension(event.identifier, errors.unknown_extension(event.identifier))
        extension.call(ExtensionCall.NEXT)
        return self._advance(event.now)

    def _extension_error_posted(self, event: ExtensionErrorPosted) -> Effects:
        extension = self._extension(event.identifier, errors.UNKNOWN_IDENTIFIER)
        extension.call(event.call)
        kind = "Extension.InitError" if event.call is ExtensionCall.INIT_ERROR else "Extension.ExitError"
        return self._extension_failed(event.now, extension, Fault(kind, event.error_type), self.generation)

    def _telemetry_subscribed(self, event: TelemetrySubscribed) -> Effects:
        extension = self._extension(event.identifier, errors.UNKNOWN_IDENTIFIER)
        if self._init is None or self.phase is Phase.SETTLING:
            raise ExtensionRefused(errors.LOGS_CLOSED if event.is_logs else errors.TELEMETRY_CLOSED)
        return [Write(Subscribed(extension.name, event.types, event.is_logs))]

    # What has arrived, what is gone

    def _settled(self, event: Settled) -> Effects:
        current = self._current
        if event.drain is Drain.INIT:
            return self._init_settled(event)
        if self._init is not None:
            is_due = event.drain is Drain.RUNTIME and self.runtime in RUNTIME_READY
            return written(self._init.runtime_done()) if is_due else []
        if current is None or self.phase not in (Phase.INVOKE, Phase.SETTLING):
            return []
        if event.drain is Drain.RUNTIME:
            is_due = current.runtime_back is not None and not current.is_told
            return [Write(current.runtime_done(event.now))] if is_due else []
        if self.phase is Phase.INVOKE:
            if self.runtime is RuntimeState.RESPONSE_SENT:
                current.memory_peak = event.memory_peak
            return []
        return self._finished(event.now, event.memory_peak)

    def _finished(self, now: float, memory_peak: int) -> Effects:
        completed = self._completed(now, memory_peak)
        self._turn(Turn.DRAINED)
        return [*completed, Do.FREEZE, Do.IDLE]

    def _cleared(self, event: Cleared) -> Effects:
        if self.phase is not Phase.CLEARING:
            return []
        completed = self._completed(event.now, event.memory_peak)
        self._forget_parties()
        if self._is_ending:
            self._turn(Turn.CLEARED_FOR_GOOD)
            return [*completed, Do.ENDED]
        self._turn(Turn.CLEARED)
        waiting, self._waiting = self._waiting, None
        again, self._begins_again = self._begins_again, False
        if waiting is not None:
            return [*completed, *self._invoke_arrived(replace(waiting, now=event.now))]
        if again:
            return [*completed, *self._began(Began(event.now))]
        return [*completed, Do.IDLE]

    def _code_changed(self, event: CodeChanged) -> Effects:
        """What has loaded the old code ends as at a shutdown, and the sandbox goes on as after a fault.

        An initialisation is given up; nothing is written of it any more. An invocation is not disturbed.
        """
        if self.is_over or self._current is not None or self._waiting is not None:
            return []
        if self.phase is Phase.COLD:
            return self._began(Began(event.now)) if event.ahead else []
        is_ending = self.phase in (
            Phase.STOPPING,
            Phase.CLEARING,
        )  # anyway: after a fault or an earlier change
        if not is_ending and not self._allows(Turn.OUTDATED):  # it serves many at once
            return []
        self._begins_again = event.ahead
        if is_ending:
            return []
        self._init = self._prepared = None
        return [Do.DISARM, *self._end_parties(event.now, SPINDOWN, Turn.OUTDATED)]


HANDLERS: Mapping[type, Callable[[Lifecycle, Any], Effects]] = {
    Began: Lifecycle._began,
    InvokeArrived: Lifecycle._invoke_arrived,
    NextCalled: Lifecycle._next_called,
    ResponseBegan: Lifecycle._response_began,
    ResponseEnded: Lifecycle._response_ended,
    ResponseBroke: Lifecycle._response_broke,
    InitErrorPosted: Lifecycle._init_error_posted,
    RestoreNextCalled: Lifecycle._restore_next_called,
    RestoreErrorPosted: Lifecycle._restore_error_posted,
    RuntimeNotStarted: Lifecycle._runtime_not_started,
    RuntimeExited: Lifecycle._runtime_exited,
    ExtensionsFound: Lifecycle._extensions_found,
    ExtensionRegistered: Lifecycle._extension_registered,
    ExtensionNextCalled: Lifecycle._extension_next_called,
    ExtensionErrorPosted: Lifecycle._extension_error_posted,
    ExtensionNotStarted: Lifecycle._extension_not_started,
    ExtensionExited: Lifecycle._extension_exited,
    TelemetrySubscribed: Lifecycle._telemetry_subscribed,
    TimerFired: Lifecycle._timer_fired,
    Settled: Lifecycle._settled,
    Cleared: Lifecycle._cleared,
    CodeChanged: Lifecycle._code_changed,
    ShutdownAsked: Lifecycle._shutdown_asked,
    SandboxLost: Lifecycle._sandbox_lost,
}
Lifecycle._handlers = HANDLERS
