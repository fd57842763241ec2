"""How much there may be at a time, and how much of it is taken. Pure.

Memory is counted by what functions are allowed, not by what they use: a limit is a promise, and only promises can be
added up beforehand. Environments that are ending hold what they have until they have ended, which takes seconds where
extensions say goodbye. Others are given their room at once, so that no more ends than must, and are **postponed** until
it is there. Standby sandboxes are others' to count.
"""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Most that there may be at a time."""

    memory: int
    """MB, of all environments together."""
    environments: int
    launches: int
    """Sandboxes that start."""


def share(memory: int) -> int:
    """The budget on a machine with so much memory, where nobody set one: four fifths of it."""
    return memory * 4 // 5


class Bound(Enum):
    """What there is no room for, by the name of its setting."""

    MEMORY = "memory_budget"
    ENVIRONMENTS = "max_environments"


class Room:
    """Running counts beside their bounds."""

    __slots__ = (
        "bounds",
        "ending",
        "ending_memory",
        "environments",
        "kept",
        "kept_memory",
        "launches",
        "memory",
        "postponed",
        "postponed_memory",
        "spare",
        "spare_memory",
    )

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.environments = self.memory = 0
        #: All that are not ending.
        self.ending = self.ending_memory = 0
        self.postponed = self.postponed_memory = 0
        #: Those of the first that take nothing yet, because others are ending.
        self.spare = self.spare_memory = 0
        #: Those of them that can be ended at once for others: idle and not kept.
        self.kept = self.kept_memory = 0
        #: Those of them that stay whatever others need.
        self.launches = 0

    def count(self, memory: int, sign: int) -> None:
        """One more environment, or one less."""
        self.environments += sign
        self.memory += sign * memory

    def count_ending(self, memory: int, sign: int) -> None:
        """One more that is ending, or one less."""
        self.ending += sign
        self.ending_memory += sign * memory

    def count_postponed(self, memory: int, sign: int) -> None:
        """One more that is counted and has not begun, or one less."""
        self.postponed += sign
        self.postponed_memory += sign * memory

    def count_spare(self, memory: int, sign: int) -> None:
        """One more that can be ended for others, or one less."""
        self.spare += sign
        self.spare_memory += sign * memory

    def count_kept(self, memory: int, sign: int) -> None:
        """One more that stays, or one less."""
        self.kept += sign
        self.kept_memory += sign * memory

    @property
    def free(self) -> int:
        """MB that nothing has taken."""
        return max(0, self.bounds.memory - self.memory - self.ending_memory)

    @property
    def reach(self) -> int:
        """MB of the largest environment that there could be room for, whatever ends for it; -1: not even of 0 MB."""
        if self.environments >= self.bounds.environments and not self.spare:
            return -1
        return self.bounds.memory - self.memory + self.spare_memory

    def fits(self, memory: int) -> bool:
        """Whether there is room for one more as it is."""
        return self.environments < self.bounds.environments and self.memory + memory <= self.bounds.memory

    def is_there(self, memory: int) -> bool:
        """Whether one that is postponed can begin, because enough has ended."""
        if not self.ending:
            return True
        bounds = self.bounds
        few = self.environments - self.postponed + self.ending < bounds.environments
        return few and self.memory - self.postponed_memory + self.ending_memory + memory <= bounds.memory

    def is_ample(self, memory: int) -> bool:
        """Whether, after one more, a quarter of everything is still free."""
        bounds = self.bounds
        few = 4 * (self.environments + self.ending + 1) <= 3 * bounds.environments
        return few and 4 * (self.memory + self.ending_memory + memory) <= 3 * bounds.memory

    def lacking(self, memory: int) -> Bound | None:
        """What keeps one more from fitting even if everything ended that is not kept."""
        if self.kept_memory + memory > self.bounds.memory:
            return Bound.MEMORY
        return Bound.ENVIRONMENTS if self.kept >= self.bounds.environments else None

    def short_of(self) -> Bound:
        """What keeps one more from fitting that does not fit."""
        is_full = self.environments >= self.bounds.environments and not self.spare
        return Bound.ENVIRONMENTS if is_full else Bound.MEMORY
