"""The families of metrics that Berth shows, made from its counts. What they are made of, nothing else, is read here.

Names and meanings are those of CloudWatch's `AWS/Lambda` in Prometheus's spelling; each help text names its model.
May run in a thread: the counts go on meanwhile, and each is read once.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from runtime import __version__
from runtime.core.tallies import Histogram, Tally
from runtime.model import ProvisionedConcurrency, ReservedConcurrency, Scope
from runtime.store.catalog import Catalog

_REGION = ("account", "region")
_SERIES = (*_REGION, "function", "resource", "executed_version")

_COUNTERS: Sequence[tuple[str, str, Callable[[Tally], int]]] = (
    (
        "berth_invocations",
        "Requests that an environment was given, function errors included. CloudWatch: Invocations.",
        lambda tally: tally.invocations,
    ),
    (
        "berth_errors",
        "Invocations that ended in an error of the handler, a timeout or a crash. CloudWatch: Errors.",
        lambda tally: tally.errors,
    ),
    (
        "berth_throttles",
        "Requests refused for want of concurrency; they are no invocations. CloudWatch: Throttles.",
        lambda tally: tally.throttles,
    ),
    (
        "berth_provisioned_concurrency_invocations",
        "Invocations out of provisioned concurrency. CloudWatch: ProvisionedConcurrencyInvocations.",
        lambda tally: tally.provisioned_invocations,
    ),
    (
        "berth_provisioned_concurrency_spillover_invocations",
        "Invocations on demand for want of provisioned ones. CloudWatch: ProvisionedConcurrencySpilloverInvocations.",
        lambda tally: tally.spillover_invocations,
    ),
)

_HISTOGRAMS: Sequence[tuple[str, str, Callable[[Tally], Histogram]]] = (
    (
        "berth_duration_seconds",
        "Duration of invocations as in their REPORT lines. CloudWatch: Duration.",
        lambda tally: tally.duration,
    ),
    (
        "berth_post_runtime_extensions_duration_seconds",
        "What extensions took after the function. CloudWatch: PostRuntimeExtensionsDuration.",
        lambda tally: tally.extensions,
    ),
    (
        "berth_init_duration_seconds",
        "Init Duration of cold starts as in REPORT lines; its count is that of cold starts.",
        lambda tally: tally.initialisation,
    ),
)


@dataclass(frozen=True, slots=True)
class Census:
    """How many environments of a version are where in their use."""

    scope: Scope
    function: str
    version: str
    place: str
    count: int


@dataclass(frozen=True, slots=True)
class Utilization:
    """How much of a provisioned concurrency is in use, 0 to 1."""

    scope: Scope
    function: str
    qualifier: str
    share: float


class Exposition(Collector):
    """Everything that is shown, as of one moment."""

    def __init__(
        self,
        tallies: Sequence[Tally],
        census: Sequence[Census],
        utilizations: Sequence[Utilization],
        catalog: Catalog,
    ) -> None:
        self._tallies = tallies
        self._census = census
        self._utilizations = utilizations
        self._catalog = catalog

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("berth", "The program.", {"version": __version__})
        for name, text, value in _COUNTERS:
            counter = CounterMetricFamily(name, text, labels=_SERIES)
            for tally in self._tallies:
                counter.add_metric(_labels(tally), value(tally))
            yield counter
        yield self._throttles()
        for name, text, histogram in _HISTOGRAMS:
            yield self._histogram(name, text, histogram)
        yield from self._concurrency()
        yield self._environments()

    def _throttles(self) -> Metric:
        family = CounterMetricFamily(
            "berth_throttles_by_reason",
            "Throttles by the Reason that their answers had.",
            labels=(*_SERIES, "reason"),
        )
        for tally in self._tallies:
            for reason, count in tally.throttled_for.copy().items():
                family.add_metric((*_labels(tally), reason), count)
        return family

    def _histogram(self, name: str, text: str, histogram: Callable[[Tally], Histogram]) -> Metric:
        family = HistogramMetricFamily(name, text, labels=_SERIES)
        for tally in self._tallies:
            found = histogram(tally)
            counts = found.counts.copy()
            if any(counts):
                family.add_metric(_labels(tally), _buckets(found.bounds, counts), found.sum)
        return family

    def _concurrency(self) -> Iterator[Metric]:
        concurrent = GaugeMetricFamily(
            "berth_concurrent_executions",
            "Requests that are being served, their wait for an environment included. "
            "CloudWatch: ConcurrentExecutions.",
            labels=_SERIES,
        )
        provisioned = GaugeMetricFamily(
            "berth_provisioned_concurrent_executions",
            "Those of them that are served out of provisioned concurrency. "
            "CloudWatch: ProvisionedConcurrentExecutions.",
            labels=_SERIES,
        )
        for tally in self._tallies:
            concurrent.add_metric(_labels(tally), tally.concurrent)
            provisioned.add_metric(_labels(tally), tally.provisioned)
        yield from (concurrent, provisioned, self._utilization())
        yield from self._account()

    def _utilization(self) -> Metric:
        family = GaugeMetricFamily(
            "berth_provisioned_concurrency_utilization",
            "Share of the environments of provisioned concurrency that are in use, 0 to 1. "
            "CloudWatch: ProvisionedConcurrencyUtilization.",
            labels=(*_REGION, "function", "resource"),
        )
        for each in self._utilizations:
            resource = f"{each.function}:{each.qualifier}"
            family.add_metric((each.scope.account, each.scope.region, each.function, resource), each.share)
        return family

    def _account(self) -> Iterator[Metric]:
        unreserved = GaugeMetricFamily(
            "berth_unreserved_concurrent_executions",
            "Requests being served by functions without reserved concurrency. "
            "CloudWatch: UnreservedConcurrentExecutions.",
            labels=_REGION,
        )
        claimed = GaugeMetricFamily(
            "berth_claimed_account_concurrency",
            "Concurrency that is not there for requests on demand: what is reserved, what is provisioned beside that, "
            "and what unreserved functions use. CloudWatch: ClaimedAccountConcurrency.",
            labels=_REGION,
        )
        for scope, tallies in _by_scope(self._tallies).items():
            use = _Use.of(self._catalog, scope, tallies)
            unreserved.add_metric((scope.account, scope.region), use.unreserved)
            claimed.add_metric((scope.account, scope.region), use.claimed)
        yield from (unreserved, claimed)

    def _environments(self) -> Metric:
        labels = (*_REGION, "function", "version", "place")
        family = GaugeMetricFamily("berth_environments", "Execution environments.", labels=labels)
        counts: Counter[tuple[str, ...]] = Counter()
        for each in self._census:  # an alias with variables of its own has environments apart
            scope = each.scope
            counts[scope.account, scope.region, each.function, each.version, each.place] += each.count
        for values, count in counts.items():
            family.add_metric(values, count)
        return family


@dataclass(frozen=True, slots=True)
class _Use:
    """What is used of the concurrency that an account has in a region."""

    unreserved: int
    claimed: int

    @classmethod
    def of(cls, catalog: Catalog, scope: Scope, tallies: Iterable[Tally]) -> "_Use":
        reserved = {each.owner: each.executions for each in catalog.attachments(ReservedConcurrency, scope)}
        provisioned = sum(
            each.executions
            for each in catalog.attachments(ProvisionedConcurrency, scope)
            if each.owner not in reserved
        )
        unreserved = [each for each in tallies if each.function not in reserved]
        on_demand = sum(each.concurrent - each.provisioned for each in unreserved)
        return cls(
            unreserved=sum(each.concurrent for each in unreserved),
            claimed=sum(reserved.values()) + provisioned + on_demand,
        )


def _labels(tally: Tally) -> tuple[str, ...]:
    return (tally.scope.account, tally.scope.region, tally.function, tally.resource, tally.version)


def _buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    names = [*(f"{bound:g}" for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(counts), strict=True))


def _by_scope(tallies: Iterable[Tally]) -> Mapping[Scope, list[Tally]]:
    found: dict[Scope, list[Tally]] = {}
    for tally in tallies:
        found.setdefault(tally.scope, []).append(tally)
    return found
