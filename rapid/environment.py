"""One execution environment at work: the shell around `rapid.lifecycle`.

It feeds the core with what the Runtime API, the supervisor and the timers report, and carries out what the core
answers. It owns the timers, the pending `next` and the lines on their way to the log; it holds no state of its own
about what is allowed. It does not know where its processes run, nor who sends it invocations.

Times are `time.monotonic()`: the event loop's own clock counts whole milliseconds under uvloop.
"""

import asyncio
import json
import logging
import time
import uuid
from asyncio import Future, TimerHandle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rapid import errors
from rapid.buffering import Tail
from rapid.events import (
    Arm,
    Began,
    Cleared,
    Complete,
    Deliver,
    Do,
    Drain,
    Effect,
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
    ShutdownNotice,
    SignalRuntime,
    StartExtension,
    StartRuntime,
    TelemetrySubscribed,
    TimerFired,
    Write,
)
from rapid.extensions import INVOKE, SHUTDOWN, Extension, ExtensionRefused
from rapid.invocation import ExitStatus, Fault, Invocation, Outcome
from rapid.lifecycle import Lifecycle, UnknownRequest
from rapid.log_format import LogFormat
from rapid.log_frames import LogEvent, LogEvents
from rapid.polls import Poll
from rapid.records import SNAP_START, Record, Report
from rapid.settings import Settings
from rapid.states import ExtensionCall, ExtensionState, IllegalTransition, Phase, RuntimeCall, RuntimeState
from rapid.streams import Stream
from rapid.subscriptions import Api, Subscription
from rapid.supervisor import StartFailed, Supervisor
from rapid.telemetry import Telemetry
from rapid.telemetry_events import EXTENSION, FUNCTION

logger = logging.getLogger(__name__)

FREEZE_DELAY = 0.005
"""Seconds between the end of an invocation and the freeze. Back-to-back invocations then need neither freeze nor
thaw; what runs in a function's background gains at most this much."""

START_FAULTS = {
    "exec": "Runtime.InvalidEntrypoint",
    "chdir": "Runtime.InvalidWorkingDir",
    "fork": "Runtime.InvalidTaskConfig",
}


NO_EXTENSIONS = "disable-extensions-jwigqn8j"
"""A file of this name beside the extensions' directory switches extensions off, as on AWS."""

PROCESSES = 16
"""Numbers that each generation of processes has: 0 is the runtime's, the others are the extensions'."""


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Function:
    """What extensions learn about the function when they register."""

    name: str
    version: str
    handler: str
    account_id: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """What stands for the execution role's session, where the runtime fetches it by `token` instead of inheriting it."""

    token: str
    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: str
    """ISO 8601, UTC."""


@dataclass(frozen=True, slots=True)
class Registered:
    """The answer to an extension's registration."""

    identifier: str
    function: Function


@dataclass(frozen=True, slots=True)
class Notice:
    """The answer to an extension's `event/next`: the event's own identifier, and the event as JSON."""

    identifier: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """The answer to a `next`. `deadline_ms` in milliseconds of the Unix epoch."""

    invocation: Invocation
    deadline_ms: int


class Ticket:
    """One invocation in an environment: its answer, its end, its log; and its answer's bytes, if wanted early."""

    __slots__ = ("completed", "outcome", "stream", "tail")

    def __init__(self, stream: Stream | None = None) -> None:
        self.stream = stream
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
        function: Function,
        supervisor: Supervisor,
        log: Callable[[bytes], None],
        log_format: LogFormat,
        on_idle: Callable[[], None],
        on_ended: Callable[[], None],
        freeze: bool = True,
        credentials: Credentials | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._core = Lifecycle(settings)
        self.has_snapshots = settings.initialization_type == SNAP_START
        #: Whether the runtime may ask for a snapshot of its environment.
        self.credentials = credentials
        self.has_extensions = True
        #: Whether extensions are switched on.
        self._program = program
        self._function = function
        self._supervisor = supervisor
        self._log = log
        self._format = log_format
        self._telemetry = Telemetry(supervisor, json=log_format.json)
        self._on_idle = on_idle
        self._on_ended = on_ended
        self._freeze = freeze
        self._ticket: Ticket | None = None
        self._poll: Poll[Delivery] = Poll()
        #: The runtime's `next`.
        self._restore_poll: Poll[bool] = Poll()
        #: Its `restore/next`.
        self._extension_polls: dict[str, Poll[Notice]] = {}
        #: By identifier.
        self._extension_processes: dict[int, str] = {}
        #: Process number → name, of the current generation.
        self._deadline: TimerHandle | None = None
        self._freezing: TimerHandle | None = None
        self._frozen = False
        self._has_told = False
        #: An illegal call's story has been logged: a function must not be able to fill the log with them.
        self._output: dict[tuple[int, int], LogEvents] = {}
        #: By process and stream.
        self.memory_peak = 0
        supervisor.observer = self

    def __repr__(self) -> str:
        return f"<Environment {self._core!r}{' frozen' if self._frozen else ''}>"

    @property
    def phase(self) -> Phase:
        return self._core.phase

    @property
    def is_over(self) -> bool:
        """Whether it takes no invocation any more."""
        return self._core.is_over

    def story_lines(self) -> list[str]:
        """The last things that happened, for people, oldest first."""
        return self._core.story.lines(_clock_offset())

    # The owner's side

    def begin(self) -> None:
        """Initialise ahead of any invocation; `on_idle` tells the end of it, successful or not."""
        self._handle(Began(time.monotonic()))

    def invoke(self, invocation: Invocation, timeout: float, stream: Stream | None = None) -> Ticket:
        """Hand in an invocation; only while idle. `timeout` in seconds; `stream` gets a streamed response."""
        self._ticket = ticket = Ticket(stream)
        self._handle(InvokeArrived(time.monotonic(), invocation, timeout))
        return ticket

    def shut_down(self) -> None:
        """Kill everything; `on_ended` tells the end of it."""
        self._handle(ShutdownAsked(time.monotonic()))

    async def close(self) -> None:
        """Let go of what it holds, once it has ended."""
        await self._telemetry.close()

    # The runtime's side. These raise `IllegalTransition` and `UnknownRequest`.

    def next(self, is_alive: Callable[[], bool]) -> Future[Delivery]:
        """The runtime asks for its next event. `is_alive` tells whether it still waits for the answer."""
        if not (self._poll.is_abandoned and self._core.runtime is RuntimeState.READY):
            self._handle(NextCalled(time.monotonic()))
        return self._poll.ask(is_alive)

    def begin_response(self, request_id: str, call: RuntimeCall) -> Stream | None:
        """A result or an error comes in. The stream that wants its bytes, if one does."""
        self._handle(ResponseBegan(time.monotonic(), request_id, call))
        return self._ticket.stream if self._ticket else None

    def end_response(self, request_id: str, outcome: Outcome) -> None:
        self._handle(ResponseEnded(time.monotonic(), request_id, outcome))

    def break_response(self, request_id: str) -> None:
        self._handle(ResponseBroke(time.monotonic(), request_id))

    def init_error(self, error_type: str, payload: bytes) -> None:
        self._handle(InitErrorPosted(time.monotonic(), error_type, payload))

    def restore_next(self, is_alive: Callable[[], bool]) -> Future[bool]:
        """The runtime is ready for a snapshot, and asks to be told when it has been restored from it."""
        self._handle(RestoreNextCalled(time.monotonic()))
        return self._restore_poll.ask(is_alive)

    def restore_error(self, error_type: str, payload: bytes) -> None:
        self._handle(RestoreErrorPosted(time.monotonic(), error_type, payload))

    # The extensions' side. These raise `ExtensionRefused`.

    def register_extension(self, name: str, events: Sequence[str]) -> Registered:
        """An extension makes itself known."""
        identifier = str(uuid.uuid4())
        self._extension_polls[identifier] = Poll()
        try:
            self._handle(ExtensionRegistered(time.monotonic(), name, tuple(events), identifier))
        except ExtensionRefused:
            del self._extension_polls[identifier]
            raise
        return Registered(identifier, self._function)

    def extension_next(self, identifier: str, is_alive: Callable[[], bool]) -> Future[Notice]:
        """An extension asks for its next event. `is_alive` tells whether it still waits for the answer."""
        extension = self._core.extensions.find(identifier)
        waits = extension is not None and extension.state is ExtensionState.READY
        poll = self._extension_polls.setdefault(identifier, Poll()) if extension else Poll()
        if not (waits and poll.is_abandoned):
            self._handle(ExtensionNextCalled(time.monotonic(), identifier))
        return poll.ask(is_alive)

    def extension_error(self, identifier: str, call: ExtensionCall, error_type: str) -> None:
        """An extension gives up, `INIT_ERROR` or `EXIT_ERROR`."""
        self._handle(ExtensionErrorPosted(time.monotonic(), identifier, call, error_type))

    def check_extension(self, identifier: str) -> None:
        """Raise where nobody has registered under the identifier."""
        self._extension(identifier)

    def subscribe(self, identifier: str, subscription: Subscription) -> None:
        """An extension subscribes to telemetry."""
        name, api = self._extension(identifier).name, subscription.api
        former = self._telemetry.api_of(name)
        if former not in (None, api):
            raise ExtensionRefused(errors.subscribed_elsewhere(name, api.value))
        is_logs = api is Api.LOGS
        self._handle(TelemetrySubscribed(time.monotonic(), identifier, subscription.types, is_logs))
        self._telemetry.subscribe(name, subscription)

    def _extension(self, identifier: str) -> Extension:
        extension = self._core.extensions.find(identifier)
        if extension is None:
            raise ExtensionRefused(errors.unknown_extension(identifier))
        return extension

    # The supervisor's side

    def output(self, process: int, stream: int, data: bytes) -> None:
        events = self._output.get((process, stream))
        if events is None:
            framed = self._program.log_fd is not None and process % PROCESSES == 0 and stream == 1
            events = self._output[process, stream] = LogEvents(framed=framed)
        self._take(process, events.feed(data))

    def exited(self, process: int, status: ExitStatus) -> None:
        self._flush()
        now, generation = time.monotonic(), self._core.generation
        if process == self._runtime_process(generation):
            self._handle(RuntimeExited(now, generation, status))
        elif name := self._extension_processes.get(process):
            self._handle(ExtensionExited(now, generation, name, status))

    def lost(self, reason: str, *, out_of_memory: bool = False) -> None:
        self._flush()
        self._handle(SandboxLost(time.monotonic(), reason, out_of_memory))

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
            except (
                Exception
            ):  # what follows must happen all the same: somebody waits for an answer or for the end
                logger.exception("%r could not carry out %r", self, effect)

    def _tell(self, refusal: Exception) -> None:
        """Log how it came to an illegal call, once; `berth story` has the later ones."""
        if not self._has_told:
            self._has_told = True
            told = "\n  ".join(self.story_lines())
            logger.warning("%r refused a call: %s; its story:\n  %s", self, refusal, told)

    def _perform(self, effect: Effect) -> None:
        match effect:  # the frequent ones first
            case Do():
                self._do(effect)
            case Deliver(invocation, deadline):
                epoch_ms = _epoch_ms(deadline)
                self._poll.give(Delivery(invocation, epoch_ms))
            case Respond(outcome):
                self._respond(outcome)
            case Complete(report):
                self._complete(report)
            case Write(record):
                self._record(record)
            case Settle(drain):
                self._supervisor.settle().add_done_callback(lambda future: self._settled(drain, future))
            case Arm():
                self._arm(effect)
            case _:
                self._perform_rare(effect)

    def _perform_rare(self, effect: Effect) -> None:
        match effect:
            case StartRuntime(generation):
                self._start(generation)
            case FindExtensions(generation):
                self._find_extensions(generation)
            case StartExtension(generation, name):
                self._start_extension(generation, name)
            case SignalRuntime(generation, number):
                self._supervisor.signal(self._runtime_process(generation), number)
            case Notify(identifier, notice):
                self._notify(self._extension_polls[identifier], notice)

    def _do(self, effect: Do) -> None:
        match effect:
            case Do.THAW:
                self._thaw()
            case Do.FREEZE if self._freeze:
                self._freezing = self._loop.call_later(FREEZE_DELAY, self._freeze_now)
            case Do.DISARM:
                self._disarm()
            case Do.CLEAR:  # whoever waits in a poll is killed in it, and does not hear of the end
                self._thaw()
                self._supervisor.clear().add_done_callback(self._cleared)
            case Do.IDLE:
                self._on_idle()
            case Do.RESTORE:
                self._restore_poll.give(True)
            case Do.CLOSE_SUBSCRIPTIONS:
                self._telemetry.close_subscriptions()
            case Do.FLUSH:
                self._telemetry.flush()
            case Do.ENDED:
                self._drop_polls()
                self._thaw()
                self._telemetry.end()
                self._on_ended()

    def _notify(self, poll: Poll[Notice], notice: InvokeNotice | ShutdownNotice) -> None:
        """Tell an extension, and of the end only when it has heard everything else: it may leave at once."""
        if isinstance(notice, ShutdownNotice):
            self._telemetry.when_delivered(lambda: poll.give(_notice(notice)))
        else:
            poll.give(_notice(notice))

    def _drop_polls(self) -> None:
        self._poll.drop()
        self._restore_poll.drop()
        for poll in self._extension_polls.values():
            poll.drop()
        self._extension_polls.clear()

    def _respond(self, outcome: Outcome) -> None:
        ticket = self._ticket
        if ticket is not None and not ticket.outcome.done():
            ticket.outcome.set_result(outcome)
        if ticket is not None and ticket.stream is not None:
            ticket.stream.close()

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
        """A timer that uvloop rounded down to whole milliseconds does not make the limit shorter."""
        self._handle(TimerFired(max(time.monotonic(), arm.at), arm.timer, arm.generation))

    def _start(self, generation: int) -> None:
        def done(future: Future[None]) -> None:
            if future.cancelled():
                return
            reason = future.exception()
            if isinstance(reason, StartFailed):
                fault = Fault(START_FAULTS.get(reason.stage, START_FAULTS["fork"]), str(reason))
                self._handle(RuntimeNotStarted(time.monotonic(), generation, fault))

        program, process = self._program, self._runtime_process(generation)
        started = self._supervisor.start(
            process, program.argv, program.env, program.cwd, log_fd=program.log_fd
        )
        started.add_done_callback(done)

    def _runtime_process(self, generation: int) -> int:
        return generation % (65536 // PROCESSES) * PROCESSES

    def _find_extensions(self, generation: int) -> None:
        def found(future: Future[Sequence[str]]) -> None:
            if not future.cancelled() and future.exception() is None:
                names = tuple(future.result()) if self.has_extensions else ()
                self._handle(ExtensionsFound(time.monotonic(), generation, names))

        self._extension_processes.clear()
        self._supervisor.list(self._program.opt).add_done_callback(self._look_for_switch)
        self._supervisor.list(f"{self._program.opt}/extensions").add_done_callback(found)

    def _look_for_switch(self, future: Future[Sequence[str]]) -> None:
        if not future.cancelled() and future.exception() is None:
            self.has_extensions = NO_EXTENSIONS not in future.result()

    def _start_extension(self, generation: int, name: str) -> None:
        def done(future: Future[None]) -> None:
            if not future.cancelled() and isinstance(reason := future.exception(), StartFailed):
                self._handle(ExtensionNotStarted(time.monotonic(), generation, name, str(reason)))

        process = self._runtime_process(generation) + len(self._extension_processes) + 1
        self._extension_processes[process] = name
        argv = [f"{self._program.opt}/extensions/{name}"]
        self._supervisor.start(process, argv, self._program.extension_env, "/").add_done_callback(done)

    def _settled(self, drain: Drain, future: Future[int]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._flush(final=False)
            self.memory_peak = future.result()
            self._handle(Settled(time.monotonic(), drain, self.memory_peak))

    def _cleared(self, future: Future[int]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._drop_polls()
            self._flush()
            self.memory_peak = future.result()
            self._output.clear()
            self._telemetry.reset()
            self._handle(Cleared(time.monotonic(), self.memory_peak))

    def _freeze_now(self) -> None:
        self._freezing = None
        self._frozen = True
        self._supervisor.freeze()
        if self._telemetry.listens:
            self._telemetry.pause()

    def _thaw(self) -> None:
        if self._freezing is not None:
            self._freezing.cancel()
            self._freezing = None
        if self._frozen:
            self._frozen = False
            self._supervisor.thaw()
            if self._telemetry.listens:
                self._telemetry.resume()

    # Logs and telemetry

    def _record(self, record: Record) -> None:
        if self._telemetry.listens:
            kind, document = self._format.describe(record, _clock_offset())
            self._telemetry.platform(kind, document, time.time())
        for line in self._format.platform(record, time.time(), _clock_offset() if self._format.json else 0.0):
            self._write(line)

    def _write(self, line: bytes) -> None:
        self._log(line)
        if self._ticket is not None:
            self._ticket.tail.add(line)

    def _take(self, process: int, events: Iterable[LogEvent]) -> None:
        kind = EXTENSION if process in self._extension_processes else FUNCTION
        for text, level in events:
            if self._telemetry.listens:
                self._telemetry.line(kind, text, time.time())
            if self._format.keeps(text, level):
                self._write(text)

    def _flush(self, *, final: bool = True) -> None:
        for (process, _), events in self._output.items():
            self._take(process, events.flush(final=final))


def _clock_offset() -> float:
    """What the monotonic clock lacks to the Unix epoch, in seconds."""
    return time.time() - time.monotonic()


def _epoch_ms(at: float) -> int:
    """A time of the monotonic clock in milliseconds of the Unix epoch."""
    return int((at + _clock_offset()) * 1000)


def _notice(notice: InvokeNotice | ShutdownNotice) -> Notice:
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
    return Notice(str(uuid.uuid4()), json.dumps(body, separators=(",", ":")).encode())
