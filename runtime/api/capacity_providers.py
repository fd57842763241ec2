"""Operations on capacity providers, and on how many environments versions on them are to have.

A provider stands for this machine: what it says about networks, instances and their scaling is checked, kept and shown.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runtime.api.attachments import Place, Row, change, deleter, getter, pages
from runtime.api.calls import Call, Operation, Services
from runtime.api.managed_functions import users_of
from runtime.api.paging import page
from runtime.api.stamps import iso_timestamp, new_revision
from runtime.api.tags import check_tags
from runtime.api.targets import Target, existing_target
from runtime.api.versions import position
from runtime.errors import LambdaError, conflict, invalid_parameter, not_found
from runtime.model import CapacityProvider, FunctionScaling, FunctionVersion
from runtime.names import function_arn
from runtime.store.errors import RecordExists, RecordMissing

PROVIDERS_LIMIT = 1000
_MAX_VCPUS = 400
_KEPT = (
    *("VpcConfig", "PermissionsConfig", "InstanceRequirements", "CapacityProviderScalingConfig"),
    *("KmsKeyArn", "PropagateTags", "TelemetryConfig"),
)
_CHANGEABLE = ("CapacityProviderScalingConfig", "PropagateTags", "TelemetryConfig")


async def create_capacity_provider(services: Services, call: Call) -> Mapping[str, Any]:
    place, params = _place(services, call), call.params
    _check(params)
    record = CapacityProvider(
        scope=place.scope,
        owner=place.owner,
        revision_id=new_revision(),
        settings=_with_defaults({name: params[name] for name in _KEPT if name in params}),
        tags=check_tags(params.get("Tags", {})),
        last_modified=iso_timestamp(services.now()),
    )
    async with services.deciding:
        if len(list(services.store.catalog.attachments(CapacityProvider, call.scope))) >= PROVIDERS_LIMIT:
            raise LambdaError(
                "CapacityProviderLimitExceededException",
                f"The account has its maximum of {PROVIDERS_LIMIT} capacity providers.",
            )
        try:
            await services.store.attach(record, expected_revision=None)
        except RecordExists:
            raise conflict(f"Capacity provider already exists: {record.arn}") from None
    return _document(call, record)


def _check(params: Mapping[str, Any]) -> None:
    """What the model does not hold."""
    requirements = params.get("InstanceRequirements", {})
    if requirements.get("AllowedInstanceTypes") and requirements.get("ExcludedInstanceTypes"):
        raise invalid_parameter(
            "Only one of AllowedInstanceTypes and ExcludedInstanceTypes can be specified."
        )
    scaling = params.get("CapacityProviderScalingConfig", {})
    if scaling.get("ScalingMode", "Auto") == "Auto" and scaling.get("ScalingPolicies"):
        raise invalid_parameter("ScalingPolicies can be specified with ScalingMode Manual only.")


def _with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    requirements = {"Architectures": ["x86_64"]} | settings.get("InstanceRequirements", {})
    scaling = {"MaxVCpuCount": _MAX_VCPUS, "ScalingMode": "Auto"} | settings.get(
        "CapacityProviderScalingConfig", {}
    )
    return settings | {"InstanceRequirements": requirements, "CapacityProviderScalingConfig": scaling}


async def update_capacity_provider(services: Services, call: Call) -> Mapping[str, Any]:
    place, params = _place(services, call), call.params
    _check(params)

    def edit(found: CapacityProvider | None) -> CapacityProvider:
        if found is None:
            raise _missing(place)
        changed = dict(found.settings) | {name: params[name] for name in _CHANGEABLE if name in params}
        return replace(
            found,
            revision_id=new_revision(),
            settings=_with_defaults(changed),
            last_modified=iso_timestamp(services.now()),
        )

    return _document(call, await change(services, CapacityProvider, place, edit, lambda: _missing(place)))


async def delete_capacity_provider(services: Services, call: Call) -> Mapping[str, Any]:
    place = _place(services, call)
    async with services.deciding:
        found = _ROW.find(services, place)
        if found is None:
            raise _missing(place)
        if any(users_of(services, place.scope, found.arn)):
            raise conflict(f"The capacity provider {found.arn} is used by function versions.")
        await _DELETE(services, call)
    return {"CapacityProvider": {**_member(call, found), "State": "Deleting"}}


async def list_capacity_providers(services: Services, call: Call) -> Mapping[str, Any]:
    every = services.store.catalog.attachments(CapacityProvider, call.scope)
    asked = call.params.get("State", "Active")
    records = every if asked == "Active" else ()
    return pages(call, "CapacityProviders", records, lambda record: record.owner, _member)


async def list_function_versions_by_capacity_provider(services: Services, call: Call) -> Mapping[str, Any]:
    place = _place(services, call)
    found = _ROW.find(services, place)
    if found is None:
        raise _missing(place)
    users = users_of(services, place.scope, found.arn)
    versions, marker = page(users, position, call.params.get("Marker"), call.params.get("MaxItems"))
    return {
        "CapacityProviderArn": found.arn,
        "FunctionVersions": [
            {"FunctionArn": function_arn(each.scope, each.name, each.version), "State": each.state}
            for each in versions
        ],
        "NextMarker": marker,
    }


def _place(_services: Services, call: Call) -> Place:
    """A provider by name or ARN; only the caller's own are there."""
    given: str = call.params["CapacityProviderName"]
    name = given.rpartition(":")[2]
    place = Place(call.scope, name)
    if name != given and given != call.scope.arn("capacity-provider", name):
        raise _missing(place, given)
    return place


def _missing(place: Place, arn: str | None = None) -> LambdaError:
    return not_found(
        f"Capacity provider not found: {arn or place.scope.arn('capacity-provider', place.owner)}"
    )


def _document(call: Call, record: CapacityProvider) -> Mapping[str, Any]:
    return {"CapacityProvider": _member(call, record)}


def _member(_call: Call, record: CapacityProvider) -> Mapping[str, Any]:
    return {
        "CapacityProviderArn": record.arn,
        "State": "Active",
        "LastModified": record.last_modified,
        **record.settings,
    }


# How many environments a version is to have


async def put_function_scaling_config(services: Services, call: Call) -> Mapping[str, Any]:
    target, version = _managed_version(services, call)
    wanted = call.params.get("FunctionScalingConfig", {})
    record = FunctionScaling(
        scope=target.scope,
        owner=target.name,
        qualifier=target.qualifier or "",
        revision_id=new_revision(),
        minimum=wanted.get("MinExecutionEnvironments"),
        maximum=wanted.get("MaxExecutionEnvironments"),
    )
    if record.minimum is not None and record.maximum is not None and record.minimum > record.maximum:
        raise invalid_parameter(
            "MinExecutionEnvironments must be less than or equal to MaxExecutionEnvironments."
        )
    try:
        await services.store.attach(record)
    except RecordMissing:
        raise _no_version(target) from None
    return {"FunctionState": version.state}


async def get_function_scaling_config(services: Services, call: Call) -> Mapping[str, Any]:
    target, _ = _managed_version(services, call)
    found = services.store.catalog.attachment(
        FunctionScaling, target.scope, target.name, target.qualifier or ""
    )
    wanted = _scaling(found) if found else {}
    return {
        "FunctionArn": target.arn,
        "RequestedFunctionScalingConfig": wanted,
    }


def _scaling(record: FunctionScaling) -> dict[str, Any]:
    return {"MinExecutionEnvironments": record.minimum, "MaxExecutionEnvironments": record.maximum}


def _managed_version(services: Services, call: Call) -> tuple[Target, FunctionVersion]:
    target = existing_target(services, call, _no_version)
    version = services.store.catalog.function(target.scope, target.name, target.qualifier or "")
    if version is None:
        raise _no_version(target)
    if version.config.managed is None:
        raise invalid_parameter(f"{target.arn} does not run on a capacity provider.")
    return target, version


def _no_version(target: Target) -> LambdaError:
    return not_found(f"Function not found: {target.arn}")


_ROW = Row(record=CapacityProvider, place=_place, document=_document, missing=_missing)
_DELETE = deleter(_ROW)

OPERATIONS: dict[str, Operation] = {
    "CreateCapacityProvider": create_capacity_provider,
    "DeleteCapacityProvider": delete_capacity_provider,
    "GetCapacityProvider": getter(_ROW),
    "GetFunctionScalingConfig": get_function_scaling_config,
    "ListCapacityProviders": list_capacity_providers,
    "ListFunctionVersionsByCapacityProvider": list_function_versions_by_capacity_provider,
    "PutFunctionScalingConfig": put_function_scaling_config,
    "UpdateCapacityProvider": update_capacity_provider,
}
