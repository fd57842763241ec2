"""Operations on functions' policies: who may use a function. Each version and alias has a policy of its own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runtime.api.attachments import Place, Row, change, getter
from runtime.api.calls import Call, Operation, Services
from runtime.api.policy_statements import (
    NO_POLICY,
    added,
    check_policy_revision,
    function_statement,
    policy_text,
    removed,
    statement_text,
)
from runtime.api.stamps import new_revision
from runtime.api.targets import Target, asked_target, existing_target, exists, target_missing
from runtime.errors import LambdaError, invalid_parameter, not_found
from runtime.model import LATEST, FunctionPolicy
from runtime.names import function_missing

_API = "GetPolicy"


def _place(target: Target) -> Place:
    return Place(target.scope, target.name, target.qualifier or "")


async def add_permission(services: Services, call: Call) -> Mapping[str, Any]:
    params = call.params
    _refuse_latest(asked_target(call))
    if "FunctionUrlAuthType" in params and params["Action"] != "lambda:InvokeFunctionUrl":
        raise invalid_parameter("FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action")
    target = existing_target(services, call)
    place = _place(target)
    statement = function_statement(params, target.arn)

    def edit(policy: FunctionPolicy | None) -> FunctionPolicy:
        check_policy_revision(policy.revision_id if policy else None, params.get("RevisionId"), _API)
        statements = added(policy.statements if policy else (), statement)
        return FunctionPolicy(**place.members, revision_id=new_revision(), statements=statements)

    await change(services, FunctionPolicy, place, edit, lambda: target_missing(target))
    return {"Statement": statement_text(statement)}


async def remove_permission(services: Services, call: Call) -> Mapping[str, Any]:
    target = asked_target(call)
    _refuse_latest(target)
    place, params = _place(target), call.params
    if not exists(services.store.catalog, target.unqualified):
        raise not_found(f"No policy found for: {target.unqualified.arn}")
    if target.is_alias and not exists(services.store.catalog, target):
        raise target_missing(target)

    def edit(policy: FunctionPolicy | None) -> FunctionPolicy | None:
        if policy is None:
            raise not_found(NO_POLICY)
        check_policy_revision(policy.revision_id, params.get("RevisionId"), _API)
        statements = removed(policy.statements, params["StatementId"])
        if not statements:
            return None
        return replace(policy, revision_id=new_revision(), statements=statements)

    await change(services, FunctionPolicy, place, edit, lambda: not_found(NO_POLICY))
    return {}


def _refuse_latest(target: Target) -> None:
    if target.qualifier == LATEST:
        raise invalid_parameter("We currently do not support adding policies for $LATEST.")


def _read_place(services: Services, call: Call) -> Place:
    target = asked_target(call)
    if not exists(services.store.catalog, target.unqualified):
        raise function_missing(target.scope, target.name)
    return _place(target)


def _missing(_place: Place) -> LambdaError:
    return not_found("The resource you requested does not exist.")


def _document(_call: Call, policy: FunctionPolicy) -> Mapping[str, Any]:
    return {"Policy": policy_text(policy.statements).decode(), "RevisionId": policy.revision_id}


OPERATIONS: dict[str, Operation] = {
    "AddPermission": add_permission,
    "GetPolicy": getter(Row(record=FunctionPolicy, place=_read_place, document=_document, missing=_missing)),
    "RemovePermission": remove_permission,
}
