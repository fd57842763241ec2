"""Which environment serves which invocation, and when environments come and go. Pure.

Environments are grouped by key (all that must be equal for one to serve: function version, exact code and
configuration). A request asks for an environment of its key and holds a ticket until it gets one:

* an idle one, the most recently used first, so that the others age and expire;
* else one that becomes idle: a launch is begun for every ticket, unless an environment of the key is about to finish
  (its client has the answer already); then the ticket waits `GRACE` first, so that a client in a tight loop does not
  open a second environment;
* at capacity, idle environments of other keys make room, least recently used first; when none is idle, tickets wait
  for room in the order of their arrival. An environment that becomes free serves its own key first, because a launch
  costs more than the wait of one invocation; but a key with steady work does not keep others out for longer than
  `PATIENCE`. What was launched serves at least once.

A key may also be **kept**: so many environments of it are launched ahead, replaced when they end, and neither expire nor
make room for others. One whose launch fails, or that ends soon after it, is launched again after a while that doubles
from failure to failure.

Every method returns what is to be done, in order. Running counts only; `check` recounts for tests.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import Enum

GRACE = 0.02
"""Seconds that a ticket waits for an environment that is about to finish, before another one is launched for it."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds before what is kept is launched again after a failure; doubled from one failure to the next."""
STEADY = 60.0
"""Seconds after which the end of a kept environment is no sign of something wrong with it."""
PATIENCE = 5.0
"""Seconds after which a ticket that waits for room gets that of a key whose environments never become idle."""

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
class _Group:
    """All that there is of one key; gone with its last environment and its last ticket."""

    key: Key
    members: set[int] = field(default_factory=set)
    idle: OrderedDict[int, None] = field(default_factory=OrderedDict)
    #: Most recently used last.
    waiting: OrderedDict[int, None] = field(default_factory=OrderedDict)
    #: Tickets in order of arrival.
    held: set[int] = field(default_factory=set)
    #: Those of them that are in their grace.
    launching: int = 0
    finishing: int = 0
    retired: bool = False
    kept: int = 0
    #: How many environments are to be had at any time,
    pinned: int = 0
    #: how many members count towards that,
    ready: int = 0
    #: and how many of those have been launched.
    failures: int = 0
    #: Of kept ones, in a row.
    not_before: float = 0.0
    #: When a kept one may be launched again.

    def count(self, place: Place, change: int) -> None:
        if place is Place.LAUNCHING:
            self.launching += change
        elif place is Place.FINISHING:
            self.finishing += change

    @property
    def wanted(self) -> int:
        """How many launches its tickets need."""
        return len(self.waiting) - len(self.held)


@dataclass(slots=True)
class _Member:
    group: _Group
    place: Place
    since: float
    pinned: bool = False
    #: One of those that are kept.
    ready: float | None = None
    #: When it was first idle.
    surplus: bool = False
    #: Kept no more: it ends when nobody needs it.


@dataclass(frozen=True, slots=True)
class _Ticket:
    group: _Group
    since: float


class Pool:
    """All environments and all tickets of one fleet. `capacity` counts environments that are not ending."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._groups: dict[Key, _Group] = {}
        self._members: dict[int, _Member] = {}
        self._idle_by_age: OrderedDict[int, None] = OrderedDict()
        #: All idle environments, least recently used first.
        self._tickets: OrderedDict[int, _Ticket] = OrderedDict()
        #: All waiting tickets in order of arrival.
        self._live = 0
        #: Environments that are not ending.
        self._last_environment = 0
        self._short: OrderedDict[Key, _Group] = OrderedDict()
        #: Groups with fewer environments than are to be kept.

    def __repr__(self) -> str:
        return f"<Pool {self._live}/{self._capacity} environments, {len(self._tickets)} waiting>"

    def place(self, environment: int) -> Place | None:
        """Where the environment is; None when it is gone."""
        member = self._members.get(environment)
        return member.place if member else None

    def key(self, environment: int) -> Key:
        """What all invocations have in common that the environment serves."""
        return self._members[environment].group.key

    def since(self, environment: int) -> float:
        """When the environment got to its place."""
        return self._members[environment].since

    def keys(self) -> list[Key]:
        """The keys of all environments and tickets."""
        return list(self._groups)

    def has_free(self, key: Key) -> bool:
        """Whether a ticket would get an environment that is there: an idle one, or one about to be that nobody awaits."""
        group = self._groups.get(key)
        return group is not None and (bool(group.idle) or group.finishing > len(group.held))

    def census(self) -> Mapping[tuple[Key, Place], int]:
        """How many environments of each key are where."""
        return Counter((member.group.key, member.place) for member in self._members.values())

    # Tickets

    def ask(self, ticket: int, key: Key, now: float) -> Actions:
        """An invocation needs an environment."""
        group = self._group(key)
        if group.idle:
            environment = next(reversed(group.idle))
            self._move(environment, Place.BUSY, now)
            return [Assign(ticket, environment)]
        group.waiting[ticket] = None
        self._tickets[ticket] = _Ticket(group, now)
        if group.finishing > len(group.held):
            group.held.add(ticket)
            return [Hold(ticket, now + GRACE)]
        return self._cover(group, now)

    def grace_over(self, ticket: int, now: float) -> Actions:
        """The ticket has waited long enough for an environment that was about to finish."""
        entry = self._tickets.get(ticket)
        if entry is None or ticket not in entry.group.held:
            return []
        entry.group.held.discard(ticket)
        return self._cover(entry.group, now)

    def withdraw(self, ticket: int) -> None:
        """The ticket is not wanted any more; what was launched for it will be idle."""
        entry = self._tickets.pop(ticket, None)
        if entry is not None:
            del entry.group.waiting[ticket]
            entry.group.held.discard(ticket)
            self._forget(entry.group)

    # What is kept

    def keep(self, key: Key, count: int, now: float) -> Actions:
        """Have that many environments of the key from now on; 0 lets them go. A key out of date keeps none.

        Whoever asks again after failures has them forgotten.
        """
        group = self._group(key)
        group.failures, group.not_before = 0, 0.0
        group.kept = 0 if group.retired else count
        actions: Actions = []
        for environment in self._by_use(group):
            member = self._members[environment]
            if group.pinned < group.kept and not member.pinned:
                self._pin(environment, member)
            elif group.pinned > group.kept and member.pinned:
                self._unpin(member)
                member.surplus = True
                if member.place is Place.IDLE:
                    actions += self._destroy(environment, now)
        self._note(group)
        self._forget(group)
        return actions + self._cover_starved(now)

    def kept(self, key: Key) -> tuple[int, int]:
        """How many environments of the key are to be kept, and how many of those have been launched."""
        group = self._groups.get(key)
        return (group.kept, group.ready) if group else (0, 0)

    def is_kept(self, environment: int) -> bool:
        """Whether it is one of those that are kept."""
        member = self._members.get(environment)
        return member is not None and member.pinned

    def relaunch(self, now: float) -> Actions:
        """Launch what is kept and whose pause after a failure is over."""
        return self._cover_starved(now)

    def _by_use(self, group: _Group) -> list[int]:
        """Members that are not ending: to be pinned, idle ones first; to be let go, idle ones first as well."""
        live = [number for number in group.members if self._members[number].place is not Place.ENDING]
        return [*group.idle, *(number for number in live if number not in group.idle)]

    def _pin(self, environment: int, member: _Member) -> None:
        member.pinned, member.surplus, group = True, False, member.group
        group.pinned += 1
        if member.place is not Place.LAUNCHING:
            group.ready += 1
        self._idle_by_age.pop(environment, None)

    def _unpin(self, member: _Member) -> None:
        """An idle one ends with it."""
        member.pinned = False
        member.group.pinned -= 1
        if member.place is not Place.LAUNCHING:
            member.group.ready -= 1
        self._note(member.group)

    def _note(self, group: _Group) -> None:
        if group.pinned < group.kept:
            self._short[group.key] = group
        else:
            self._short.pop(group.key, None)

    def _pause(self, group: _Group, now: float) -> None:
        """Something is wrong with what is kept: what fails together counts once, what comes long after anew."""
        if now < group.not_before:
            return
        if now - group.not_before > STEADY:
            group.failures = 0
        group.not_before = now + min(LONGEST_PAUSE, FIRST_PAUSE * 2**group.failures)
        group.failures += 1

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
        group = member.group
        if group.waiting:
            if member.place is not Place.LAUNCHING and (neglected := self._neglected(group, now)):
                return [*self._destroy(environment, now), self._launch(neglected, now)]
            self._move(environment, Place.BUSY, now)
            return [Assign(self._pop_ticket(group), environment)]
        if group.retired or member.surplus:
            return self._destroy(environment, now) + self._cover_starved(now)
        self._move(environment, Place.IDLE, now)
        return self._cover_starved(now)

    def spoiled(self, environment: int, now: float) -> Actions:
        """It is launched, but its initialisation failed: good only for who waits and will be told why."""
        member = self._members.get(environment)
        if member is not None and member.pinned and member.place is Place.LAUNCHING:
            self._pause(member.group, now)
            self._unpin(member)
            member.surplus = True
        return self.idle(environment, now)

    def failed(self, environment: int, now: float) -> Actions:
        """Its launch failed, so one ticket that waits for a launch fails with it."""
        member = self._members.get(environment)
        if member is None:
            return []
        fails: Actions = []
        if member.place is Place.LAUNCHING and member.group.waiting:
            fails.append(Fail(self._pop_ticket(member.group)))
        if member.pinned:
            self._pause(member.group, now)
        return fails + self.gone(environment, now)

    def gone(self, environment: int, now: float) -> Actions:
        """It exists no more."""
        member = self._members.get(environment)
        if member is None:
            return []
        if member.place is not Place.ENDING:
            if member.pinned and (member.ready is None or now - member.ready < STEADY):
                self._pause(member.group, now)
            self._move(environment, Place.ENDING, now)
        del self._members[environment]
        member.group.members.discard(environment)
        self._forget(member.group)
        return self._cover_starved(now)

    def retire(self, key: Key, now: float) -> Actions:
        """The key is out of date: idle environments end now, others when they have served whom they are for."""
        group = self._groups.get(key)
        if group is None:
            return []
        group.retired = True
        actions = self.keep(key, 0, now)
        for environment in list(group.idle):
            actions += self._destroy(environment, now)
        return actions

    def restore(self, key: Key) -> None:
        """The key is up to date (again)."""
        if group := self._groups.get(key):
            group.retired = False

    def expire(self, before: float, now: float) -> Actions:
        """End environments that have been idle since `before` or longer."""
        actions: Actions = []
        for environment in list(self._idle_by_age):
            if self._members[environment].since > before:
                break
            actions += self._destroy(environment, now)
        return actions

    def end_all(self, now: float) -> Actions:
        """End every environment, whatever it does, and launch no more."""
        self._capacity = 0
        actions: Actions = []
        for environment, member in self._members.items():
            if member.place is not Place.ENDING:
                actions += self._destroy(environment, now)
        return actions

    # Decisions

    def _cover(self, group: _Group, now: float) -> Actions:
        """Launch until every ticket of the group that is not in its grace has a launch under way."""
        actions: Actions = []
        while group.launching < group.wanted and self._has_room():
            actions += [*self._make_room(now), self._launch(group, now)]
        return actions

    def _cover_starved(self, now: float) -> Actions:
        """Use room, or an idle environment that could make some, for the oldest tickets that wait for it."""
        actions: Actions = []
        while self._tickets and self._has_room() and (ticket := self._starved()):
            actions += [*self._make_room(now), self._launch(ticket.group, now)]
        for group in list(self._short.values()):
            while group.pinned < group.kept and now >= group.not_before and self._has_room():
                actions += [*self._make_room(now), self._launch(group, now)]
        return actions

    def _starved(self) -> _Ticket | None:
        """The oldest ticket that waits for room: not in its grace, no launch under way for it."""
        covered: dict[int, int] = {}
        for number, ticket in self._tickets.items():
            group = ticket.group
            if number in group.held:
                continue
            before = covered.get(id(group), 0)
            if before >= group.launching:
                return ticket
            covered[id(group)] = before + 1
        return None

    def _neglected(self, group: _Group, now: float) -> _Group | None:
        """Another group whose oldest ticket has waited for room too long already."""
        if len(self._tickets) == len(group.waiting) or self._has_room():
            return None
        ticket = self._starved()
        if ticket is None or ticket.group is group or now - ticket.since < PATIENCE:
            return None
        return ticket.group

    def _has_room(self) -> bool:
        return self._live < self._capacity or bool(self._idle_by_age)

    def _make_room(self, now: float) -> Actions:
        if self._live < self._capacity:
            return []
        return self._destroy(next(iter(self._idle_by_age)), now)

    def _launch(self, group: _Group, now: float) -> Launch:
        self._last_environment = environment = self._last_environment + 1
        self._members[environment] = member = _Member(group, Place.LAUNCHING, now)
        group.members.add(environment)
        group.launching += 1
        if group.pinned < group.kept:
            self._pin(environment, member)
            self._note(group)
        self._live += 1
        return Launch(environment, group.key)

    def _destroy(self, environment: int, now: float) -> Actions:
        self._move(environment, Place.ENDING, now)
        return [Destroy(environment)]

    def _pop_ticket(self, group: _Group) -> int:
        ticket = next(iter(group.waiting))
        self.withdraw(ticket)
        return ticket

    # Bookkeeping

    def _move(self, environment: int, place: Place, now: float) -> None:
        member = self._members[environment]
        group = member.group
        if member.place is Place.IDLE:
            self._idle_by_age.pop(environment, None)
            del group.idle[environment]
        if place is Place.IDLE:
            group.idle[environment] = None
            if not member.pinned:
                self._idle_by_age[environment] = None
        if place is Place.ENDING:
            self._live -= 1
            if member.pinned:
                self._unpin(member)
        elif member.place is Place.LAUNCHING:
            member.ready = now
            if member.pinned:
                group.ready += 1
        group.count(member.place, -1)
        group.count(place, 1)
        member.place = place
        member.since = now

    def _group(self, key: Key) -> _Group:
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(key)
        return group

    def _forget(self, group: _Group) -> None:
        if not group.members and not group.waiting and not group.kept:
            self._groups.pop(group.key, None)

    def check(self) -> None:
        """Recount everything; AssertionError where a running count is wrong (tests keep this on)."""
        places = [member.place for member in self._members.values()]
        assert sum(1 for place in places if place is not Place.ENDING) == self._live <= self._capacity
        idle = self._in(Place.IDLE, self._members)
        assert sorted(self._idle_by_age) == sorted(each for each in idle if not self._members[each].pinned)
        short = [group.key for group in self._groups.values() if group.pinned < group.kept]
        assert set(self._short) == set(short)
        assert set(self._tickets) == {ticket for group in self._groups.values() for ticket in group.waiting}
        assert sum(len(group.members) for group in self._groups.values()) == len(self._members)
        for group in self._groups.values():
            self._check_group(group)

    def _check_group(self, group: _Group) -> None:
        assert group.members or group.waiting or group.kept, "a group of nothing"
        pinned = [self._members[each] for each in group.members if self._members[each].pinned]
        assert group.pinned == len(pinned) <= max(group.kept, 0)
        assert group.ready == sum(1 for each in pinned if each.place is not Place.LAUNCHING)
        assert all(each.place is not Place.ENDING for each in pinned)
        assert all(self._members[environment].group is group for environment in group.members)
        assert sorted(group.idle) == sorted(self._in(Place.IDLE, group.members))
        assert group.launching == len(self._in(Place.LAUNCHING, group.members))
        assert group.finishing == len(self._in(Place.FINISHING, group.members))
        assert group.held <= set(group.waiting)
        assert not (group.waiting and group.idle), "a ticket waits beside an idle environment"
        assert not (group.retired and group.idle), "an idle environment is out of date"
        assert group.launching >= group.wanted or not self._has_room(), "a ticket waits beside room"

    def _in(self, place: Place, environments: "dict[int, _Member] | set[int]") -> list[int]:
        return [number for number in environments if self._members[number].place is place]
