"""Counts what invocations come to, and shows it to Prometheus.

The invoker tells it of each invocation; the counters are plain numbers (`runtime.core.tallies`), which the library only
writes down when somebody asks. There is a series for a function only once a version of it was found and asked to run,
and none any more when the function, the qualifier or the version is gone: callers cannot make up names.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from runtime.core.tallies import Finished, Tally, Use
from runtime.errors import LambdaError
from runtime.exposition import Census, Exposition, Utilization
from runtime.model import FunctionVersion, ProvisionedConcurrency, Scope
from runtime.names import names_alias
from runtime.store.catalog import Catalog

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `render` gives."""
SLACK = 1000
"""Series above those that were of use last time, after which it is looked again which still are."""

_Key = tuple[str, str, str, str | None, str]


class Fleet(Protocol):
    """What the fleet tells about its environments."""

    def census(self) -> Iterable[Census]: ...


class Metrics:
    """See the module's text."""

    def __init__(
        self, catalog: Callable[[], Catalog], ready: Callable[[ProvisionedConcurrency], int] = lambda _: 0
    ) -> None:
        self._catalog = catalog
        self._ready = ready
        #: How many environments of a provisioned concurrency there are by now.
        self._tallies: dict[_Key, Tally] = {}
        self._most = SLACK
        #: Series after which those of what is gone are dropped, though nobody asks.
        self._rendering = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Metrics of {len(self._tallies)} series>"

    # The invoker's side

    def admitted(self, version: FunctionVersion, qualifier: str | None) -> Tally:
        """An invocation of a version that exists, by this qualifier, is to be run; its counts."""
        tally = self._tally(version, qualifier)
        tally.admitted()
        return tally

    def throttled(self, version: FunctionVersion, qualifier: str | None, error: LambdaError) -> None:
        """A request for a version that exists was refused before anything was to be run."""
        self._tally(version, qualifier).throttled(error.reason or "")

    def _tally(self, version: FunctionVersion, qualifier: str | None) -> Tally:
        scope = version.scope
        key = (scope.account, scope.region, version.name, qualifier, version.version)
        tally = self._tallies.get(key)
        if tally is None:
            if len(self._tallies) >= self._most:
                self._prune()
            tally = self._tallies[key] = Tally(
                scope=scope, function=version.name, qualifier=qualifier, version=version.version
            )
        return tally

    # Whoever wants to know

    async def render(self, fleet: Fleet) -> bytes:
        """All of it, in Prometheus's text format."""
        async with self._rendering:  # however many ask: one at a time, in a thread, beside the invocations
            self._prune()
            exposition = Exposition(
                self.tallies(), tuple(fleet.census()), tuple(self._utilizations()), self._catalog()
            )
            return await asyncio.to_thread(lambda: generate_latest(_registry(exposition)))

    def tallies(self) -> tuple[Tally, ...]:
        return tuple(self._tallies.values())

    def _utilizations(self) -> Iterator[Utilization]:
        """Of every provisioned concurrency that has environments."""
        used: Counter[tuple[Scope, str, str]] = Counter()
        for tally in self._tallies.values():
            used[tally.scope, tally.function, tally.version] += tally.provisioned
        catalog = self._catalog()
        for record in catalog.all_attachments(ProvisionedConcurrency):
            if ready := self._ready(record):
                alias = catalog.alias(record.scope, record.owner, record.qualifier)
                versions = alias.versions if alias else (record.qualifier,)
                busy = sum(used[record.scope, record.owner, version] for version in versions)
                share = min(1.0, busy / ready)  # aliases that share a version share what is used of it
                yield Utilization(record.scope, record.owner, record.qualifier, share)

    def _prune(self) -> None:
        """Drop what nobody can invoke any more and nothing runs of."""
        catalog = self._catalog()
        self._tallies = {
            key: tally
            for key, tally in self._tallies.items()
            if tally.concurrent or _can_be_invoked(catalog, tally)
        }
        self._most = len(self._tallies) + SLACK


def ran(tally: Tally, use: Use = Use.ON_DEMAND) -> Callable[[Finished], None]:
    """An environment has the invocation; what is to be told of the end of it."""
    tally.began(use)
    return tally.ended_provisioned if use is Use.PROVISIONED else tally.ended


def refused(tally: Tally, reason: BaseException) -> None:
    """There is no environment for an invocation that was admitted."""
    if isinstance(reason, LambdaError) and reason.code == "TooManyRequestsException":
        tally.refused(throttled=reason.reason or "")
    else:
        tally.refused()


def _can_be_invoked(catalog: Catalog, tally: Tally) -> bool:
    if catalog.function(tally.scope, tally.function, tally.version) is None:
        return False
    qualifier = tally.qualifier
    if qualifier is None or not names_alias(qualifier):
        return True
    return catalog.alias(tally.scope, tally.function, qualifier) is not None


def _registry(exposition: Exposition) -> CollectorRegistry:
    """A registry for one answer: nothing of the library's is kept, and none of what others register is shown."""
    registry = CollectorRegistry()
    registry.register(exposition)
    ProcessCollector(registry=registry)
    return registry
