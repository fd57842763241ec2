"""Operations on a function's policy as a whole: the same policy that AddPermission builds statement by statement.

What is put replaces all of it. Each version and alias has its own, and its revision is its owner's, as with the
operations on single statements.
"""

from collections.abc import Mapping
from typing import Any

from runtime.api.calls import Call, Operation, Services
from runtime.api.permissions import POLICY_MISSING, change_policy, policy_of, refuse_latest
from runtime.api.policy_documents import read_policy
from runtime.api.policy_statements import check_size, policy_text
from runtime.api.targets import Target, exists, subject, target_missing
from runtime.errors import invalid_parameter, not_found
from runtime.model import FunctionPolicy
from runtime.names import resolve_function


async def put_resource_policy(services: Services, call: Call) -> Mapping[str, Any]:
    target = _existing(services, call)
    refuse_latest(target)
    document = read_policy(call.params["Policy"], target.arn)

    def edit(_before: FunctionPolicy | None, revision: str) -> FunctionPolicy:
        policy = FunctionPolicy(
            scope=target.scope,
            owner=target.name,
            qualifier=target.qualifier or "",
            revision_id=revision,
            statements=document.statements,
            id=document.id,
            version=document.version,
        )
        check_size(policy_text(policy))
        return policy

    policy = await change_policy(services, call, target, edit)
    assert policy is not None  # noqa: S101 - what `edit` returns
    return _document(policy)


async def get_resource_policy(services: Services, call: Call) -> Mapping[str, Any]:
    target, catalog = _existing(services, call), services.store.catalog
    owner, policy = subject(catalog, target), policy_of(catalog, target)
    if owner is None or policy is None:
        raise not_found(POLICY_MISSING)
    return {**_document(policy), "RevisionId": owner.revision_id}


async def delete_resource_policy(services: Services, call: Call) -> Mapping[str, Any]:
    target = _existing(services, call)
    refuse_latest(target)

    def edit(before: FunctionPolicy | None, _revision: str) -> None:
        if before is None:
            raise not_found(POLICY_MISSING)

    await change_policy(services, call, target, edit)
    return {}


def _document(policy: FunctionPolicy) -> Mapping[str, Any]:
    return {"Policy": policy_text(policy).decode(), "RevisionId": policy.revision_id}


def _existing(services: Services, call: Call) -> Target:
    """The function, version or alias of the ARN, which must exist."""
    arn: str = call.params["ResourceArn"]
    if arn.split(":", 5)[5].startswith("runtime/"):
        raise invalid_parameter(
            "Berth keeps policies of functions, versions and aliases: runtimes have none."
        )
    asked = resolve_function(arn, None, call.scope)
    target = Target(call.scope, asked.name, asked.qualifier)
    if not exists(services.store.catalog, target):
        raise target_missing(target)
    return target


OPERATIONS: dict[str, Operation] = {
    "DeleteResourcePolicy": delete_resource_policy,
    "GetResourcePolicy": get_resource_policy,
    "PutResourcePolicy": put_resource_policy,
}
