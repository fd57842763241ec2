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
    added,
    check_size,
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

POLICY_MISSING = "The resource you requested does not exist."


async def add_permission(services: Services, call: Call) -> Mapping[str, Any]:
    params = call.params
    refuse_latest(asked_target(call))
    if "FunctionUrlAuthType" in params and params["Action"] != "lambda:InvokeFunctionUrl":
        raise invalid_parameter("FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action")
    target = existing_target(services, call)
    statement = function_statement(params, target.arn)

    def edit(policy: FunctionPolicy | None, revision: str) -> FunctionPolicy:
        before = policy or _empty(target, revision)
        after = replace(before, revision_id=revision, statements=added(before.statements, statement))
        check_size(policy_text(after))
        return after

    await change_policy(services, call, target, edit)
    return {"Statement": statement_text(statement)}


def _empty(target: Target, revision: str) -> FunctionPolicy:
    place = Place(target.scope, target.name, target.qualifier or "")
    return FunctionPolicy(**place.members, revision_id=revision, statements=())


async def remove_permission(services: Services, call: Call) -> Mapping[str, Any]:
    target = asked_target(call)
    refuse_latest(target)
    if not exists(services.store.catalog, target.unqualified):
        raise not_found(f"No policy found for: {target.unqualified.arn}")
    if not exists(services.store.catalog, target):
        raise target_missing(target) if target.is_alias else not_found(NO_POLICY)

    def edit(policy: FunctionPolicy | None, revision: str) -> FunctionPolicy | None:
        if policy is None:
            raise not_found(NO_POLICY)
        statements = removed(policy.statements, call.params["StatementId"])
        return replace(policy, revision_id=revision, statements=statements) if statements else None

    await change_policy(services, call, target, edit)
    return {}


def refuse_latest(target: Target) -> None:
    if target.qualifier == LATEST:
        raise invalid_parameter("We currently do not support adding policies for $LATEST.")


async def change_policy(
    services: Services,
    call: Call,
    target: Target,
    edit: Callable[[FunctionPolicy | None, str], FunctionPolicy | None],
) -> FunctionPolicy | None:
    """Edit a policy, if there is one, to its next revision, and store it; None takes it off."""
    while True:
        catalog, revision = services.store.catalog, new_revision()
        owner, policy = subject(catalog, target), policy_of(catalog, target)
        if owner is None:
            raise target_missing(target)
        check_revision(owner, call.params.get("RevisionId"), "GetPolicy")
        after = edit(policy, revision)
        place = Place(target.scope, target.name, target.qualifier or "").members
        change = AttachmentDeleted(FunctionPolicy, **place) if after is None else AttachmentPut(after)
        changed = replace(owner, revision_id=revision)
        try:
            await services.store.change_policy(change, changed, expected_revision=owner.revision_id)
        except (RevisionMismatch, RecordMissing):
            continue  # somebody else's write came between
        return after


def policy_of(catalog: Catalog, target: Target) -> FunctionPolicy | None:
    return catalog.attachment(FunctionPolicy, target.scope, target.name, target.qualifier or "")


async def get_policy(services: Services, call: Call) -> Mapping[str, Any]:
    target, catalog = asked_target(call), services.store.catalog
    if not exists(catalog, target.unqualified):
        raise function_missing(target.scope, target.name)
    owner, policy = subject(catalog, target), policy_of(catalog, target)
    if owner is None or policy is None:
        raise not_found(POLICY_MISSING)
    return {"Policy": policy_text(policy).decode(), "RevisionId": owner.revision_id}


OPERATIONS: dict[str, Operation] = {
    "AddPermission": add_permission,
    "GetPolicy": get_policy,
    "RemovePermission": remove_permission,
}
