"""Random walks over the pool: whatever happens in whatever order, nobody is forgotten and nothing leaks."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runtime.core.actions import Action, Assign, Destroy, Fail, Hold, Launch, Refuse
from runtime.core.groups import COMING, Place
from runtime.core.pool import Pool
from runtime.core.room import Bounds

SIZES = {"a": 1, "b": 2, "c": 3, "d": 9}
"""MB by key; the last never fits."""
KEYS = st.sampled_from(list(SIZES))


class PoolWalk(RuleBasedStateMachine):
    """A shell that carries out every action at once, and a world in which anything may follow."""

    @initialize(capacity=st.integers(1, 4), memory=st.integers(3, 8), launches=st.integers(1, 3))
    def begin(self, capacity: int, memory: int, launches: int) -> None:
        self.bounds = Bounds(memory=memory, environments=capacity, launches=launches)
        self.pool = Pool(self.bounds, weigh=lambda key: SIZES[str(key)], family=str, room_wait=10.0)
        self.now = 0.0
        self.tickets: dict[int, str] = {}
        #: Those that wait.
        self.ended: dict[int, str] = {}
        #: How each other one ended.
        self.held: set[int] = set()
        self.last_ticket = 0
        self.key_of: dict[int, str] = {}
        #: Of environments that are not gone.
        self.serving: dict[int, int] = {}
        #: Ticket by environment.
        self.destroyed: set[int] = set()
        self.outdated: set[str] = set()
        self.kept: dict[str, int] = {}
        self.ahead: set[str] = set()
        #: Keys for which a launch ahead has been asked for.

    def act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Assign(ticket, environment):
                    assert self.key_of[environment] == self.tickets[ticket], "an environment of another key"
                    assert environment not in self.destroyed
                    assert environment not in self.serving, "an environment that is busy"
                    self.finish(ticket, "assigned")
                    self.serving[environment] = ticket
                case Fail(ticket):
                    self.finish(ticket, "failed")
                case Refuse(ticket):
                    self.finish(ticket, "refused")
                case Launch(environment, key):
                    assert environment not in self.key_of
                    self.key_of[environment] = str(key)
                case Destroy(environment):
                    assert environment not in self.destroyed, "destroyed twice"
                    assert environment not in self.serving, "an environment that is busy"
                    self.destroyed.add(environment)
                case Hold(ticket, until):
                    assert ticket in self.tickets
                    assert until > self.now
                    self.held.add(ticket)

    def finish(self, ticket: int, how: str) -> None:
        assert ticket in self.tickets, f"{how} after {self.ended.get(ticket)}"
        del self.tickets[ticket]
        self.ended[ticket] = how

    def alive(self) -> list[int]:
        return [number for number in self.key_of if number not in self.destroyed]

    # What may happen

    @rule(key=KEYS)
    def ask(self, key: str) -> None:
        self.pool.restore(key)
        self.outdated.discard(key)
        self.ask_late(key)

    @rule(key=KEYS)
    def ask_late(self, key: str) -> None:
        """With a version that may be out of date by now."""
        self.last_ticket += 1
        self.tickets[self.last_ticket] = key
        self.act(self.pool.ask(self.last_ticket, key, self.now))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def grace_over(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.held)))
        self.held.discard(ticket)
        self.act(self.pool.grace_over(ticket, self.now))

    @precondition(lambda self: self.last_ticket)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        ticket = data.draw(st.integers(1, self.last_ticket))
        self.pool.withdraw(ticket)
        if ticket in self.tickets:
            self.finish(ticket, "withdrawn")

    @precondition(lambda self: self.key_of)
    @rule(data=st.data())
    def become_idle(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.key_of)))
        if number not in self.destroyed:
            self.serving.pop(number, None)
        self.act(self.pool.idle(number, self.now))

    @precondition(lambda self: self.serving)
    @rule(data=st.data())
    def respond(self, data: st.DataObject) -> None:
        self.pool.responded(data.draw(st.sampled_from(sorted(self.serving))), self.now)

    @precondition(lambda self: self.key_of)
    @rule(data=st.data(), fail=st.booleans())
    def vanish(self, data: st.DataObject, *, fail: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.key_of)))
        del self.key_of[number]
        self.serving.pop(number, None)
        self.destroyed.discard(number)
        self.act(self.pool.failed(number, self.now) if fail else self.pool.gone(number, self.now))

    @precondition(lambda self: self.key_of)
    @rule(data=st.data())
    def spoil(self, data: st.DataObject) -> None:
        coming = (Place.LAUNCHING, Place.INITIALISING)
        launching = [each for each in self.key_of if self.pool.place(each) in coming]
        if launching:
            self.act(self.pool.spoiled(data.draw(st.sampled_from(launching)), self.now))

    @precondition(lambda self: self.key_of)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        """One that nobody uses, or whose invocation is over."""
        number = data.draw(st.sampled_from(sorted(self.key_of)))
        if number not in self.destroyed:
            self.serving.pop(number, None)
        self.pool.renew(number, self.now)
        assert self.pool.place(number) in (*COMING, Place.ENDING)

    @rule(key=KEYS, count=st.integers(0, 3))
    def keep(self, key: str, count: int) -> None:
        self.act(self.pool.keep(key, count, self.now))
        if key not in self.outdated:
            self.kept[key] = count

    @rule()
    def relaunch(self) -> None:
        self.act(self.pool.relaunch(self.now))

    @rule()
    def overdue(self) -> None:
        self.act(self.pool.overdue(self.now))

    @rule()
    def grow(self) -> None:
        """A budget may turn out to be larger."""
        self.bounds = replace(self.bounds, memory=self.bounds.memory + 1)
        self.act(self.pool.resize(self.bounds.memory, self.now))

    @rule(key=KEYS)
    def warm(self, key: str) -> None:
        self.ahead.add(key)
        self.act(self.pool.warm(key, self.now))

    @precondition(lambda self: self.key_of)
    @rule(data=st.data())
    def come_up(self, data: st.DataObject) -> None:
        self.act(self.pool.launched(data.draw(st.sampled_from(sorted(self.key_of))), self.now))

    @rule(key=KEYS)
    def retire(self, key: str) -> None:
        keys = self.pool.keys()
        known = key in keys
        self.act(self.pool.retire(key, self.now))
        if known:
            self.outdated.add(key)
            self.kept.pop(key, None)

    @rule(seconds=st.sampled_from([0.01, 1.0, 10.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(age=st.sampled_from([0.0, 1.0, 100.0]))
    def expire(self, age: float) -> None:
        self.act(self.pool.expire(self.now - age, self.now))

    # What always holds

    @invariant()
    def books_agree(self) -> None:
        """The pool's counts are right, and it believes of everything what is so."""
        self.pool.check()
        for number in self.key_of:
            place = self.pool.place(number)
            assert (place is Place.ENDING) == (number in self.destroyed)
            assert (place in (Place.BUSY, Place.FINISHING)) == (number in self.serving)

    @invariant()
    def capacity_holds(self) -> None:
        """Whatever has begun and not ended counts, what is told to end included."""
        assert len(self.key_of) <= self.bounds.environments
        assert sum(SIZES[key] for key in self.key_of.values()) <= self.bounds.memory
        launching = [number for number in self.alive() if self.pool.place(number) is Place.LAUNCHING]
        assert len(launching) <= self.bounds.launches

    @invariant()
    def nothing_is_remembered_without_cause(self) -> None:
        """A key lasts as long as an environment or a ticket of it; its being out of date no longer."""
        kept = {key for key, count in self.kept.items() if count}
        known = set(self.key_of.values()) | set(self.tickets.values()) | kept | set(self.pool.postponed())
        assert known <= set(self.pool.keys()) <= known | self.ahead
        self.ahead &= set(self.pool.keys())
        self.outdated &= known

    @invariant()
    def what_is_kept_stays(self) -> None:
        """No more are kept than wished, and those that are have not been told to end."""
        for key in self.kept:
            assert self.pool.kept(key)[0] == self.kept[key]
        for number in self.key_of:
            if self.pool.is_kept(number):
                assert number not in self.destroyed
                assert self.kept[self.key_of[number]]

    @invariant()
    def nothing_outdated_is_idle(self) -> None:
        for number in self.alive():
            assert self.pool.place(number) is not Place.IDLE or self.key_of[number] not in self.outdated

    def teardown(self) -> None:
        """Let everything run its course: every ticket is served, every environment goes."""
        for ticket in sorted(self.held):
            self.act(self.pool.grace_over(ticket, self.now))
        for key in self.kept:
            self.act(self.pool.keep(key, 0, self.now))
        self.kept.clear()
        self.work_off()
        self.now += 100.0
        self.act(self.pool.overdue(self.now))
        self.work_off()
        assert not self.tickets, "tickets wait although everybody works"
        self.serving.clear()  # what is busy ends too
        self.act(self.pool.end_all(self.now))
        for number in list(self.key_of):
            self.act(self.pool.gone(number, self.now))
        assert self.pool.keys() == []
        assert sorted(self.ended) == list(range(1, self.last_ticket + 1))

    def work_off(self) -> None:
        for _ in range(4 * (len(self.tickets) + len(self.key_of)) + 4):
            for number in self.alive():
                self.serving.pop(number, None)
                self.act(self.pool.idle(number, self.now))
                self.pool.check()
            for number in sorted(self.destroyed):
                self.destroyed.discard(number)
                del self.key_of[number]
                self.act(self.pool.gone(number, self.now))
                self.pool.check()
            if not self.tickets:
                return


TestPoolWalk = PoolWalk.TestCase
TestPoolWalk.settings = settings(
    max_examples=100, stateful_step_count=50, deadline=None, derandomize=True, database=None
)
