"""A random walk of the pool over the keys of tenants: an environment is never for two of them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.core.actions import Action, Assign, Destroy, Launch
from runtime.core.groups import Place
from runtime.core.pool import Pool
from runtime.core.room import Bounds
from runtime.keys import Key
from runtime.model import Code, FunctionConfig, FunctionVersion, Scope

SCOPE = Scope("123456789012", "us-east-1")
STEPS = st.sampled_from(["ask", "ask", "ask", "end", "end", "retire", "expire", "vanish"])


def key(tenant: str | None) -> Key:
    config = FunctionConfig(role="r", tenant_isolation=tenant and "PER_TENANT")
    record = FunctionVersion(
        scope=SCOPE, name="f", config=config, code=Code("a", 1, 1), revision_id="r", last_modified=""
    )
    return Key(SCOPE, "f", "$LATEST", "a", "", "on-demand", tenant, record)


class Walk:
    """Carries out what the pool says, and remembers for whom each environment has worked."""

    def __init__(self, capacity: int) -> None:
        bounds = Bounds(memory=10_000, environments=capacity, launches=10)
        self.pool = Pool(bounds, weigh=lambda _: 128, family=lambda _: "f", room_wait=10.0)
        self.now = 0.0
        self.waiting: dict[int, str | None] = {}
        #: By ticket: the tenant.
        self.worked_for: dict[int, set[str | None]] = {}
        self.last_ticket = 0

    def act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Launch(environment, _):
                    self.worked_for[environment] = set()
                case Assign(ticket, environment):
                    self.worked_for[environment].add(self.waiting.pop(ticket))
                case Destroy(environment):
                    self.act(self.pool.gone(environment, self.now))

    def ask(self, tenant: str | None) -> None:
        self.last_ticket += 1
        self.waiting[self.last_ticket] = tenant
        self.pool.restore(key(tenant))
        self.act(self.pool.ask(self.last_ticket, key(tenant), self.now))

    def environments(self) -> list[int]:
        return [number for number in self.worked_for if self.pool.place(number) is not None]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(data=st.data(), capacity=st.integers(1, 3))
def test_never_two_tenants(data: st.DataObject, capacity: int) -> None:
    """Whatever comes in whatever order; and everybody gets an environment as long as all do their work."""
    walk = Walk(capacity)
    tenants = st.sampled_from(["blue", "green", "Blue", None])
    for _ in range(data.draw(st.integers(1, 60))):
        walk.now += 1.0
        step, there = data.draw(STEPS), walk.environments()
        if step == "ask":
            walk.ask(data.draw(tenants))
        elif step == "retire":
            walk.act(walk.pool.retire(key(data.draw(tenants)), walk.now))
        elif step == "expire":
            walk.act(walk.pool.expire(walk.now - data.draw(st.sampled_from([0.0, 5.0])), walk.now))
        elif there:
            number = data.draw(st.sampled_from(there))
            walk.act((walk.pool.idle if step == "end" else walk.pool.gone)(number, walk.now))
        walk.pool.check()
    while walk.waiting:
        busy = [each for each in walk.environments() if walk.pool.place(each) is not Place.IDLE]
        assert busy, "tickets wait although nobody works"
        for number in busy:
            walk.act(walk.pool.idle(number, walk.now))
    assert all(len(tenants) <= 1 for tenants in walk.worked_for.values())
