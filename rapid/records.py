"""Platform records of an execution environment, and their lines in the text log format. Values, pure.

A record says what happened; `rapid.platform_events` turns it into the document that the Telemetry API, the Logs API and
the JSON log format show. Durations are in seconds, times in seconds of the clock of `rapid.events`.
"""

import math
from collections.abc import Sequence

from rapid.invocation import Fault
from rapid.values import value

ON_DEMAND, PROVISIONED, SNAP_START = "on-demand", "provisioned-concurrency", "snap-start"
MANAGED = "lambda-managed-instances"
"""Initialization types."""

SUCCESS, FAILURE, ERROR, TIMEOUT = "success", "failure", "error", "timeout"
"""Statuses: `failure` when the function answered with an error, `error` for a crash or the like."""


@value(frozen=True, slots=True)
class InitStart:
    """An initialisation begins. `phase` is `init`, or `invoke` for one inside an invocation, which text leaves out."""

    runtime_version: str
    """Empty where the runtime is the function's own, in a container image: text leaves that out too."""
    runtime_version_arn: str
    initialization_type: str = ON_DEMAND
    phase: str = "init"

    def text(self) -> str:
        if self.phase != "init" or not self.runtime_version:
            return ""
        return f"INIT_START {_runtime(self.runtime_version, self.runtime_version_arn)}"


@value(frozen=True, slots=True)
class InitRuntimeDone:
    """The runtime has asked for its first event, or will never."""

    phase: str
    status: str
    error_type: str | None = None
    initialization_type: str = ON_DEMAND

    def text(self) -> str:
        return ""


@value(frozen=True, slots=True)
class InitReport:
    """An initialisation is over. Text has it where it failed, or was done ahead on request."""

    duration: float
    phase: str
    status: str
    error_type: str | None = None
    initialization_type: str = ON_DEMAND

    def text(self) -> str:
        if self.status == SUCCESS and self.initialization_type == ON_DEMAND:
            return ""
        line = f"INIT_REPORT Init Duration: {_ms(self.duration)} ms\tPhase: {self.phase}"
        return line + _status(self.status, self.error_type) + "\n"


@value(frozen=True, slots=True)
class RestoreStart:
    """An environment is restored from a snapshot."""

    runtime_version: str
    runtime_version_arn: str

    def text(self) -> str:
        return f"RESTORE_START {_runtime(self.runtime_version, self.runtime_version_arn)}"


@value(frozen=True, slots=True)
class RestoreRuntimeDone:
    """The runtime has run its hooks and asked for its first event, or will never."""

    status: str
    error_type: str | None = None

    def text(self) -> str:
        return ""


@value(frozen=True, slots=True)
class RestoreReport:
    duration: float
    status: str
    error_type: str | None = None

    def text(self) -> str:
        return (
            f"RESTORE_REPORT Restore Duration: {_ms(self.duration)} ms"
            f"{_status(self.status, self.error_type)}\n"
        )


@value(frozen=True, slots=True)
class Start:
    request_id: str
    version: str
    arn: str = ""
    """The function's ARN as invoked."""
    trace_id: str = ""
    tenant_id: str | None = None

    def text(self) -> str:
        return f"START RequestId: {self.request_id} Version: {self.version}\n"


@value(frozen=True, slots=True)
class Span:
    """A part of an invocation. `start` on the clock of events."""

    name: str
    start: float
    duration: float


@value(frozen=True, slots=True)
class RuntimeDone:
    """The runtime is back at `next`, or will never be. `produced` in bytes of the response; None without one."""

    request_id: str
    status: str
    error_type: str | None
    duration: float
    produced: int | None = None
    spans: Sequence[Span] = ()
    trace_id: str = ""

    def text(self) -> str:
        return ""


@value(frozen=True, slots=True)
class Report:
    """The end of an invocation, as its END and REPORT lines. Memory in bytes and MB."""

    request_id: str
    duration: float
    init_duration: float | None
    memory_size: int
    memory_peak: int
    status: str = SUCCESS
    error_type: str | None = None
    restore_duration: float | None = None
    spans: Sequence[Span] = ()
    trace_id: str = ""
    tenant_id: str | None = None

    @property
    def billed_ms(self) -> int:
        """Whole milliseconds, the initialisation included; at least one."""
        return _billed(self.duration + (self.init_duration or 0))

    @property
    def billed_restore_ms(self) -> int:
        """Whole milliseconds of the restoration."""
        return _billed(self.restore_duration or 0)

    @property
    def memory_used(self) -> int:
        """Peak memory in whole MB, never above the function's memory size."""
        return min(self.memory_size, math.ceil(self.memory_peak / 1024**2))

    def text(self) -> str:
        parts = [
            f"END RequestId: {self.request_id}\nREPORT RequestId: {self.request_id}",
            f"Duration: {_ms(self.duration)} ms",
            f"Billed Duration: {self.billed_ms} ms",
            f"Memory Size: {self.memory_size} MB",
            f"Max Memory Used: {self.memory_used} MB",
        ]
        if self.init_duration is not None:
            parts.append(f"Init Duration: {_ms(self.init_duration)} ms")
        if self.restore_duration is not None:
            parts.append(f"Restore Duration: {_ms(self.restore_duration)} ms")
            parts.append(f"Billed Restore Duration: {self.billed_restore_ms} ms")
        status = "" if self.status == FAILURE else _status(self.status, self.error_type)
        return "\t".join(parts) + (status or "\t") + "\n"


@value(frozen=True, slots=True)
class ExtensionStatus:
    """What has become of an extension when an initialisation is over, well or not."""

    name: str
    state: str
    events: tuple[str, ...]
    error_type: str | None = None

    def text(self) -> str:
        line = f"EXTENSION\tName: {self.name}\tState: {self.state}\tEvents: [{','.join(self.events)}]"
        return line + (f"\tError Type: {self.error_type}\n" if self.error_type else "\n")


@value(frozen=True, slots=True)
class Subscribed:
    """An extension has subscribed to the Telemetry API or (`is_logs`) to the Logs API."""

    name: str
    types: tuple[str, ...]
    is_logs: bool = False

    def text(self) -> str:
        types = ", ".join(each.capitalize() for each in self.types)
        word = "LOGS" if self.is_logs else "TELEMETRY"
        return f"{word}\tName: {self.name}\tState: Subscribed\tTypes: [{types}]\n"


@value(frozen=True, slots=True)
class LogsDropped:
    """A subscriber was too slow. Its own matter: the log does not have it."""

    dropped_bytes: int
    dropped_records: int
    reason: str

    def text(self) -> str:
        return ""


Record = (
    InitStart
    | InitRuntimeDone
    | InitReport
    | RestoreStart
    | RestoreRuntimeDone
    | RestoreReport
    | Start
    | RuntimeDone
    | Report
    | ExtensionStatus
    | Subscribed
    | LogsDropped
)


def ending(fault: Fault | None) -> tuple[str, str | None]:
    """Status and error type, as records have them, of what met this fault or none."""
    if fault is None:
        return SUCCESS, None
    return fault.status, fault.shown_type or fault.error_type


def _runtime(version: str, arn: str) -> str:
    return f"Runtime Version: {version}\tRuntime Version ARN: {arn}\n"


def _status(status: str, error_type: str | None) -> str:
    """The end of a line about something that did not succeed; a timeout has no type."""
    if status == SUCCESS:
        return ""
    return f"\tStatus: {status}" + (f"\tError Type: {error_type}" if status == ERROR else "")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f}"


def _billed(seconds: float) -> int:
    return max(1, math.ceil(round(seconds * 1000, 3)))
