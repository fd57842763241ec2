"""`python -m benchmarks.simulation`: what a decision costs when there is a great deal of everything.

Drives the very cores that decide in Berth (routing, the ledger of concurrency, the pool) with virtual time, without
containers, sockets or a control plane. The traffic is what providers report of theirs: few functions get most of the
calls (Zipf), the rate rises and falls with the day and comes in bursts, and timers fire many functions in the same
moment. The same seed gives the same run, but for the times that are measured. On the way the books are recounted.

    python -m benchmarks.simulation [--functions N] [--environments N] [--invocations N] [--seed N] [--json]
"""

import argparse
import gc
import heapq
import json
import math
import random
import sys
import time
from array import array
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, count
from typing import Any, TypeVar

from runtime.core.actions import Actions, Assign, Destroy, Fail, Hold, Launch, Refuse
from runtime.core.admission import Hold as Wait
from runtime.core.admission import Ledger, Refusal
from runtime.core.leases import Lease
from runtime.core.limits import Limits
from runtime.core.pool import Pool
from runtime.core.room import Bounds
from runtime.core.routing import choose
from runtime.model import Alias, Scope

SCOPE = Scope("123456789012", "us-east-1")
MEMORY = (128, 128, 128, 256, 256, 512, 1024, 3008)
"""MB of functions, by share."""
LAUNCH, TAIL = 0.15, 0.004
"""Seconds that a launch takes at the least, and that an environment is busy for after its answer."""
IDLE = 600.0
"""Seconds until an idle environment is removed."""
DAY = 3600.0
"""Seconds of a day of the simulation: so short that a run sees rise and fall."""
TIMERS = 60.0
"""Seconds between two moments in which the functions on timers are called, a hundredth of all."""
SAMPLES = 5
"""How often all books are recounted in a run; that takes a second for 100,000 environments."""

T = TypeVar("T")


@dataclass(slots=True)
class Function:
    number: int
    memory: int
    seconds: float
    """Mean duration."""
    alias: Alias
    """What calls name: every tenth weighs two versions."""


@dataclass(slots=True)
class Call:
    function: Function
    key: tuple[int, str]
    lease: Lease
    outcome: str = "warm"
    """Or `cold`, in a new environment, or `late`, for it waited and was served by an older one."""


@dataclass(slots=True)
class Costs:
    """Microseconds by kind of decision."""

    taken: "dict[str, array[float]]" = field(default_factory=dict)

    def measure(self, kind: str, decide: Callable[[], T]) -> T:
        began = time.thread_time_ns()
        result = decide()
        self.taken.setdefault(kind, array("d")).append((time.thread_time_ns() - began) / 1000)
        return result

    def figures(self) -> dict[str, dict[str, float]]:
        return {kind: _figures(sorted(values)) for kind, values in sorted(self.taken.items())}


def _figures(values: Sequence[float]) -> dict[str, float]:
    def at(share: float) -> float:
        return round(values[min(len(values) - 1, int(share * len(values)))], 2)

    return {
        "decisions": len(values),
        "mean": round(sum(values) / len(values), 2),
        "p50": at(0.5),
        "p99": at(0.99),
        "p99.9": at(0.999),
    }


class Traffic:
    """When which function is called."""

    def __init__(self, functions: Sequence[Function], draw: random.Random, rate: float) -> None:
        self._functions = functions
        self._draw = draw
        self._rate = rate
        self._shares = list(accumulate(1 / (rank + 1) ** 1.1 for rank in range(len(functions))))
        self._burst_until = 0.0

    def calls(self) -> Iterator[tuple[float, Function]]:
        """Without end, in order of time."""
        now, timers = 0.0, TIMERS
        while True:
            now += self._draw.expovariate(self._rate * self._swing(now))
            while timers <= now:
                yield from ((timers, function) for function in self._functions[::100])
                timers += TIMERS
            yield now, self._functions[bisect(self._shares, self._draw.random() * self._shares[-1])]

    def _swing(self, now: float) -> float:
        """The day's rise and fall, and now and then a burst of a few seconds."""
        if now > self._burst_until and self._draw.random() < 0.0001:
            self._burst_until = now + self._draw.uniform(1, 5)
        burst = 5.0 if now < self._burst_until else 1.0
        return burst * (1 + 0.8 * math.sin(2 * math.pi * now / DAY))


class Simulation:
    """One run."""

    def __init__(self, functions: int, environments: int, seed: int, rate: float) -> None:
        self.draw = draw = random.Random(seed)
        self.functions = [self._function(number) for number in range(functions)]
        self.traffic = Traffic(self.functions, draw, rate)
        mean = sum(MEMORY) // len(MEMORY)
        self.pool = Pool(
            Bounds(memory=environments * mean, environments=environments, launches=environments // 50 + 2),
            weigh=lambda key: self.functions[key[0]].memory,  # type: ignore[index]
            family=lambda key: key[0],  # type: ignore[index]
            room_wait=10.0,
        )
        self.ledger = Ledger()
        self.limits = Limits(10 * environments, {}, {})
        self.costs = Costs()
        self.now = 0.0
        self.outcomes: Counter[str] = Counter()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._tickets = count(1)
        self._calls: dict[int, Call] = {}
        #: By ticket, while it waits.
        self._serving: dict[int, Call] = {}
        #: By environment.
        self._new: set[int] = set()
        #: Environments that have served nobody yet.

    def _function(self, number: int) -> Function:
        weights = {"2": 0.1} if number % 10 == 0 else {}
        alias = Alias(
            scope=SCOPE, function=f"f{number}", name="live", version="1", weights=weights, revision_id="r"
        )
        seconds = min(60.0, self.draw.lognormvariate(-1.5, 1.2))
        return Function(number, self.draw.choice(MEMORY), seconds, alias)

    # The world

    def fill(self) -> None:
        """As many idle environments as there may be, so that from the first call on everything is full."""
        busy = []
        for ticket in count(1_000_000_000):
            actions = self.pool.ask(ticket, (ticket % len(self.functions), "1"), self.now)
            launch = actions[-1] if actions else None
            if not isinstance(launch, Launch):
                self.pool.withdraw(ticket)
                break
            self.pool.launched(launch.environment, self.now)
            self.pool.idle(launch.environment, self.now)
            busy.append(launch.environment)
        for environment in busy:
            self.pool.idle(environment, self.now)

    def run(self, invocations: int) -> None:
        calls = self.traffic.calls()
        every = max(1, invocations // SAMPLES)
        self.after(1.0, self._chores)
        for number in range(invocations):
            at, function = next(calls)
            while self._events and self._events[0][0] <= at:
                self._next_event()
            self.now = max(self.now, at)
            self._invoke(function)
            if number % every == 0:
                self._recount()
        while self._calls or self._serving:
            self._next_event()
        self._recount()

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), what))

    def _next_event(self) -> None:
        at, _, what = heapq.heappop(self._events)
        self.now = max(self.now, at)
        what()

    def _chores(self) -> None:
        """What the fleet does each second."""
        self._act(self.costs.measure("pool: chores", self._expire))
        self.after(1.0, self._chores)

    def _expire(self) -> Actions:
        now = self.now
        return [*self.pool.expire(now - IDLE, now), *self.pool.overdue(now), *self.pool.relaunch(now)]

    # One call

    def _invoke(self, function: Function) -> None:
        draw, measure = self.draw.random(), self.costs.measure
        version = measure("routing: choose", lambda: choose(function.alias, draw))
        key = (function.number, version)
        grows = not self.pool.has_free(key)
        lease = Lease(SCOPE, function.alias.function, version, grows=grows)
        call = Call(function, key, lease)
        verdict = measure("ledger: ask", lambda: self.ledger.ask(lease, self.limits, self.now))
        if isinstance(verdict, Wait):
            self.after(verdict.until - self.now, lambda: self._patience_over(call))
        else:
            self._admitted(call, verdict)

    def _patience_over(self, call: Call) -> None:
        if call.lease.waits_in is not None:
            self._admitted(call, self.ledger.patience_over(call.lease, self.now))  # type: ignore[arg-type]

    def _admitted(self, call: Call, refusal: Refusal | None) -> None:
        if refusal is not None:
            self.outcomes[f"throttled: {refusal.reason}"] += 1
            return
        ticket = next(self._tickets)
        self._calls[ticket] = call
        self._act(self.costs.measure("pool: ask", lambda: self.pool.ask(ticket, call.key, self.now)))
        if ticket in self._calls:
            call.outcome = "late"

    def _act(self, actions: Actions) -> None:
        for action in actions:
            match action:
                case Assign(ticket, environment):
                    self._serve(self._calls.pop(ticket), environment)
                case Launch(environment, _):
                    self._new.add(environment)
                    seconds = LAUNCH + self.draw.expovariate(10)
                    self.after(seconds, lambda environment=environment: self._launched(environment))  # type: ignore[misc]
                case Destroy(environment):
                    assert environment not in self._serving, "a busy environment is to end"
                    self.after(0.05, lambda environment=environment: self._gone(environment))  # type: ignore[misc]
                case Hold(ticket, until):
                    self.after(until - self.now, lambda ticket=ticket: self._grace_over(ticket))  # type: ignore[misc]
                case Refuse(ticket) | Fail(ticket):
                    self._end_lease(self._calls.pop(ticket))
                    self.outcomes["refused: no room"] += 1

    def _serve(self, call: Call, environment: int) -> None:
        assert environment not in self._serving, "two calls in one environment"
        assert self.pool.key(environment) == call.key, "an environment of another function"
        self._serving[environment] = call
        if environment in self._new:
            self._new.discard(environment)
            call.outcome = "cold"
        self.after(self.draw.expovariate(1 / call.function.seconds), lambda: self._answered(environment))

    def _answered(self, environment: int) -> None:
        self.ledger.responded(self._serving[environment].lease)
        self.costs.measure("pool: responded", lambda: self.pool.responded(environment, self.now))
        self.after(self.draw.expovariate(1 / TAIL), lambda: self._finished(environment))

    def _finished(self, environment: int) -> None:
        call = self._serving.pop(environment)
        self.outcomes[call.outcome] += 1
        self._end_lease(call)
        self._act(self.costs.measure("pool: idle", lambda: self.pool.idle(environment, self.now)))

    def _end_lease(self, call: Call) -> None:
        for lease, refusal in self.costs.measure(
            "ledger: end", lambda: self.ledger.end(call.lease, self.now)
        ):
            raise AssertionError((lease, refusal))  # the account's limit is out of reach here

    def _launched(self, environment: int) -> None:
        self._act(self.costs.measure("pool: launched", lambda: self.pool.launched(environment, self.now)))
        self._act(self.costs.measure("pool: idle", lambda: self.pool.idle(environment, self.now)))

    def _grace_over(self, ticket: int) -> None:
        self._act(self.costs.measure("pool: grace over", lambda: self.pool.grace_over(ticket, self.now)))

    def _gone(self, environment: int) -> None:
        self._new.discard(environment)
        self._act(self.costs.measure("pool: gone", lambda: self.pool.gone(environment, self.now)))

    def _recount(self) -> None:
        self.pool.check()
        self.ledger.check()
        self.outcomes["recounts"] += 1


def main() -> int:
    arguments = _parser().parse_args()
    simulation = Simulation(arguments.functions, arguments.environments, arguments.seed, arguments.rate)
    began = time.perf_counter()
    simulation.fill()
    filled = len(simulation.pool.keys())
    print(f"filled: {simulation.pool!r}, {filled} keys", file=sys.stderr)
    gc.freeze()  # what is there from now on is looked at as rarely as in a process that has been up for long
    simulation.run(arguments.invocations)
    document = {
        "pool": repr(simulation.pool),
        "virtual seconds": round(simulation.now, 1),
        "real seconds": round(time.perf_counter() - began, 1),
        "outcomes": dict(simulation.outcomes),
        "cold share": _share(simulation.outcomes),
        "microseconds": simulation.costs.figures(),
    }
    print(json.dumps(document, indent=1) if arguments.json else _table(document))
    return 0


def _share(outcomes: Counter[str]) -> float:
    served = outcomes["cold"] + outcomes["late"] + outcomes["warm"]
    return round(outcomes["cold"] / served, 4) if served else 0.0


def _table(document: dict[str, Any]) -> str:
    lines = [f"{name}: {value}" for name, value in document.items() if name != "microseconds"]
    lines.append(
        f"{'decision (us)':20}" + "".join(f"{head:>11}" for head in ("number", "mean", "p50", "p99", "p99.9"))
    )
    for kind, each in document["microseconds"].items():
        lines.append(f"{kind:20}" + "".join(f"{value:>11}" for value in each.values()))
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulation", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--functions", type=int, default=10_000)
    parser.add_argument(
        "--environments", type=int, default=100_000, help="most of them; all there from the start"
    )
    parser.add_argument("--invocations", type=int, default=300_000)
    parser.add_argument("--rate", type=float, default=5_000.0, help="calls a second in the mean")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
