"""How many standbys of which kind, decided by themselves: demand, memory, failures."""

from collections import Counter

import pytest

from runtime.core.standby import HALF_LIFE, RETRY_FIRST, RETRY_LAST, End, Start, Stock

COST = 16
PLENTY = 100 * COST


class Keeper:
    """A stock, and what a shell would have started for it."""

    def __init__(self, *kinds: str) -> None:
        self.stock = Stock(COST)
        self.stock.need(kinds)
        self.alive: dict[int, str] = {}
        self.now = 0.0

    def step(self, room: int = PLENTY) -> "Keeper":
        """Plan and carry out, until there is nothing more to do; every start succeeds."""
        while actions := self.stock.plan(self.now, room, may_start=True):
            for action in actions:
                self.carry_out(action)
            self.stock.check()
        return self

    def carry_out(self, action: Start | End) -> None:
        if isinstance(action, Start):
            self.alive[action.standby] = str(action.kind)
            self.stock.ready(action.standby, self.now)
        else:
            del self.alive[action.standby]

    def launch(self, kind: str, times: int = 1) -> list[int | None]:
        claimed = [self.stock.claim(kind, self.now) for _ in range(times)]
        for each in claimed:
            if each is not None:
                del self.alive[each]
        return claimed

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.alive.values())


def test_one_of_each_kind_that_functions_exist_for() -> None:
    """Before anything is launched there is one for the first cold start of each runtime."""
    assert Keeper("python", "node").step().counts == {"python": 1, "node": 1}
    assert Keeper().step().counts == {}


def test_a_standby_is_claimed_once() -> None:
    """It belongs to whoever claimed it; the next launch finds none until another has been started."""
    keeper = Keeper("python").step()
    first, second = keeper.launch("python", 2)
    assert first is not None
    assert second is None
    keeper.step()
    assert keeper.launch("python")[0] not in (None, first)


def test_only_its_own_kind_serves() -> None:
    """A sandbox of another runtime is of no use."""
    keeper = Keeper("python").step()
    assert keeper.launch("node") == [None]
    assert keeper.counts == {"python": 1}


def test_launches_one_after_the_other_need_one() -> None:
    """There is time to start another one between them."""
    keeper = Keeper("python").step()
    for _ in range(20):
        keeper.now += 5
        assert keeper.launch("python") != [None]
        keeper.step()
    assert keeper.counts == {"python": 1}


def test_a_burst_is_prepared_for_and_forgotten() -> None:
    """As many as were launched at a time stand by for the next burst; minutes later one is enough again."""
    keeper = Keeper("python").step()
    keeper.launch("python", 6)
    assert keeper.step().counts == {"python": 6}
    keeper.now += HALF_LIFE
    assert keeper.step().counts == {"python": 6}, "what is held is not given up at once"
    keeper.now += 2 * HALF_LIFE
    assert keeper.step().counts["python"] < 6
    keeper.now += 10 * HALF_LIFE
    assert keeper.step().counts == {"python": 1}


def test_memory_bounds_them() -> None:
    """However great the demand, and down to none at all."""
    keeper = Keeper("python").step()
    keeper.launch("python", 50)
    assert keeper.step(3 * COST + 1).counts == {"python": 3}
    assert keeper.step(COST - 1).counts == {}
    assert keeper.step(-5).counts == {}


def test_memory_goes_to_whom_it_serves_best() -> None:
    """A kind in use gets the room of one that is not; each gets its first before another gets its fourth."""
    keeper = Keeper("dull", "python", "node").step(COST)
    keeper.launch("node")
    assert keeper.step(COST).counts == {"node": 1}
    keeper.launch("node", 4)
    keeper.launch("python", 2)
    assert keeper.step(3 * COST).counts == {"node": 2, "python": 1}


def test_equals_do_not_take_turns() -> None:
    """Where two kinds are worth the same, what is there stays: starting and ending in turns would serve nobody."""
    keeper = Keeper("a", "b").step(COST)
    before = dict(keeper.alive)
    for _ in range(50):
        keeper.now += 1
        keeper.step(COST)
    assert keeper.alive == before


def test_memory_is_given_up_by_the_least_useful() -> None:
    """What environments take of it, the dullest give up first; all of it if need be."""
    keeper = Keeper("dull", "python").step()
    keeper.launch("python", 4)
    assert keeper.step().counts == {"dull": 1, "python": 4}
    assert keeper.step(3 * COST + 1).counts == {"python": 3}
    assert keeper.step(0).counts == {}
    assert keeper.stock.memory_mb == 0


def test_kinds_without_functions_go() -> None:
    """When the last function of a runtime is deleted nobody can claim its standbys."""
    keeper = Keeper("python", "node").step()
    keeper.stock.need({"node"})
    assert keeper.step().counts == {"node": 1}


def test_one_start_at_a_time() -> None:
    """Another is begun when the one under way is over, whatever has become of it: ready, lost, claimed, given up."""
    keeper = Keeper("a", "b", "c")
    stock = keeper.stock
    [start] = stock.plan(0, PLENTY, may_start=True)
    assert isinstance(start, Start)
    assert stock.plan(0, PLENTY, may_start=True) == []
    assert stock.claim(start.kind, 0) == start.standby, "one that is starting is better than none"
    assert stock.plan(0, PLENTY, may_start=True) == []
    stock.ready(start.standby, 0)
    [start] = stock.plan(0, PLENTY, may_start=True)
    assert stock.plan(0, 0, may_start=True) == [End(start.standby)]
    assert stock.plan(0, PLENTY, may_start=True) == []
    stock.lost(start.standby, 0)
    assert len(stock.plan(0, PLENTY, may_start=True)) == 1
    stock.check()


def test_no_start_while_others_come_first() -> None:
    """Giving up is always allowed, starting only when the caller says so."""
    keeper = Keeper("python")
    assert keeper.stock.plan(0, PLENTY, may_start=False) == []
    keeper.step()
    assert [type(each) for each in keeper.stock.plan(0, 0, may_start=False)] == [End]


def test_what_is_ready_is_claimed_first() -> None:
    """One that is still starting is left for later."""
    keeper = Keeper("python")
    stock = keeper.stock
    keeper.launch("python", 2)
    [ready] = stock.plan(0, PLENTY, may_start=True)
    assert isinstance(ready, Start)
    stock.ready(ready.standby, 0)
    [starting] = stock.plan(0, PLENTY, may_start=True)
    assert isinstance(starting, Start)
    assert [stock.claim("python", 0) for _ in range(3)] == [ready.standby, starting.standby, None]


class TestFailures:
    def fail(self, keeper: Keeper) -> float:
        """Let the next start fail; how long it takes until there is another one."""
        began = keeper.now
        while not (actions := keeper.stock.plan(keeper.now, PLENTY, may_start=True)):
            keeper.now = keeper.stock.next_look(keeper.now)
        [start] = actions
        assert isinstance(start, Start)
        keeper.stock.lost(start.standby, keeper.now)
        keeper.stock.check()
        return keeper.now - began

    def test_pauses_grow(self) -> None:
        """An image that cannot start does not keep the machine busy."""
        keeper = Keeper("python")
        waits = [self.fail(keeper) for _ in range(10)]
        assert waits[0] == 0
        assert waits[1:4] == pytest.approx([RETRY_FIRST, 2 * RETRY_FIRST, 4 * RETRY_FIRST])
        assert waits[-1] == pytest.approx(RETRY_LAST)

    def test_others_are_not_affected(self) -> None:
        """Each kind has its own pauses."""
        keeper = Keeper("broken", "python")
        self.fail(keeper)
        assert keeper.step().counts == {"python": 1}

    def test_a_death_is_a_failure_unless_it_lived_long(self) -> None:
        """One that dies again and again waits longer each time; one that lived is replaced soon."""
        keeper = Keeper("python")
        for _ in range(5):
            self.fail(keeper)
        keeper.now = keeper.stock.next_look(keeper.now) + RETRY_LAST
        keeper.step()
        [standby] = keeper.alive
        keeper.now += 3600
        keeper.stock.lost(standby, keeper.now)
        assert keeper.stock.next_look(keeper.now) == keeper.now + RETRY_FIRST

    def test_a_claimed_one_ends_the_pauses(self) -> None:
        """It has worked."""
        keeper = Keeper("python")
        self.fail(keeper)
        keeper.now += RETRY_FIRST
        keeper.step()
        assert keeper.launch("python") != [None]
        assert keeper.step().counts == {"python": 1}
        assert self.fail_now(keeper) == keeper.now + RETRY_FIRST

    def fail_now(self, keeper: Keeper) -> float:
        [standby] = keeper.alive
        keeper.stock.lost(standby, keeper.now)
        return keeper.stock.next_look(keeper.now)

    def test_forgiven(self) -> None:
        """What a kind failed for has changed: it is tried at once."""
        keeper = Keeper("python")
        self.fail(keeper)
        assert keeper.stock.plan(keeper.now, PLENTY, may_start=True) == []
        keeper.stock.forgive("python")
        assert keeper.step().counts == {"python": 1}
