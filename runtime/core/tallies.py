"""What is counted of invocations, by the function as it was named and the version that ran. Pure.

The numbers mean what CloudWatch's metrics of the same name mean: a throttled request is no invocation, every invocation
is one error or none, and concurrency lasts until the environment is done, not only until the client has its answer.
Plain integers, because they are written with every invocation and read once a minute.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from rapid.records import SUCCESS, Report
from runtime.model import Scope

DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
"""Upper bounds of the buckets, in seconds: from a warm echo to the longest timeout."""
OVERHEADS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
"""The same for what extensions take after the function."""
INITIALISATIONS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30)
"""The same for initialisations."""


class Use(Enum):
    """Out of which concurrency an invocation is served."""

    ON_DEMAND = "on-demand"
    PROVISIONED = "provisioned"
    SPILLOVER = "spillover"
    """On demand, because all that was provisioned for it was in use."""


class Histogram:
    """How many values there were up to each bound, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        #: By bucket, not added up; the last one has no bound.
        self.sum = 0.0

    def __repr__(self) -> str:
        return f"<Histogram {sum(self.counts)} values, sum {self.sum:g}>"

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Finished(Protocol):
    """A future that is done."""

    def cancelled(self) -> bool: ...

    def result(self) -> Report: ...


@dataclass(slots=True, eq=False, kw_only=True)
class Tally:
    """The counts of one function, as one qualifier named it, and one version that ran for that."""

    scope: Scope
    function: str
    qualifier: str | None
    """As invoked: an alias, a version or nothing."""
    version: str
    concurrent: int = 0
    provisioned: int = 0
    """Those of them that are served out of provisioned concurrency."""
    invocations: int = 0
    throttled_for: dict[str, int] = field(default_factory=dict)
    """Throttles by their reason in AWS's words."""
    errors: int = 0
    provisioned_invocations: int = 0
    spillover_invocations: int = 0
    duration: Histogram = field(default_factory=lambda: Histogram(DURATIONS))
    extensions: Histogram = field(default_factory=lambda: Histogram(OVERHEADS))
    """What extensions took after the runtime was done."""
    initialisation: Histogram = field(default_factory=lambda: Histogram(INITIALISATIONS))
    """Of the invocations that had to wait for one, or were the first after one."""

    @property
    def resource(self) -> str:
        """The function as it was named."""
        return self.function if self.qualifier is None else f"{self.function}:{self.qualifier}"

    @property
    def throttles(self) -> int:
        return sum(self.throttled_for.copy().values())  # read in a thread while more come

    def admitted(self) -> None:
        """An invocation is to be run: from now on it is one of those at the same time."""
        self.concurrent += 1

    def throttled(self, reason: str) -> None:
        """A request was refused at once."""
        self.throttled_for[reason] = self.throttled_for.get(reason, 0) + 1

    def refused(self, throttled: str | None = None) -> None:
        """An invocation that was admitted has got no environment, for want of room (the reason) or for another cause."""
        self.concurrent -= 1
        if throttled is not None:
            self.throttled(throttled)

    def began(self, use: Use = Use.ON_DEMAND) -> None:
        """An environment has the invocation."""
        self.invocations += 1
        if use is Use.PROVISIONED:
            self.provisioned += 1
            self.provisioned_invocations += 1
        elif use is Use.SPILLOVER:
            self.spillover_invocations += 1

    def ended(self, finished: Finished) -> None:
        """The environment is done with an invocation; for use as a future's callback."""
        self.concurrent -= 1
        if not finished.cancelled():
            self._report(finished.result())

    def ended_provisioned(self, finished: Finished) -> None:
        """As `ended`, for one out of provisioned concurrency."""
        self.provisioned -= 1
        self.ended(finished)

    def _report(self, report: Report) -> None:
        self.duration.observe(report.duration)
        if report.status != SUCCESS:
            self.errors += 1
        if report.init_duration is not None:
            self.initialisation.observe(report.init_duration)
        if report.spans:
            self.extensions.observe(report.spans[0].duration)
