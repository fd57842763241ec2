"""What environments and tickets there are, and all running counts of them: the pool's books. Pure.

Nothing is decided here. Every change costs the same however much there is; `check` recounts for tests.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable

from runtime.core.groups import COMING, Group, Key, Member, Place, Purpose, Ticket
from runtime.core.line import Line
from runtime.core.room import Bounds, Room


class Books:
    """See the module's text.

    `weigh` gives the MB of a key's environments, `family` what keys are found by, `slots` how many they have each.
    """

    def __init__(
        self,
        bounds: Bounds,
        weigh: Callable[[Key], int],
        family: Callable[[Key], Hashable],
        slots: Callable[[Key], int],
    ) -> None:
        self._weigh = weigh
        self._family = family
        self._slots = slots
        self.room = Room(bounds)
        self.groups: dict[Key, Group] = {}
        self.families: dict[Hashable, dict[Key, None]] = {}
        self.members: dict[int, Member] = {}
        self.idle_by_age: OrderedDict[int, None] = OrderedDict()
        #: Idle environments that are not kept, least recently used first.
        self.postponed: dict[int, None] = {}
        #: Those whose launch has not begun, because others are ending.
        self.tickets: OrderedDict[int, Ticket] = OrderedDict()
        #: All that wait, in order of arrival.
        self.line: Line[Ticket] = Line()
        #: Those of them that wait for a launch to begin.
        self.ahead: OrderedDict[Key, Group] = OrderedDict()
        #: Keys of which one is to be launched if that is in nobody's way.
        self._last_environment = 0

    # Groups

    def group(self, key: Key) -> Group:
        """The key's; a new one where there is none."""
        group = self.groups.get(key)
        if group is None:
            family = self._family(key)
            group = self.groups[key] = Group(key, self._weigh(key), family, self._slots(key))
            self.families.setdefault(family, {})[key] = None
        return group

    def forget(self, group: Group) -> None:
        """Remember a group no longer of which there is nothing."""
        if group.members or group.waiting or group.kept or group.key in self.ahead:
            return
        if self.groups.pop(group.key, None) is not None:
            family = self.families[group.family]
            del family[group.key]
            if not family:
                del self.families[group.family]

    # Environments

    def add(self, group: Group, purpose: Purpose, now: float) -> int:
        """A launch begins; its number."""
        self._last_environment = environment = self._last_environment + 1
        self.members[environment] = member = Member(group, Place.LAUNCHING, now, now, purpose)
        group.members.add(environment)
        group.coming += 1
        self.room.count(group.memory, 1)
        self.room.launches += 1
        if group.is_short:
            self.pin(environment, member)
            member.purpose = Purpose.PROVISIONED
        self.balance(group)
        return environment

    def move(self, environment: int, place: Place, now: float) -> None:
        """An environment comes to another place."""
        member = self.members[environment]
        group, before = member.group, member.place
        if place is Place.ENDING:
            self.room.count(group.memory, -1)
            self.room.count_ending(group.memory, 1)
            self.unpin(environment, member)
        if before is Place.IDLE:
            group.idle.pop(environment, None)
            self._keep_spare(environment, member, spare=False)
        elif before is Place.LAUNCHING:
            self.room.launches -= 1
        group.count(before, -1)
        group.count(place, 1)
        member.place = place
        member.since = now
        if place is Place.IDLE:
            if group.slots == 1:
                group.idle[environment] = None
            self._keep_spare(environment, member, spare=not member.pinned)
        if group.slots > 1:
            if place is Place.ENDING:
                member.free = 0
                self.finishing(member, -member.finishing)
                self.opening(member, -member.opening)
            self.offer(environment, member)
        if before in COMING and place not in COMING:
            if place is not Place.ENDING:
                member.ready = now
                group.ready += member.pinned
            self.balance(group)

    def remove(self, environment: int) -> Group:
        """An environment that was ending is gone; the group that it was of."""
        group = self.members.pop(environment).group
        self.room.count_ending(group.memory, -1)
        group.members.discard(environment)
        self.forget(group)
        return group

    def postpone(self, environment: int) -> None:
        """Its launch, which is counted, is not to begin yet."""
        self.postponed[environment] = None
        self.room.count_postponed(self.members[environment].group.memory, 1)

    def begin(self, environment: int, now: float) -> None:
        """Its launch begins after all, or is given up."""
        del self.postponed[environment]
        member = self.members[environment]
        self.room.count_postponed(member.group.memory, -1)
        member.since = member.began = now

    def pin(self, environment: int, member: Member) -> None:
        """It counts as kept from now on."""
        member.pinned, member.surplus, group = True, False, member.group
        group.pinned += 1
        group.ready += member.place not in COMING
        self.room.count_kept(group.memory, 1)
        self._keep_spare(environment, member, spare=False)

    def unpin(self, environment: int, member: Member) -> None:
        """It counts no longer."""
        if not member.pinned:
            return
        member.pinned, group = False, member.group
        group.pinned -= 1
        group.ready -= member.place not in COMING
        self.room.count_kept(group.memory, -1)
        self._keep_spare(environment, member, spare=member.place is Place.IDLE)

    def _keep_spare(self, environment: int, member: Member, *, spare: bool) -> None:
        if spare != (environment in self.idle_by_age):
            self.room.count_spare(member.group.memory, 1 if spare else -1)
            if spare:
                self.idle_by_age[environment] = None
            else:
                del self.idle_by_age[environment]

    # Slots

    def offer(self, environment: int, member: Member) -> None:
        """Whether one of several slots can take an invocation; what has changed last is the last."""
        member.group.idle.pop(environment, None)
        if member.free > 0:
            member.group.idle[environment] = None

    def finishing(self, member: Member, change: int) -> None:
        """So many more of its invocations are about to leave a slot to others."""
        member.finishing += change
        member.group.finishing += change

    def opening(self, member: Member, change: int) -> None:
        """So many more of its slots are about to open."""
        member.opening += change
        member.group.opening += change

    # Tickets

    def enter(self, ticket: Ticket, *, held: bool) -> None:
        """It waits: in its grace, or in line."""
        group = ticket.group
        self.tickets[ticket.number] = group.waiting[ticket.number] = ticket
        if held:
            group.held.add(ticket.number)
        else:
            self.stand(ticket)

    def stand(self, ticket: Ticket) -> None:
        """It is in line, unless there is a launch to spare for it."""
        ticket.group.starved[ticket.number] = ticket
        self.line.join(ticket)
        self.balance(ticket.group)

    def hold(self, ticket: Ticket) -> None:
        """It has been waiting for a launch that is over: for what it brings it waits in a grace. `balance` follows."""
        del ticket.group.covered[ticket.number]
        ticket.group.held.add(ticket.number)

    def leave(self, number: int) -> None:
        """It waits no more."""
        ticket = self.tickets.pop(number)
        group = ticket.group
        del group.waiting[number]
        if group.starved.pop(number, None) is not None:
            self.line.leave(ticket)
        elif group.covered.pop(number, None) is not None:
            self.balance(group)
        else:
            group.held.discard(number)
        self.forget(group)

    def balance(self, group: Group) -> None:
        """As many tickets are out of line as the launches under way are for: the oldest, or who was there before."""
        most = group.coming * group.slots
        while group.starved and len(group.covered) < most:
            number, ticket = group.starved.popitem(last=False)
            self.line.leave(ticket)
            group.covered[number] = ticket
        while len(group.covered) > most:
            number, ticket = group.covered.popitem()
            group.starved[number] = ticket
            group.starved.move_to_end(number, last=False)
            self.line.rejoin(ticket)

    # Tests

    def check(self) -> None:
        """Recount everything; AssertionError where a running count is wrong."""
        members, room = self.members, self.room
        live = [each for each in members.values() if each.place is not Place.ENDING]
        idle = self._in(Place.IDLE, members)
        pinned = [each.group.memory for each in live if each.pinned]
        assert (room.environments, room.memory) == (len(live), sum(each.group.memory for each in live))
        ending = [each.group.memory for each in members.values() if each.place is Place.ENDING]
        assert (room.ending, room.ending_memory) == (len(ending), sum(ending))
        postponed = [members[each] for each in self.postponed]
        assert all(each.place is Place.LAUNCHING for each in postponed)
        memory = sum(each.group.memory for each in postponed)
        assert (room.postponed, room.postponed_memory) == (len(postponed), memory)
        assert (room.kept, room.kept_memory) == (len(pinned), sum(pinned))
        assert room.launches == len(self._in(Place.LAUNCHING, members)) <= room.bounds.launches
        assert sorted(self.idle_by_age) == sorted(each for each in idle if not members[each].pinned)
        assert room.spare == len(self.idle_by_age)
        assert room.spare_memory == sum(members[each].group.memory for each in self.idle_by_age)
        groups = self.groups.values()
        assert set(self.tickets) == {number for group in groups for number in group.waiting}
        starved = [ticket.number for group in groups for ticket in group.starved.values()]
        assert sorted(ticket.number for ticket in self.line) == sorted(starved)
        assert sum(len(group.members) for group in groups) == len(members)
        assert sum(map(len, self.families.values())) == len(self.groups)
        for group in groups:
            self._check_group(group)

    def _check_group(self, group: Group) -> None:
        known = group.members or group.waiting or group.kept or group.key in self.ahead
        assert known, "a group of nothing"
        assert group.key in self.families[group.family]
        assert all(self.members[environment].group is group for environment in group.members)
        idle, members = self._in(Place.IDLE, group.members), [self.members[each] for each in group.members]
        if group.slots == 1:
            assert sorted(group.idle) == sorted(idle)
            assert group.finishing == len(self._in(Place.FINISHING, group.members))
        else:
            self._check_slots(group, members)
        assert group.coming == sum(len(self._in(place, group.members)) for place in COMING)
        assert sorted(group.waiting) == sorted([*group.held, *group.covered, *group.starved])
        most = group.coming * group.slots
        assert len(group.covered) == min(most, len(group.covered) + len(group.starved))
        assert not (group.waiting and group.idle), "a ticket waits beside an idle environment"
        assert not (group.retired and idle), "an idle environment is out of date"
        pinned = [self.members[each] for each in group.members if self.members[each].pinned]
        assert group.pinned == len(pinned) <= group.kept
        assert group.ready == sum(1 for each in pinned if each.place not in COMING)
        assert all(each.place is not Place.ENDING for each in pinned)

    def _check_slots(self, group: Group, members: list[Member]) -> None:
        assert set(group.idle) == {each for each in group.members if self.members[each].free > 0}
        assert group.finishing == sum(each.finishing for each in members)
        assert group.opening == sum(each.opening for each in members)
        for each in members:
            assert 0 <= each.finishing <= each.running
            assert each.running or each.place is not Place.BUSY
            assert not each.running or each.place in (Place.BUSY, Place.ENDING)

    def _in(self, place: Place, environments: Iterable[int]) -> list[int]:
        return [number for number in environments if self.members[number].place is place]
