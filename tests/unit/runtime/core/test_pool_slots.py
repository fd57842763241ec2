"""The pool with environments of several slots: as conversations, and as a random walk."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runtime.core.actions import Action, Assign, Destroy, Fail, Hold, Launch
from runtime.core.groups import COMING, Place
from runtime.core.pool import LONGEST_GRACE, Pool
from runtime.core.room import Bounds
from runtime.core.slots import OPENING

SLOTS = {"one": 1, "two": 2, "five": 5}


def pool(capacity: int = 4) -> Pool:
    bounds = Bounds(memory=1000, environments=capacity, launches=10)
    slots = lambda key: SLOTS[str(key)]  # noqa: E731
    return Pool(bounds, weigh=lambda _: 1, family=str, room_wait=10.0, slots=slots)


def say(pool: Pool, actions: list[Action]) -> list[Action]:
    pool.check()
    return actions


def test_a_launch_is_for_as_many_as_it_has_slots() -> None:
    """The sixth ticket needs a second environment of five."""
    five = pool()
    assert [say(five, five.ask(ticket, "five", 0)) for ticket in range(1, 7)] == [
        [Launch(1, "five")], [], [], [], [], [Launch(2, "five")],
    ]  # fmt: skip


def test_slots_open_one_after_the_other() -> None:
    """Tickets that a new environment will have room for wait for its slots, but not for ever."""
    five = pool()
    for ticket in (1, 2, 3):
        five.ask(ticket, "five", 0)
    opened = say(five, five.slots_changed(1, 1, 1.0))
    assert opened == [Hold(2, 1.0 + OPENING), Hold(3, 1.0 + OPENING), Assign(1, 1)]
    assert say(five, five.slots_changed(1, 1, 1.1)) == [Assign(2, 1)]
    assert say(five, five.grace_over(3, 2.0)) == [Launch(2, "five")]
    assert say(five, five.slots_changed(1, 1, 2.1)) == [Assign(3, 1)]


def test_the_fullest_is_used_first() -> None:
    """What has just been used is used again while it has room, so that others are idle and expire."""
    two = pool()
    for ticket in (1, 2, 3):
        two.ask(ticket, "two", 0)
    two.slots_changed(1, 2, 1)
    two.slots_changed(2, 2, 1)
    for environment in (1, 1, 2):
        two.done(environment, 2)
    two.slots_changed(1, 2, 2)
    two.slots_changed(2, 1, 3)
    assert say(two, two.ask(4, "two", 4)) == [Assign(4, 2)]
    assert say(two, two.ask(5, "two", 4)) == [Assign(5, 2)]
    assert two.place(1) is Place.IDLE
    assert say(two, two.expire(3, 5)) == [Destroy(1)]


def test_an_answered_slot_is_waited_for() -> None:
    """A client in a tight loop opens no second environment."""
    two = pool()
    two.ask(1, "two", 0)
    two.ask(2, "two", 0)
    two.slots_changed(1, 2, 1)
    two.responded(1, 2)
    assert say(two, two.ask(3, "two", 2)) == [Hold(3, 2 + LONGEST_GRACE)]
    assert say(two, two.slots_changed(1, 1, 2)) == [Assign(3, 1)]
    assert say(two, two.done(1, 2)) == []


def test_a_lost_slot_that_had_been_given_away() -> None:
    """Its ticket has the environment's promise; the next slot is for it."""
    two = pool()
    two.ask(1, "two", 0)
    two.slots_changed(1, 1, 1)
    assert say(two, two.slots_changed(1, -1, 1)) == []
    assert say(two, two.slots_changed(1, 1, 2)) == []
    assert say(two, two.ask(2, "two", 2)) == [Launch(2, "two")]


def test_busy_ones_do_not_expire_and_hung_ones_do() -> None:
    """Without an invocation it is idle, whether its slots come back or not; and it makes room for others."""
    two = pool(1)
    two.ask(1, "two", 0)
    two.slots_changed(1, 1, 1)
    assert say(two, two.expire(100, 100)) == []
    two.done(1, 100)
    assert two.place(1) is Place.IDLE
    assert say(two, two.ask(2, "one", 101)) == [Destroy(1)]
    assert say(two, two.gone(1, 101)) == [Launch(2, "one")]


def test_out_of_date_ones_end_when_all_is_done() -> None:
    """Not before."""
    two = pool()
    two.ask(1, "two", 0)
    two.ask(2, "two", 0)
    two.slots_changed(1, 2, 1)
    assert say(two, two.retire("two", 2)) == []
    assert say(two, two.done(1, 3)) == []
    assert say(two, two.done(1, 4)) == [Destroy(1)]


def test_out_of_date_ones_whose_workers_hang_end_too() -> None:
    """They are idle although they can take nothing."""
    two = pool()
    two.ask(1, "two", 0)
    two.slots_changed(1, 1, 1)
    two.done(1, 2)
    assert say(two, two.retire("two", 3)) == [Destroy(1)]


def test_a_failed_launch_fails_all_that_it_was_for() -> None:
    """And no more."""
    two = pool()
    for ticket in (1, 2, 3):
        two.ask(ticket, "two", 0)
    assert say(two, two.failed(1, 1)) == [Fail(1), Fail(2)]


def test_a_ticket_that_leaves_at_once() -> None:
    """Its slot is for the next one."""
    two = pool()
    two.ask(1, "two", 0)
    two.slots_changed(1, 1, 1)
    assert say(two, two.unused(1, 2)) == []
    assert say(two, two.ask(2, "two", 3)) == [Assign(2, 1)]


class SlotsWalk(RuleBasedStateMachine):
    """A shell that carries out every action at once; environments whose workers come and go as they like."""

    @initialize(capacity=st.integers(1, 3))
    def begin(self, capacity: int) -> None:
        self.pool = pool(capacity)
        self.capacity = capacity
        self.now = 0.0
        self.tickets: dict[int, str] = {}
        self.held: set[int] = set()
        self.last_ticket = 0
        self.key_of: dict[int, str] = {}
        self.running: dict[int, list[int]] = {}
        #: Environment → tickets.
        self.offered: dict[int, int] = {}
        self.destroyed: set[int] = set()

    def act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Assign(ticket, environment):
                    assert self.key_of[environment] == self.tickets.pop(ticket)
                    assert environment not in self.destroyed
                    assert self.offered[environment] > 0, "no slot is free"
                    self.offered[environment] -= 1
                    self.running[environment].append(ticket)
                case Fail(ticket):
                    del self.tickets[ticket]
                case Launch(environment, key):
                    self.key_of[environment] = str(key)
                    self.running[environment] = []
                    self.offered[environment] = 0
                case Destroy(environment):
                    assert not self.running[environment], "an environment that is busy"
                    self.destroyed.add(environment)
                case Hold(ticket, until):
                    assert until > self.now
                    self.held.add(ticket)

    def room(self, number: int, change: int) -> None:
        """One with a single slot has no other word for it than that it is idle."""
        if self.pool.place(number) is None or number in self.destroyed:
            return
        if SLOTS[self.key_of[number]] == 1:
            self.offered[number] = 1
            self.running[number].clear()
            self.act(self.pool.idle(number, self.now))
            return
        self.offered[number] += change
        self.act(self.pool.slots_changed(number, change, self.now))

    def alive(self) -> list[int]:
        return [number for number in self.key_of if number not in self.destroyed]

    def launching(self) -> list[int]:
        return [each for each in self.alive() if self.pool.place(each) in COMING]

    @rule(key=st.sampled_from(sorted(SLOTS)))
    def ask(self, key: str) -> None:
        self.last_ticket += 1
        self.tickets[self.last_ticket] = key
        self.pool.restore(key)
        self.act(self.pool.ask(self.last_ticket, key, self.now))

    @precondition(lambda self: self.launching())
    @rule(data=st.data(), seen=st.integers(1, 5))
    def launched(self, data: st.DataObject, seen: int) -> None:
        number = data.draw(st.sampled_from(self.launching()))
        self.room(number, min(seen, SLOTS[self.key_of[number]]))

    @precondition(lambda self: bool(set(self.alive()) - set(self.launching())))
    @rule(data=st.data())
    def worker_back(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(set(self.alive()) - set(self.launching()))))
        if self.offered[number] + len(self.running[number]) < SLOTS[self.key_of[number]]:
            self.room(number, 1)

    @precondition(lambda self: any(count > 0 for count in self.offered.values()))
    @rule(data=st.data())
    def worker_gone(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(each for each, count in self.offered.items() if count > 0)))
        if SLOTS[self.key_of[number]] > 1:
            self.room(number, -1)

    @precondition(lambda self: any(self.running.values()))
    @rule(data=st.data(), answered=st.booleans())
    def end(self, data: st.DataObject, *, answered: bool) -> None:
        number = data.draw(st.sampled_from(sorted(each for each, tickets in self.running.items() if tickets)))
        if answered:
            self.pool.responded(number, self.now)
            self.pool.check()
        if SLOTS[self.key_of[number]] == 1:
            self.room(number, 1)
        else:
            self.running[number].pop()
            self.act(self.pool.done(number, self.now))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def grace_over(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.held)))
        self.held.discard(ticket)
        self.act(self.pool.grace_over(ticket, self.now))

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.tickets)))
        del self.tickets[ticket]
        self.pool.withdraw(ticket)

    @precondition(lambda self: self.key_of)
    @rule(data=st.data(), fail=st.booleans())
    def vanish(self, data: st.DataObject, *, fail: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.key_of)))
        self.forget(number)
        self.act(self.pool.failed(number, self.now) if fail else self.pool.gone(number, self.now))

    def forget(self, number: int) -> None:
        for book in (self.key_of, self.running, self.offered):
            del book[number]
        self.destroyed.discard(number)

    @rule(key=st.sampled_from(sorted(SLOTS)))
    def retire(self, key: str) -> None:
        self.act(self.pool.retire(key, self.now))

    @rule(seconds=st.sampled_from([0.01, 1.0, 10.0]), age=st.sampled_from([0.0, 100.0]))
    def expire(self, seconds: float, age: float) -> None:
        self.now += seconds
        self.act(self.pool.expire(self.now - age, self.now))

    @invariant()
    def books_agree(self) -> None:
        self.pool.check()
        assert len(self.alive()) <= self.capacity
        for number in self.alive():
            place = self.pool.place(number)
            assert (place in (Place.BUSY, Place.FINISHING)) == bool(self.running[number])

    def teardown(self) -> None:
        """When all workers work, everybody is served."""
        for _ in range(8 * (len(self.tickets) + len(self.key_of)) + 8):
            for ticket in sorted(self.held):
                self.act(self.pool.grace_over(ticket, self.now))
            for number in self.alive():
                while number in self.running and self.running[number] and SLOTS[self.key_of[number]] > 1:
                    self.running[number].pop()
                    self.act(self.pool.done(number, self.now))
                if number in self.key_of and number not in self.destroyed:
                    spare = SLOTS[self.key_of[number]] - self.offered[number] - len(self.running[number])
                    if spare > 0 or SLOTS[self.key_of[number]] == 1:
                        self.room(number, spare)
                self.pool.check()
            for number in sorted(self.destroyed):
                self.forget(number)
                self.act(self.pool.gone(number, self.now))
            if not self.tickets:
                break
        assert not self.tickets, "tickets wait although everybody works"


TestSlotsWalk = SlotsWalk.TestCase
TestSlotsWalk.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, derandomize=True, database=None
)
