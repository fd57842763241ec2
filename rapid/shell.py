"""The shell around `rapid.lifecycle`: what carries out what the core of an environment says.

It feeds the core with what the supervisor and the timers report. It owns the timers and the pending `next`; its
processes are `rapid.processes`'s matter and its log `rapid.journal`'s. It holds no state of its own about what is
allowed, and does not know where its processes run; who invokes and what calls are made is for `rapid.environment`,
which refines it.

Times are `time.monotonic()`: the event loop's own clock counts whole milliseconds under uvloop.
"""

import asyncio
import logging
import time
from asyncio import Future, TimerHandle
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from rapid import handovers
from rapid.events import (
    Arm,
    Cleared,
    Complete,
    Deliver,
    Do,
    Drain,
    Effect,
    Event,
    ExtensionExited,
    ExtensionNotStarted,
    ExtensionsFound,
    FindExtensions,
    GiveBack,
    InvokeNotice,
    Notify,
    Respond,
    RuntimeExited,
    RuntimeNotStarted,
    SandboxLost,
    Settle,
    Settled,
    ShutdownNotice,
    SignalRuntime,
    StartExtension,
    StartRuntime,
    TimerFired,
    Write,
)
from rapid.exchange import (
    Delivery,
    FetchedCredentials,
    Function,
    Notice,
    Program,
    Ticket,
    clock_offset,
    delivery,
    event_of,
)
from rapid.extensions import ExtensionRefused
from rapid.handovers import Handovers
from rapid.invocation import ExitStatus, Fault, Invocation
from rapid.journal import Journal
from rapid.lifecycle import Lifecycle, UnknownRequest
from rapid.log_format import LogFormat
from rapid.polls import Poll
from rapid.processes import Processes
from rapid.records import SNAP_START, Report
from rapid.settings import Settings
from rapid.states import IllegalTransition, Phase, RuntimeState
from rapid.supervisor import Supervisor, SupervisorLost
from rapid.telemetry import Telemetry

logger = logging.getLogger(__name__)

MOST_STORIES = 10
"""Illegal calls of one environment whose stories are logged."""
EXIT_TURNS = 32
"""Turns of the event loop between the word of a runtime's exit and its being heard: what the runtime had sent before
comes over another connection, is here already, and is to be read first."""
STORY_LINES = 30
"""Of each, the last ones: what came before them is in the stories before, or long past."""


class Shell:
    """See the module's text. `on_idle` and `on_ended` may be called from within any call here, as its last act.

    `on_given_back` is called before `on_ended` with an invocation of which the runtime has heard nothing; where there is
    none, that fails.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        program: Program,
        function: Function,
        supervisor: Supervisor,
        log: Callable[[bytes], None],
        log_format: LogFormat,
        on_idle: Callable[[], None],
        on_ended: Callable[[], None],
        on_given_back: Callable[[Invocation, Ticket], None] | None = None,
        freeze: bool = True,
        credentials: FetchedCredentials | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._core = self._new_core(settings)
        self.has_snapshots = settings.initialization_type == SNAP_START
        #: Whether the runtime may ask for a snapshot of its environment.
        self.credentials = credentials
        self._function = function
        self._supervisor = supervisor
        self._processes = Processes(program, supervisor, freeze=freeze)
        self._telemetry = Telemetry(supervisor, json=log_format.json)
        self._journal = Journal(log, log_format, self._telemetry)
        self._on_idle = on_idle
        self._on_ended = on_ended
        self._on_given_back = on_given_back
        self._ticket: Ticket | None = None
        self._poll: Poll[Delivery] = Poll()
        #: The runtime's `next`.
        self._restore_poll: Poll[bool] = Poll()
        #: Its `restore/next`.
        self._extension_polls: dict[str, Poll[Notice]] = {}
        #: By identifier.
        self._armed: Arm | None = None
        #: What is to fire.
        self._timer: TimerHandle | None = None
        #: Looks for that, not later than it is due.
        self._timer_at = 0.0
        self._exits: list[RuntimeExited | ExtensionExited] = []
        #: Not heard yet, see `EXIT_TURNS` and `rapid.handovers`.
        self._handovers = Handovers()
        self._told = 0
        #: Illegal calls whose story has been logged: a function must not be able to fill the log with them.
        self.memory_peak = 0
        supervisor.observer = self

    @staticmethod
    def _new_core(settings: Settings) -> Lifecycle:
        return Lifecycle(settings)

    def __repr__(self) -> str:
        return f"<Environment {self._core!r}{' frozen' if self._processes.is_frozen else ''}>"

    def story_lines(self) -> list[str]:
        """The last things that happened, for people, oldest first."""
        return self._core.story.lines(clock_offset())

    # The supervisor's side

    def output(self, process: int, stream: int, data: bytes) -> None:
        is_extension = self._processes.extension(process) is not None
        framed = self._processes.writes_frames(process, stream)
        self._journal.output(process, stream, data, is_extension=is_extension, framed=framed)

    def exited(self, process: int, status: ExitStatus) -> None:
        self._journal.flush()
        now, generation = time.monotonic(), self._core.generation
        if process == self._processes.runtime(generation):
            self._hear_of_exit(RuntimeExited(now, generation, status))
        elif name := self._processes.extension(process):
            self._hear_of_exit(ExtensionExited(now, generation, name, status))

    def _hear_of_exit(self, event: RuntimeExited | ExtensionExited) -> None:
        """In order, and of a runtime's not before the answer that may be on its way."""
        if not self._exits and not (isinstance(event, RuntimeExited) and self._may_be_answering()):
            self._handle(event)
            return
        self._exits.append(event)
        if len(self._exits) == 1:
            self._hear_of_exits(EXIT_TURNS)

    def _hear_of_exits(self, turns: int) -> None:
        if turns and self._may_be_answering():
            self._loop.call_soon(self._hear_of_exits, turns - 1)
        else:
            self._handovers.when_known(self._exited, handovers.EXIT)

    def _exited(self, unread: frozenset[str]) -> None:
        exits, self._exits = self._exits, []
        for event in exits:
            self._handle(replace(event, unread=unread) if isinstance(event, RuntimeExited) else event)

    def _may_be_answering(self) -> bool:
        return self._core.phase is Phase.INVOKE and self._core.runtime in _ANSWERING

    def lost(self, reason: str, *, out_of_memory: bool = False) -> None:
        """What the runtime had sent before is here, or about to be, and comes first."""
        self._journal.flush()
        self._handovers.when_known(partial(self._lost, reason, out_of_memory), handovers.LOSS)

    def _lost(self, reason: str, out_of_memory: bool, unread: frozenset[str]) -> None:
        self._handle(SandboxLost(time.monotonic(), reason, out_of_memory, unread))

    # Carrying out what the core says

    def _handle(self, event: Event) -> None:
        try:
            effects = self._core.handle(event)
        except (IllegalTransition, UnknownRequest, ExtensionRefused) as refusal:
            self._tell(refusal)
            raise
        for effect in effects:
            try:
                self._perform(effect)
            except Exception:  # what follows must happen: somebody waits for an answer, or for the end
                logger.exception("%r could not carry out %r", self, effect)

    def _tell(self, refusal: Exception) -> None:
        """Log how it came to an illegal call; `berth story` has what is too much for the log."""
        self._told += 1
        if self._told <= MOST_STORIES:
            told = "\n  ".join(self.story_lines()[-STORY_LINES:])
            logger.warning("%r refused a call: %s; its story:\n  %s", self, refusal, told)

    def _perform(self, effect: Effect) -> None:
        """The frequent ones first, and without the cost of patterns: an invocation comes to a dozen."""
        if isinstance(effect, Do):
            self._do(effect)
        elif isinstance(effect, Write):
            self._journal.record(effect.record)
        elif isinstance(effect, Deliver):
            self._handovers.given(effect.invocation.request_id)
            self._poll.give(delivery(effect.invocation, effect.deadline))
        elif isinstance(effect, Arm):
            self._arm(effect)
        elif isinstance(effect, Respond):
            if self._ticket is not None:
                self._ticket.lingers = self._core.extensions.any_hearing
                self._ticket.respond(effect.outcome)
        elif isinstance(effect, Settle):
            self._supervisor.settle().add_done_callback(partial(self._settled, effect.drain))
        elif isinstance(effect, Complete):
            self._complete(effect.report)
        else:
            self._perform_rare(effect)

    def _perform_rare(self, effect: Effect) -> None:
        match effect:
            case StartRuntime(generation):
                self._processes.start_runtime(generation, partial(self._runtime_not_started, generation))
            case FindExtensions(generation):
                self._processes.find_extensions(partial(self._extensions_found, generation))
            case StartExtension(generation, name):
                failed = partial(self._extension_not_started, generation, name)
                self._processes.start_extension(generation, name, failed)
            case SignalRuntime(generation, number):
                self._processes.signal_runtime(generation, number)
            case Notify(identifier, notice):
                self._notify(self._extension_polls[identifier], notice)
            case GiveBack(invocation):
                self._give_back(invocation)

    def _give_back(self, invocation: Invocation) -> None:
        ticket, self._ticket = self._ticket, None
        self._journal.tail = None
        self._handovers.over(invocation.request_id)
        if ticket is not None:
            self._hand_back(invocation, ticket)

    def _hand_back(self, invocation: Invocation, ticket: Ticket) -> None:
        if self._on_given_back is None:
            ticket.fail(SupervisorLost("the execution environment was lost before it began the invocation"))
        else:
            ticket.give_back()
            self._on_given_back(invocation, ticket)

    def _do(self, effect: Do) -> None:
        if effect is Do.DISARM:
            self._armed = None
        elif effect is Do.FREEZE:
            self._processes.freeze_soon(self._telemetry.pause)
        elif effect is Do.IDLE:
            self._on_idle()
        elif effect is Do.THAW:
            self._thaw()
        else:
            self._do_rare(effect)

    def _do_rare(self, effect: Do) -> None:
        match effect:
            case Do.CLEAR:  # whoever waits in a poll is killed in it, and does not hear of the end
                self._thaw()
                self._supervisor.clear().add_done_callback(self._cleared)
            case Do.RESTORE:
                self._restore_poll.give(True)
            case Do.CLOSE_SUBSCRIPTIONS:
                self._telemetry.close_subscriptions()
            case Do.FLUSH:
                self._telemetry.flush()
            case Do.ENDED:
                self._drop_timer()
                self._drop_polls()
                self._thaw()
                self._telemetry.end()
                self._on_ended()

    def _notify(self, poll: Poll[Notice], notice: InvokeNotice | ShutdownNotice) -> None:
        """Tell an extension, and of the end only when it has heard everything else: it may leave at once."""
        if isinstance(notice, ShutdownNotice):
            self._telemetry.when_delivered(lambda: poll.give(event_of(notice)))
        else:
            poll.give(event_of(notice))

    def _drop_polls(self) -> None:
        self._poll.drop()
        self._restore_poll.drop()
        for poll in self._extension_polls.values():
            poll.drop()
        self._extension_polls.clear()

    def _complete(self, report: Report) -> None:
        ticket, self._ticket = self._ticket, None
        self._journal.tail = None
        self._handovers.over(report.request_id)
        if ticket is not None:
            ticket.complete(report)

    def _arm(self, arm: Arm) -> None:
        """Have it fire when its time comes, unless it is disarmed.

        One timer for all: those that are armed for invocations are hardly ever due, and each would cost a timer.
        """
        self._armed = arm
        if self._timer is None or arm.at < self._timer_at:
            self._set_timer(arm.at)

    def _set_timer(self, at: float) -> None:
        self._drop_timer()
        self._timer_at = at
        self._timer = self._loop.call_later(at - time.monotonic(), self._look_at_timer)

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_at_timer(self) -> None:
        self._timer, arm = None, self._armed
        if arm is None:
            return
        if self._timer_at < arm.at:
            self._set_timer(arm.at)
            return
        self._armed = None
        self._fire(arm)

    def _fire(self, arm: Arm) -> None:
        """A timer that uvloop rounded down to whole milliseconds does not make the limit shorter."""
        self._handle(TimerFired(max(time.monotonic(), arm.at), arm.timer, arm.generation))

    # What the processes' side answers

    def _runtime_not_started(self, generation: int, fault: Fault) -> None:
        self._handle(RuntimeNotStarted(time.monotonic(), generation, fault))

    def _extensions_found(self, generation: int, names: tuple[str, ...]) -> None:
        self._handle(ExtensionsFound(time.monotonic(), generation, names))

    def _extension_not_started(self, generation: int, name: str, text: str) -> None:
        self._handle(ExtensionNotStarted(time.monotonic(), generation, name, text))

    def _settled(self, drain: Drain, future: Future[int]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._journal.flush(final=False)
            self.memory_peak = future.result()
            self._handle(Settled(time.monotonic(), drain, self.memory_peak))

    def _cleared(self, future: Future[int]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._drop_polls()
            self._journal.forget()
            self.memory_peak = future.result()
            self._telemetry.reset()
            self._handle(Cleared(time.monotonic(), self.memory_peak))

    def _thaw(self) -> None:
        if self._processes.thaw():
            self._telemetry.resume()


_ANSWERING = (RuntimeState.RUNNING, RuntimeState.RESPONDING, RuntimeState.ERRING)
"""The runtime's answer may be on its way."""
