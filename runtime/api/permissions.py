"""Operations on functions' policies: who may use a function. Each version and alias has a policy of its own.

A policy's RevisionId is that of the version or alias that has it: each change of the one is a change of the other.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from runtime.api.attachments import Place
from runtime.api.calls import Call, Operation, Services
from runtime.api.function_lookup import check_revision
from runtime.api.policy_statements import (
    NO_POLICY,
    Statement,
    added,
    function_statement,
    policy_text,
    removed,
    statement_text,
)
from runtime.api.stamps import new_revision
from runtime.api.targets import Target, asked_target, existing_target, exists, subject, target_missing
from runtime.errors import invalid_parameter, not_found
from runtime.model import LATEST, FunctionPolicy
from runtime.names import function_missing
from runtime.store import Catalog
from runtime.store.catalog import AttachmentDeleted, AttachmentPut
from runtime.store.errors import RecordMissing, RevisionMismatch

_Statements = tuple[Statement, ...]


async def add_permission(services: Services, call: Call) -> Mapping[str, Any]:
    params = call.params
    _refuse_latest(asked_target(call))
    if "FunctionUrlAuthType" in params and params["Action"] != "lambda:InvokeFunctionUrl":
        raise invalid_parameter("FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action")
    target = existing_target(services, call)
    statement = function_statement(params, target.arn)
    await _change(services, call, target, lambda statements: added(statements or (), statement))
    return {"Statement": statement_text(statement)}


async def remove_permission(services: Services, call: Call) -> Mapping[str, Any]:
    target = asked_target(call)
    _refuse_latest(target)
    if not exists(services.store.catalog, target.unqualified):
        raise not_found(f"No policy found for: {target.unqualified.arn}")
    if not exists(services.store.catalog, target):
        raise target_missing(target) if target.is_alias else not_found(NO_POLICY)

    def without(statements: _Statements | None) -> _Statements:
        if statements is None:
            raise not_found(NO_POLICY)
        return removed(statements, call.params["StatementId"])

    await _change(services, call, target, without)
    return {}


def _refuse_latest(target: Target) -> None:
    if target.qualifier == LATEST:
        raise invalid_parameter("We currently do not support adding policies for $LATEST.")


async def _change(
    services: Services, call: Call, target: Target, edit: Callable[[_Statements | None], _Statements]
) -> None:
    """Edit the statements of a policy, if there are any, and store them; without any the policy is gone."""
    while True:
        catalog, revision = services.store.catalog, new_revision()
        owner, policy = subject(catalog, target), _policy(catalog, target)
        if owner is None:
            raise target_missing(target)
        check_revision(owner, call.params.get("RevisionId"))
        statements = edit(policy.statements if policy else None)
        place = Place(target.scope, target.name, target.qualifier or "").members
        change = (
            AttachmentPut(FunctionPolicy(**place, revision_id=revision, statements=statements))
            if statements
            else AttachmentDeleted(FunctionPolicy, **place)
        )
        changed = replace(owner, revision_id=revision)
        try:
            return await services.store.change_policy(change, changed, expected_revision=owner.revision_id)
        except (RevisionMismatch, RecordMissing):
            continue  # somebody else's write came between


def _policy(catalog: Catalog, target: Target) -> FunctionPolicy | None:
    return catalog.attachment(FunctionPolicy, target.scope, target.name, target.qualifier or "")


async def get_policy(services: Services, call: Call) -> Mapping[str, Any]:
    target, catalog = asked_target(call), services.store.catalog
    if not exists(catalog, target.unqualified):
        raise function_missing(target.scope, target.name)
    owner, policy = subject(catalog, target), _policy(catalog, target)
    if owner is None or policy is None:
        raise not_found("The resource you requested does not exist.")
    return {"Policy": policy_text(policy.statements).decode(), "RevisionId": owner.revision_id}


OPERATIONS: dict[str, Operation] = {
    "AddPermission": add_permission,
    "GetPolicy": get_policy,
    "RemovePermission": remove_permission,
}
