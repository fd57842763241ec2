"""Which environment serves which invocation, and when environments come and go. Pure.

Environments are grouped by key (all that must be equal for one to serve: function version, exact code and
configuration). A request asks for an environment of its key and holds a ticket until it gets one:

* an idle one, the most recently used first, so that the others age and expire;
* else one that becomes idle: a launch is begun for every ticket, unless an environment of the key is about to finish
  (its client has the answer already); then the ticket waits `GRACE` first, so that a client in a tight loop does not
  open a second environment;
* at capacity, idle environments of other keys make room, least recently used first; when none is idle, tickets wait
  in the order of their arrival.

Every method returns what is to be done, in order. Running counts only; `check` recounts for tests.
"""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum

GRACE = 0.02
"""Seconds that a ticket waits for an environment that is about to finish, before another one is launched for it."""

Key = Hashable


class Place(Enum):
    """Where an environment is in its use."""

    LAUNCHING = "launching"
    IDLE = "idle"
    BUSY = "busy"
    FINISHING = "finishing"
    """Its client has the answer; it is about to be idle."""
    ENDING = "ending"


@dataclass(frozen=True, slots=True)
class Assign:
    """The ticket gets the environment."""

    ticket: int
    environment: int


@dataclass(frozen=True, slots=True)
class Launch:
    """Start an environment for the key."""

    environment: int
    key: Key


@dataclass(frozen=True, slots=True)
class Destroy:
    """End an environment; tell `gone` when it has."""

    environment: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Call `grace_over` with the ticket at the time `until`."""

    ticket: int
    until: float


@dataclass(frozen=True, slots=True)
class Fail:
    """The ticket gets no environment: the launch made for it failed."""

    ticket: int


Action = Assign | Launch | Destroy | Hold | Fail
Actions = list[Action]


@dataclass(slots=True)
class _Member:
    key: Key
    place: Place
    since: float
    retired: bool = False


class Pool:
    """All environments and all tickets of one fleet. `capacity` counts environments that are not ending."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._members: dict[int, _Member] = {}
        self._idle: dict[Key, OrderedDict[int, None]] = {}
        #: By key, most recently used last; no empty entries.
        self._idle_by_age: OrderedDict[int, None] = OrderedDict()
        #: All idle environments, least recently used first.
        self._waiting: dict[Key, deque[int]] = {}
        #: Tickets by key in order of arrival; no empty entries.
        self._tickets: OrderedDict[int, Key] = OrderedDict()
        #: All waiting tickets in order of arrival.
        self._held: set[int] = set()
        #: Tickets in their grace.
        self._counts: defaultdict[tuple[Key, Place], int] = defaultdict(int)
        self._live = 0
        #: Environments that are not ending.
        self._last_environment = 0

    def __repr__(self) -> str:
        return f"<Pool {self._live}/{self._capacity} environments, {len(self._tickets)} waiting>"

    def place(self, environment: int) -> Place | None:
        """Where the environment is; None when it is gone."""
        member = self._members.get(environment)
        return member.place if member else None

    def since(self, environment: int) -> float:
        """When the environment got to its place."""
        return self._members[environment].since

    # Tickets

    def ask(self, ticket: int, key: Key, now: float) -> Actions:
        """An invocation needs an environment."""
        if idle := self._idle.get(key):
            environment = next(reversed(idle))
            self._move(environment, Place.BUSY, now)
            return [Assign(ticket, environment)]
        self._waiting.setdefault(key, deque()).append(ticket)
        self._tickets[ticket] = key
        held = sum(1 for other in self._waiting[key] if other in self._held) if self._held else 0
        if self._counts[key, Place.FINISHING] > held:
            self._held.add(ticket)
            return [Hold(ticket, now + GRACE)]
        return self._cover(key, now)

    def grace_over(self, ticket: int, now: float) -> Actions:
        """The ticket has waited long enough for an environment that was about to finish."""
        if ticket not in self._held:
            return []
        self._held.discard(ticket)
        return self._cover(self._tickets[ticket], now)

    def withdraw(self, ticket: int) -> None:
        """The ticket is not wanted any more; what was launched for it will be idle."""
        if key := self._tickets.pop(ticket, None):
            self._held.discard(ticket)
            waiting = self._waiting[key]
            waiting.remove(ticket)
            if not waiting:
                del self._waiting[key]

    # Environments

    def responded(self, environment: int, now: float) -> None:
        """Its client has the answer."""
        if self.place(environment) is Place.BUSY:
            self._move(environment, Place.FINISHING, now)

    def idle(self, environment: int, now: float) -> Actions:
        """It is launched, or done with its invocation."""
        member = self._members.get(environment)
        if member is None or member.place is Place.ENDING:
            return []
        if member.key in self._waiting:
            self._move(environment, Place.BUSY, now)
            return [Assign(self._pop_ticket(member.key), environment)]
        if member.retired:
            return self._destroy(environment, now)
        self._move(environment, Place.IDLE, now)
        return self._cover_starved(now)

    def failed(self, environment: int, now: float) -> Actions:
        """Its launch failed, so one ticket that waits for a launch fails with it."""
        member = self._members.get(environment)
        if member is None:
            return []
        fails: Actions = []
        if member.place is Place.LAUNCHING and member.key in self._waiting:
            fails.append(Fail(self._pop_ticket(member.key)))
        return fails + self.gone(environment, now)

    def gone(self, environment: int, now: float) -> Actions:
        """It exists no more."""
        if environment not in self._members:
            return []
        if self._members[environment].place is not Place.ENDING:
            self._move(environment, Place.ENDING, now)
        member = self._members.pop(environment)
        self._count(member.key, Place.ENDING, -1)
        return self._cover(member.key, now) + self._cover_starved(now)

    def retire(self, key: Key, now: float) -> Actions:
        """The key is out of date: idle environments end now, others when they have served whom they are for."""
        actions: Actions = []
        for environment, member in list(self._members.items()):
            if member.key == key:
                member.retired = True
                if member.place is Place.IDLE:
                    actions += self._destroy(environment, now)
        return actions

    def expire(self, before: float, now: float) -> Actions:
        """End environments that have been idle since `before` or longer."""
        actions: Actions = []
        for environment in list(self._idle_by_age):
            if self._members[environment].since > before:
                break
            actions += self._destroy(environment, now)
        return actions

    def end_all(self, now: float) -> Actions:
        """End every environment, whatever it does."""
        actions: Actions = []
        for environment, member in list(self._members.items()):
            if member.place is not Place.ENDING:
                actions += self._destroy(environment, now)
        return actions

    # Decisions

    def _cover(self, key: Key, now: float) -> Actions:
        """Launch until every ticket of the key that is not in its grace has a launch under way."""
        actions: Actions = []
        waiting = self._waiting.get(key, ())
        wanted = len(waiting) - (sum(1 for ticket in waiting if ticket in self._held) if self._held else 0)
        while self._counts[key, Place.LAUNCHING] < wanted:
            if self._live >= self._capacity:
                room = self._make_room(now)
                if not room:
                    break
                actions += room
            actions.append(self._launch(key, now))
        return actions

    def _cover_starved(self, now: float) -> Actions:
        """Use room, or an idle environment that could make some, for the oldest tickets that wait for it."""
        actions: Actions = []
        if not self._tickets or (self._live >= self._capacity and not self._idle_by_age):
            return actions
        for key in list(dict.fromkeys(self._tickets.values())):
            actions += self._cover(key, now)
        return actions

    def _make_room(self, now: float) -> Actions:
        if not self._idle_by_age:
            return []
        return self._destroy(next(iter(self._idle_by_age)), now)

    def _launch(self, key: Key, now: float) -> Launch:
        self._last_environment += 1
        self._members[self._last_environment] = _Member(key, Place.LAUNCHING, now)
        self._count(key, Place.LAUNCHING, 1)
        self._live += 1
        return Launch(self._last_environment, key)

    def _destroy(self, environment: int, now: float) -> Actions:
        self._move(environment, Place.ENDING, now)
        return [Destroy(environment)]

    def _pop_ticket(self, key: Key) -> int:
        ticket = self._waiting[key][0]
        self.withdraw(ticket)
        return ticket

    # Bookkeeping

    def _move(self, environment: int, place: Place, now: float) -> None:
        member = self._members[environment]
        if member.place is Place.IDLE:
            del self._idle_by_age[environment]
            del self._idle[member.key][environment]
            if not self._idle[member.key]:
                del self._idle[member.key]
        if place is Place.IDLE:
            self._idle.setdefault(member.key, OrderedDict())[environment] = None
            self._idle_by_age[environment] = None
        if place is Place.ENDING:
            self._live -= 1
        self._count(member.key, member.place, -1)
        self._count(member.key, place, 1)
        member.place = place
        member.since = now

    def _count(self, key: Key, place: Place, change: int) -> None:
        self._counts[key, place] += change
        if not self._counts[key, place]:
            del self._counts[key, place]

    def check(self) -> None:
        """Recount everything; AssertionError where a running count is wrong (tests keep this on)."""
        counts: defaultdict[tuple[Key, Place], int] = defaultdict(int)
        for member in self._members.values():
            counts[member.key, member.place] += 1
        assert counts == {pair: count for pair, count in self._counts.items() if count}
        idle = [number for number, member in self._members.items() if member.place is Place.IDLE]
        assert sorted(idle) == sorted(self._idle_by_age)
        assert sorted(idle) == sorted(number for stack in self._idle.values() for number in stack)
        assert sum(1 for member in self._members.values() if member.place is not Place.ENDING) == self._live
        assert self._live <= self._capacity
        assert set(self._tickets) == {ticket for queue in self._waiting.values() for ticket in queue}
        assert self._held <= set(self._tickets)
        for key in self._waiting:
            assert key not in self._idle, "a ticket waits beside an idle environment"
