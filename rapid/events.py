"""What happens to an execution environment (events) and what is then to be done (effects).

The vocabulary of `rapid.lifecycle`: events are past facts, effects are orders to the shell. Values only.
"""

from dataclasses import dataclass
from enum import Enum

from rapid.invocation import ExitStatus, Fault, Invocation, Outcome
from rapid.records import Record, Report


class RuntimeCall(Enum):
    """What a runtime may ask of the Runtime API; the value is the state that AWS names as the call's target."""

    NEXT = "Ready"
    RESPONSE = "InvocationResponse"
    ERROR = "InvocationErrorResponse"
    INIT_ERROR = "InitError"


class Timer(Enum):
    INIT = "init"
    INVOKE = "invoke"


# Events


@dataclass(frozen=True, slots=True)
class Began:
    """The sandbox is there: initialise ahead of any invocation."""

    now: float


@dataclass(frozen=True, slots=True)
class InvokeArrived:
    now: float
    invocation: Invocation
    timeout: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class NextCalled:
    now: float


@dataclass(frozen=True, slots=True)
class ResponseBegan:
    """The runtime began to post a result (`RESPONSE`) or an error (`ERROR`)."""

    now: float
    request_id: str
    call: RuntimeCall


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """The whole of it has been received."""

    now: float
    request_id: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ResponseBroke:
    """It was cut off; the runtime may post again."""

    now: float
    request_id: str


@dataclass(frozen=True, slots=True)
class InitErrorPosted:
    now: float
    error_type: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class RuntimeNotStarted:
    now: float
    generation: int
    fault: Fault


@dataclass(frozen=True, slots=True)
class RuntimeExited:
    now: float
    generation: int
    status: ExitStatus


@dataclass(frozen=True, slots=True)
class TimerFired:
    now: float
    timer: Timer
    generation: int


@dataclass(frozen=True, slots=True)
class Settled:
    """Everything that the processes wrote has arrived; `memory_peak` in bytes."""

    now: float
    memory_peak: int


@dataclass(frozen=True, slots=True)
class Cleared:
    """Like `Settled`, and no process of the function is left."""

    now: float
    memory_peak: int


@dataclass(frozen=True, slots=True)
class ShutdownAsked:
    now: float


@dataclass(frozen=True, slots=True)
class SandboxLost:
    now: float
    reason: str
    out_of_memory: bool = False


Event = (
    Began
    | InvokeArrived
    | NextCalled
    | ResponseBegan
    | ResponseEnded
    | ResponseBroke
    | InitErrorPosted
    | RuntimeNotStarted
    | RuntimeExited
    | TimerFired
    | Settled
    | Cleared
    | ShutdownAsked
    | SandboxLost
)


# Effects


@dataclass(frozen=True, slots=True)
class StartRuntime:
    generation: int


@dataclass(frozen=True, slots=True)
class Deliver:
    """Answer the pending (or coming) `next`. `deadline` on the same clock as `now`."""

    invocation: Invocation
    deadline: float


@dataclass(frozen=True, slots=True)
class Respond:
    """The client's answer is known."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Complete:
    """The invocation is over and logged."""

    report: Report


@dataclass(frozen=True, slots=True)
class Write:
    """Log a platform record."""

    record: Record


@dataclass(frozen=True, slots=True)
class Arm:
    """Fire `timer` at `at`, instead of any armed before."""

    timer: Timer
    at: float
    generation: int


class Do(Enum):
    """Effects without a parameter."""

    DISARM = "disarm"
    SETTLE = "settle"
    CLEAR = "clear"
    FREEZE = "freeze"
    THAW = "thaw"
    IDLE = "idle"
    """The environment can take an invocation."""
    ENDED = "ended"
    """The environment is over; the sandbox can go."""


Effect = StartRuntime | Deliver | Respond | Complete | Write | Arm | Do
Effects = list[Effect]
