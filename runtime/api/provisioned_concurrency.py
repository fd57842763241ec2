"""Operations on provisioned concurrency: environments of a version or alias that are initialised ahead of invocations.

They check and keep what they are given; `runtime.provisioning` makes the environments and says how far they are.
"""

from collections.abc import Mapping
from typing import Any

from runtime.api.attachments import Place, pages
from runtime.api.calls import Call, Operation, Services
from runtime.api.concurrency import untyped
from runtime.api.stamps import new_revision, timestamp
from runtime.api.targets import (
    Target,
    asked_target,
    existing_target,
    exists,
    shared_target,
    subject,
    target_missing,
)
from runtime.core.limits import Limits
from runtime.core.provisioning import Progress
from runtime.errors import LambdaError, conflict, invalid_parameter
from runtime.model import LATEST, Alias, ProvisionedConcurrency, ReservedConcurrency
from runtime.names import function_missing
from runtime.store import Catalog
from runtime.store.errors import RecordMissing

_UNPUBLISHED = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."


async def put_provisioned_concurrency_config(services: Services, call: Call) -> Mapping[str, Any]:
    if asked_target(call).qualifier == LATEST:
        raise invalid_parameter(_UNPUBLISHED)
    target = shared_target(services, call, "Provisioned Concurrency")
    if (latest := services.store.catalog.function(target.scope, target.name)) and latest.config.managed:
        raise invalid_parameter(
            "Provisioned Concurrency is not supported for functions with CapacityProviderConfig."
        )
    executions: int = call.params["ProvisionedConcurrentExecutions"]
    async with services.deciding:
        _refuse_overlap(services.store.catalog, target)
        _check_provisioned(services, target, executions)
        record = ProvisionedConcurrency(
            scope=target.scope,
            owner=target.name,
            qualifier=target.qualifier or "",
            revision_id=new_revision(),
            executions=executions,
            last_modified=timestamp(services.now()),
        )
        try:
            await services.store.attach(record)
        except RecordMissing:
            raise target_missing(target) from None
    services.provisioning.changed(target.scope, target.name)
    return _document(record, Progress())


def _refuse_overlap(catalog: Catalog, target: Target) -> None:
    """A version's environments are provisioned for itself or for aliases that lead to it, never for both."""
    found = subject(catalog, target)
    if isinstance(found, Alias):
        _refuse_versions(catalog, found)
    elif any(
        target.qualifier in alias.versions and _is_provisioned(catalog, alias)
        for alias in catalog.aliases(target.scope, target.name)
    ):
        raise conflict("Version is pointed by a Provisioned Concurrency alias")


def _refuse_versions(catalog: Catalog, alias: Alias) -> None:
    """What an alias with provisioned concurrency may not lead to."""
    if LATEST in alias.versions:
        raise invalid_parameter(_UNPUBLISHED)
    records = catalog.attachments_of(ProvisionedConcurrency, alias.scope, alias.function)
    if {record.qualifier for record in records}.intersection(alias.versions):
        raise conflict(
            "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
        )


def _is_provisioned(catalog: Catalog, alias: Alias) -> bool:
    return catalog.attachment(ProvisionedConcurrency, alias.scope, alias.function, alias.name) is not None


def check_moved_alias(catalog: Catalog, alias: Alias) -> None:
    """The same for one that is to lead elsewhere; its environments will follow it."""
    if _is_provisioned(catalog, alias):
        _refuse_versions(catalog, alias)


def _check_provisioned(services: Services, target: Target, executions: int) -> None:
    catalog, limits = services.store.catalog, services.limits(target.scope)
    total = executions + sum(
        record.executions
        for record in catalog.attachments_of(ProvisionedConcurrency, target.scope, target.name)
        if record.qualifier != target.qualifier
    )
    reserved = catalog.attachment(ReservedConcurrency, target.scope, target.name)
    if reserved is None:
        _check_account(limits, total, limits.without(target.name))
    elif total > reserved.executions:
        raise invalid_parameter(
            "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution "
            "for function"
        )


def _check_account(limits: Limits, total: int, left: int) -> None:
    if total > left:
        raise untyped(
            "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency "
            f"[{left}]."
        )
    if left - total < limits.least_unreserved:
        raise untyped(
            "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its "
            f"minimum value of [{limits.least_unreserved}]."
        )


async def get_provisioned_concurrency_config(services: Services, call: Call) -> Mapping[str, Any]:
    place = _place(services, call)
    record = services.store.catalog.attachment(
        ProvisionedConcurrency, place.scope, place.owner, place.qualifier
    )
    if record is None:
        raise LambdaError(
            "ProvisionedConcurrencyConfigNotFoundException",
            "No Provisioned Concurrency Config found for this function",
        )
    return _document(record, services.provisioning.progress(record))


async def list_provisioned_concurrency_configs(services: Services, call: Call) -> Mapping[str, Any]:
    target = asked_target(call).unqualified
    if not exists(services.store.catalog, target):
        raise function_missing(target.scope, target.name)
    records = services.store.catalog.attachments_of(ProvisionedConcurrency, target.scope, target.name)

    def listed(_: Call, record: ProvisionedConcurrency) -> Mapping[str, Any]:
        document = _document(record, services.provisioning.progress(record))
        return {"FunctionArn": record.function_arn, **document}

    return pages(call, "ProvisionedConcurrencyConfigs", records, lambda record: record.qualifier, listed)


async def delete_provisioned_concurrency_config(services: Services, call: Call) -> Mapping[str, Any]:
    """One that does not exist is deleted too, but its version or alias must."""
    place = _place(services, call)
    try:
        await services.store.detach(ProvisionedConcurrency, place.scope, place.owner, place.qualifier)
    except RecordMissing:
        return {}
    services.provisioning.changed(place.scope, place.owner)
    return {}


def _place(services: Services, call: Call) -> Place:
    if asked_target(call).qualifier == LATEST:
        raise invalid_parameter("The function resource provided must be an alias or a published version.")
    target = existing_target(services, call)
    return Place(target.scope, target.name, target.qualifier or "")


def _document(record: ProvisionedConcurrency, progress: Progress) -> Mapping[str, Any]:
    return {
        "RequestedProvisionedConcurrentExecutions": record.executions,
        "AvailableProvisionedConcurrentExecutions": progress.ready,
        "AllocatedProvisionedConcurrentExecutions": progress.ready,
        "Status": progress.status,
        "StatusReason": progress.reason,
        "LastModified": record.last_modified,
    }


OPERATIONS: dict[str, Operation] = {
    "DeleteProvisionedConcurrencyConfig": delete_provisioned_concurrency_config,
    "GetProvisionedConcurrencyConfig": get_provisioned_concurrency_config,
    "ListProvisionedConcurrencyConfigs": list_provisioned_concurrency_configs,
    "PutProvisionedConcurrencyConfig": put_provisioned_concurrency_config,
}
