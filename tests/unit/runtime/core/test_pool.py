"""The pool by conversation: what is asked, what is then to be done."""

import pytest

from runtime.core.actions import Action, Assign, Destroy, Fail, Hold, Launch
from runtime.core.groups import Place
from runtime.core.keeping import LONGEST_PAUSE, STEADY
from runtime.core.pool import (
    GRACE,
    LONGEST_GRACE,
    PATIENCE,
    Pool,
)
from runtime.core.room import Bounds

ROOM_WAIT = 10.0


def weigh(key: object) -> int:
    """Keys of tests are names; a number after a colon is the memory that they need."""
    _, _, memory = str(key).partition(":")
    return int(memory or 1)


class Talk:
    """A pool whose clock the test sets, checked after every call."""

    def __init__(self, capacity: int = 10, *, memory: int = 1000, launches: int = 100) -> None:
        bounds = Bounds(memory=memory, environments=capacity, launches=launches)
        self.pool = Pool(bounds, weigh=weigh, family=lambda key: str(key)[:1], room_wait=ROOM_WAIT)
        self.now = 100.0

    def __getattr__(self, verb: str) -> object:
        def call(*arguments: object) -> list[Action] | None:
            actions: list[Action] | None = getattr(self.pool, verb)(*arguments, self.now)
            if verb != "end_all":
                self.pool.check()
            return actions

        return call

    def warm_key(self, key: str) -> list[Action]:
        """`Pool.warm`; `warm` is a test's shorthand."""
        actions = self.pool.warm(key, self.now)
        self.pool.check()
        return actions

    def withdraw(self, ticket: int) -> None:
        self.pool.withdraw(ticket)
        self.pool.check()

    def warm(self, ticket: int, key: str) -> int:
        """An environment of the key that has been launched for the ticket and is busy with it."""
        [launch] = self.ask(ticket, key)
        assert self.idle(launch.environment) == [Assign(ticket, launch.environment)]
        number: int = launch.environment
        return number

    def free(self, ticket: int, key: str) -> int:
        """An idle environment of the key."""
        number = self.warm(ticket, key)
        assert self.idle(number) == []
        return number


@pytest.fixture
def talk() -> "Talk":
    return Talk()


# mypy cannot see through `__getattr__`; the verbs are the pool's own.
# mypy: disable-error-code="operator"


def test_take(talk: Talk) -> None:
    """An idle environment is had without a ticket, the most recently used one first; where none is, nothing is done."""
    assert talk.take("a") is None
    assert not talk.pool.knows("a")
    talk.ask(1, "a")
    assert talk.take("a") is None
    talk.idle(1)
    other = talk.warm(2, "a")
    talk.idle(other)
    talk.idle(1)
    assert [talk.take("a") for _ in range(3)] == [1, other, None]
    assert talk.pool.place(1) is Place.BUSY
    assert talk.idle(1) == []
    assert talk.take("a") == 1


def test_first_ticket_launches(talk: Talk) -> None:
    """A key without environments gets one, and the ticket with it."""
    assert talk.ask(1, "a") == [Launch(1, "a")]
    assert talk.pool.place(1) is Place.LAUNCHING
    assert talk.idle(1) == [Assign(1, 1)]
    assert talk.pool.place(1) is Place.BUSY


def test_every_ticket_launches(talk: Talk) -> None:
    """Tickets that wait each have a launch under way."""
    assert [talk.ask(number, "a") for number in (1, 2, 3)] == [
        [Launch(1, "a")],
        [Launch(2, "a")],
        [Launch(3, "a")],
    ]


def test_first_come_first_served(talk: Talk) -> None:
    """Whichever environment comes up first serves the ticket that waits longest."""
    talk.ask(1, "a")
    talk.ask(2, "a")
    assert talk.idle(2) == [Assign(1, 2)]
    assert talk.idle(1) == [Assign(2, 1)]


def test_most_recently_used_first(talk: Talk) -> None:
    """Of several idle environments the one used last serves, so that the others age."""
    talk.ask(1, "a")
    talk.ask(2, "a")
    talk.idle(1)
    talk.idle(2)
    talk.idle(2)
    talk.idle(1)
    assert talk.ask(3, "a") == [Assign(3, 1)]
    assert talk.ask(4, "a") == [Assign(4, 2)]


def test_keys_do_not_mix(talk: Talk) -> None:
    """An idle environment serves its own key only."""
    talk.free(1, "a")
    assert talk.ask(2, "b") == [Launch(2, "b")]


@pytest.mark.parametrize("key", ["", 0, None, ()])
def test_any_key_will_do(talk: Talk, key: object) -> None:
    """Keys are only compared: one that counts as false is a key like any other."""
    talk.ask(1, key)
    talk.withdraw(1)
    assert talk.idle(1) == []
    assert talk.ask(2, key) == [Assign(2, 1)]


class TestGrace:
    """A client in a tight loop does not open a second environment."""

    def test_hold(self, talk: Talk) -> None:
        """While an environment is about to finish, a ticket waits for it."""
        number = talk.warm(1, "a")
        talk.responded(number)
        assert talk.pool.place(number) is Place.FINISHING
        assert talk.ask(2, "a") == [Hold(2, talk.now + GRACE)]
        assert talk.idle(number) == [Assign(2, number)]
        assert talk.grace_over(2) == []

    def test_one_hold_for_each_environment(self, talk: Talk) -> None:
        """Two tickets do not hope for the same environment."""
        talk.responded(talk.warm(1, "a"))
        assert talk.ask(2, "a") == [Hold(2, talk.now + GRACE)]
        assert talk.ask(3, "a") == [Launch(2, "a")]

    def test_over(self, talk: Talk) -> None:
        """After its grace a ticket gets a launch, like any other."""
        talk.responded(talk.warm(1, "a"))
        talk.ask(2, "a")
        assert talk.grace_over(2) == [Launch(2, "a")]
        assert talk.grace_over(2) == []

    def test_over_with_a_launch_to_spare(self, talk: Talk) -> None:
        """A launch that an older ticket no longer needs serves the one whose grace is over."""
        first = talk.warm(1, "a")
        assert talk.ask(2, "a") == [Launch(2, "a")]
        talk.responded(first)
        assert talk.ask(3, "a") == [Hold(3, talk.now + GRACE)]
        assert talk.idle(first) == [Assign(2, first)]
        assert talk.grace_over(3) == []
        assert talk.idle(2) == [Assign(3, 2)]

    def test_death_instead(self, talk: Talk) -> None:
        """The environment dies instead of becoming idle: the end of the grace brings another."""
        number = talk.warm(1, "a")
        talk.responded(number)
        talk.ask(2, "a")
        assert talk.gone(number) == []
        assert talk.grace_over(2) == [Launch(2, "a")]

    def test_as_long_as_a_launch(self, talk: Talk) -> None:
        """A grace is as long as launches have taken lately, within bounds: less is no gain, more no patience."""
        for seconds, grace in ((0.1, 0.1), (20.0, LONGEST_GRACE), (0.001, LONGEST_GRACE)):
            key = f"a{seconds}"
            [launch] = talk.ask(1, key)
            talk.now += seconds
            talk.idle(launch.environment)
            talk.responded(launch.environment)
            [hold] = talk.ask(2, key)
            if seconds > GRACE:
                assert hold == Hold(2, talk.now + grace)
            else:
                assert hold == Hold(2, talk.now + GRACE)
            talk.withdraw(2)

    def test_not_where_it_is_in_vain(self, talk: Talk) -> None:
        """
        1. An environment is still busy for a second after each answer, as with an extension that works on.
        2. The next ticket comes.
        Result: it does not wait for it.
        """
        number = talk.warm(1, "a")
        talk.responded(number)
        talk.now += 1.0
        talk.idle(number)
        talk.ask(2, "a")
        talk.responded(number)
        assert talk.ask(3, "a") == [Launch(2, "a")]

    def test_a_grace_in_vain_is_learned_from(self, talk: Talk) -> None:
        """One that never finishes is not waited for again and again."""
        number = talk.warm(1, "a")
        talk.responded(number)
        assert talk.ask(2, "a") == [Hold(2, talk.now + GRACE)]
        talk.now += 2 * GRACE
        assert talk.grace_over(2) == [Launch(2, "a")]
        assert talk.ask(3, "a") == [Launch(3, "a")]

    def test_withdrawn(self, talk: Talk) -> None:
        """A ticket that is withdrawn in its grace leaves nothing behind."""
        talk.responded(talk.warm(1, "a"))
        talk.ask(2, "a")
        talk.withdraw(2)
        assert talk.grace_over(2) == []
        assert talk.ask(3, "a") == [Hold(3, talk.now + GRACE)]

    def test_unasked_answer(self, talk: Talk) -> None:
        """An answer of an environment that is not busy changes nothing."""
        number = talk.free(1, "a")
        talk.responded(number)
        talk.responded(99)
        assert talk.pool.place(number) is Place.IDLE


class TestCapacity:
    """No more live environments than the capacity; what waits is served in order."""

    def test_least_recently_used_makes_room(self) -> None:
        """At capacity the idle environment that has been idle longest goes."""
        talk = Talk(2)
        first, second = talk.free(1, "a"), talk.free(2, "b")
        assert talk.ask(3, "c") == [Destroy(first)]
        assert talk.ask(4, "d") == [Destroy(second)]
        assert talk.ask(5, "e") == []
        assert talk.gone(second) == [Launch(3, "c")]
        assert talk.gone(first) == [Launch(4, "d")]

    def test_what_is_used_stays(self) -> None:
        """One that is used again and again is spared in its pauses, however long ago it came."""
        talk = Talk(3)
        steady, second, third = talk.free(1, "a"), talk.free(2, "b"), talk.free(3, "c")
        for ticket, (key, victim) in enumerate((("d", second), ("e", third)), start=4):
            assert talk.ask(10 * ticket, "a") == [Assign(10 * ticket, steady)]
            talk.idle(steady)
            assert talk.ask(ticket, key) == [Destroy(victim)]
            [launch] = talk.gone(victim)
            talk.idle(launch.environment)
        assert talk.pool.place(steady) is Place.IDLE

    def test_wait_for_a_death(self) -> None:
        """Room that an end makes goes to who waits."""
        talk = Talk(1)
        number = talk.warm(1, "a")
        assert talk.ask(2, "b") == []
        assert talk.gone(number) == [Launch(2, "b")]

    def test_wait_for_idleness(self) -> None:
        """An environment that nobody of its own key wants makes room."""
        talk = Talk(1)
        number = talk.warm(1, "a")
        talk.ask(2, "b")
        assert talk.idle(number) == [Destroy(number)]
        assert talk.gone(number) == [Launch(2, "b")]

    def test_room_is_given_in_order_of_arrival(self) -> None:
        """Room goes to the oldest tickets, not to all tickets of the oldest one's key."""
        talk = Talk(2)
        first, second = talk.warm(1, "x"), talk.warm(2, "x")
        for ticket, key in ((3, "a"), (4, "b"), (5, "a")):
            assert talk.ask(ticket, key) == []
        assert talk.gone(first) == [Launch(3, "a")]
        assert talk.gone(second) == [Launch(4, "b")]

    def test_own_key_first(self) -> None:
        """An environment that becomes free serves its own key: that costs no launch."""
        talk = Talk(1)
        number = talk.warm(1, "a")
        talk.ask(2, "b")
        talk.ask(3, "a")
        assert talk.idle(number) == [Assign(3, number)]

    def test_patience(self) -> None:
        """A key with steady work does not keep another one out for ever."""
        talk = Talk(1)
        number = talk.warm(1, "a")
        talk.ask(2, "b")
        talk.now += PATIENCE
        talk.ask(3, "a")
        assert talk.idle(number) == [Destroy(number)]
        assert talk.gone(number) == [Launch(2, "b")]
        assert talk.idle(2) == [Assign(2, 2)]
        assert talk.idle(2) == [Destroy(2)]
        assert talk.gone(2) == [Launch(3, "a")]

    def test_patience_counts_from_the_oldest(self) -> None:
        """The own key's ticket is served where it has waited longer."""
        talk = Talk(1)
        number = talk.warm(1, "a")
        talk.ask(2, "a")
        talk.ask(3, "b")
        talk.now += PATIENCE
        assert talk.idle(number) == [Assign(2, number)]

    def test_ending_ones_count_until_they_have_ended(self) -> None:
        """One that is being ended holds its place until it is gone, and is not ended twice."""
        talk = Talk(1)
        number = talk.free(1, "a")
        assert talk.ask(2, "b") == [Destroy(number)]
        assert talk.idle(number) == []
        assert talk.gone(number) == [Launch(2, "b")]
        assert talk.gone(number) == []


class TestRetire:
    """What is out of date drains."""

    def test_idle(self, talk: Talk) -> None:
        """Idle environments end at once."""
        number = talk.free(1, "a")
        assert talk.retire("a") == [Destroy(number)]

    def test_busy(self, talk: Talk) -> None:
        """Busy ones end when they are done."""
        number = talk.warm(1, "a")
        assert talk.retire("a") == []
        assert talk.idle(number) == [Destroy(number)]

    def test_waiting_tickets_are_served(self, talk: Talk) -> None:
        """Who asked before is served before it ends."""
        talk.ask(1, "a")
        talk.retire("a")
        assert talk.idle(1) == [Assign(1, 1)]
        assert talk.idle(1) == [Destroy(1)]

    def test_launched_later(self) -> None:
        """An environment launched for a ticket that waited then is out of date as well."""
        talk = Talk(1)
        number = talk.warm(1, "x")
        talk.ask(2, "a")
        talk.retire("a")
        assert talk.gone(number) == [Launch(2, "a")]
        assert talk.idle(2) == [Assign(2, 2)]
        assert talk.idle(2) == [Destroy(2)]

    def test_room_of_a_retired_one(self) -> None:
        """The end of a retired environment makes room for whoever waits."""
        talk = Talk(1)
        number = talk.warm(1, "a")
        talk.retire("a")
        talk.ask(2, "b")
        assert talk.idle(number) == [Destroy(number)]
        assert talk.gone(number) == [Launch(2, "b")]

    def test_restore(self, talk: Talk) -> None:
        """An update that is taken back makes environments fit again."""
        number = talk.warm(1, "a")
        talk.retire("a")
        talk.pool.restore("a")
        assert talk.idle(number) == []
        assert talk.ask(2, "a") == [Assign(2, number)]

    def test_unknown(self, talk: Talk) -> None:
        """Keys that nobody uses are not remembered."""
        assert talk.retire("a") == []
        talk.pool.restore("a")
        assert talk.pool.keys() == []

    def test_forgotten(self, talk: Talk) -> None:
        """With the last environment of a key goes what was known of it, its retirement included."""
        number = talk.warm(1, "a")
        talk.retire("a")
        talk.idle(number)
        talk.gone(number)
        assert talk.pool.keys() == []
        assert talk.idle(talk.warm(2, "a")) == []


def test_expire(talk: Talk) -> None:
    """Environments idle since the given time go, younger ones stay."""
    old = talk.free(1, "a")
    talk.now += 10
    young = talk.free(2, "b")
    assert talk.expire(talk.now - 5) == [Destroy(old)]
    assert talk.expire(talk.now - 5) == []
    assert talk.expire(talk.now) == [Destroy(young)]


def test_use_makes_young(talk: Talk) -> None:
    """Age counts from the last use."""
    number = talk.free(1, "a")
    talk.now += 10
    talk.ask(2, "a")
    talk.idle(number)
    assert talk.pool.since(number) == talk.now
    assert talk.expire(talk.now - 5) == []


class TestFailedLaunch:
    def test_fails_one_ticket(self, talk: Talk) -> None:
        """The ticket that waits longest fails; the others keep their launches."""
        talk.ask(1, "a")
        talk.ask(2, "a")
        assert talk.failed(1) == [Fail(1)]
        assert talk.idle(2) == [Assign(2, 2)]

    def test_another_chance(self, talk: Talk) -> None:
        """Where the failure need not repeat itself the ticket gets another launch, so many times."""
        talk.ask(1, "a")
        for number in (1, 2):
            assert talk.pool.failed(number, talk.now, chances=2) == [Launch(number + 1, "a")]
            talk.pool.check()
        assert talk.pool.failed(3, talk.now, chances=2) == [Fail(1)]

    def test_without_a_ticket(self, talk: Talk) -> None:
        """Nobody waits any more: nobody fails."""
        talk.ask(1, "a")
        talk.withdraw(1)
        assert talk.failed(1) == []
        assert talk.failed(1) == []

    def test_makes_room(self) -> None:
        """The room of a failed launch goes to who waits for it."""
        talk = Talk(1)
        talk.ask(1, "a")
        talk.ask(2, "b")
        assert talk.failed(1) == [Fail(1), Launch(2, "b")]

    def test_later_failure_is_an_end(self, talk: Talk) -> None:
        """What fails after its launch takes no ticket with it: they get another."""
        number = talk.warm(1, "a")
        talk.responded(number)
        talk.ask(2, "a")
        talk.grace_over(2)
        assert talk.failed(number) == []
        assert talk.idle(2) == [Assign(2, 2)]


class TestWithdraw:
    def test_launch_goes_on(self, talk: Talk) -> None:
        """What was launched for it becomes idle and serves the next."""
        talk.ask(1, "a")
        talk.withdraw(1)
        talk.withdraw(1)
        assert talk.idle(1) == []
        assert talk.ask(2, "a") == [Assign(2, 1)]

    def test_spare_launch_is_used(self, talk: Talk) -> None:
        """A new ticket takes over the launch of one that was withdrawn."""
        talk.ask(1, "a")
        talk.withdraw(1)
        assert talk.ask(2, "a") == []
        assert talk.idle(1) == [Assign(2, 1)]

    def test_in_the_middle(self) -> None:
        """The order of the others stays."""
        talk = Talk(1)
        number = talk.warm(1, "a")
        for ticket in (2, 3, 4):
            talk.ask(ticket, "a")
        talk.withdraw(3)
        assert talk.idle(number) == [Assign(2, number)]
        assert talk.idle(number) == [Assign(4, number)]


class TestKeep:
    """Environments that are launched ahead, and stay."""

    def ready(self, talk: Talk, key: str, count: int) -> list[int]:
        """So many environments of the key that are kept and idle."""
        numbers = [launch.environment for launch in talk.keep(key, count)]
        for number in numbers:
            assert talk.idle(number) == []
        assert talk.pool.kept(key) == (count, count)
        return numbers

    def test_launched_ahead(self, talk: Talk) -> None:
        """They are launched at once and serve who asks."""
        assert talk.keep("a", 2) == [Launch(1, "a"), Launch(2, "a")]
        assert talk.pool.kept("a") == (2, 0)
        talk.idle(2)
        assert talk.pool.kept("a") == (2, 1)
        assert talk.ask(1, "a") == [Assign(1, 2)]
        assert talk.pool.kept("a") == (2, 1)
        assert talk.ask(2, "a") == []
        assert talk.idle(1) == [Assign(2, 1)]

    def test_more_and_fewer(self, talk: Talk) -> None:
        """What is missing is launched, idle ones of the surplus end, busy ones when they are done."""
        first, second = self.ready(talk, "a", 2)
        [launch] = talk.keep("a", 3)
        assert talk.idle(launch.environment) == []
        assert talk.ask(1, "a") == [Assign(1, launch.environment)]
        assert talk.keep("a", 1) == [Destroy(first), Destroy(second)]
        assert talk.pool.kept("a") == (1, 1)
        assert talk.keep("a", 0) == []
        assert talk.idle(launch.environment) == [Destroy(launch.environment)]

    def test_what_there_is_counts(self, talk: Talk) -> None:
        """Environments that are there already are kept."""
        number = talk.free(1, "a")
        assert talk.keep("a", 1) == []
        talk.now += 1000
        assert talk.expire(talk.now) == []
        assert talk.keep("a", 0) == [Destroy(number)]

    def test_surplus_is_kept_again(self, talk: Talk) -> None:
        """One that was let go while it was busy counts again when more are wanted."""
        [number] = self.ready(talk, "a", 1)
        talk.ask(1, "a")
        talk.keep("a", 0)
        assert talk.keep("a", 1) == []
        assert talk.idle(number) == []

    def test_others_get_none_of_their_room(self) -> None:
        """They count in the capacity, and make no room."""
        talk = Talk(2)
        self.ready(talk, "a", 1)
        spare = talk.free(1, "b")
        assert talk.ask(2, "c") == [Destroy(spare)]
        assert talk.gone(spare) == [Launch(3, "c")]
        assert talk.ask(3, "d") == []

    def test_they_wait_for_room(self) -> None:
        """Behind invocations, and they take that of idle ones."""
        talk = Talk(1)
        number = talk.warm(1, "b")
        assert talk.keep("a", 1) == []
        talk.ask(2, "c")
        assert talk.idle(number) == [Destroy(number)]
        assert talk.gone(number) == [Launch(2, "c")]
        talk.idle(2)
        assert talk.idle(2) == [Destroy(2)]
        assert talk.gone(2) == [Launch(3, "a")]

    def test_replaced(self, talk: Talk) -> None:
        """One that has been there for long and ends is launched anew at once."""
        [number] = self.ready(talk, "a", 1)
        talk.now += STEADY
        assert talk.gone(number) == [Launch(2, "a")]

    def test_no_tight_loop(self, talk: Talk) -> None:
        """From failure to failure the pause doubles; one that comes long after is the first again."""
        talk.keep("a", 1)
        for number, pause in enumerate((1, 2, 4, 8), start=1):
            assert talk.failed(number) == []
            talk.now += pause - 0.5
            assert talk.relaunch() == []
            talk.now += 0.5
            assert talk.relaunch() == [Launch(number + 1, "a")]
        talk.now += STEADY + 1
        talk.failed(5)
        talk.now += 1
        assert talk.relaunch() == [Launch(6, "a")]

    def test_longest_pause(self, talk: Talk) -> None:
        """It does not grow for ever."""
        talk.keep("a", 1)
        for number in range(1, 30):
            talk.failed(number)
            talk.now += LONGEST_PAUSE
            assert talk.relaunch() == [Launch(number + 1, "a")]

    def test_failures_together_count_once(self, talk: Talk) -> None:
        """Five that end in the same moment are one failure."""
        for number in self.ready(talk, "a", 5):
            assert talk.gone(number) == []
        talk.now += 1
        assert len(talk.relaunch()) == 5

    def test_spoiled(self, talk: Talk) -> None:
        """One whose initialisation failed is not kept: it serves who waits, or ends."""
        talk.keep("a", 2)
        talk.ask(1, "a")
        assert talk.spoiled(1) == [Assign(1, 1)]
        assert talk.spoiled(2) == [Destroy(2)]
        assert talk.idle(1) == [Destroy(1)]
        assert talk.pool.kept("a") == (2, 0)
        talk.now += 1
        assert talk.relaunch() == [Launch(3, "a"), Launch(4, "a")]

    def test_spoiled_on_demand(self, talk: Talk) -> None:
        """What is not kept stays: its next invocation initialises it anew."""
        talk.ask(1, "a")
        talk.withdraw(1)
        assert talk.spoiled(1) == []
        assert talk.ask(2, "a") == [Assign(2, 1)]

    def test_retired(self, talk: Talk) -> None:
        """Nothing of a key out of date is kept."""
        first, second = self.ready(talk, "a", 2)
        talk.ask(1, "a")
        assert talk.retire("a") == [Destroy(first)]
        assert talk.keep("a", 2) == []
        assert talk.idle(second) == [Destroy(second)]
        assert talk.gone(first) == talk.gone(second) == []
        assert talk.pool.keys() == []

    def test_a_wish_is_remembered(self) -> None:
        """A key of which none could be launched yet is not forgotten."""
        talk = Talk(1)
        number = talk.warm(1, "b")
        talk.keep("a", 1)
        assert talk.gone(number) == [Launch(2, "a")]
        assert (talk.pool.is_kept(2), talk.pool.is_kept(number), talk.pool.key(2)) == (True, False, "a")


def test_relaunch_after_a_death(talk: Talk) -> None:
    """A ticket whose environment dies while it initialises gets another launch."""
    talk.ask(1, "a")
    assert talk.gone(1) == [Launch(2, "a")]


def test_end_all(talk: Talk) -> None:
    """Everything ends, whatever it does, and nothing is launched for tickets that still wait."""
    idle, busy = talk.free(1, "a"), talk.warm(2, "b")
    [launch] = talk.ask(3, "c")
    assert talk.end_all() == [Destroy(idle), Destroy(busy), Destroy(launch.environment)]
    assert talk.end_all() == []
    assert talk.gone(launch.environment) == []
    assert talk.ask(4, "d") == []


def test_repr(talk: Talk) -> None:
    """It says what matters for a log."""
    talk.ask(1, "a")
    assert repr(talk.pool) == "<Pool 1/10 environments, 1/1000 MB, 1 waiting>"


def test_unknown_environments(talk: Talk) -> None:
    """Late words about environments that are gone change nothing."""
    assert (talk.idle(9), talk.gone(9), talk.failed(9), talk.pool.place(9)) == ([], [], [], None)


def test_renewed_environment_is_as_good_as_one_that_is_launched(talk: Talk) -> None:
    """Who asks while it initialises once more waits for it, and nothing is launched for him."""
    number = talk.free(1, "a")
    talk.renew(number)
    assert talk.pool.place(number) is Place.INITIALISING
    assert talk.ask(2, "a") == []
    assert talk.pool.first_waiting(number) == 2
    [other] = talk.ask(3, "a")
    assert isinstance(other, Launch)
    assert talk.idle(number) == [Assign(2, number)]


def test_environment_is_renewed_after_its_invocation(talk: Talk) -> None:
    """Who was to get it next waits on, past his grace too."""
    number = talk.warm(1, "a")
    talk.responded(number)
    [hold] = talk.ask(2, "a")
    assert isinstance(hold, Hold)
    talk.renew(number)
    assert talk.grace_over(2) == []
    assert talk.idle(number) == [Assign(2, number)]


def test_renewal_of_what_ends_or_has_ended(talk: Talk) -> None:
    """It changes nothing."""
    number = talk.free(1, "a")
    assert talk.retire("a") == [Destroy(number)]
    talk.renew(number)
    assert talk.pool.place(number) is Place.ENDING
    assert talk.gone(number) == []
    talk.renew(number)
    assert talk.pool.place(number) is None
    assert talk.pool.first_waiting(number) is None


def test_census(talk: Talk) -> None:
    """Environments by key and place, those that are ending included."""
    talk.warm(1, "a")
    talk.free(2, "b")
    talk.ask(3, "b")
    talk.ask(4, "a")
    assert talk.pool.census() == {
        ("a", Place.BUSY): 1,
        ("a", Place.LAUNCHING): 1,
        ("b", Place.BUSY): 1,
    }
