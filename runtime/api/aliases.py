"""Operations on aliases: names that lead to one version of a function, or to two by weight."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runtime.api.alias_rules import check_alias
from runtime.api.calls import Call, Operation, Services
from runtime.api.configuration import environment_variables
from runtime.api.documents import alias_configuration
from runtime.api.function_lookup import UNQUALIFIED_ONLY, asked_name, check_revision
from runtime.api.paging import page
from runtime.api.provisioned_concurrency import check_moved_alias
from runtime.api.stamps import new_revision
from runtime.core.routing import as_run_by
from runtime.errors import conflict, invalid_parameter, not_found
from runtime.model import LATEST, Alias, State
from runtime.names import function_arn, function_missing
from runtime.store.errors import RecordExists, RecordMissing, RevisionMismatch


async def create_alias(services: Services, call: Call) -> Mapping[str, Any]:
    params = call.params
    alias = Alias(
        scope=call.scope,
        function=_function(call),
        name=params["Name"],
        version=params["FunctionVersion"],
        description=params.get("Description", ""),
        weights=_weights(params.get("RoutingConfig", {})),
        environment=_environment(params.get("Environment", {})),
        revision_id=new_revision(),
    )
    while True:
        check_alias(services.store.catalog, alias)
        try:
            await services.store.put_alias(alias, expected_revision=None)
        except RecordExists:
            raise conflict(f"Alias already exists: {alias.arn}") from None
        except RecordMissing:
            continue  # a version was deleted in this moment: now it is missing in the catalog too
        _changed_over(services, alias)
        return alias_configuration(alias)


async def get_alias(services: Services, call: Call) -> Mapping[str, Any]:
    return alias_configuration(_existing(services, call, "Cannot find alias arn"))


async def list_aliases(services: Services, call: Call) -> Mapping[str, Any]:
    function, version = _function(call), call.params.get("FunctionVersion")
    _check_function(services, call, function)
    every = services.store.catalog.aliases(call.scope, function)
    listed = [alias for alias in every if version is None or version in alias.versions]
    marker, size = call.params.get("Marker"), call.params.get("MaxItems")
    records, next_marker = page(listed, lambda alias: alias.name, marker, size)
    return {"Aliases": [alias_configuration(each) for each in records], "NextMarker": next_marker}


async def update_alias(services: Services, call: Call) -> Mapping[str, Any]:
    async with services.deciding:  # where there is provisioned concurrency
        changed = await _update(services, call)
    _changed_over(services, changed)
    return alias_configuration(changed)


async def _update(services: Services, call: Call) -> Alias:
    while True:
        alias = _existing(services, call, "Alias not found")
        check_revision(alias, call.params.get("RevisionId"))
        changed = _changed(alias, call.params, lenient=services.lenient_routing)
        check_alias(services.store.catalog, changed)
        check_moved_alias(services.store.catalog, changed)
        try:
            await services.store.put_alias(changed, expected_revision=alias.revision_id)
        except (RevisionMismatch, RecordMissing):
            continue  # somebody else's write came between: what is there now decides
        return changed


def _changed_over(services: Services, alias: Alias) -> None:
    """Let go of what the alias led to before, and have an environment at hand of what it leads to now."""
    services.retired(alias.scope, alias.function)
    for number in alias.versions:
        version = services.store.catalog.function(alias.scope, alias.function, number)
        if version is not None and version.state is State.ACTIVE:
            services.workshop.warm(as_run_by(alias, version))


def _changed(alias: Alias, params: Mapping[str, Any], *, lenient: bool) -> Alias:
    """The alias with the given members replaced; the others stay, and the revision is another in any case.

    Lenient is: whoever names a version and no routing means that version alone.
    """
    changes: dict[str, Any] = {"revision_id": new_revision()}
    if "FunctionVersion" in params:
        changes["version"] = params["FunctionVersion"]
        if lenient:
            changes["weights"] = {}
    if "Description" in params:
        changes["description"] = params["Description"]
    if "RoutingConfig" in params:
        changes["weights"] = _weights(params["RoutingConfig"])
    if "Environment" in params:
        changes["environment"] = _environment(params["Environment"])
    return replace(alias, **changes)


async def delete_alias(services: Services, call: Call) -> Mapping[str, Any]:
    """One that does not exist is deleted too, but its function must."""
    function = _function(call)
    _check_function(services, call, function)
    await services.store.delete_alias(call.scope, function, call.params["Name"])
    services.retired(call.scope, function)
    return {}


def _function(call: Call) -> str:
    asked = asked_name(call)
    if asked.qualifier not in {None, LATEST}:
        raise invalid_parameter(UNQUALIFIED_ONLY)
    return asked.name


def _check_function(services: Services, call: Call, function: str) -> None:
    if services.store.catalog.function(call.scope, function) is None:
        raise function_missing(call.scope, function)


def _existing(services: Services, call: Call, complaint: str) -> Alias:
    function, name = _function(call), call.params["Name"]
    found = services.store.catalog.alias(call.scope, function, name)
    if found is None:
        raise not_found(f"{complaint}: {function_arn(call.scope, function, name)}")
    return found


def _weights(routing: Mapping[str, Any]) -> Mapping[str, float]:
    weights: Mapping[str, float] = routing.get("AdditionalVersionWeights", {})
    return weights


def _environment(member: Mapping[str, Any]) -> Mapping[str, str] | None:
    return environment_variables(member) or None


OPERATIONS: dict[str, Operation] = {
    "CreateAlias": create_alias,
    "DeleteAlias": delete_alias,
    "GetAlias": get_alias,
    "ListAliases": list_aliases,
    "UpdateAlias": update_alias,
}
