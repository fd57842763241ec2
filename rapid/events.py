"""What happens to an execution environment (events) and what is then to be done (effects).

The vocabulary of `rapid.lifecycle`: events are past facts, effects are orders to the shell. Values only.
"""

from enum import Enum, StrEnum

from rapid.invocation import ExitStatus, Fault, Invocation, Outcome
from rapid.records import Record, Report
from rapid.states import ExtensionCall, RuntimeCall
from rapid.values import value


class Timer(Enum):
    INIT = "init"
    RESTORE = "restore"
    INVOKE = "invoke"
    STOP = "stop"


class Drain(StrEnum):
    """What is waited for when the output of the processes is drained; a log must be whole up to some point."""

    INIT = "initialisation"
    """Every party has initialised."""
    RUNTIME = "runtime"
    """The runtime is done with the invocation; extensions may go on."""
    INVOCATION = "invocation"
    """Every party is done with it, or will be before anything else is written."""


# Events


@value(frozen=True, slots=True)
class Began:
    """The sandbox is there: initialise ahead of any invocation."""

    now: float


@value(frozen=True, slots=True)
class InvokeArrived:
    now: float
    invocation: Invocation
    timeout: float
    """Seconds."""


@value(frozen=True, slots=True)
class NextCalled:
    now: float


@value(frozen=True, slots=True)
class ResponseBegan:
    """The runtime began to post a result (`RESPONSE`) or an error (`ERROR`)."""

    now: float
    request_id: str
    call: RuntimeCall


@value(frozen=True, slots=True)
class ResponseEnded:
    """The whole of it has been received."""

    now: float
    request_id: str
    outcome: Outcome


@value(frozen=True, slots=True)
class ResponseBroke:
    """It was cut off; the runtime may post again."""

    now: float
    request_id: str


@value(frozen=True, slots=True)
class InitErrorPosted:
    now: float
    error_type: str
    payload: bytes


@value(frozen=True, slots=True)
class RestoreNextCalled:
    """The runtime is ready for a snapshot of its environment."""

    now: float


@value(frozen=True, slots=True)
class RestoreErrorPosted:
    """A hook that was to run after the restoration failed."""

    now: float
    error_type: str
    payload: bytes


@value(frozen=True, slots=True)
class RuntimeNotStarted:
    now: float
    generation: int
    fault: Fault


@value(frozen=True, slots=True)
class RuntimeExited:
    now: float
    generation: int
    status: ExitStatus
    unread: frozenset[str] = frozenset()
    """Request ids of invocations whose events were on their way to it, which it had not read."""


@value(frozen=True, slots=True)
class ExtensionsFound:
    """The files in `/opt/extensions`."""

    now: float
    generation: int
    names: tuple[str, ...]


@value(frozen=True, slots=True)
class ExtensionRegistered:
    """An extension asks to be known under a new identifier."""

    now: float
    name: str
    events: tuple[str, ...]
    identifier: str


@value(frozen=True, slots=True)
class ExtensionNextCalled:
    now: float
    identifier: str


@value(frozen=True, slots=True)
class ExtensionErrorPosted:
    """An extension gives up: `INIT_ERROR` or `EXIT_ERROR`."""

    now: float
    identifier: str
    call: ExtensionCall
    error_type: str


@value(frozen=True, slots=True)
class ExtensionNotStarted:
    now: float
    generation: int
    name: str
    text: str


@value(frozen=True, slots=True)
class ExtensionExited:
    now: float
    generation: int
    name: str
    status: ExitStatus


@value(frozen=True, slots=True)
class TelemetrySubscribed:
    """An extension asks for events of the Telemetry API or (`is_logs`) of the Logs API."""

    now: float
    identifier: str
    types: tuple[str, ...]
    is_logs: bool = False


@value(frozen=True, slots=True)
class TimerFired:
    now: float
    timer: Timer
    generation: int


@value(frozen=True, slots=True)
class NextGone:
    """Of many pending `next`, one is not waited for any more: a worker of the runtime has ended."""

    now: float


@value(frozen=True, slots=True)
class LimitPassed:
    """The time that `Limit` set for one of many invocations is over."""

    now: float
    request_id: str


@value(frozen=True, slots=True)
class InvocationSettled:
    """Everything that had been written when `SettleInvocation` was performed has arrived."""

    now: float
    request_id: str
    memory_peak: int


@value(frozen=True, slots=True)
class Settled:
    """Everything that the processes had written when `Settle` was performed has arrived; `memory_peak` in bytes."""

    now: float
    drain: Drain
    memory_peak: int


@value(frozen=True, slots=True)
class Cleared:
    """Everything that the processes wrote has arrived, and none of them is left."""

    now: float
    memory_peak: int


@value(frozen=True, slots=True)
class CodeChanged:
    """What the processes have loaded is out of date; told between invocations."""

    now: float
    ahead: bool
    """Whether to initialise again at once, or inside the next invocation."""


@value(frozen=True, slots=True)
class ShutdownAsked:
    now: float


@value(frozen=True, slots=True)
class SandboxLost:
    now: float
    reason: str
    out_of_memory: bool = False
    unread: frozenset[str] = frozenset()
    """Request ids of invocations whose events were on their way to the runtime, which has not read them."""


Event = (
    Began
    | InvokeArrived
    | NextCalled
    | ResponseBegan
    | ResponseEnded
    | ResponseBroke
    | InitErrorPosted
    | RestoreNextCalled
    | RestoreErrorPosted
    | RuntimeNotStarted
    | RuntimeExited
    | ExtensionsFound
    | ExtensionRegistered
    | ExtensionNextCalled
    | ExtensionErrorPosted
    | ExtensionNotStarted
    | ExtensionExited
    | TelemetrySubscribed
    | TimerFired
    | NextGone
    | LimitPassed
    | InvocationSettled
    | Settled
    | Cleared
    | CodeChanged
    | ShutdownAsked
    | SandboxLost
)


# Effects


@value(frozen=True, slots=True)
class StartRuntime:
    generation: int


@value(frozen=True, slots=True)
class FindExtensions:
    generation: int


@value(frozen=True, slots=True)
class StartExtension:
    generation: int
    name: str


@value(frozen=True, slots=True)
class SignalRuntime:
    """Signal the runtime's process group."""

    generation: int
    number: int


@value(frozen=True, slots=True)
class InvokeNotice:
    """What an extension hears of an invocation. `deadline` on the clock of `now`."""

    invocation: Invocation
    deadline: float


@value(frozen=True, slots=True)
class ShutdownNotice:
    """The environment ends; `reason` is `spindown`, `timeout` or `failure`."""

    reason: str
    deadline: float


@value(frozen=True, slots=True)
class Notify:
    """Answer the pending (or coming) `event/next` of an extension."""

    identifier: str
    notice: InvokeNotice | ShutdownNotice


@value(frozen=True, slots=True)
class Deliver:
    """Answer the pending (or coming) `next`. `deadline` on the same clock as `now`."""

    invocation: Invocation
    deadline: float


@value(frozen=True, slots=True)
class Respond:
    """The client's answer is known."""

    outcome: Outcome


@value(frozen=True, slots=True)
class GiveBack:
    """The runtime has heard nothing of the invocation, and never will: another environment is to have it."""

    invocation: Invocation


@value(frozen=True, slots=True)
class Complete:
    """The invocation is over and logged."""

    report: Report


@value(frozen=True, slots=True)
class Write:
    """Log a platform record."""

    record: Record


@value(frozen=True, slots=True)
class Arm:
    """Fire `timer` at `at`, instead of any armed before."""

    timer: Timer
    at: float
    generation: int


@value(frozen=True, slots=True)
class Settle:
    """Drain the output of the processes; `Settled` answers it."""

    drain: Drain


@value(frozen=True, slots=True)
class Answer:
    """The answer for the client of one of many invocations is known."""

    request_id: str
    outcome: Outcome


@value(frozen=True, slots=True)
class Limit:
    """Hand in `LimitPassed` for one of many invocations at `at`."""

    request_id: str
    at: float


@value(frozen=True, slots=True)
class Unlimit:
    """Do not."""

    request_id: str


@value(frozen=True, slots=True)
class SettleInvocation:
    """Drain the output of the processes on behalf of one of many invocations; `InvocationSettled` answers it."""

    request_id: str


@value(frozen=True, slots=True)
class Room:
    """The environment can take so many invocations more, or fewer, than it said before."""

    change: int


class Do(Enum):
    """Effects without a parameter."""

    DISARM = "disarm"
    CLEAR = "clear"
    FREEZE = "freeze"
    THAW = "thaw"
    RESTORE = "restore"
    """Answer the pending `restore/next`."""
    CLOSE_SUBSCRIPTIONS = "close subscriptions"
    """Whoever has not subscribed to telemetry by now does not get to hear of the initialisation."""
    FLUSH = "flush"
    """Hand out all telemetry there is: its subscribers are about to end."""
    IDLE = "idle"
    """The environment can take an invocation."""
    ENDED = "ended"
    """The environment is over; the sandbox can go."""


Effect = (
    FindExtensions
    | StartExtension
    | StartRuntime
    | SignalRuntime
    | Notify
    | Deliver
    | Respond
    | GiveBack
    | Complete
    | Write
    | Arm
    | Settle
    | Answer
    | Limit
    | Unlimit
    | SettleInvocation
    | Room
    | Do
)
Effects = list[Effect]
