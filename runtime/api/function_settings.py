"""Operations on small settings of functions that have a default until they are put: recursion, runtime updates.

They are kept; nothing acts upon them yet.
"""

from collections.abc import Mapping
from typing import Any

from runtime.api.attachments import Place
from runtime.api.calls import Call, Operation, Services
from runtime.api.stamps import new_revision
from runtime.api.targets import Target, asked_target, existing_function, existing_target, target_missing
from runtime.errors import invalid_parameter
from runtime.model import LATEST, RecursionConfig, RuntimeManagement
from runtime.names import function_arn
from runtime.store.errors import RecordMissing


async def put_function_recursion_config(services: Services, call: Call) -> Mapping[str, Any]:
    target = existing_function(services, call)
    loop: str = call.params["RecursiveLoop"]
    await _attach(
        services,
        target,
        RecursionConfig(
            scope=target.scope, owner=target.name, revision_id=new_revision(), recursive_loop=loop
        ),
    )
    return {"RecursiveLoop": loop}


async def get_function_recursion_config(services: Services, call: Call) -> Mapping[str, Any]:
    target = existing_function(services, call)
    found = services.store.catalog.attachment(RecursionConfig, target.scope, target.name)
    return {"RecursiveLoop": found.recursive_loop if found else "Terminate"}


async def put_runtime_management_config(services: Services, call: Call) -> Mapping[str, Any]:
    place, params = _runtime_place(services, call), call.params
    arn = params.get("RuntimeVersionArn")
    if (params["UpdateRuntimeOn"] == "Manual") != (arn is not None):
        raise invalid_parameter("RuntimeVersionArn belongs to UpdateRuntimeOn Manual, and to nothing else.")
    record = RuntimeManagement(
        **place.members,
        revision_id=new_revision(),
        update_on=params["UpdateRuntimeOn"],
        runtime_version_arn=arn,
    )
    await _attach(services, asked_target(call), record)
    return _runtime_document(place, record)


async def get_runtime_management_config(services: Services, call: Call) -> Mapping[str, Any]:
    place = _runtime_place(services, call)
    found = services.store.catalog.attachment(RuntimeManagement, place.scope, place.owner, place.qualifier)
    return _runtime_document(place, found)


def _runtime_place(services: Services, call: Call) -> Place:
    """A version; `$LATEST` if none is named."""
    target = existing_target(services, call)
    if target.is_alias:
        raise invalid_parameter("Runtime management is configured for versions, not for aliases.")
    return Place(target.scope, target.name, target.qualifier or LATEST)


def _runtime_document(place: Place, record: RuntimeManagement | None) -> Mapping[str, Any]:
    return {
        "UpdateRuntimeOn": record.update_on if record else "Auto",
        "RuntimeVersionArn": record.runtime_version_arn if record else None,
        "FunctionArn": function_arn(place.scope, place.owner, place.qualifier),
    }


async def _attach(services: Services, target: Target, record: RecursionConfig | RuntimeManagement) -> None:
    try:
        await services.store.attach(record)
    except RecordMissing:
        raise target_missing(target) from None


OPERATIONS: dict[str, Operation] = {
    "GetFunctionRecursionConfig": get_function_recursion_config,
    "GetRuntimeManagementConfig": get_runtime_management_config,
    "PutFunctionRecursionConfig": put_function_recursion_config,
    "PutRuntimeManagementConfig": put_runtime_management_config,
}
