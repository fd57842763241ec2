"""What is the same in every sandbox, whatever starts it: the agent's command and surroundings, and Lambda's limits."""

from runtime.spawners.base import SandboxSpec

AGENT_MEMORY_MB = 16
"""Added to a function's memory for the agent: 10 MB resident and the kernel's own bookkeeping for a sandbox."""
MAX_PROCESSES = 1024
MAX_FILES = 4096
"""Open at a time, in each process, as far as a sandbox goes: it may be there before it is known whose it will be. The
agent lowers it for what it starts."""
AGENT_PLACE = "/var/rapid"
"""Where sandboxes with a file system of their own have the agent."""


def agent_command(python: str, place: str = AGENT_PLACE) -> list[str]:
    """Runs the agent that lies in `place`, on an interpreter that takes nothing from its surroundings.

    `place` is looked through last: the agent's imports are the standard library's, but for one.
    """
    code = f"import sys; sys.path.append({place!r}); from rapid.agent import main; main()"
    return [python, "-I", "-S", "-B", "-c", code]


def agent_environment(spec: SandboxSpec) -> dict[str, str]:
    """What the agent reads at its start, and all that is in its environment."""
    variables = {
        "BERTH_LINK": spec.link,
        "BERTH_SANDBOX": spec.sandbox_id,
        "BERTH_TOKEN": spec.token,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    return variables if spec.foreign is None else {**variables, "BERTH_OPEN": "/tmp"}  # noqa: S108  its own


def memory_limit(memory_mb: int) -> int:
    """Bytes that a function of this size and its agent may have together."""
    return (memory_mb + AGENT_MEMORY_MB) << 20
