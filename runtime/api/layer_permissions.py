"""Operations on layer versions' policies: which other accounts may use them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runtime.api.attachments import Place, Row, change, getter
from runtime.api.calls import Call, Operation, Services
from runtime.api.layers import own_layer, version_number
from runtime.api.policy_statements import (
    NO_POLICY,
    added,
    check_size,
    layer_statement,
    policy_text,
    removed,
    statement_text,
)
from runtime.api.stamps import new_revision
from runtime.errors import LambdaError, not_found
from runtime.model import LayerPolicy


def _place(services: Services, call: Call) -> Place:
    """The layer version, which must exist."""
    asked, number = own_layer(call), version_number(call)
    place = Place(asked.scope, asked.name, str(number))
    if services.store.catalog.layer_version(asked.scope, asked.name, number) is None:
        raise _no_version(place)
    return place


def _arn(place: Place) -> str:
    return place.scope.arn("layer", f"{place.owner}:{place.qualifier}")


def _no_version(place: Place) -> LambdaError:
    return not_found(f"Layer version {_arn(place)} does not exist.")


async def add_layer_version_permission(services: Services, call: Call) -> Mapping[str, Any]:
    params, place = call.params, _place(services, call)
    statement = layer_statement(params, _arn(place))

    def edit(policy: LayerPolicy | None) -> LayerPolicy:
        _check_revision(policy, params.get("RevisionId"))
        statements = added(policy.statements if policy else (), statement)
        after = LayerPolicy(**place.members, revision_id=new_revision(), statements=statements)
        check_size(policy_text(after))
        return after

    stored = await change(services, LayerPolicy, place, edit, lambda: _no_version(place))
    return {"Statement": statement_text(statement), "RevisionId": stored.revision_id}


async def remove_layer_version_permission(services: Services, call: Call) -> Mapping[str, Any]:
    params, place = call.params, _place(services, call)

    def edit(policy: LayerPolicy | None) -> LayerPolicy | None:
        if policy is None:
            raise _missing(place)
        _check_revision(policy, params.get("RevisionId"))
        statements = removed(policy.statements, params["StatementId"])
        if not statements:
            return None
        return replace(policy, revision_id=new_revision(), statements=statements)

    await change(services, LayerPolicy, place, edit, lambda: _no_version(place))
    return {}


def _check_revision(policy: LayerPolicy | None, expected: str | None) -> None:
    """A policy that is not there is at no revision."""
    if expected is not None and (policy is None or policy.revision_id != expected):
        raise LambdaError(
            "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id. "
            "Call the GetLayerPolicy API to retrieve the latest Revision Id",
        )


def _missing(_place: Place) -> LambdaError:
    return not_found(NO_POLICY)


def _document(_call: Call, policy: LayerPolicy) -> Mapping[str, Any]:
    return {"Policy": policy_text(policy).decode(), "RevisionId": policy.revision_id}


OPERATIONS: dict[str, Operation] = {
    "AddLayerVersionPermission": add_layer_version_permission,
    "GetLayerVersionPolicy": getter(
        Row(record=LayerPolicy, place=_place, document=_document, missing=_missing)
    ),
    "RemoveLayerVersionPermission": remove_layer_version_permission,
}
