"""Operations on the concurrency that functions have for themselves, within what their account has.

`runtime.admission` holds invocations against what is stored here.
"""

from collections.abc import Mapping
from typing import Any

from runtime.api.attachments import Place, Row, deleter, getter
from runtime.api.calls import Call, Operation, Services
from runtime.api.stamps import new_revision
from runtime.api.targets import Target, existing_function
from runtime.errors import LambdaError
from runtime.model import LATEST, ReservedConcurrency
from runtime.names import function_missing
from runtime.store.errors import RecordMissing


async def put_function_concurrency(services: Services, call: Call) -> Mapping[str, Any]:
    target = existing_function(services, call, _latest_missing)
    executions: int = call.params["ReservedConcurrentExecutions"]
    async with services.deciding:
        _check_reserved(services, target, executions)
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


def _check_reserved(services: Services, target: Target, executions: int) -> None:
    limits = services.limits(target.scope)
    if executions < (provisioned := limits.provisioned.get(target.name, 0)):
        raise untyped(
            f" ReservedConcurrentExecutions  {executions} should not be lower than function's total provisioned "
            f"concurrency [{provisioned}]."
        )
    if limits.without(target.name) - executions < limits.least_unreserved:
        raise untyped(
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution "
            f"below its minimum value of [{limits.least_unreserved}]."
        )


def untyped(message: str) -> LambdaError:
    """As AWS words what concurrency does not allow: without a `Type`."""
    return LambdaError("InvalidParameterValueException", message, typed=False)


def _reserved_place(services: Services, call: Call) -> Place:
    target = existing_function(services, call)
    return Place(target.scope, target.name)


_RESERVED = Row(
    record=ReservedConcurrency,
    place=_reserved_place,
    document=lambda _call, record: {"ReservedConcurrentExecutions": record.executions},
)

OPERATIONS: dict[str, Operation] = {
    "DeleteFunctionConcurrency": deleter(_RESERVED),
    "GetFunctionConcurrency": getter(_RESERVED),
    "PutFunctionConcurrency": put_function_concurrency,
}
