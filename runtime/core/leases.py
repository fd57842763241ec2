"""What the ledger counts: leases, and the counters of each limit, function, account and region. Pure.

Only bookkeeping: what is admitted is `runtime.core.admission`'s to say.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from runtime.core.allowance import Allowance
from runtime.core.limits import Limits
from runtime.core.tallies import Use
from runtime.model import Scope


class Reason(StrEnum):
    """Why a request is refused, in AWS's words."""

    CONCURRENCY = "ConcurrentInvocationLimitExceeded"
    RATE = "FunctionInvocationRateLimitExceeded"
    RESERVED_CONCURRENCY = "ReservedFunctionConcurrentInvocationLimitExceeded"
    RESERVED_RATE = "ReservedFunctionInvocationRateLimitExceeded"


class Stage(Enum):
    """How far a lease has come."""

    NEW = "new"
    SPILLING = "spilling"
    """It waits for a provisioned environment, and if none comes free it spills over."""
    WAITING = "waiting"
    """It waits for any, and if none comes free it is refused."""
    LAST = "last"
    """It has waited for as long as it may."""
    RUNNING = "running"
    FINISHING = "finishing"
    OVER = "over"
    """Ended, refused or withdrawn."""


@dataclass(slots=True)
class FunctionFigures:
    """What has come of one function's requests: running totals, but for `running`, which is now."""

    running: dict[str, int] = field(default_factory=dict)
    """By version; those that run nothing are not there."""
    provisioned: int = 0
    """Admitted to an environment of provisioned concurrency."""
    spillovers: int = 0
    """Admitted on demand because no provisioned environment was free."""
    throttles: dict[Reason, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """What runs now in one account and region."""

    running: int = 0
    unreserved: int = 0
    """On demand, in functions without reserved concurrency."""
    provisioned: int = 0
    """In environments of provisioned concurrency."""


class Counter:
    """The leases of one limit, and those that wait for one of them to end."""

    __slots__ = ("finishing", "held", "lingering", "rate", "waiting")

    def __init__(self) -> None:
        self.held = 0
        self.finishing = 0
        #: Of `held`.
        self.lingering = 0
        #: Of `finishing`: those that may go on for long.
        self.waiting: OrderedDict[Lease, None] = OrderedDict()
        #: In order of arrival.
        self.rate = Allowance()
        #: Of requests.


class Slots(Counter):
    """The environments of provisioned concurrency for one version."""

    __slots__ = ("ready",)

    def __init__(self) -> None:
        super().__init__()
        self.ready = 0
        #: Initialised, those in use included.

    @property
    def is_void(self) -> bool:
        return not (self.ready or self.held or self.waiting)


class FunctionCounter(Counter):
    """A function's leases on demand, whichever limit they count against, and its figures."""

    __slots__ = ("figures", "growth", "is_forgotten", "is_reserved", "running", "users")

    def __init__(self, *, is_reserved: bool) -> None:
        super().__init__()
        self.is_reserved = is_reserved
        #: Else its leases are the pool's too.
        self.running = 0
        #: Leases that are held, those for provisioned environments included.
        self.users = 0
        #: Leases of any kind and stage.
        self.growth = Allowance()
        self.figures = FunctionFigures()
        self.is_forgotten = False

    @property
    def is_void(self) -> bool:
        return self.is_forgotten and not self.users


class Region:
    """One account in one region."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.pool = Counter()
        self.running = 0
        self.provisioned = 0
        #: Of them.
        self.functions: dict[str, FunctionCounter] = {}
        self.slots: dict[Hashable, Slots] = {}
        self.growth = Allowance()

    @property
    def is_void(self) -> bool:
        return not (self.functions or self.slots or self.running)

    @property
    def figures(self) -> AccountFigures:
        return AccountFigures(self.running, self.pool.held, self.provisioned)

    def follow(self, limits: Limits) -> None:
        """Functions may have got reserved concurrency, or lost it: what they run counts elsewhere from now on."""
        self.limits = limits
        for name, function in self.functions.items():
            is_reserved = name in limits.reserved
            if is_reserved is not function.is_reserved:
                function.is_reserved = is_reserved
                sign = -1 if is_reserved else 1
                self.pool.held += sign * function.held
                self.pool.finishing += sign * function.finishing
                self.pool.lingering += sign * function.lingering

    def function(self, name: str) -> FunctionCounter:
        """The function's counter, begun where there is none."""
        found = self.functions.get(name)
        if found is None:
            found = self.functions[name] = FunctionCounter(is_reserved=name in self.limits.reserved)
        return found


class Lease:
    """The right to run once: asked for, perhaps waited for, held, and given back."""

    __slots__ = (
        *("scope", "name", "version", "provisioned", "grows", "is_awaited"),
        *("arrived", "function", "lingers", "region", "slots", "stage", "use", "waits_in"),
    )

    def __init__(
        self,
        scope: Scope,
        function: str,
        version: str,
        *,
        provisioned: Hashable | None = None,
        grows: bool = True,
        is_awaited: bool = True,
    ) -> None:
        self.scope = scope
        self.name = function
        self.version = version
        self.provisioned = provisioned
        #: What its provisioned environments are known by (`Ledger.allot`), if it may have any.
        self.grows = grows
        #: Whether an environment on demand would have to be added for it, as far as is known.
        self.is_awaited = is_awaited
        #: Whether somebody waits for the answer: the rate of requests is for these.
        self.stage = Stage.NEW
        self.lingers = False
        #: Extensions may work on after the answer.
        self.use = Use.ON_DEMAND
        #: What it was admitted to.
        self.slots: Slots | None = None
        #: Where it is for a provisioned environment.
        self.waits_in: Counter | None = None
        # Set by `begin`.
        self.arrived: float
        self.region: Region
        self.function: FunctionCounter

    def __repr__(self) -> str:
        return f"<Lease {self.name}:{self.version} {self.stage.value}>"

    def begin(self, region: Region, now: float) -> None:
        """It is asked for."""
        self.arrived = now
        self.region = region
        self.function = function = region.function(self.name)
        function.is_forgotten = False
        function.users += 1

    @property
    def is_provisioned(self) -> bool:
        """Whether it is for an environment of provisioned concurrency."""
        return self.slots is not None

    @property
    def limited_by(self) -> Counter:
        """The counter whose limit it counts against."""
        if self.slots is not None:
            return self.slots
        return self.function if self.function.is_reserved else self.region.pool

    def may_wait(self, counter: Counter) -> bool:
        """Whether a lease is about to end that nobody else waits for."""
        return self.waits_in is counter or counter.finishing > len(counter.waiting)

    def wait(self, counter: Counter, stage: Stage) -> None:
        """Take a place at the end of the queue."""
        self.stage = stage
        self.waits_in = counter
        counter.waiting[self] = None

    def leave(self) -> None:
        """Wait no more."""
        if self.waits_in is not None:
            del self.waits_in.waiting[self]
            self.waits_in = None

    def hold(self, use: Use, slots: Slots | None = None) -> None:
        """It is admitted."""
        self.leave()
        self.stage = Stage.RUNNING
        self.use = use
        self.slots = slots
        self.region.running += 1
        self._count(1, 0)
        running = self.function.figures.running
        running[self.version] = running.get(self.version, 0) + 1

    def finish(self, *, lingers: bool) -> None:
        """Its client has the answer."""
        self.stage = Stage.FINISHING
        self.lingers = lingers
        self._count(0, 1)

    def give_back(self) -> None:
        """It ends after having been held."""
        self.region.running -= 1
        self._count(-1, -1 if self.stage is Stage.FINISHING else 0)
        running = self.function.figures.running
        running[self.version] -= 1
        if not running[self.version]:
            del running[self.version]
        self.close()

    def close(self) -> None:
        """Nothing follows."""
        self.leave()
        self.stage = Stage.OVER
        self.function.users -= 1

    def _count(self, held: int, finishing: int) -> None:
        counter = self.slots or self.function
        self.function.running += held
        counter.held += held
        counter.finishing += finishing
        counter.lingering += finishing * self.lingers
        if self.slots is not None:
            self.region.provisioned += held
        elif not self.function.is_reserved:
            self.region.pool.held += held
            self.region.pool.finishing += finishing
            self.region.pool.lingering += finishing * self.lingers
