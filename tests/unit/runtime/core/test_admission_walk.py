"""Random walks over the ledger: never above any limit, nobody refused below all of them, and nothing left at the end."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runtime.core.admission import Hold, Ledger, Refusal, Verdict
from runtime.core.leases import AccountFigures, Lease
from runtime.core.limits import Limits
from runtime.model import Scope

SCOPE = Scope("123456789012", "us-east-1")
NAMES = st.sampled_from(["a", "b", "c"])
FEW = st.integers(0, 4)


class LedgerWalk(RuleBasedStateMachine):
    """A shell that carries out everything at once, and books of its own, kept by recounting."""

    @initialize(account=st.integers(1, 8))
    def begin(self, account: int) -> None:
        self.ledger = Ledger(limits_requests=False)
        self.limits = Limits(account, {}, {})
        self.now = 0.0
        self.held: dict[Lease, bool] = {}
        #: Whether its client has the answer.
        self.waiting: dict[Lease, float] = {}
        #: Until when.
        self.ready: Counter[str] = Counter()

    # Books

    def on_demand(self, name: str) -> int:
        return sum(not lease.is_provisioned for lease in self.held if lease.name == name)

    def unreserved(self) -> int:
        names = {lease.name for lease in self.held} - self.limits.reserved.keys()
        return sum(map(self.on_demand, names))

    def is_full(self, name: str) -> bool:
        running = sum(lease.name == name for lease in self.held)
        return len(self.held) >= self.limits.account or running >= self.limits.reserved.get(name, running + 1)

    def has_room(self, name: str) -> bool:
        if self.is_full(name):
            return False
        if name in self.limits.reserved:
            left = self.limits.reserved[name] - self.limits.provisioned.get(name, 0)
            return self.on_demand(name) < left
        return self.unreserved() < self.limits.unreserved

    def has_slot(self, name: str) -> bool:
        if self.is_full(name):
            return False
        return sum(lease.is_provisioned for lease in self.held if lease.name == name) < self.ready[name]

    def note(self, lease: Lease, verdict: Verdict) -> None:
        """Believe the ledger, but for what contradicts the limits."""
        self.waiting.pop(lease, None)
        name = lease.name
        if isinstance(verdict, Hold):
            assert verdict.until > self.now
            self.waiting[lease] = verdict.until
            assert any(self.held.values()), "waits for nobody"
            assert not self.has_slot(name)
            return
        if isinstance(verdict, Refusal):
            assert not self.has_room(name), "refused below all limits"
            assert not self.has_slot(name)
            return
        if lease.is_provisioned:
            assert self.has_slot(name), "above what is ready"
        else:
            assert self.has_room(name), "above a limit"
            assert not self.has_slot(name), "spilled over although one was free"
        self.held[lease] = False

    def note_all(self, settled: list[tuple[Lease, Refusal | None]]) -> None:
        for lease, verdict in settled:
            assert lease in self.waiting
            self.note(lease, verdict)

    # What may happen

    @rule(name=NAMES, version=st.sampled_from(["1", "2"]))
    def ask(self, name: str, version: str) -> None:
        lease = Lease(SCOPE, name, version, provisioned=name)
        self.note(lease, self.ledger.ask(lease, self.limits, self.now))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), lingers=st.booleans())
    def respond(self, data: st.DataObject, *, lingers: bool) -> None:
        lease = data.draw(st.sampled_from(list(self.held)))
        self.held[lease] = True
        self.ledger.responded(lease, lingers=lingers)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(list(self.held)))
        del self.held[lease]
        self.note_all(self.ledger.end(lease, self.now))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(list(self.waiting)))
        del self.waiting[lease]
        assert self.ledger.end(lease, self.now) == []

    @precondition(lambda self: self.waiting)
    @rule(late=st.sampled_from([0.0, 0.01, 2.0]))
    def pass_time(self, late: float) -> None:
        """Until the first hold is over, or longer: timers are late where there is too much to do."""
        lease, until = min(self.waiting.items(), key=lambda item: item[1])
        self.now = max(self.now, until + late)
        self.note(lease, self.ledger.patience_over(lease, self.now))

    @rule(
        reserved=st.dictionaries(NAMES, FEW),
        provisioned=st.dictionaries(NAMES, FEW),
        account=st.integers(1, 8),
    )
    def change_limits(self, reserved: dict[str, int], provisioned: dict[str, int], account: int) -> None:
        """To anything; lowering below what runs included. They count from the next request on."""
        self.limits = Limits(account, reserved, provisioned)
        self.ask("d", "1")

    @rule(name=NAMES, ready=FEW)
    def initialise(self, name: str, ready: int) -> None:
        self.ready[name] = ready
        self.note_all(self.ledger.allot(SCOPE, name, ready, self.limits, self.now))

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self.ledger.forget(SCOPE, name)

    # What always holds

    @invariant()
    def books_agree(self) -> None:
        self.ledger.check()
        provisioned = sum(lease.is_provisioned for lease in self.held)
        assert self.ledger.account(SCOPE) == AccountFigures(len(self.held), self.unreserved(), provisioned)

    def teardown(self) -> None:
        """Let everything end: nobody waits for ever, and nothing is remembered."""
        for lease in list(self.held):
            if lease in self.held:
                del self.held[lease]
                self.note_all(self.ledger.end(lease, self.now))
        while self.waiting:
            self.pass_time(late=0.0)
        for lease in list(self.held):
            del self.held[lease]
            self.note_all(self.ledger.end(lease, self.now))
        assert not self.held
        for name in "abcd":
            self.ledger.allot(SCOPE, name, 0, self.limits, self.now)
            self.ledger.forget(SCOPE, name)
        self.ledger.check()
        assert list(self.ledger.functions()) == []
        assert self.ledger._regions == {}


TestLedgerWalk = LedgerWalk.TestCase
TestLedgerWalk.settings = settings(
    max_examples=200, stateful_step_count=60, deadline=None, derandomize=True, database=None
)
