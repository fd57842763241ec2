"""Provisioned concurrency: which versions get how many environments, and how far they have come. Pure.

A version or an alias has a **wish**: so many environments of one version, or of two where an alias has weights. Several
aliases may lead to one version and share its environments; they are then given theirs in the order of their names.
Environments are known by a key; who makes them reports how many of a key are ready, and what they failed of.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from runtime.model import Alias, Scope

K = TypeVar("K")
"""What environments are known by; hashable."""


def split(executions: int, alias: Alias) -> Mapping[str, int]:
    """How many environments each version of the alias gets: by weight, none left out where there is one for each."""
    if not alias.weights:
        return {alias.version: executions}
    [(second, weight)] = alias.weights.items()
    share = int(executions * weight + 0.5)
    if 0.0 < weight < 1.0 and executions > 1:
        share = min(max(share, 1), executions - 1)
    shares = {alias.version: executions - share, second: share}
    return {version: count for version, count in shares.items() if count}


@dataclass(frozen=True, slots=True)
class Place:
    """Who has provisioned concurrency: a version or an alias of a function."""

    scope: Scope
    function: str
    qualifier: str


class Status(StrEnum):
    """In AWS's words."""

    IN_PROGRESS = "IN_PROGRESS"
    READY = "READY"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a wish has come."""

    ready: int = 0
    """Environments, those in use included."""
    status: Status = Status.IN_PROGRESS
    reason: str | None = None
    """Why it failed."""


@dataclass(slots=True)
class _Wish(Generic[K]):
    revision: str
    shares: Mapping[K, int]
    is_met: bool = False
    """Every environment has been ready at one time since it was wished: what dies is replaced, and no news."""


@dataclass(slots=True)
class _Making:
    """The environments of one key."""

    wishes: dict[str, int] = field(default_factory=dict)
    """By qualifier, sorted."""
    ready: int = 0
    failure: str | None = None
    """Of the last attempt, if that failed."""

    @property
    def total(self) -> int:
        return sum(self.wishes.values())

    def ready_for(self, qualifier: str) -> int:
        """What it gets of those that are ready."""
        left = self.ready
        for each, count in self.wishes.items():
            if each == qualifier:
                return min(count, left)
            left = max(0, left - count)
        return 0

    def want(self, qualifier: str, count: int) -> None:
        others = {each: wanted for each, wanted in self.wishes.items() if each != qualifier}
        self.wishes = dict(sorted({**others, qualifier: count}.items())) if count else others


class Provisions(Generic[K]):
    """All wishes of one control plane, and what has come of them."""

    def __init__(self) -> None:
        self._functions: dict[tuple[Scope, str], dict[str, _Wish[K]]] = {}
        #: By function and qualifier. The inner dictionaries are never empty.
        self._makings: dict[K, _Making] = {}
        #: Those that somebody wants.

    def __repr__(self) -> str:
        return f"<Provisions of {len(self._functions)} functions>"

    def places(self, scope: Scope, function: str) -> Sequence[Place]:
        """Those of the function's versions and aliases that have a wish."""
        return [Place(scope, function, each) for each in self._functions.get((scope, function), ())]

    def wish(self, place: Place, revision: str, shares: Mapping[K, int]) -> Mapping[K, int]:
        """The place wants these and no others from now on; how many of each key are then to be made in all.

        A wish that differs from the one before, be it only in its revision, begins anew; the same one changes nothing.
        """
        before = self._wish(place)
        if before is not None and (before.revision, before.shares) == (revision, shares):
            return {}
        self._store(place, _Wish(revision, dict(shares)) if shares else None)
        touched = {*(before.shares if before else ()), *shares}
        totals = {key: self._want(key, place.qualifier, shares.get(key, 0)) for key in touched}
        self._look(place)
        return totals

    def withdraw(self, place: Place) -> Mapping[K, int]:
        """The place wants nothing any more."""
        return self.wish(place, "", {})

    def made(self, scope: Scope, function: str, key: K, ready: int, failure: str | None) -> int:
        """So many environments of the key are ready, and the last attempt failed or not; how many of them are wanted."""
        making = self._makings.get(key)
        if making is None:
            return 0
        making.ready, making.failure = ready, failure
        for qualifier in making.wishes:
            self._look(Place(scope, function, qualifier))
        return min(ready, making.total)

    def failure(self, key: K) -> str | None:
        """What the last attempt at an environment of the key failed of."""
        making = self._makings.get(key)
        return making.failure if making else None

    def keys(self, place: Place) -> Collection[K]:
        """Of the environments that the place wants."""
        wish = self._wish(place)
        return wish.shares.keys() if wish else ()

    def progress(self, place: Place) -> Progress:
        """How far the place's wish has come; one that is not known has not begun."""
        wish = self._wish(place)
        if wish is None:
            return Progress()
        makings = [self._makings[key] for key in wish.shares]
        ready = sum(making.ready_for(place.qualifier) for making in makings)
        if ready < sum(wish.shares.values()):
            if failure := next((making.failure for making in makings if making.failure), None):
                return Progress(ready, Status.FAILED, failure)
            if not wish.is_met:
                return Progress(ready)
        return Progress(ready, Status.READY)

    def _wish(self, place: Place) -> _Wish[K] | None:
        return self._functions.get((place.scope, place.function), {}).get(place.qualifier)

    def _store(self, place: Place, wish: _Wish[K] | None) -> None:
        name = (place.scope, place.function)
        wishes = self._functions.setdefault(name, {})
        wishes.pop(place.qualifier, None)
        if wish is not None:
            wishes[place.qualifier] = wish
        elif not wishes:
            del self._functions[name]

    def _want(self, key: K, qualifier: str, count: int) -> int:
        making = self._makings.setdefault(key, _Making())
        making.want(qualifier, count)
        making.failure = None
        if not making.wishes:
            del self._makings[key]
        return making.total

    def _look(self, place: Place) -> None:
        """Whether the wish has come true by now."""
        wish = self._wish(place)
        if wish is not None and self.progress(place).ready == sum(wish.shares.values()):
            wish.is_met = True
