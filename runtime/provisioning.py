"""Provisioned concurrency at work: environments that are initialised before anybody invokes.

Reconciles what the catalog says with what the fleet keeps, function by function, whenever either changes, and tells
admission how many environments are ready. What is wanted and how far it has come is `runtime.core.provisioning`'s to
say, how environments come to be and are replaced the fleet's. Nothing is remembered over a restart: the catalog is.
"""

import logging
from collections.abc import Callable, Mapping

from runtime.admission import Admission
from runtime.core.provisioning import Place, Progress, Provisions, Status, split
from runtime.core.routing import as_run_by
from runtime.fleet import Fleet, Kept, KeptNews, Key
from runtime.model import LATEST, FunctionVersion, ProvisionedConcurrency, Scope
from runtime.names import function_arn, names_alias
from runtime.store.catalog import Catalog

logger = logging.getLogger(__name__)

INIT_FAILURE = "FUNCTION_ERROR_INIT_FAILURE"
"""AWS's word for static code that fails."""


class Provisioner:
    """See the module's text."""

    def __init__(self, catalog: Callable[[], Catalog], fleet: Fleet, admission: Admission) -> None:
        self._catalog = catalog
        self._fleet = fleet
        self._admission = admission
        self._provisions: Provisions[Key] = Provisions()
        fleet.on_kept = self._hear

    def open(self) -> None:
        """Begin with what was configured before."""
        records = self._catalog().all_attachments(ProvisionedConcurrency)
        for scope, function in {(record.scope, record.owner) for record in records}:
            self.changed(scope, function)

    def changed(self, scope: Scope, function: str) -> None:
        """Something about the function, its versions, aliases or provisioned concurrency may be another now."""
        catalog = self._catalog()
        records = catalog.attachments_of(ProvisionedConcurrency, scope, function)
        wanted = {place_of(record): record for record in records}
        for place in self._provisions.places(scope, function):
            if place not in wanted:
                self._keep(self._provisions.withdraw(place))
        for place, record in wanted.items():
            versions = {self._fleet.provisioned_key(way): count for way, count in _ways(catalog, record)}
            self._keep(self._provisions.wish(place, record.revision_id, versions))

    def progress(self, record: ProvisionedConcurrency) -> Progress:
        """How far the environments of a configuration have come; those that there is no room for have failed."""
        place = place_of(record)
        progress = self._provisions.progress(place)
        if progress.ready < record.executions and progress.status is not Status.FAILED:
            for reason in filter(None, map(self._fleet.lacks, self._provisions.keys(place))):
                return Progress(progress.ready, Status.FAILED, reason)
        return progress

    def _keep(self, totals: Mapping[Key, int]) -> None:
        for key, total in totals.items():
            self._fleet.keep(key.record, total)
            self._count(key, self._provisions.failure(key))

    def _hear(self, news: KeptNews) -> None:
        if news.what is Kept.FAILED:
            logger.warning("provisioned concurrency of %s: %s", _arn(news.key), news.reason)
            self._count(news.key, INIT_FAILURE if news.error_type else news.reason)
        elif news.what is Kept.READY:
            self._count(news.key, None)
        else:
            self._count(news.key, self._provisions.failure(news.key))

    def _count(self, key: Key, failure: str | None) -> None:
        _, ready = self._fleet.kept(key.record)
        wanted = self._provisions.made(key.scope, key.name, key, ready, failure)
        self._admission.allot(key.scope, key, wanted)


def _arn(key: Key) -> str:
    return function_arn(key.scope, key.name, key.version)


def place_of(record: ProvisionedConcurrency) -> Place:
    return Place(record.scope, record.owner, record.qualifier)


def _ways(catalog: Catalog, record: ProvisionedConcurrency) -> list[tuple[FunctionVersion, int]]:
    """The versions as they are run for the one that has it, and how many environments each gets. Never `$LATEST`."""
    if not names_alias(record.qualifier):
        version = catalog.function(record.scope, record.owner, record.qualifier)
        return [(version, record.executions)] if version else []
    alias = catalog.alias(record.scope, record.owner, record.qualifier)
    if alias is None:
        return []
    versions = (
        (catalog.function(record.scope, record.owner, number), count)
        for number, count in split(record.executions, alias).items()
        if number != LATEST
    )
    return [(as_run_by(alias, version), count) for version, count in versions if version is not None]
