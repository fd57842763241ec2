"""Platform records of an execution environment and their lines in the text log format."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InitStart:
    runtime_version: str
    runtime_version_arn: str

    def text(self) -> str:
        return (
            f"INIT_START Runtime Version: {self.runtime_version}\t"
            f"Runtime Version ARN: {self.runtime_version_arn}\n"
        )


@dataclass(frozen=True, slots=True)
class InitReport:
    """An initialisation that failed. `phase` is `init`, or `invoke` for one inside an invocation."""

    duration: float
    """Seconds."""
    phase: str
    status: str
    error_type: str | None

    def text(self) -> str:
        line = (
            f"INIT_REPORT Init Duration: {_ms(self.duration)} ms\tPhase: {self.phase}\tStatus: {self.status}"
        )
        return line + (f"\tError Type: {self.error_type}\n" if self.status == "error" else "\n")


@dataclass(frozen=True, slots=True)
class Start:
    request_id: str
    version: str
    arn: str = ""
    """The function's ARN as invoked."""

    def text(self) -> str:
        return f"START RequestId: {self.request_id} Version: {self.version}\n"


@dataclass(frozen=True, slots=True)
class Report:
    """The end of an invocation, as its END and REPORT lines. Durations in seconds, memory in bytes and MB."""

    request_id: str
    duration: float
    init_duration: float | None
    memory_size: int
    memory_peak: int
    status: str = "success"
    """`success`; `failure` when the function answered with an error; `error` and `timeout` for faults."""
    error_type: str | None = None

    @property
    def billed_ms(self) -> int:
        """Whole milliseconds, the initialisation included; at least one."""
        return max(1, math.ceil(round((self.duration + (self.init_duration or 0)) * 1000, 3)))

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
        line = "\t".join(parts) + "\t"
        if self.status not in ("success", "failure"):
            line += f"Status: {self.status}"
            line += f"\tError Type: {self.error_type}" if self.status == "error" else ""
        return line + "\n"


@dataclass(frozen=True, slots=True)
class ExtensionReady:
    """An extension has registered and takes part."""

    name: str
    events: tuple[str, ...]

    def text(self) -> str:
        return f"EXTENSION\tName: {self.name}\tState: Ready\tEvents: [{','.join(self.events)}]\n"


Record = InitStart | InitReport | Start | Report | ExtensionReady


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f}"
