"""The pool by conversation, where there is not enough of something: memory, environments, launches."""

import pytest

from runtime.core.actions import Assign, Destroy, Launch, Refuse
from runtime.core.groups import Place, Purpose
from runtime.core.pool import PATIENCE, RESPITE
from runtime.core.room import Bound, Bounds, Room, share
from tests.unit.runtime.core.test_pool import ROOM_WAIT, Talk

# mypy cannot see through `__getattr__`; the verbs are the pool's own.
# mypy: disable-error-code="operator"


class TestMemory:
    """Environments count by what their functions may use."""

    def test_as_many_as_fit(self) -> None:
        """The next one waits until there is enough for it."""
        talk = Talk(memory=10)
        first = talk.warm(1, "a:6")
        talk.warm(2, "b:4")
        assert talk.pool.room == 0
        assert talk.ask(3, "c:5") == []
        assert talk.gone(first) == [Launch(3, "c:5")]
        assert talk.pool.room == 1

    def test_as_many_as_needed_make_room(self) -> None:
        """Idle environments of others end, least recently used first, and no more than is needed."""
        talk = Talk(memory=10)
        idle = [talk.free(number, f"{key}:3") for number, key in enumerate("abc", start=1)]
        assert talk.ask(4, "d:5") == [Destroy(idle[0]), Destroy(idle[1])]
        assert talk.pool.place(idle[2]) is Place.IDLE
        assert talk.gone(idle[0]) == []
        assert talk.gone(idle[1]) == [Launch(4, "d:5")]

    def test_nothing_ends_in_vain(self) -> None:
        """Where all that is idle would not be enough, it stays."""
        talk = Talk(memory=10)
        talk.warm(1, "a:8")
        idle = talk.free(2, "b:2")
        assert talk.ask(3, "c:5") == []
        assert talk.pool.place(idle) is Place.IDLE

    def test_too_large(self) -> None:
        """What exceeds everything is refused at once."""
        talk = Talk(memory=10)
        assert talk.ask(1, "a:11") == [Refuse(1, Bound.MEMORY, for_good=True)]
        assert talk.pool.keys() == []

    def test_too_large_beside_what_is_kept(self) -> None:
        """What is kept goes for nobody; its own key is served by it all the same."""
        talk = Talk(memory=10)
        [launch] = talk.keep("k:6", 1)
        assert talk.ask(1, "a:5") == [Refuse(1, Bound.MEMORY, for_good=True)]
        assert talk.idle(launch.environment) == []
        assert talk.ask(2, "k:6") == [Assign(2, launch.environment)]
        assert talk.ask(3, "k:6") == []
        assert talk.ask(4, "a:4") == [Launch(2, "a:4")]

    def test_everything_kept(self) -> None:
        """Where as many are kept as there may be, no other has a chance."""
        talk = Talk(1)
        talk.keep("k", 1)
        assert talk.ask(1, "a") == [Refuse(1, Bound.ENVIRONMENTS, for_good=True)]

    def test_more_is_to_be_kept_than_fits(self) -> None:
        """What can be had is launched; the rest comes when something else is let go."""
        talk = Talk(memory=10)
        assert talk.keep("k:4", 1) == [Launch(1, "k:4")]
        assert talk.keep("l:4", 3) == [Launch(2, "l:4")]
        assert (talk.pool.lacks("k:4"), talk.pool.lacks("l:4")) == (None, Bound.MEMORY)
        assert talk.pool.lacks("m:4") is None
        talk.idle(1)
        assert talk.keep("k:4", 0) == [Destroy(1)]
        assert talk.gone(1) == [Launch(3, "l:4")]
        assert talk.pool.lacks("l:4") is Bound.MEMORY

    def test_a_smaller_budget(self) -> None:
        """It ends nothing by itself; what is idle goes before anything new comes."""
        talk = Talk(memory=10)
        first, second = talk.free(1, "a:4"), talk.free(2, "b:4")
        assert talk.resize(6) == []
        assert talk.pool.room == 0
        assert talk.ask(3, "c:2") == [Destroy(first)]
        assert talk.gone(first) == [Launch(3, "c:2")]
        assert talk.pool.place(second) is Place.IDLE

    def test_a_larger_budget(self) -> None:
        """Who waits is served."""
        talk = Talk(memory=4)
        talk.warm(1, "a:4")
        talk.ask(2, "b:4")
        assert talk.resize(8) == [Launch(2, "b:4")]


class TestEnding:
    """What is ending holds its room until it has ended; who has been given it waits for that."""

    def test_what_fits_beside_begins_at_once(self) -> None:
        """One waits for what ends for it; a smaller one that comes later takes nothing of that, and does not wait."""
        talk = Talk(memory=10)
        idle = talk.free(1, "a:6")
        assert talk.ask(2, "b:8") == [Destroy(idle)]
        assert talk.ask(3, "c:2") == [Launch(3, "c:2")]
        assert talk.pool.room == 0
        assert talk.gone(idle) == [Launch(2, "b:8")]

    def test_nothing_comes_ahead_into_it(self) -> None:
        """Room that is about to be there is not room to spare."""
        talk = Talk(memory=10)
        idle = talk.free(1, "a:8")
        assert talk.retire("a:8") == [Destroy(idle)]
        assert talk.pool.room == 2
        assert talk.warm_key("b:1") == []
        assert talk.gone(idle) == []
        assert talk.warm_key("b:1") == [Launch(2, "b:1")]

    def test_whoever_waited_has_left(self) -> None:
        """What has been made room for is launched all the same, as where it had begun already."""
        talk = Talk(1)
        idle = talk.free(1, "a")
        assert talk.ask(2, "b") == [Destroy(idle)]
        talk.withdraw(2)
        assert talk.gone(idle) == [Launch(2, "b")]
        assert talk.idle(2) == []

    def test_a_budget_that_becomes_too_small(self) -> None:
        """What has been made room for begins when nothing is ending any more."""
        talk = Talk(memory=10)
        idle = talk.free(1, "a:10")
        assert talk.ask(2, "b:10") == [Destroy(idle)]
        assert talk.resize(5) == []
        assert talk.gone(idle) == [Launch(2, "b:10")]

    def test_the_end_of_everything(self) -> None:
        """What has not begun never does."""
        talk = Talk(1)
        idle = talk.free(1, "a")
        talk.ask(2, "b")
        talk.withdraw(2)
        assert talk.end_all() == []
        assert talk.gone(idle) == []
        assert talk.pool.keys() == []


class TestFairness:
    """Neither do the small keep out the large, nor the large the small."""

    def crowded(self) -> Talk:
        """Four busy environments of 2 MB fill everything; a ticket for 5 MB waits."""
        talk = Talk(memory=8)
        for number in range(1, 5):
            talk.warm(number, "s:2")
        assert talk.ask(5, "l:5") == []
        return talk

    def test_the_small_pass(self) -> None:
        """For a while what fits is launched although a larger one came first."""
        talk = self.crowded()
        assert talk.ask(6, "t:2") == []
        assert talk.gone(1) == [Launch(5, "t:2")]

    def test_then_room_is_held(self) -> None:
        """After that nobody passes, and what becomes free makes room although its own key wants it."""
        talk = self.crowded()
        talk.ask(6, "t:2")
        talk.now += PATIENCE
        assert talk.gone(1) == []
        talk.ask(7, "s:2")
        assert talk.idle(2) == [Destroy(2)]
        assert talk.idle(3) == [Destroy(3)]
        assert talk.gone(2) == []
        assert talk.gone(3) == [Launch(5, "l:5")]
        assert talk.idle(4) == [Destroy(4)]
        assert talk.gone(4) == [Launch(6, "t:2")]

    def test_a_respite_for_the_others(self) -> None:
        """
        1. A large ticket is refused after all, though room was held for it; its client tries again.
        2. The time passes after which room would be held for it.
        Result: not for the same key so soon again.
        """
        talk = self.crowded()
        talk.now += ROOM_WAIT
        assert talk.overdue() == [Refuse(5, Bound.MEMORY)]
        talk.ask(6, "l:5")
        talk.now += PATIENCE
        talk.ask(7, "t:2")
        assert talk.gone(1) == [Launch(5, "t:2")]
        talk.now += RESPITE
        talk.ask(8, "t:2")
        assert talk.gone(2) == []

    def test_no_room_is_held_for_what_cannot_be(self) -> None:
        """Where what is kept leaves too little by now, the others go on."""
        talk = self.crowded()
        talk.gone(1)
        talk.keep("k:2", 2)
        assert talk.gone(2) == [Launch(6, "k:2")]
        talk.now += PATIENCE
        assert talk.ask(6, "t:2") == []
        assert talk.gone(3) == [Launch(7, "t:2")]


class TestOverdue:
    """Who finds no room is told so."""

    def test_in_time(self) -> None:
        """Not before the time is over, and only who finds no room then."""
        talk = Talk(1)
        number = talk.warm(1, "a")
        talk.ask(2, "b")
        talk.now += ROOM_WAIT / 2
        talk.ask(3, "a")
        assert talk.overdue() == []
        talk.now += ROOM_WAIT / 2
        assert talk.overdue() == [Refuse(2, Bound.ENVIRONMENTS)]
        assert talk.idle(number) == [Assign(3, number)]

    def test_a_launch_under_way_is_waited_for(self) -> None:
        """However long it takes."""
        talk = Talk(1)
        talk.ask(1, "a")
        talk.now += 2 * ROOM_WAIT
        assert talk.overdue() == []

    def test_waiting_for_a_launch_to_begin_is_no_lack_of_room(self) -> None:
        """Many cold starts at a time take their time."""
        talk = Talk(launches=1)
        talk.ask(1, "a")
        talk.ask(2, "b")
        talk.now += 2 * ROOM_WAIT
        assert talk.overdue() == []
        assert talk.launched(1) == [Launch(2, "b")]

    def test_room_that_was_held(self) -> None:
        """With who is refused goes the claim: what was held back is launched."""
        talk = Talk(memory=4)
        talk.warm(1, "a:3")
        talk.ask(2, "b:4")
        talk.now += ROOM_WAIT
        assert talk.ask(3, "c:1") == []
        assert talk.overdue() == [Refuse(2, Bound.MEMORY), Launch(2, "c:1")]


class TestLaunches:
    """Not too many start at once, and none for nobody."""

    def test_in_order_across_keys(self) -> None:
        """The next begins when one has started, in order of arrival."""
        talk = Talk(launches=2)
        assert talk.ask(1, "a") == [Launch(1, "a")]
        assert talk.ask(2, "a") == [Launch(2, "a")]
        assert talk.ask(3, "b") == talk.ask(4, "a") == []
        assert talk.launched(1) == [Launch(3, "b")]
        assert talk.pool.place(1) is Place.INITIALISING
        assert talk.idle(2) == [Assign(1, 2), Launch(4, "a")]

    def test_none_for_nobody(self) -> None:
        """A ticket that another environment has served needs no launch any more."""
        talk = Talk(launches=1)
        number = talk.warm(1, "a")
        assert talk.ask(2, "b") == [Launch(2, "b")]
        assert talk.ask(3, "a") == []
        assert talk.idle(number) == [Assign(3, number)]
        assert talk.launched(2) == []

    def test_none_for_who_has_left(self) -> None:
        """Nor does one that was withdrawn."""
        talk = Talk(launches=1)
        talk.ask(1, "a")
        talk.ask(2, "b")
        talk.withdraw(2)
        assert talk.launched(1) == []
        assert talk.pool.keys() == ["a"]

    def test_one_launch_one_ticket(self) -> None:
        """A launch whose ticket has been served goes to the next of its key, who then needs none."""
        talk = Talk(launches=1)
        number = talk.warm(1, "a")
        assert talk.ask(2, "a") == [Launch(2, "a")]
        assert talk.ask(3, "a") == []
        assert talk.idle(number) == [Assign(2, number)]
        assert talk.launched(2) == []
        assert talk.idle(2) == [Assign(3, 2)]

    def test_a_lost_launch_goes_first(self) -> None:
        """Who has had its turn in vain is the first in line."""
        talk = Talk(launches=1)
        talk.ask(1, "a")
        talk.ask(2, "b")
        assert talk.gone(1) == [Launch(2, "a")]

    def test_late_words(self, talk: Talk) -> None:
        """Only what is starting can have started."""
        number = talk.free(1, "a")
        assert talk.launched(number) == talk.launched(99) == []
        assert talk.pool.place(number) is Place.IDLE

    def test_what_is_kept_leaves_one(self) -> None:
        """Launches ahead do not take all that may start at once."""
        talk = Talk(launches=2)
        assert talk.keep("k", 3) == [Launch(1, "k")]
        assert talk.ask(1, "a") == [Launch(2, "a")]
        assert talk.launched(1) == []
        assert talk.launched(2) == [Launch(3, "k")]


class TestWarmAhead:
    """One environment before anybody asks, where that costs nobody anything."""

    def test_launched(self, talk: Talk) -> None:
        """It is there when the first invocation comes."""
        assert talk.warm_key("a") == [Launch(1, "a")]
        assert talk.pool.purpose(1) is Purpose.WARM_AHEAD
        assert talk.idle(1) == []
        assert talk.ask(1, "a") == [Assign(1, 1)]

    def test_one_is_enough(self, talk: Talk) -> None:
        """Where there is one already, or one is coming, no other is launched."""
        talk.ask(1, "a")
        assert talk.warm_key("a") == []
        talk.idle(1)
        assert talk.warm_key("a") == []

    def test_nobody_makes_room(self) -> None:
        """It is left out where less than a quarter would be left, even if something idle could go."""
        talk = Talk(memory=8)
        talk.free(1, "a:4")
        assert talk.warm_key("b:3") == []
        assert talk.warm_key("b:2") == [Launch(2, "b:2")]
        assert talk.pool.keys() == ["a:4", "b:2"]

    def test_few_environments(self) -> None:
        """The bound on their number counts like that on memory."""
        talk = Talk(4)
        assert [talk.warm_key(key) for key in "abcd"] == [
            [Launch(1, "a")],
            [Launch(2, "b")],
            [Launch(3, "c")],
            [],
        ]

    def test_last_in_line(self) -> None:
        """Invocations and what is kept go first."""
        talk = Talk(launches=1)
        talk.ask(1, "a")
        assert talk.warm_key("w") == talk.keep("k", 1) == talk.ask(2, "b") == []
        assert talk.launched(1) == [Launch(2, "b")]
        assert talk.launched(2) == [Launch(3, "k")]
        assert talk.pool.purpose(3) is Purpose.PROVISIONED
        assert talk.launched(3) == [Launch(4, "w")]
        assert [talk.pool.purpose(number) for number in (1, 4)] == [Purpose.INVOCATION, Purpose.WARM_AHEAD]

    def test_overtaken(self) -> None:
        """An invocation that comes first launches for itself."""
        talk = Talk(launches=1)
        talk.ask(1, "a")
        talk.warm_key("w")
        talk.ask(2, "w")
        assert talk.launched(1) == [Launch(2, "w")]
        assert talk.launched(2) == []

    def test_out_of_date(self) -> None:
        """A change before its turn takes it out; one that is launching ends when it has come up."""
        talk = Talk(launches=1)
        talk.ask(1, "a")
        talk.warm_key("w")
        assert talk.retire("w") == []
        assert talk.launched(1) == []
        assert talk.warm_key("v") == [Launch(2, "v")]
        talk.retire("v")
        assert talk.warm_key("v") == []
        assert talk.idle(2) == [Destroy(2)]


@pytest.fixture
def talk() -> Talk:
    return Talk()


def test_families(talk: Talk) -> None:
    """Keys are found by what they have in common, as long as there is something of them."""
    one, two = talk.free(1, "a1"), talk.free(2, "a2")
    talk.free(3, "b1")
    assert talk.pool.keys_of("a") == ["a1", "a2"]
    assert talk.pool.knows("a1")
    talk.gone(one)
    talk.gone(two)
    assert talk.pool.keys_of("a") == []
    assert not talk.pool.knows("a1")


def test_room_in_figures() -> None:
    """A budget that nobody set is four fifths of what there is; the free part is never less than nothing."""
    room = Room(Bounds(memory=share(1000), environments=2, launches=1))
    room.count(900, 1)
    assert (room.free, room.reach, room.short_of()) == (0, -100, Bound.MEMORY)
    room.count(0, 1)
    assert (room.reach, room.short_of()) == (-1, Bound.ENVIRONMENTS)
