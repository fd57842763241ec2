"""How much memory is free where this process runs: in its control group, and on the machine."""

from collections.abc import Iterator
from pathlib import Path

_GROUPS = (
    # Limit, what is taken, and what of it is files that would be let go of, in version 2 and 1.
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)


def free_memory(groups: Path = Path("/sys/fs/cgroup"), machine: Path = Path("/proc/meminfo")) -> int:
    """Bytes; where nobody tells, more than anybody has."""
    return min(*_in_groups(groups), _on_machine(machine), 1 << 60)


def _in_groups(directory: Path) -> Iterator[int]:
    yield 1 << 60
    for limit, taken, reclaimable in _GROUPS:
        try:
            most, used = ((directory / name).read_text().strip() for name in (limit, taken))
            stat = _counts((directory / limit).with_name("memory.stat"))
        except OSError:
            continue
        if most.isdigit():  # else there is none
            yield int(most) - int(used) + stat.get(reclaimable, 0)


def _on_machine(path: Path) -> int:
    try:
        return _counts(path).get("MemAvailable:", 1 << 50) << 10
    except OSError:
        return 1 << 60


def _counts(path: Path) -> dict[str, int]:
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}
