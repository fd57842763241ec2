"""How many standby sandboxes of which kind to hold, and which to give up. Pure.

A standby is a sandbox that was started before any function needs it. Its **kind** is what must be equal for it to
serve: the runtime, since everything else of a sandbox can still be decided when it is claimed.

Each kind has a **demand**: how many launches there were at about the same time, those of a moment ago counting half;
the most of it is remembered, and fades within minutes. As many standbys as that are worth holding, and one of every kind
that functions exist for, as far as there is memory. Where there is not, they go to whom they serve best: the first
standby of a kind is worth its whole demand, the second half of it, and so on. What is held already is worth twice as much
as what would have to be started, so that nothing is started and given up in turns.

Starting costs processor time, so one is started at a time, and the caller says when it may be. A kind whose standbys
fail has to wait, longer with every failure. Every method returns what is to be done, in order.
"""

import math
from collections.abc import Collection, Hashable
from dataclasses import dataclass, field

MOMENT = 1.0
"""Seconds after which a launch counts half as much: about as long as it takes to have another standby."""
HALF_LIFE = 60.0
"""Seconds after which half as much of a demand is remembered."""
RETRY_FIRST, RETRY_LAST = 1.0, 60.0
"""Seconds until a kind whose standby failed is tried again; doubled by each failure."""
FADED = 0.1
"""A demand that is worth no memory of it."""
PROVEN = 60.0
"""Seconds of life after which a standby's death says nothing about the next one."""

Kind = Hashable


@dataclass(frozen=True, slots=True)
class Start:
    """Start a standby; tell `ready` or `lost`."""

    standby: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class End:
    """Give up a standby, which may still be starting. It counts no more."""

    standby: int


Action = Start | End
Actions = list[Action]


@dataclass(slots=True)
class _Demand:
    """All that is remembered of one kind."""

    burst: float = 0.0
    #: Launches of this moment,
    most: float = 0.0
    #: and the most of that, as far as it is remembered;
    at: float = 0.0
    #: at this time.
    held: dict[int, None] = field(default_factory=dict)
    #: Its standbys, oldest first.
    pause: float = 0.0
    #: After its last failure; 0 when all is well.
    until: float = 0.0
    #: No start before.

    def remembered(self, now: float) -> float:
        return self.most * math.exp2((self.at - now) / HALF_LIFE)

    def add(self, now: float) -> None:
        """One more launch."""
        self.burst = self.burst * math.exp2((self.at - now) / MOMENT) + 1
        self.most = max(self.remembered(now), self.burst)
        self.at = now


@dataclass(slots=True)
class _Standby:
    kind: Kind
    since: float
    ready: bool = False


class Stock:
    """All standbys of one control plane. `cost_mb`: memory that each counts for."""

    def __init__(self, cost_mb: int) -> None:
        self._cost = cost_mb
        self._kinds: dict[Kind, _Demand] = {}
        self._needed: frozenset[Kind] = frozenset()
        self._standbys: dict[int, _Standby] = {}
        self._starting: int | None = None
        self._last = 0

    def __repr__(self) -> str:
        return f"<Stock [{len(self._standbys)} standbys of {len(self._kinds)} kinds]>"

    @property
    def memory_mb(self) -> int:
        """What all of them count for."""
        return len(self._standbys) * self._cost

    # What happens

    def need(self, kinds: Collection[Kind]) -> None:
        """Functions exist for these kinds and for no others."""
        self._needed = frozenset(kinds)

    def claim(self, kind: Kind, now: float, *, unfinished: bool = True) -> int | None:
        """A launch wants a sandbox of this kind. One that is ready; else one that is starting, if wanted; else none."""
        demand = self._demand(kind)
        demand.add(now)
        found = next((each for each in demand.held if self._standbys[each].ready), None)
        if found is None and unfinished:
            found = next(iter(demand.held), None)
        if found is not None:
            if self._standbys[found].ready:
                demand.pause = demand.until = 0.0
            self._forget(found)
        return found

    def ready(self, standby: int, now: float) -> None:
        """It can be claimed at once. One that was claimed or given up meanwhile is none of ours any more."""
        self._started(standby)
        if (entry := self._standbys.get(standby)) is not None:
            entry.ready, entry.since = True, now

    def lost(self, standby: int, now: float) -> None:
        """It could not be started, or it died. Also told of those that were claimed while they started."""
        self._started(standby)
        entry = self._standbys.get(standby)
        if entry is None:
            return
        demand = self._kinds[entry.kind]
        proven = entry.ready and now - entry.since >= PROVEN
        demand.pause = RETRY_FIRST if proven or not demand.pause else min(2 * demand.pause, RETRY_LAST)
        demand.until = now + demand.pause
        self._forget(standby)

    def forgive(self, kind: Kind) -> None:
        """Whatever it failed for has changed."""
        if demand := self._kinds.get(kind):
            demand.pause = demand.until = 0.0

    # Decisions

    def plan(self, now: float, room_mb: int, *, may_start: bool) -> Actions:
        """Give up what is too much in `room_mb`, and start one that is missing."""
        self._tidy(now)
        wanted = self._wanted(now, max(0, room_mb) // self._cost)
        actions: Actions = []
        for kind, demand in self._kinds.items():
            surplus = list(demand.held)[wanted.get(kind, 0) :]  # those that have proved themselves least
            actions += [self._end(standby) for standby in surplus]
        if may_start and self._starting is None:
            missing = (kind for kind, count in wanted.items() if len(self._demand(kind).held) < count)
            actions += [self._start(kind, now) for kind in list(missing)[:1]]
        return actions

    def next_look(self, now: float) -> float:
        """When a plan may be another although nothing has happened: a pause is over, or demand has faded."""
        pauses = [
            each.until for kind, each in self._kinds.items() if kind in self._needed and each.until > now
        ]
        return min([now + HALF_LIFE / 8, *pauses])

    def _wanted(self, now: float, most: int) -> dict[Kind, int]:
        """How many of each kind, the most useful kinds first. A kind in its pause gets no more than it has."""
        worth: list[tuple[float, int, bool, Kind]] = []
        for kind in sorted(self._needed, key=repr):
            demand = self._demand(kind)
            weight, held = demand.remembered(now), len(demand.held)
            start, keep = max(1, round(weight)), max(1, round(2 * weight))
            for number in range(1, min(most, max(start, min(held, keep))) + 1):
                has = number <= held
                if has or demand.until <= now:
                    worth.append((weight / number * (2 if has else 1), -number, has, kind))
        worth.sort(key=lambda each: each[:3], reverse=True)
        wanted: dict[Kind, int] = {}
        for *_, kind in worth[:most]:
            wanted[kind] = wanted.get(kind, 0) + 1
        return wanted

    # Bookkeeping

    def _demand(self, kind: Kind) -> _Demand:
        return self._kinds.setdefault(kind, _Demand())

    def _start(self, kind: Kind, now: float) -> Start:
        self._last = self._starting = standby = self._last + 1
        self._standbys[standby] = _Standby(kind, now)
        self._demand(kind).held[standby] = None
        return Start(standby, kind)

    def _end(self, standby: int) -> End:
        self._forget(standby)
        return End(standby)

    def _forget(self, standby: int) -> None:
        entry = self._standbys.pop(standby)
        del self._kinds[entry.kind].held[standby]

    def _started(self, standby: int) -> None:
        if self._starting == standby:
            self._starting = None

    def _tidy(self, now: float) -> None:
        """Forget kinds that no function needs, once their demand has faded."""
        for kind, demand in list(self._kinds.items()):
            if kind not in self._needed and not demand.held and demand.remembered(now) < FADED:
                del self._kinds[kind]

    def check(self) -> None:
        """Recount everything; AssertionError where something does not add up (tests keep this on)."""
        held = {each: kind for kind, demand in self._kinds.items() for each in demand.held}
        assert held == {number: entry.kind for number, entry in self._standbys.items()}
        starting = [number for number, entry in self._standbys.items() if not entry.ready]
        assert all(number == self._starting for number in starting), "several start at a time"
