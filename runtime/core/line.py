"""Who waits for room, in whose turn. Pure.

Those who need the same memory stand in one row. The next in turn among those who need no more than there is, is the
first of one of the rows: that is found by looking at as many as there are different sizes, however many wait.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """Something that waits. `turn` is the line's to set."""

    @property
    def memory(self) -> int:
        """MB that it needs."""
        ...

    turn: int


T = TypeVar("T", bound=Waiting)


class Line(Generic[T]):
    """See the module's text. Each waits at most once."""

    __slots__ = ("_first", "_last", "_rows")

    def __init__(self) -> None:
        self._rows: dict[int, OrderedDict[int, T]] = {}
        #: By memory; in each by turn.
        self._first = self._last = 0

    def __bool__(self) -> bool:
        return bool(self._rows)

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def __iter__(self) -> Iterator[T]:
        """In no particular order."""
        for row in self._rows.values():
            yield from row.values()

    def join(self, one: T) -> None:
        """It comes last."""
        self._last += 1
        one.turn = self._last
        self._rows.setdefault(one.memory, OrderedDict())[one.turn] = one

    def rejoin(self, one: T) -> None:
        """It comes first: it has had its turn already, in vain."""
        self._first -= 1
        one.turn = self._first
        row = self._rows.setdefault(one.memory, OrderedDict())
        row[one.turn] = one
        row.move_to_end(one.turn, last=False)

    def leave(self, one: T) -> None:
        """It waits no more."""
        row = self._rows[one.memory]
        del row[one.turn]
        if not row:
            del self._rows[one.memory]

    def next(self, memory: int) -> T | None:
        """Whose turn it is among those who need no more than `memory`."""
        return self._earliest(lambda one: one.memory <= memory)

    def foremost(self, fits: Callable[[T], bool]) -> T | None:
        """Whose turn it is among the foremost of each size, as far as they fit."""
        return self._earliest(fits)

    def _earliest(self, fits: Callable[[T], bool]) -> T | None:
        found: T | None = None
        for row in self._rows.values():
            one = next(iter(row.values()))
            if (found is None or one.turn < found.turn) and fits(one):
                found = one
        return found
