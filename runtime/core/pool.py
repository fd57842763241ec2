"""Which environment serves which invocation, and when environments come and go. Pure.

Environments are grouped by key (all that must be equal for one to serve: function version, exact code and
configuration). A request asks for an environment of its key and holds a ticket until it gets one:

* an idle one, the most recently used first, so that the others age and expire;
* else one that becomes idle. Where one is about to finish (its client has the answer already) the ticket waits for it
  through a **grace**, so that a client in a tight loop does not open a second environment; else it stands in line for
  a launch. Whatever becomes idle meanwhile serves it all the same, and then nothing is launched for it.

A launch begins when it is its ticket's turn, there is room for the environment (`runtime.core.room`), and not too many
are starting already. Idle environments of other keys make room, least recently used first; what they make it for begins
when they have ended. Who needs more than there is is passed by who needs less, and an environment that becomes free
serves its own key first, because a launch costs more than the wait of one invocation; but not for longer than
`PATIENCE`: from then on room is held for the ticket until there is enough. One that waits for `room_wait` and still
finds no room is refused, and no room is held for its key for a while (`RESPITE`), so that what cannot be had does not
stand in everybody's way. What was launched serves at least once.

An environment may have several **slots**, each for one invocation at a time; how many of them are free it tells itself,
as they come and go. It is idle while it has nothing to work on, whether it could take anything or not. A launch is for as
many tickets as it has slots; where it has shown the first ones, tickets wait `OPENING` for the others before another one
is launched for them.

A key may also be **kept**: so many environments of it are launched ahead, replaced when they end, and neither expire nor
make room for others. One whose launch fails, or that ends soon after it, is launched again after a while that doubles
from failure to failure. And one environment of a key may be launched **ahead** of its first invocation, where that takes
nothing from anybody. Both come after the tickets, and leave one of the launches under way to these.

Every method returns what is to be done, in order. What there is, is in `runtime.core.books`.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from itertools import islice

from runtime.core.actions import Actions, Assign, Destroy, Fail, Hold, Launch, Refuse
from runtime.core.books import Books
from runtime.core.estimate import Estimate, learn
from runtime.core.groups import COMING, Group, Key, Member, Place, Purpose, Ticket
from runtime.core.keeping import STEADY, Keeping
from runtime.core.room import Bound, Bounds
from runtime.core.slots import count_slots, hold_for_opening

GRACE = 0.02
"""Seconds that a ticket waits at least for an environment that is about to finish."""
LONGEST_GRACE = 0.5
"""Seconds at the most, however long launches take."""
PATIENCE = 5.0
"""Seconds after which room is held for a ticket; half of what it waits for room where that is less."""
RESPITE = 30.0
"""Seconds for which no room is held for a key for which there was none in the end."""


class Pool:
    """All environments and all tickets of one fleet.

    `weigh` gives the MB of a key's environments, `family` what its key is found by, `slots` how many invocations each
    serves at once, `room_wait` the seconds that a ticket waits for room.
    """

    def __init__(
        self,
        bounds: Bounds,
        *,
        weigh: Callable[[Key], int],
        family: Callable[[Key], Hashable],
        room_wait: float,
        slots: Callable[[Key], int] = lambda _: 1,
    ) -> None:
        self._books = Books(bounds, weigh, family, slots)
        self._room = self._books.room
        self._line = self._books.line
        self._room_wait = room_wait
        self._patience = min(PATIENCE, room_wait / 2)
        self._launch_time: Estimate | None = None
        #: Of any key.
        self._keeping = Keeping()
        self._respites: dict[Key, float] = {}
        #: Until when no room is held for a key's tickets.
        self._looked = 0.0
        #: When room was last given.
        self._is_over = False

    def __repr__(self) -> str:
        room, waiting = self._room, len(self._books.tickets)
        counts = f"{room.environments}/{room.bounds.environments} environments"
        return f"<Pool {counts}, {room.memory}/{room.bounds.memory} MB, {waiting} waiting>"

    @property
    def bounds(self) -> Bounds:
        return self._room.bounds

    @property
    def room(self) -> int:
        """MB of the budget that no environment has taken."""
        return self._room.free

    def place(self, environment: int) -> Place | None:
        """Where the environment is; None when it is gone."""
        member = self._books.members.get(environment)
        return member.place if member else None

    def key(self, environment: int) -> Key:
        """Of an environment that there is."""
        return self._books.members[environment].group.key

    def purpose(self, environment: int) -> Purpose:
        """What an environment that there is was launched for."""
        return self._books.members[environment].purpose

    def since(self, environment: int) -> float:
        """When the environment got to its place."""
        return self._books.members[environment].since

    def knows(self, key: Key) -> bool:
        """Whether there is an environment or a ticket of the key, or the wish to keep one."""
        return key in self._books.groups

    def keys(self) -> list[Key]:
        """All that it knows."""
        return list(self._books.groups)

    def keys_of(self, family: Hashable) -> list[Key]:
        """Those of a family."""
        return list(self._books.families.get(family, ()))

    def has_free(self, key: Key) -> bool:
        """Whether a ticket would get an environment that is there: an idle one, or one about to be that nobody awaits."""
        group = self._books.groups.get(key)
        return group is not None and (bool(group.idle) or group.expected > len(group.held))

    def census(self) -> Mapping[tuple[Key, Place], int]:
        """How many environments of each key are where."""
        return Counter((member.group.key, member.place) for member in self._books.members.values())

    def postponed(self) -> list[Key]:
        """The keys of launches that have not begun, because others are ending."""
        return [self.key(environment) for environment in self._books.postponed]

    # Tickets

    def take(self, key: Key, now: float) -> int | None:
        """An idle environment for an invocation, which need not ask for one then; None where there is none."""
        group = self._books.groups.get(key)
        if group is None or not group.idle:
            return None
        environment = next(reversed(group.idle))
        self._occupy(environment, now)
        return environment

    def ask(self, ticket: int, key: Key, now: float) -> Actions:
        """An invocation needs an environment."""
        books = self._books
        group = books.group(key)
        if group.idle:
            return [self._assign(ticket, next(reversed(group.idle)), now)]
        lacking = self._room.lacking(group.memory)
        if lacking is not None and not group.members:
            books.forget(group)
            return [Refuse(ticket, lacking, for_good=True)]
        grace = self._grace(group) if group.expected > len(group.held) else 0.0
        books.enter(Ticket(ticket, group, now), held=bool(grace))
        return [Hold(ticket, now + grace)] if grace else self._give_room(now)

    def grace_over(self, ticket: int, now: float) -> Actions:
        """The ticket has waited long enough for an environment that was about to finish."""
        entry = self._books.tickets.get(ticket)
        if entry is None or ticket not in entry.group.held:
            return []
        entry.group.held.discard(ticket)
        if entry.group.slots == 1:
            entry.group.finish = learn(entry.group.finish, now - entry.since)
        self._books.stand(entry)
        return self._give_room(now)

    def withdraw(self, ticket: int) -> None:
        """The ticket is not wanted any more; what is being launched for it will be idle."""
        if ticket in self._books.tickets:
            self._books.leave(ticket)

    def overdue(self, now: float) -> Actions:
        """Refuse tickets that have waited for room for too long."""
        late: list[Ticket] = []
        for number, ticket in self._books.tickets.items():
            if now - ticket.since < self._room_wait:
                break
            if number in ticket.group.starved and ticket.memory > self._room.reach:
                late.append(ticket)
        bound = self._room.short_of()
        self._respites = {key: until for key, until in self._respites.items() if until > now}
        for ticket in late:
            self._respites[ticket.group.key] = now + RESPITE
            self._books.leave(ticket.number)
        return [*(Refuse(ticket.number, bound) for ticket in late), *self._give_room(now)]

    # What is launched ahead

    def keep(self, key: Key, count: int, now: float) -> Actions:
        """Have that many environments of the key from now on; 0 lets them go. A key out of date keeps none.

        Whoever asks again after failures has them forgotten.
        """
        group = self._books.group(key)
        group.failures, group.not_before = 0, 0.0
        group.kept = 0 if group.retired else count
        actions: Actions = []
        for environment in self._by_use(group):
            member = self._books.members[environment]
            if group.is_short and not member.pinned:
                self._books.pin(environment, member)
            elif group.pinned > group.kept and member.pinned:
                self._books.unpin(environment, member)
                member.surplus = True
                if member.place is Place.IDLE:
                    actions += self._destroy(environment, now)
        self._keeping.note(group, now)
        self._books.forget(group)
        return actions + self._give_room(now)

    def kept(self, key: Key) -> tuple[int, int]:
        """How many environments of the key are to be kept, and how many of those are ready or busy."""
        group = self._books.groups.get(key)
        return (group.kept, group.ready) if group else (0, 0)

    def lacks(self, key: Key) -> Bound | None:
        """What keeps the rest of what is to be kept from ever being launched, as long as nothing else is let go."""
        group = self._books.groups.get(key)
        return self._room.lacking(group.memory) if group is not None and group.is_short else None

    def is_kept(self, environment: int) -> bool:
        """Whether it is one of those that are kept."""
        member = self._books.members.get(environment)
        return member is not None and member.pinned

    def relaunch(self, now: float) -> Actions:
        """Launch what is kept and whose pause after a failure is over."""
        self._keeping.resume(now)
        return self._give_room(now)

    def warm(self, key: Key, now: float) -> Actions:
        """Launch one environment of the key ahead of its first invocation, if that is in nobody's way."""
        group = self._books.group(key)
        if not group.members and not group.retired:
            self._books.ahead[key] = group
        self._books.forget(group)
        return self._give_room(now)

    def _by_use(self, group: Group) -> list[int]:
        """Members that are not ending: to be pinned, idle ones first; to be let go, idle ones first as well."""
        members = self._books.members
        live = [number for number in group.members if members[number].place is not Place.ENDING]
        return [*group.idle, *(number for number in live if number not in group.idle)]

    # Environments

    def launched(self, environment: int, now: float) -> Actions:
        """Its sandbox is there; it initialises."""
        if self.place(environment) is not Place.LAUNCHING:
            return []
        self._books.move(environment, Place.INITIALISING, now)
        return self._give_room(now)

    def responded(self, environment: int, now: float) -> None:
        """Its client, or one of them, has the answer."""
        member = self._books.members.get(environment)
        if member is None or member.place is not Place.BUSY:
            return
        if member.group.slots == 1:
            self._books.move(environment, Place.FINISHING, now)
        elif member.finishing < member.running:
            self._books.finishing(member, 1)

    def idle(self, environment: int, now: float) -> Actions:
        """It is initialised, or done with its invocation."""
        member = self._books.members.get(environment)
        if member is None or member.place is Place.ENDING:
            return []
        self._learn(member, now)
        group = member.group
        if group.waiting:
            if self._is_owed_to_others(member, now):
                return [*self._destroy(environment, now), *self._give_room(now)]
            return [self._assign(self._pop_ticket(group), environment, now), *self._give_room(now)]
        return self._rest(environment, member, now)

    def slots_changed(self, environment: int, change: int, now: float) -> Actions:
        """So many of its slots have become free, or are gone. The first ones tell that it is initialised."""
        member = self._books.members.get(environment)
        if member is None or member.place is Place.ENDING:
            return []
        self._learn(member, now)
        group, actions = member.group, Actions()
        count_slots(self._books, member, change)
        is_new = member.place in COMING
        if is_new:
            self._books.opening(member, group.slots - change)
            actions += hold_for_opening(self._books, group, member.free, now)
        while group.waiting and member.free > 0:
            actions.append(self._assign(self._pop_ticket(group), environment, now))
        if is_new and not member.running:
            return actions + self._rest(environment, member, now)
        self._books.offer(environment, member)
        return actions + self._give_room(now)

    def done(self, environment: int, now: float) -> Actions:
        """One of several invocations is over; whether its slot is free again is another matter."""
        member = self._books.members.get(environment)
        if member is None or member.place is Place.ENDING:
            return []
        member.running -= 1
        if member.finishing > member.running:
            self._books.finishing(member, -1)
        if member.running:
            return []
        if self._is_owed_to_others(member, now):
            return [*self._destroy(environment, now), *self._give_room(now)]
        return self._rest(environment, member, now)

    def unused(self, environment: int, now: float) -> Actions:
        """A ticket that had got it has left at once."""
        member = self._books.members.get(environment)
        if member is None or member.group.slots == 1:
            return self.idle(environment, now)
        return self.slots_changed(environment, 1, now) + self.done(environment, now)

    def _rest(self, environment: int, member: Member, now: float) -> Actions:
        """It has nothing to work on."""
        if member.group.retired or member.surplus:
            return [*self._destroy(environment, now), *self._give_room(now)]
        self._books.move(environment, Place.IDLE, now)
        return self._give_room(now)

    def _assign(self, ticket: int, environment: int, now: float) -> Assign:
        self._occupy(environment, now)
        return Assign(ticket, environment)

    def _occupy(self, environment: int, now: float) -> None:
        """One more invocation has it."""
        member = self._books.members[environment]
        if member.group.slots > 1:
            member.running += 1
            member.free -= 1
            self._books.offer(environment, member)
        if member.place is not Place.BUSY:
            self._books.move(environment, Place.BUSY, now)

    def spoiled(self, environment: int, now: float) -> Actions:
        """It is launched, but its initialisation failed: only good for who waits and will be told why."""
        member = self._books.members.get(environment)
        if member is not None and member.pinned and member.place in COMING:
            self._keeping.pause(member.group, now)
            self._books.unpin(environment, member)
            self._keeping.note(member.group, now)
            member.surplus = True
        return self.idle(environment, now)

    def renew(self, environment: int, now: float) -> None:
        """It initialises once more, and is to be told `idle` when it has; until then nobody gets it."""
        member = self._books.members.get(environment)
        if member is None or member.place is Place.ENDING or member.place in COMING:
            return
        member.group.ready -= member.pinned
        self._books.move(environment, Place.INITIALISING, now)
        self._books.balance(member.group)
        member.began = now

    def first_waiting(self, environment: int) -> int | None:
        """The ticket that gets this environment if it is free now."""
        member = self._books.members.get(environment)
        return next(iter(member.group.waiting), None) if member else None

    def failed(self, environment: int, now: float, *, chances: int = 0) -> Actions:
        """Its launch failed, so a ticket that waits for a launch fails with it: one for each slot.

        Not so if it has lost no more than `chances` launches before; then it gets another one.
        """
        member = self._books.members.get(environment)
        if member is None:
            return []
        fails: Actions = []
        if member.place in COMING:
            for ticket in list(islice(member.group.waiting.values(), member.group.slots)):
                ticket.lost += 1
                if ticket.lost > chances:
                    self._books.leave(ticket.number)
                    fails.append(Fail(ticket.number))
        return fails + self.gone(environment, now)

    def gone(self, environment: int, now: float) -> Actions:
        """It exists no more."""
        member = self._books.members.get(environment)
        if member is None:
            return []
        if member.place is not Place.ENDING:
            if member.pinned and (member.ready is None or now - member.ready < STEADY):
                self._keeping.pause(member.group, now)
            self._books.move(environment, Place.ENDING, now)
        self._keeping.note(member.group, now)
        self._books.remove(environment)
        return self._give_room(now)

    def retire(self, key: Key, now: float) -> Actions:
        """The key is out of date: idle environments end now, others when they have served whom they are for."""
        group = self._books.groups.get(key)
        if group is None:
            return []
        group.retired = True
        self._books.ahead.pop(key, None)
        actions = self.keep(key, 0, now)
        for environment in self._by_use(group):
            if self._books.members[environment].place is Place.IDLE:
                actions += self._destroy(environment, now)
        return actions + self._give_room(now)

    def restore(self, key: Key) -> None:
        """The key is up to date (again)."""
        if group := self._books.groups.get(key):
            group.retired = False

    def expire(self, before: float, now: float) -> Actions:
        """End environments that have been idle since `before` or longer."""
        actions: Actions = []
        while (oldest := next(iter(self._books.idle_by_age), None)) is not None:
            if self.since(oldest) > before:
                break
            actions += self._destroy(oldest, now)
        return actions

    def resize(self, memory: int, now: float) -> Actions:
        """Another budget, in MB. Where it is smaller, environments end by and by, as room is needed."""
        self._room.bounds = replace(self._room.bounds, memory=memory)
        return self._give_room(now)

    def end_all(self, now: float) -> Actions:
        """End every environment, whatever it does, and launch no more."""
        self._is_over = True
        actions: Actions = []
        for environment in list(self._books.postponed):
            self._books.begin(environment, now)
            self._books.move(environment, Place.ENDING, now)
            self._books.remove(environment)
        for environment, member in self._books.members.items():
            if member.place is not Place.ENDING:
                actions += self._destroy(environment, now)
        self._books.ahead.clear()
        for group in list(self._books.groups.values()):
            group.kept = 0
            self._books.forget(group)
        return actions

    # Decisions

    def _give_room(self, now: float) -> Actions:
        """Begin what launches there is room for: for tickets, for what is kept, then ahead.

        What is kept comes first where it has waited for long: tickets may come without an end.
        """
        self._looked = now
        if self._is_over:
            return []
        room, actions = self._room, self._begin_postponed(now)
        if not (self._line or self._keeping or self._books.ahead):
            return actions
        if self._keeping.is_overdue(now) and room.launches < room.bounds.launches and not self._claimant(now):
            actions += self._launch_kept(now)
        while self._line and room.launches < room.bounds.launches:
            ticket = self._claimant(now) or self._line.next(room.reach)
            if ticket is None:
                break
            if ticket.memory > room.reach:  # it is held for this one
                return actions
            actions += self._launch(ticket.group, Purpose.INVOCATION, now)
        return actions + self._launch_ahead(now)

    def _launch_ahead(self, now: float) -> Actions:
        room, books, actions = self._room, self._books, Actions()
        most = max(1, room.bounds.launches - 1)
        while room.launches < most and (launch := self._launch_kept(now)):
            actions += launch
        while room.launches < most and books.ahead:
            _, group = books.ahead.popitem(last=False)
            if not group.members and room.is_ample(group.memory):
                actions += self._launch(group, Purpose.WARM_AHEAD, now)
            books.forget(group)
        return actions

    def _launch_kept(self, now: float) -> Actions:
        """One that is short, if any can be reached."""
        group = self._keeping.next(self._room.reach)
        if group is None:
            return []
        actions = self._launch(group, Purpose.PROVISIONED, now)
        self._keeping.launched(now)
        return actions

    def _claimant(self, now: float) -> Ticket | None:
        """The ticket for which room is held."""
        return self._line.foremost(
            lambda ticket: (
                now - ticket.since >= self._patience
                and now >= self._respites.get(ticket.group.key, now)
                and self._room.lacking(ticket.memory) is None
            )
        )

    def _is_owed_to_others(self, member: Member, now: float) -> bool:
        """Whether its room is needed more than it is: its own key has had its turn while another waits for room."""
        if not self._line or member.pinned or member.place in COMING:
            return False
        claimant = self._claimant(now)
        if claimant is None or claimant.group is member.group:
            return False
        return claimant.memory > self._room.reach

    def _grace(self, group: Group) -> float:
        """Seconds to wait for an environment of the group that is about to finish; 0 where that takes too long.

        A launch is what a wait is measured against: it would take so long itself, and slow down everything else.
        """
        launch = group.launch or self._launch_time
        patience = max(GRACE, min(LONGEST_GRACE, launch.mean)) if launch else GRACE
        return patience if group.finish is None or group.finish.most <= patience else 0.0

    def _learn(self, member: Member, now: float) -> None:
        group, place = member.group, member.place
        if place is Place.FINISHING:
            group.finish = learn(group.finish, now - member.since)
        elif place in COMING:
            group.launch = learn(group.launch, now - member.began)
            self._launch_time = learn(self._launch_time, now - member.began)

    def _launch(self, group: Group, purpose: Purpose, now: float) -> Actions:
        actions: Actions = []
        while not self._room.fits(group.memory):
            actions += self._destroy(next(iter(self._books.idle_by_age)), now)
        self._books.postpone(self._books.add(group, purpose, now))
        self._keeping.note(group, now)
        return [*actions, *self._begin_postponed(now)]

    def _begin_postponed(self, now: float) -> Actions:
        """Begin those launches for which enough has ended: no more are looked at than may be under way."""
        actions: Actions = []
        for environment in list(self._books.postponed):
            group = self._books.members[environment].group
            if self._room.is_there(group.memory):
                self._books.begin(environment, now)
                actions.append(Launch(environment, group.key))
        return actions

    def _destroy(self, environment: int, now: float) -> Actions:
        self._books.move(environment, Place.ENDING, now)
        return [Destroy(environment)]

    def _pop_ticket(self, group: Group) -> int:
        ticket = next(iter(group.waiting))
        self._books.leave(ticket)
        return ticket

    def check(self) -> None:
        """Recount everything; AssertionError where a running count is wrong, or somebody waits for nothing."""
        self._books.check()
        room = self._room
        for group in self._books.groups.values():
            if not self._is_over:
                self._keeping.check(group)
        if self._is_over or room.launches >= room.bounds.launches or self._claimant(self._looked):
            return
        assert self._line.next(room.reach) is None, "a ticket waits beside room"
        if room.launches < max(1, room.bounds.launches - 1):
            assert self._keeping.next(room.reach) is None, "what is to be kept waits beside room"
