"""The ledger by conversation: who asks, and who may run."""

from collections.abc import Mapping
from typing import Any

import pytest

from runtime.core.admission import (
    LINGERING_PATIENCE,
    LINGERING_SPILL_PATIENCE,
    PATIENCE,
    SPILL_PATIENCE,
    Hold,
    Ledger,
    Refusal,
    Verdict,
)
from runtime.core.leases import AccountFigures, Lease, Reason
from runtime.core.limits import Limits
from runtime.core.scaling import Scaling, burst_size
from runtime.model import Scope

SCOPE = Scope("123456789012", "us-east-1")
FULL = Refusal(Reason.CONCURRENCY)
RESERVED_FULL = Refusal(Reason.RESERVED_CONCURRENCY)


class Talk:
    """A ledger whose clock and limits the test sets, checked after every call."""

    def __init__(self, account: int = 1000, *, scope: Scope = SCOPE, **options: Any) -> None:
        self.ledger = Ledger(**options)
        self.scope = scope
        self.now = 100.0
        self.set(account)

    def set(
        self,
        account: int = 1000,
        reserved: Mapping[str, int] | None = None,
        provisioned: Mapping[str, int] | None = None,
    ) -> None:
        self.limits = Limits(account, reserved or {}, provisioned or {})

    def ask(self, function: str = "f", version: str = "1", **members: Any) -> tuple[Lease, Verdict]:
        lease = Lease(self.scope, function, version, **members)
        verdict = self.ledger.ask(lease, self.limits, self.now)
        self.ledger.check()
        return lease, verdict

    def run(self, function: str = "f", version: str = "1", **members: Any) -> Lease:
        """A lease that is admitted at once."""
        lease, verdict = self.ask(function, version, **members)
        assert verdict is None
        return lease

    def finishing(self, function: str = "f", *, lingers: bool = False, **members: Any) -> Lease:
        """A lease whose client has its answer."""
        lease = self.run(function, **members)
        self.ledger.responded(lease, lingers=lingers)
        self.ledger.check()
        return lease

    def end(self, lease: Lease) -> list[tuple[Lease, Refusal | None]]:
        settled = self.ledger.end(lease, self.now)
        self.ledger.check()
        return settled

    def patience_over(self, lease: Lease, after: float) -> Verdict:
        self.now += after
        verdict = self.ledger.patience_over(lease, self.now)
        self.ledger.check()
        return verdict

    def allot(self, key: str, ready: int) -> list[tuple[Lease, Refusal | None]]:
        settled = self.ledger.allot(self.scope, key, ready, self.limits, self.now)
        self.ledger.check()
        return settled

    def figures(self, function: str = "f") -> Any:
        return next(figures for _, name, figures in self.ledger.functions() if name == function)


@pytest.fixture
def talk() -> Talk:
    return Talk()


class TestLimits:
    def test_reserved(self, talk: Talk) -> None:
        """Ten at once with three reserved: three run and seven are refused, each at once and for that reason."""
        talk.set(reserved={"f": 3})
        verdicts = [talk.ask(version=version)[1] for version in "12123456$7"]
        assert verdicts == [None] * 3 + [RESERVED_FULL] * 7

    def test_given_back(self, talk: Talk) -> None:
        """What has ended makes room, once."""
        talk.set(reserved={"f": 1})
        first = talk.run()
        assert talk.ask()[1] == RESERVED_FULL
        talk.end(first)
        talk.end(first)
        talk.run()
        assert talk.ask()[1] == RESERVED_FULL

    def test_nothing_reserved(self, talk: Talk) -> None:
        """A function with a reservation of 0 never runs."""
        talk.set(reserved={"f": 0})
        assert talk.ask()[1] == RESERVED_FULL
        talk.run("g")

    def test_unreserved(self, talk: Talk) -> None:
        """Functions without a reservation share what is not reserved and not provisioned."""
        talk.set(10, reserved={"r": 5}, provisioned={"p": 2, "r": 4})
        for name in "abc":
            talk.run(name)
        assert talk.ask("d")[1] == FULL
        talk.run("r")
        assert talk.ask("r")[1] == RESERVED_FULL

    def test_new_reservation_counts_what_runs(self, talk: Talk) -> None:
        """What a function runs when it gets a reservation is the reservation's from then on, and the pool's no more."""
        talk.set(4)
        for _ in range(3):
            talk.run("f")
        talk.run("g")
        assert talk.ask("g")[1] == FULL
        talk.set(5, reserved={"f": 3})
        assert talk.ask("f")[1] == RESERVED_FULL
        talk.run("g")
        assert talk.ledger.account(SCOPE) == AccountFigures(5, 2, 0)

    def test_lost_reservation(self, talk: Talk) -> None:
        """Without it what the function runs is the pool's."""
        talk.set(4, reserved={"f": 3})
        leases = [talk.run("f") for _ in range(3)]
        talk.ledger.responded(leases[0])
        talk.set(4)
        talk.run("g")
        assert isinstance(talk.ask("g")[1], Hold)
        talk.end(leases[0])
        assert talk.ledger.account(SCOPE).unreserved == 4

    def test_lowered(self, talk: Talk) -> None:
        """A limit below what runs ends nothing; it refuses until enough has ended."""
        leases = [talk.run() for _ in range(3)]
        talk.set(reserved={"f": 1})
        assert talk.ask()[1] == RESERVED_FULL
        for lease in leases[:2]:
            talk.end(lease)
            assert talk.ask()[1] == RESERVED_FULL
        talk.end(leases[2])
        talk.run()

    def test_account(self, talk: Talk) -> None:
        """A reservation that came while others filled the account does not lift the account's limit."""
        talk.set(3)
        others = [talk.run("g") for _ in range(3)]
        talk.set(3, reserved={"f": 1})
        assert talk.ask("f")[1] == RESERVED_FULL
        talk.end(others[0])
        talk.run("f")

    def test_accounts_and_regions_are_apart(self, talk: Talk) -> None:
        """Each has limits of its own."""
        talk.set(1)
        talk.run()
        talk.scope = Scope("123456789012", "eu-west-1")
        talk.run()
        talk.scope = Scope("000000000000", "us-east-1")
        talk.run()
        assert talk.ask()[1] == FULL


class TestFinishing:
    def test_sequential_client(self, talk: Talk) -> None:
        """With one reserved, whoever has the answer and asks again waits for the end of the log, and runs."""
        talk.set(reserved={"f": 1})
        lease = talk.finishing()
        following, verdict = talk.ask()
        assert verdict == Hold(100.0 + PATIENCE)
        assert talk.end(lease) == [(following, None)]
        assert talk.ask()[1] == RESERVED_FULL

    def test_no_more_wait_than_finish(self, talk: Talk) -> None:
        """Two finishing let two wait; a third is refused at once."""
        talk.set(reserved={"f": 3})
        first, second = talk.finishing(), talk.finishing()
        talk.run()
        waiting = [talk.ask() for _ in range(3)]
        assert [type(verdict) for _, verdict in waiting] == [Hold, Hold, Refusal]
        assert talk.end(second) == [(waiting[0][0], None)]
        assert talk.end(first) == [(waiting[1][0], None)]

    def test_in_order(self, talk: Talk) -> None:
        """A lease that ends without having been answered goes to who waits longest too, and not to who comes then."""
        talk.set(2)
        talk.finishing("f")
        running = talk.run("g")
        waiting, _ = talk.ask("h")
        assert talk.end(running) == [(waiting, None)]
        assert talk.ask("h")[1] == Hold(100.0 + PATIENCE)

    @pytest.mark.parametrize(("lingers", "patience"), [(False, PATIENCE), (True, LINGERING_PATIENCE)])
    def test_it_takes_too_long(self, talk: Talk, *, lingers: bool, patience: float) -> None:
        """Nobody waits for ever for an environment that goes on working, and not for long where extensions do."""
        talk.set(reserved={"f": 1})
        lease = talk.finishing(lingers=lingers)
        following, verdict = talk.ask()
        assert verdict == Hold(100.0 + patience)
        assert talk.patience_over(following, patience) == RESERVED_FULL
        assert talk.end(lease) == []
        assert talk.figures().throttles == {Reason.RESERVED_CONCURRENCY: 1}

    def test_one_of_two_lingers(self, talk: Talk) -> None:
        """The other one is worth the wait; lingering ones are told apart also when the limit is another one."""
        talk.set(2)
        talk.finishing(lingers=True)
        talk.finishing()
        assert talk.ask()[1] == Hold(100.0 + PATIENCE)
        talk.set(2, reserved={"f": 2})
        assert talk.ask("g")[1] == FULL

    def test_room_at_the_last_moment(self, talk: Talk) -> None:
        """Who has waited in vain gets what a raised limit gives."""
        talk.set(reserved={"f": 1})
        talk.finishing()
        following, _ = talk.ask()
        talk.set(reserved={"f": 2, "g": 1})
        talk.run("g")
        assert talk.patience_over(following, PATIENCE) is None

    def test_lowered_while_waiting(self, talk: Talk) -> None:
        """Where an end gives no room after all, the wait goes on until its time is over."""
        talk.set(reserved={"f": 2})
        first, second = talk.finishing(), talk.finishing()
        following, _ = talk.ask()
        talk.set(reserved={"f": 1})
        assert talk.ask("g")[1] is None
        assert talk.end(first) == []
        assert talk.end(second) == [(following, None)]

    def test_who_leaves_gives_the_place_up(self, talk: Talk) -> None:
        """A client that left while it waited is not waited for."""
        talk.set(reserved={"f": 1})
        lease = talk.finishing()
        gone, _ = talk.ask()
        talk.end(gone)
        following, verdict = talk.ask()
        assert isinstance(verdict, Hold)
        assert talk.end(lease) == [(following, None)]

    def test_answered_twice_and_late(self, talk: Talk) -> None:
        """The answer is heard once, and not after the end."""
        talk.set(reserved={"f": 1})
        lease = talk.finishing()
        talk.ledger.responded(lease)
        talk.end(lease)
        talk.ledger.responded(lease)
        talk.ledger.check()
        talk.run()
        assert talk.ask()[1] == RESERVED_FULL


class TestProvisioned:
    def test_ready_ones_first(self, talk: Talk) -> None:
        """Two ready ones serve two; the third spills over, and version 2 has none."""
        talk.set(provisioned={"f": 2})
        talk.allot("f:1", 2)
        leases = [talk.run(provisioned="f:1") for _ in range(3)]
        assert [lease.is_provisioned for lease in leases] == [True, True, False]
        assert not talk.run(version="2", provisioned="f:2").is_provisioned
        assert (talk.figures().provisioned, talk.figures().spillovers) == (2, 1)
        assert talk.ledger.account(SCOPE) == AccountFigures(4, 2, 2)
        talk.end(leases[0])
        assert talk.run(provisioned="f:1").is_provisioned

    def test_all_of_the_reservation(self, talk: Talk) -> None:
        """Where everything reserved is provisioned, nothing is left for `$LATEST`, nor for spilling over."""
        talk.set(reserved={"f": 1}, provisioned={"f": 1})
        talk.allot("f:1", 1)
        assert talk.ask(version="$LATEST")[1] == RESERVED_FULL
        talk.run(provisioned="f:1")
        assert talk.ask(provisioned="f:1")[1] == RESERVED_FULL

    def test_not_ready_yet(self, talk: Talk) -> None:
        """Until there are any, the version runs on demand; that is no spilling over."""
        talk.set(provisioned={"f": 2})
        assert not talk.run(provisioned="f:1").is_provisioned
        assert talk.figures().spillovers == 0

    def test_waits_rather_than_spills(self, talk: Talk) -> None:
        """A sequential client finds its environment again."""
        talk.set(provisioned={"f": 1})
        talk.allot("f:1", 1)
        lease = talk.finishing(provisioned="f:1")
        following, verdict = talk.ask(provisioned="f:1")
        assert verdict == Hold(100.0 + SPILL_PATIENCE)
        assert talk.end(lease) == [(following, None)]
        assert following.is_provisioned

    @pytest.mark.parametrize(
        ("lingers", "patience"), [(False, SPILL_PATIENCE), (True, LINGERING_SPILL_PATIENCE)]
    )
    def test_spills_when_it_takes_too_long(self, talk: Talk, *, lingers: bool, patience: float) -> None:
        """A cold start is better than a longer wait."""
        talk.set(provisioned={"f": 1})
        talk.allot("f:1", 1)
        talk.finishing(provisioned="f:1", lingers=lingers)
        following, verdict = talk.ask(provisioned="f:1")
        assert verdict == Hold(100.0 + patience)
        assert talk.patience_over(following, patience) is None
        assert not following.is_provisioned

    def test_nothing_to_spill_into(self, talk: Talk) -> None:
        """Where on-demand concurrency is used up, the wait for the provisioned one goes on, then it is refused."""
        talk.set(reserved={"f": 1}, provisioned={"f": 1})
        talk.allot("f:1", 1)
        lease = talk.finishing(provisioned="f:1")
        following, _ = talk.ask(provisioned="f:1")
        assert talk.patience_over(following, SPILL_PATIENCE) == Hold(100.0 + PATIENCE)
        assert talk.end(lease) == [(following, None)]
        talk.ledger.responded(following)
        last, _ = talk.ask(provisioned="f:1")
        assert isinstance(talk.patience_over(last, SPILL_PATIENCE), Hold)
        assert talk.patience_over(last, PATIENCE - SPILL_PATIENCE) == RESERVED_FULL

    def test_nobody_is_held_into_the_past(self, talk: Talk) -> None:
        """The patience for one that lingers is spent by the time for spilling over: the wait goes on for the other."""
        talk.set(2, provisioned={"f": 1})
        talk.allot("f:1", 1)
        lease = talk.finishing(provisioned="f:1")
        talk.finishing("g", lingers=True)
        following, _ = talk.ask(provisioned="f:1")
        assert talk.patience_over(following, SPILL_PATIENCE) == Hold(100.0 + PATIENCE)
        assert talk.end(lease) == [(following, None)]

    def test_nothing_left_to_be_patient_for(self, talk: Talk) -> None:
        """Where one that lingers is all that is in the way by then, there is no further wait."""
        talk.set(2, provisioned={"f": 1})
        talk.allot("f:1", 1)
        lease = talk.finishing(provisioned="f:1")
        talk.finishing("g", lingers=True)
        following, _ = talk.ask(provisioned="f:1")
        assert talk.allot("f:1", 0) == []
        assert talk.end(lease) == []
        assert talk.patience_over(following, SPILL_PATIENCE) == FULL

    def test_another_becomes_ready(self, talk: Talk) -> None:
        """Who waits for one that is finishing gets one that has come up."""
        talk.set(provisioned={"f": 2})
        talk.allot("f:1", 1)
        talk.finishing(provisioned="f:1")
        following, _ = talk.ask(provisioned="f:1")
        assert talk.allot("f:1", 2) == [(following, None)]

    def test_last_one_dies_while_somebody_waits(self, talk: Talk) -> None:
        """Whoever waits for it runs on demand, and nothing remembers it."""
        talk.set(provisioned={"f": 1})
        talk.allot("f:1", 1)
        lease = talk.finishing(provisioned="f:1")
        following, _ = talk.ask(provisioned="f:1")
        talk.allot("f:1", 0)
        talk.end(lease)
        assert talk.patience_over(following, SPILL_PATIENCE) is None
        assert not following.is_provisioned

    def test_one_dies_in_use(self, talk: Talk) -> None:
        """It is counted until its lease ends; nobody gets it any more."""
        talk.set(provisioned={"f": 1})
        talk.allot("f:1", 1)
        lease = talk.run(provisioned="f:1")
        talk.allot("f:1", 0)
        assert talk.ledger.account(SCOPE).provisioned == 1
        assert not talk.run(provisioned="f:1").is_provisioned
        talk.end(lease)
        assert talk.ledger.account(SCOPE).provisioned == 0

    def test_it_comes_while_the_reservation_is_used_up(self, talk: Talk) -> None:
        """What runs on demand is the function's too: a provisioned environment lifts the limit for nobody."""
        talk.set(reserved={"f": 2})
        first, _ = talk.run(), talk.run()
        talk.set(reserved={"f": 2}, provisioned={"f": 1})
        talk.allot("f:1", 1)
        assert talk.ask(provisioned="f:1")[1] == RESERVED_FULL
        talk.ledger.responded(first)
        following, verdict = talk.ask(provisioned="f:1")
        assert isinstance(verdict, Hold)
        assert talk.end(first) == [(following, None)]
        assert following.is_provisioned

    def test_it_goes_while_it_is_used(self, talk: Talk) -> None:
        """What runs in an environment that was provisioned is still the function's."""
        talk.set(reserved={"f": 2}, provisioned={"f": 1})
        talk.allot("f:1", 1)
        lease = talk.run(provisioned="f:1")
        talk.set(reserved={"f": 2})
        talk.allot("f:1", 0)
        talk.run()
        assert talk.ask()[1] == RESERVED_FULL
        talk.end(lease)
        talk.run()

    def test_it_comes_while_the_account_is_used_up(self, talk: Talk) -> None:
        """Nor does it lift the limit of the account."""
        talk.set(2)
        first, _ = talk.run("g"), talk.run("g")
        talk.set(2, provisioned={"f": 1})
        talk.allot("f:1", 1)
        assert talk.ask(provisioned="f:1")[1] == FULL
        talk.end(first)
        assert talk.run(provisioned="f:1").is_provisioned


class TestRates:
    def test_requests(self, talk: Talk) -> None:
        """Ten a second for each unit reserved, all at once or spread over it."""
        talk.set(reserved={"f": 2})
        for _ in range(20):
            talk.end(talk.run())
        assert talk.ask()[1] == Refusal(Reason.RESERVED_RATE)
        talk.now += 0.05
        talk.end(talk.run())
        assert talk.ask()[1] == Refusal(Reason.RESERVED_RATE)
        talk.now += 10
        for _ in range(20):
            talk.end(talk.run())
        assert talk.ask()[1] == Refusal(Reason.RESERVED_RATE)

    def test_requests_of_the_account(self, talk: Talk) -> None:
        """Functions without a reservation share the rate as they share the concurrency."""
        talk.set(2)
        for name in "fg" * 10:
            talk.end(talk.run(name))
        assert talk.ask("h")[1] == Refusal(Reason.RATE)

    def test_requests_of_provisioned_environments(self, talk: Talk) -> None:
        """Faster ones spill over."""
        talk.set(provisioned={"f": 1})
        talk.allot("f:1", 1)
        kinds = []
        for _ in range(11):
            lease = talk.run(provisioned="f:1")
            kinds.append(lease.is_provisioned)
            talk.end(lease)
        assert kinds == [True] * 10 + [False]

    def test_nobody_waits(self, talk: Talk) -> None:
        """Invocations that nobody waits for have no rate, and take nothing from those that have one."""
        talk.set(reserved={"f": 1})
        for _ in range(30):
            talk.end(talk.run(is_awaited=False))
        for _ in range(10):
            talk.end(talk.run())

    def test_switched_off(self) -> None:
        """The setting lets requests come as fast as they can."""
        talk = Talk(limits_requests=False)
        talk.set(reserved={"f": 1})
        for _ in range(100):
            talk.end(talk.run())

    def test_growth(self) -> None:
        """A function gets 1,000 environments at once, then 100 a second; those that are there do not count."""
        talk = Talk(10_000)
        for _ in range(1000):
            talk.run()
        assert talk.ask()[1] == FULL
        talk.run(grows=False)
        talk.run("g")
        talk.now += 0.1
        for _ in range(10):
            talk.run()
        assert talk.ask()[1] == FULL

    def test_added_none(self) -> None:
        """Who waited for an environment that was busy adds none, however often; telling it twice changes nothing."""
        talk = Talk(10_000)
        for _ in range(5000):
            lease = talk.run()
            talk.ledger.added_none(lease)
            talk.end(lease)
        added = [talk.run() for _ in range(999)]
        talk.ledger.added_none(lease := talk.run())
        talk.ledger.added_none(lease)
        talk.run()
        assert talk.ask()[1] == FULL
        talk.ledger.added_none(added[0])
        talk.run()
        assert talk.ask()[1] == FULL

    def test_growth_is_not_saved_up(self) -> None:
        """An hour without any gives no more than ten seconds do."""
        talk = Talk(10_000)
        talk.run()
        talk.now += 3600
        for _ in range(1000):
            talk.run()
        assert talk.ask()[1] == FULL

    def test_burst(self) -> None:
        """The older model: 500 at once for the whole region, then 500 a minute; it says how long to wait."""
        talk = Talk(10_000, scope=Scope("123456789012", "sa-east-1"), scaling=Scaling.BURST)
        for number in range(500):
            talk.run("fg"[number % 2])
        assert talk.ask("h")[1] == FULL
        talk.now += 60
        for _ in range(500):
            talk.run("h")
        assert talk.ask("f")[1] == FULL

    def test_bursts(self) -> None:
        """Regions differ in their first burst."""
        assert [burst_size(name) for name in ("us-east-1", "eu-central-1", "sa-east-1")] == [3000, 1000, 500]


class TestFigures:
    def test_versions(self, talk: Talk) -> None:
        """What runs is told by version; one that runs nothing is not there."""
        lease = talk.run(version="1")
        talk.run(version="2")
        talk.run(version="2")
        assert talk.figures().running == {"1": 1, "2": 2}
        talk.end(lease)
        assert talk.figures().running == {"2": 2}

    def test_throttles(self, talk: Talk) -> None:
        """Refusals are counted by reason."""
        talk.set(reserved={"f": 0})
        talk.ask()
        talk.ask()
        assert talk.figures().throttles == {Reason.RESERVED_CONCURRENCY: 2}

    def test_forgotten(self, talk: Talk) -> None:
        """A deleted function leaves nothing behind, once what it runs has ended; one that comes anew counts on."""
        lease = talk.run()
        talk.ledger.forget(SCOPE, "f")
        talk.ledger.check()
        assert [name for _, name, _ in talk.ledger.functions()] == ["f"]
        talk.end(lease)
        assert list(talk.ledger.functions()) == []
        assert talk.ledger.account(SCOPE) == AccountFigures()
        other = talk.run()
        talk.ledger.forget(SCOPE, "f")
        talk.run()
        talk.end(other)
        assert talk.figures().running == {"1": 1}
