"""Limits for sandboxes that are local processes: control groups where they can be written, resource limits elsewhere.

A `Cell` is one sandbox's control groups. The sandbox joins it before it becomes anything else, so that nothing it
starts can be outside. Knows the two versions of the kernel's interface, and nothing of sandboxes beyond a name.
"""

import errno
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.spawners.common import MAX_FILES, MAX_PROCESSES, memory_limit

CGROUPS = Path("/sys/fs/cgroup")
LEAVING_LIMIT = 1.0
"""Seconds that the dead get to leave their groups."""
DATA_SLACK_MB = 128
"""Added to a function's memory where only the data of each single process can be limited: thread stacks count whole."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The control groups of one sandbox; none where they cannot be used."""

    groups: tuple[Path, ...] = ()
    memory: Path | None = None
    """The one that limits memory."""

    @property
    def entrances(self) -> list[str]:
        """The files that a process writes its number to."""
        return [str(group / "cgroup.procs") for group in self.groups]

    @property
    def shown_at(self) -> str | None:
        """Where the memory group has to appear inside for the agent to see kills for memory."""
        if self.memory is None:
            return None
        return str(CGROUPS / "memory" if _is_v1(self.memory) else CGROUPS)

    def members(self) -> list[int]:
        found: set[int] = set()
        for group in self.groups:
            with suppress(OSError):
                found |= {int(line) for line in (group / "cgroup.procs").read_text().split()}
        return sorted(found)

    def memory_kills(self) -> int:
        """How often the kernel has killed for this group's memory limit."""
        if self.memory is None:
            return 0
        counters = "memory.oom_control" if _is_v1(self.memory) else "memory.events"
        with suppress(OSError):
            for line in (self.memory / counters).read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        return 0

    def remove(self) -> None:
        """Possible when nobody is left in them. Blocking."""
        for group in self.groups:
            with suppress(OSError):
                _rmdir(group)


class Limits:
    """One owner's cells."""

    def __init__(self, owner: str) -> None:
        self._name = f"berth-{owner}"
        self._parents: tuple[Path, ...] = ()

    @property
    def are_strict(self) -> bool:
        """Whether memory is limited as a whole."""
        return bool(self._parents)

    def prepare(self) -> str | None:
        """Find out what can be used. The reason when control groups cannot."""
        found = []
        try:
            for place in _places():
                found.append(place / self._name)
                found[-1].mkdir(exist_ok=True)
                if not self._parents:
                    _tidy(found[-1])
            if not found:
                return "no control groups of memory and processes are mounted"
            self._parents = tuple(found)
            if not _is_v1(found[0]):
                (found[0] / "cgroup.subtree_control").write_text("+memory +pids")
            self._make("probe", 128).remove()
        except OSError as error:
            self._parents = ()
            Cell(tuple(found)).remove()
            return f"control groups cannot be written: {error}"
        return None

    def cell(self, name: str, memory_mb: int) -> Cell:
        """A new cell. Raises OSError."""
        return self._make(name, memory_mb) if self._parents else Cell()

    def existing(self, name: str) -> Cell:
        """The cell of that name as far as it exists."""
        groups = tuple(parent / name for parent in self._parents if (parent / name).is_dir())
        return Cell(groups, groups[0] if groups else None)

    def close(self) -> None:
        """Remove what all cells share, unless there are some. Blocking."""
        for parent in self._parents:
            with suppress(OSError):
                parent.rmdir()

    def shell_limits(self, memory_mb: int) -> list[str]:
        """What a shell is to do before it becomes the sandbox; each command may fail."""
        data_kb = (memory_mb + DATA_SLACK_MB) * 1024
        return [f"ulimit -n {MAX_FILES}"] + ([] if self.are_strict else [f"ulimit -d {data_kb}"])

    def _make(self, name: str, memory_mb: int) -> Cell:
        cell = Cell(tuple(parent / name for parent in self._parents), self._parents[0] / name)
        try:
            for group in cell.groups:
                group.mkdir(exist_ok=True)
                _configure(group, memory_limit(memory_mb))
        except OSError:
            cell.remove()
            raise
        return cell


def _rmdir(group: Path) -> None:
    """Recent kernels count a process as a member for a moment after its end has been told."""
    until = time.monotonic() + LEAVING_LIMIT
    while True:
        try:
            return group.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > until:
                raise
            time.sleep(0.002)


def _tidy(parent: Path) -> None:
    """Remove the cells in which nobody is: a control plane that was killed may have had no time to record its last one."""
    for group in parent.iterdir():
        if group.is_dir():
            with suppress(OSError):
                group.rmdir()


def _configure(group: Path, memory: int) -> None:
    """Write those limits that this group has; limits on swap are missing from kernels without such accounting."""
    values = {
        "memory.limit_in_bytes": memory,
        "memory.memsw.limit_in_bytes": memory,
        "memory.max": memory,
        "memory.swap.max": 0,
        "pids.max": MAX_PROCESSES,
    }
    for name, value in values.items():
        if (group / name).exists():
            (group / name).write_text(str(value))


def _places() -> list[Path]:
    """Where groups can be made, the memory controller's first."""
    controllers = CGROUPS / "cgroup.controllers"
    if controllers.exists():
        return [CGROUPS] if "memory" in controllers.read_text().split() else []
    mine = dict(_own_groups())
    found = []
    for controller in ("memory", "pids"):
        mounted = CGROUPS / controller
        own = mounted / mine.get(controller, "/").lstrip("/")
        if (
            mounted / "cgroup.procs"
        ).exists():  # below our own group, whose limits then count for sandboxes too
            found.append(own if own.is_dir() else mounted)
    return found if found and found[0].is_relative_to(CGROUPS / "memory") else []


def _own_groups() -> list[tuple[str, str]]:
    lines = Path(f"/proc/{os.getpid()}/cgroup").read_text().splitlines()
    split = [line.split(":", 2) for line in lines]
    return [(controller, path) for _, names, path in split for controller in names.split(",")]


def _is_v1(group: Path) -> bool:
    return group.is_relative_to(CGROUPS / "memory")
