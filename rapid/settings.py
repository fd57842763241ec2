"""What an execution environment is told about its function. Values, pure."""

from dataclasses import dataclass

from rapid.records import ON_DEMAND

INIT_LIMIT = 10.0
"""Seconds for an initialisation ahead of any invocation (AWS: init phase, on-demand)."""
PREPARED_INIT_LIMIT = 130.0
"""Seconds at the least for an initialisation of the other types, which nobody waits for."""
RESTORE_LIMIT = 10.0
"""Seconds for the hooks that run after a restoration, the runtime's loading included."""
LONGEST = 900.0
"""Seconds: a function's longest timeout, and the longest initialisation."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`memory_size` in MB, `init_limit` in seconds."""

    version: str
    memory_size: int
    runtime_version: str
    runtime_version_arn: str
    init_limit: float = INIT_LIMIT
    initialization_type: str = ON_DEMAND
    max_concurrency: int = 1
    """Invocations that it may serve at once."""
    timeouts: bool = True
    """Whether initialisations and invocations may time out. Off for debuggers; deadlines are told all the same."""


def init_limit(initialization_type: str, timeout: float) -> float:
    """Seconds for an initialisation ahead of the invocations of a function with this timeout."""
    if initialization_type == ON_DEMAND:
        return INIT_LIMIT
    return min(LONGEST, max(PREPARED_INIT_LIMIT, timeout))
