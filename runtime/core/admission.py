"""Whether an invocation may run now: concurrency, its parts, and rates, for each account and region. Pure.

What is admitted holds a **lease** until its environment is done with it, which is later than its client's answer. Each
lease counts against one limit; they are tried in this order, and the first that has room gets it:

1. environments of provisioned concurrency for the very version: as many as are ready. What finds none **spills over** to
   those on demand;
2. the function's reserved concurrency, less what of it is provisioned;
3. else the pool that functions without reserved concurrency share.

In all, a function never has more than its reserved concurrency, nor an account more than its limit. That follows from the
above, but not in the moment in which provisioned concurrency comes or goes: what began to run before it did counts too.

Two rates come on top. *Requests*: ten a second for each unit of the concurrency that they draw on, as AWS has it where
somebody waits for the answer. *Growth*: how many environments may be added, by one of two models (`Scaling`). Whoever
finds no environment free may have to add one, and is counted until it turns out that none was added for it.

A lease whose client has its answer is **finishing**: its environment writes the end of a log, and will be free in a
moment. Where a finishing lease is all that is in the way, a request waits for it, in order of arrival and not for long: a
client that invokes, has its answer and invokes again must find the concurrency that it has just given back. No more
wait than leases are finishing, so that others are refused at once. Extensions may keep an environment for as long as they
like: such a lease **lingers**, is not waited for in earnest, and the request is refused, as on AWS.

Limits are the caller's and are looked at when a request comes; lowering them ends nothing. Running counts only: a
decision looks at five of them at the most. `check` recounts from the leases for tests.
"""

import math
from collections import Counter as Tally
from collections.abc import Hashable, Iterator

from rapid.values import value
from runtime.core.allowance import Allowance
from runtime.core.leases import (
    AccountFigures,
    Counter,
    FunctionCounter,
    FunctionFigures,
    Lease,
    Reason,
    Region,
    Slots,
    Stage,
)
from runtime.core.limits import Limits
from runtime.core.scaling import BURST_RATE, CURRENT_RATE, CURRENT_SIZE, Scaling, burst_size
from runtime.core.tallies import Use
from runtime.model import Scope

SPILL_PATIENCE = 0.1
"""Seconds that a request waits for a provisioned environment that is finishing, before it spills over."""
PATIENCE = 1.0
"""Seconds after its arrival until a request that waits for a finishing lease is refused: a few milliseconds are needed,
many more on a machine that has too much to do."""
LINGERING_SPILL_PATIENCE, LINGERING_PATIENCE = 0.02, 0.1
"""The same where all that are finishing linger."""
REQUEST_RATE = 10
"""Requests a second for each unit of concurrency."""


@value(frozen=True, slots=True)
class Hold:
    """Call `patience_over` at the time `until`, unless the lease is settled before."""

    until: float


@value(frozen=True, slots=True)
class Refusal:
    """`retry_after` in whole seconds."""

    reason: Reason
    retry_after: int = 1


Verdict = Hold | Refusal | None
"""None: it is admitted."""
Settled = list[tuple[Lease, Refusal | None]]
"""Leases that wait no more."""


class Ledger:
    """See the module's text."""

    def __init__(self, scaling: Scaling = Scaling.CURRENT, *, limits_requests: bool = True) -> None:
        self._scaling = scaling
        self._limits_requests = limits_requests
        self._regions: dict[Scope, Region] = {}
        self._leases: set[Lease] = set()
        #: Those that are held.

    def __repr__(self) -> str:
        return f"<Ledger {len(self._leases)} leases>"

    # Leases

    def ask(self, lease: Lease, limits: Limits, now: float) -> Verdict:
        """Somebody invokes. A lease on hold is settled by what follows, or by `patience_over`."""
        lease.begin(self._region(lease.scope, limits), now)
        return self._judge(lease, now)

    def patience_over(self, lease: Lease, now: float) -> Verdict:
        """The time of its hold has come; only where it is still on hold."""
        stage = Stage.WAITING if lease.stage is Stage.SPILLING else Stage.LAST
        lease.leave()
        lease.stage = stage
        verdict = self._judge(lease, now)
        self._tidy(lease)
        return verdict

    def added_none(self, lease: Lease) -> None:
        """It has an environment that was there, or none at all: what it took of the growth is others' again."""
        if lease.grows and lease.slots is None:
            lease.grows = False
            self._growth(lease).give_back()

    def responded(self, lease: Lease, *, lingers: bool = False) -> None:
        """Its client has the answer; it `lingers` where extensions may work on."""
        if lease.stage is Stage.RUNNING:
            lease.finish(lingers=lingers)

    def end(self, lease: Lease, now: float) -> Settled:
        """Its environment is free, or there never was one; or whoever waited has left."""
        if lease.stage is Stage.OVER:
            return []
        if lease not in self._leases:
            lease.close()
            self._tidy(lease)
            return []
        self._leases.discard(lease)
        lease.give_back()
        freed = lease.limited_by
        settled = self._serve(freed, now) if freed.waiting else []
        self._tidy(lease)
        return settled

    # Provisioned concurrency and functions come and go

    def allot(self, scope: Scope, key: Hashable, ready: int, limits: Limits, now: float) -> Settled:
        """So many environments are initialised for the key now, those in use included."""
        region = self._region(scope, limits)
        slots = region.slots.get(key)
        if slots is None:
            slots = region.slots[key] = Slots()
        slots.ready = ready
        settled = self._serve(slots, now)
        self._sweep(scope, region, "", key)
        return settled

    def forget(self, scope: Scope, function: str) -> None:
        """The function is no more; what it still runs goes on."""
        region = self._regions.get(scope)
        if region is not None and (found := region.functions.get(function)) is not None:
            found.is_forgotten = True
            self._sweep(scope, region, function, None)

    # Figures

    def account(self, scope: Scope) -> AccountFigures:
        """What runs now in an account and region."""
        region = self._regions.get(scope)
        return region.figures if region else AccountFigures()

    def functions(self) -> Iterator[tuple[Scope, str, FunctionFigures]]:
        """Every function that has been invoked, with its figures."""
        for scope, region in self._regions.items():
            for name, function in region.functions.items():
                yield scope, name, function.figures

    # Decisions

    def _judge(self, lease: Lease, now: float) -> Verdict:
        verdict = self._decide(lease, now)
        if isinstance(verdict, Hold):
            return verdict
        if verdict is None:
            self._leases.add(lease)
        else:
            lease.close()
            self._tidy(lease)
        return verdict

    def _serve(self, counter: Counter, now: float) -> Settled:
        """Let those who wait have what there is, in their order."""
        settled: Settled = []
        while counter.waiting:
            lease = next(iter(counter.waiting))
            verdict = self._judge(lease, now)
            if isinstance(verdict, Hold):  # there is no room after all; its time runs on
                break
            settled.append((lease, verdict))
        return settled

    def _decide(self, lease: Lease, now: float) -> Verdict:
        slots = None if lease.provisioned is None else lease.region.slots.get(lease.provisioned)
        is_full = _is_full(lease)
        if slots is not None:
            is_free = slots.held < slots.ready and not is_full
            if is_free and not self._pause(lease, slots, slots.ready, now):
                self._admit(lease, Use.PROVISIONED, slots)
                return None
            if lease.stage in _MAY_SPILL and lease.may_wait(slots):
                return _hold(lease, slots, Stage.SPILLING)
        limits, counter, is_reserved = lease.region.limits, lease.limited_by, lease.function.is_reserved
        limit = limits.on_demand(lease.name) if is_reserved else limits.unreserved
        if is_full or counter.held >= limit:
            return _full(lease, counter, slots, now)
        refusal = self._too_fast(lease, counter, limit, now)
        if refusal is None:
            self._admit(lease, Use.ON_DEMAND if slots is None else Use.SPILLOVER)
        return refusal

    def _too_fast(self, lease: Lease, counter: Counter, limit: int, now: float) -> Refusal | None:
        if pause := self._pause(lease, counter, limit, now):
            return _refuse(lease.function, _FAST[lease.function.is_reserved], pause)
        if lease.grows and (pause := self._growth_pause(lease, now)):
            return _refuse(lease.function, Reason.CONCURRENCY, pause)
        return None

    def _admit(self, lease: Lease, use: Use, slots: Slots | None = None) -> None:
        lease.hold(use, slots)
        if self._limits_requests and lease.is_awaited:
            lease.limited_by.rate.take()
        if slots is None and lease.grows:
            self._growth(lease).take()
        figures = lease.function.figures
        if use is Use.PROVISIONED:
            figures.provisioned += 1
        elif use is Use.SPILLOVER:
            figures.spillovers += 1

    def _pause(self, lease: Lease, counter: Counter, units: int, now: float) -> float:
        """Seconds until requests of these units of concurrency are slow enough for another one."""
        size = REQUEST_RATE * units
        if not (self._limits_requests and lease.is_awaited) or counter.rate.has(size, size, now):
            return 0.0
        return counter.rate.wait(size, size)

    def _growth(self, lease: Lease) -> Allowance:
        return lease.region.growth if self._scaling is Scaling.BURST else lease.function.growth

    def _growth_pause(self, lease: Lease, now: float) -> float:
        """Seconds until an environment may be added."""
        growth, size, rate = self._growth(lease), CURRENT_SIZE, CURRENT_RATE
        if self._scaling is Scaling.BURST:
            size, rate = burst_size(lease.scope.region), BURST_RATE
        return 0.0 if growth.has(size, rate, now) else growth.wait(size, rate)

    # Bookkeeping

    def _region(self, scope: Scope, limits: Limits) -> Region:
        region = self._regions.get(scope)
        if region is None:
            region = self._regions[scope] = Region(limits)
        elif region.limits is not limits:
            region.follow(limits)
        return region

    def _tidy(self, lease: Lease) -> None:
        """Drop what the lease was the last to need."""
        if lease.function.is_forgotten or lease.slots is not None or lease.provisioned is not None:
            self._sweep(lease.scope, lease.region, lease.name, lease.provisioned)

    def _sweep(self, scope: Scope, region: Region, name: str, key: Hashable) -> None:
        if (function := region.functions.get(name)) is not None and function.is_void:
            del region.functions[name]
        if (slots := region.slots.get(key)) is not None and slots.is_void:
            del region.slots[key]
        if region.is_void:
            self._regions.pop(scope, None)

    def check(self) -> None:
        """Recount everything; AssertionError where a running count is wrong (tests keep this on)."""
        counters: Tally[Counter] = Tally()
        finishing: Tally[Counter] = Tally()
        lingering: Tally[Counter] = Tally()
        for lease in self._leases:
            assert lease.stage in (Stage.RUNNING, Stage.FINISHING), lease
            counted = {lease.limited_by} if lease.is_provisioned else {lease.limited_by, lease.function}
            counters.update(counted)
            if lease.stage is Stage.FINISHING:
                finishing.update(counted)
                lingering.update(counted if lease.lingers else ())
        for scope, region in self._regions.items():
            assert not region.is_void, scope
            mine = [lease for lease in self._leases if lease.region is region]
            assert region.running == len(mine)
            assert region.provisioned == sum(lease.is_provisioned for lease in mine)
            for counter in (region.pool, *region.functions.values(), *region.slots.values()):
                assert (counter.held, counter.finishing) == (counters[counter], finishing[counter])
                assert counter.lingering == lingering[counter]
                assert all(lease.waits_in is counter for lease in counter.waiting)
            for name, function in region.functions.items():
                assert function.is_reserved is (name in region.limits.reserved)
                running = Tally(lease.version for lease in mine if lease.function is function)
                assert function.figures.running == dict(running)
                assert function.running == running.total()
            assert not any(slots.is_void for slots in region.slots.values())


_MAY_SPILL = (Stage.NEW, Stage.SPILLING)
_FULL = {False: Reason.CONCURRENCY, True: Reason.RESERVED_CONCURRENCY}
_FAST = {False: Reason.RATE, True: Reason.RESERVED_RATE}
_PATIENCE = {Stage.SPILLING: SPILL_PATIENCE, Stage.WAITING: PATIENCE}
_LITTLE_PATIENCE = {Stage.SPILLING: LINGERING_SPILL_PATIENCE, Stage.WAITING: LINGERING_PATIENCE}


def _hold(lease: Lease, counter: Counter, stage: Stage) -> Hold:
    if lease.waits_in is None:
        lease.wait(counter, stage)
    return Hold(_until(lease, counter, stage))


def _until(lease: Lease, counter: Counter, stage: Stage) -> float:
    patience = _PATIENCE if counter.finishing > counter.lingering else _LITTLE_PATIENCE
    return lease.arrived + patience[stage]


def _is_full(lease: Lease) -> bool:
    """Whether the function or the account runs all that it may, of whatever kind."""
    region, function = lease.region, lease.function
    if region.running >= region.limits.account:
        return True
    return function.is_reserved and function.running >= region.limits.reserved[lease.name]


def _full(lease: Lease, counter: Counter, slots: Slots | None, now: float) -> Hold | Refusal:
    if lease.stage is not Stage.LAST:
        for each in (counter, slots):
            if each is None or not lease.may_wait(each):
                continue
            if (
                _until(lease, each, Stage.WAITING) > now
            ):  # it may have spent that where it would have spilled over
                return _hold(lease, each, Stage.WAITING)
    return _refuse(lease.function, _FULL[lease.function.is_reserved])


def _refuse(function: FunctionCounter, reason: Reason, pause: float = 0.0) -> Refusal:
    throttles = function.figures.throttles
    throttles[reason] = throttles.get(reason, 0) + 1
    return Refusal(reason, max(1, math.ceil(pause)))
