"""Operations on the concurrency that functions have for themselves, and the account's sums that bound it.

Only bookkeeping: what is stored here does not yet limit or initialise anything.
"""

from collections.abc import Mapping
from typing import Any

from runtime.api.attachments import Place, Row, deleter, getter, lister
from runtime.api.calls import Call, Operation, Services
from runtime.api.stamps import new_revision, timestamp
from runtime.api.targets import (
    Target,
    asked_target,
    existing_function,
    existing_target,
    exists,
    shared_target,
    subject,
    target_missing,
)
from runtime.errors import LambdaError, conflict, invalid_parameter
from runtime.model import LATEST, Alias, ProvisionedConcurrency, ReservedConcurrency, Scope
from runtime.names import function_missing
from runtime.store import Catalog
from runtime.store.errors import RecordMissing

ACCOUNT_CONCURRENCY = 1000
"""AWS's default for an account in a region."""
_LEAST_UNRESERVED = 100
_UNPUBLISHED = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
_NOT_AHEAD = "Berth does not initialise environments ahead of invocations yet."


def unreserved(catalog: Catalog, scope: Scope, *, besides: str | None = None) -> int:
    """What the functions without reserved concurrency share; `besides` leaves one function out of the account."""
    reserved = {record.owner: record.executions for record in catalog.attachments(ReservedConcurrency, scope)}
    provisioned = sum(
        record.executions
        for record in catalog.attachments(ProvisionedConcurrency, scope)
        if record.owner not in reserved and record.owner != besides
    )
    return (
        ACCOUNT_CONCURRENCY
        - provisioned
        - sum(executions for owner, executions in reserved.items() if owner != besides)
    )


def _provisioned(catalog: Catalog, target: Target) -> int:
    """What the function's other qualifiers have."""
    return sum(
        record.executions
        for record in catalog.attachments_of(ProvisionedConcurrency, target.scope, target.name)
        if record.qualifier != target.qualifier
    )


async def put_function_concurrency(services: Services, call: Call) -> Mapping[str, Any]:
    target = existing_function(services, call, _latest_missing)
    executions: int = call.params["ReservedConcurrentExecutions"]
    async with services.deciding:
        _check_reserved(services.store.catalog, target, executions)
        record = ReservedConcurrency(
            scope=target.scope, owner=target.name, revision_id=new_revision(), executions=executions
        )
        try:
            await services.store.attach(record)
        except RecordMissing:
            raise _latest_missing(target) from None
    return {"ReservedConcurrentExecutions": executions}


def _latest_missing(target: Target) -> LambdaError:
    return function_missing(target.scope, target.name, LATEST)


def _check_reserved(catalog: Catalog, target: Target, executions: int) -> None:
    if executions < (provisioned := _provisioned(catalog, target)):
        raise _untyped(
            f" ReservedConcurrentExecutions  {executions} should not be lower than function's total provisioned "
            f"concurrency [{provisioned}]."
        )
    if unreserved(catalog, target.scope, besides=target.name) - executions < _LEAST_UNRESERVED:
        raise _untyped(
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution "
            f"below its minimum value of [{_LEAST_UNRESERVED}]."
        )


def _reserved_place(services: Services, call: Call) -> Place:
    target = existing_function(services, call)
    return Place(target.scope, target.name)


_RESERVED = Row(
    record=ReservedConcurrency,
    place=_reserved_place,
    document=lambda _call, record: {"ReservedConcurrentExecutions": record.executions},
)


async def put_provisioned_concurrency_config(services: Services, call: Call) -> Mapping[str, Any]:
    if asked_target(call).qualifier == LATEST:
        raise invalid_parameter(_UNPUBLISHED)
    target = shared_target(services, call, "Provisioned Concurrency")
    executions: int = call.params["ProvisionedConcurrentExecutions"]
    async with services.deciding:
        _refuse_overlap(services.store.catalog, target)
        _check_provisioned(services.store.catalog, target, executions)
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
    return _provisioned_document(call, record)


def _refuse_overlap(catalog: Catalog, target: Target) -> None:
    """A version's environments are provisioned for itself or for aliases that lead to it, never for both."""
    provisioned = {
        record.qualifier
        for record in catalog.attachments_of(ProvisionedConcurrency, target.scope, target.name)
    }
    found = subject(catalog, target)
    if isinstance(found, Alias):
        if LATEST in found.versions:
            raise invalid_parameter(_UNPUBLISHED)
        if provisioned.intersection(found.versions):
            raise conflict(
                "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
            )
    elif any(
        target.qualifier in alias.versions and alias.name in provisioned
        for alias in catalog.aliases(target.scope, target.name)
    ):
        raise conflict("Version is pointed by a Provisioned Concurrency alias")


def _check_provisioned(catalog: Catalog, target: Target, executions: int) -> None:
    total = _provisioned(catalog, target) + executions
    reserved = catalog.attachment(ReservedConcurrency, target.scope, target.name)
    if reserved is not None:
        if total > reserved.executions:
            raise invalid_parameter(
                "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution "
                "for function"
            )
        return
    left = unreserved(catalog, target.scope, besides=target.name)
    if total > left:
        raise _untyped(
            "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency "
            f"[{left}]."
        )
    if left - total < _LEAST_UNRESERVED:
        raise _untyped(
            "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its "
            f"minimum value of [{_LEAST_UNRESERVED}]."
        )


def _untyped(message: str) -> LambdaError:
    return LambdaError("InvalidParameterValueException", message, typed=False)


def _provisioned_place(services: Services, call: Call) -> Place:
    if asked_target(call).qualifier == LATEST:
        raise invalid_parameter("The function resource provided must be an alias or a published version.")
    target = existing_target(services, call)
    return Place(target.scope, target.name, target.qualifier or "")


def _provisioned_missing(_place: Place) -> LambdaError:
    return LambdaError(
        "ProvisionedConcurrencyConfigNotFoundException",
        "No Provisioned Concurrency Config found for this function",
    )


def _provisioned_document(_call: Call, record: ProvisionedConcurrency) -> Mapping[str, Any]:
    """None of the environments is ever there, and the status says so."""
    return {
        "RequestedProvisionedConcurrentExecutions": record.executions,
        "AvailableProvisionedConcurrentExecutions": 0,
        "AllocatedProvisionedConcurrentExecutions": 0,
        "Status": "FAILED",
        "StatusReason": _NOT_AHEAD,
        "LastModified": record.last_modified,
    }


def _listed_document(call: Call, record: ProvisionedConcurrency) -> Mapping[str, Any]:
    return {"FunctionArn": record.function_arn, **_provisioned_document(call, record)}


def _listed_owner(services: Services, call: Call) -> Place:
    target = asked_target(call).unqualified
    if not exists(services.store.catalog, target):
        raise function_missing(target.scope, target.name)
    return Place(target.scope, target.name)


_PROVISIONED = Row(
    record=ProvisionedConcurrency,
    place=_provisioned_place,
    document=_provisioned_document,
    missing=_provisioned_missing,
)

OPERATIONS: dict[str, Operation] = {
    "DeleteFunctionConcurrency": deleter(_RESERVED),
    "DeleteProvisionedConcurrencyConfig": deleter(_PROVISIONED, tolerant=True),
    "GetFunctionConcurrency": getter(_RESERVED),
    "GetProvisionedConcurrencyConfig": getter(_PROVISIONED),
    "ListProvisionedConcurrencyConfigs": lister(
        _PROVISIONED, "ProvisionedConcurrencyConfigs", _listed_owner, _listed_document
    ),
    "PutFunctionConcurrency": put_function_concurrency,
    "PutProvisionedConcurrencyConfig": put_provisioned_concurrency_config,
}
