"""Resource policies: statements in IAM's language, as AWS renders them, and the rules that functions' and layers'
policies share. Pure; where policies are kept and who may use what is not known here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from runtime.errors import LambdaError, conflict, invalid_parameter, not_found
from runtime.model import FunctionPolicy, LayerPolicy

SIZE_LIMIT = 20_480
NO_POLICY = "No policy is associated with the given resource."
Statement = Mapping[str, Any]
_ACCOUNT = re.compile(r"[0-9]{12}")
_IDENTITY = re.compile(r"arn:aws[a-zA-Z-]*:(iam|sts)::[0-9]{12}:[^\s:]+")
_SERVICE = re.compile(r"([a-z0-9-]+\.)+(amazonaws\.com(\.cn)?|amazon\.com)")


def function_statement(params: Mapping[str, Any], resource: str) -> Statement:
    """The statement that AddPermission's members describe."""
    equals = {
        "lambda:FunctionUrlAuthType": params.get("FunctionUrlAuthType"),
        "aws:PrincipalOrgID": params.get("PrincipalOrgID"),
        "lambda:EventSourceToken": params.get("EventSourceToken"),
        "AWS:SourceAccount": params.get("SourceAccount"),
    }
    through_url = None if (flag := params.get("InvokedViaFunctionUrl")) is None else str(flag).lower()
    return _statement(
        params,
        resource,
        {
            "StringEquals": equals,
            "Bool": {"lambda:InvokedViaFunctionUrl": through_url},
            "ArnLike": {"AWS:SourceArn": params.get("SourceArn")},
        },
    )


def layer_statement(params: Mapping[str, Any], resource: str) -> Statement:
    """The statement that AddLayerVersionPermission's members describe."""
    return _statement(
        params, resource, {"StringEquals": {"aws:PrincipalOrgID": params.get("OrganizationId")}}
    )


def _statement(
    params: Mapping[str, Any], resource: str, conditions: Mapping[str, Mapping[str, str | None]]
) -> Statement:
    given = {
        operator: {key: value for key, value in keys.items() if value is not None}
        for operator, keys in conditions.items()
    }
    statement = {
        "Sid": params["StatementId"],
        "Effect": "Allow",
        "Principal": _principal(params["Principal"]),
        "Action": params["Action"],
        "Resource": resource,
    }
    condition = {operator: keys for operator, keys in given.items() if keys}
    return statement | ({"Condition": condition} if condition else {})


def _principal(principal: str) -> str | dict[str, str]:
    """An account stands for its root; services and identities are told apart by their form."""
    if principal == "*":
        return principal
    kind = "Service" if _SERVICE.fullmatch(principal) else "AWS"
    return {kind: named_principal(kind, principal)}


def named_principal(kind: str, name: str) -> str:
    """A principal of the kind `AWS` or `Service` as policies name it. Raises `LambdaError`."""
    if kind == "AWS" and _ACCOUNT.fullmatch(name):
        return f"arn:aws:iam::{name}:root"
    if not (_IDENTITY if kind == "AWS" else _SERVICE).fullmatch(name):
        raise invalid_parameter(
            "The provided principal was invalid. Please check the principal and try again."
        )
    return name


def added(statements: Sequence[Statement], statement: Statement) -> tuple[Statement, ...]:
    """A policy's statements with one more."""
    sid = statement["Sid"]
    if any(each.get("Sid") == sid for each in statements):
        raise conflict(
            f"The statement id ({sid}) provided already exists. "
            "Please provide a new statement id, or remove the existing statement."
        )
    return (*statements, statement)


def removed(statements: Sequence[Statement], sid: str) -> tuple[Statement, ...]:
    """A policy's statements without one, which must be there."""
    after = tuple(each for each in statements if each.get("Sid") != sid)
    if len(after) == len(statements):
        raise not_found(f"Statement {sid} is not found in resource policy.")
    return after


def policy_text(policy: FunctionPolicy | LayerPolicy) -> bytes:
    """The policy's JSON document."""
    named = {} if policy.id is None else {"Id": policy.id}
    return orjson.dumps({"Version": policy.version, **named, "Statement": list(policy.statements)})


def check_size(policy: bytes) -> None:
    if (size := len(policy)) > SIZE_LIMIT:
        raise LambdaError(
            "PolicyLengthExceededException",
            f"The final policy size ({size}) is bigger than the limit ({SIZE_LIMIT}).",
        )


def statement_text(statement: Statement) -> str:
    return orjson.dumps(statement).decode()


def allows_layer(statements: Sequence[Statement], account: str) -> bool:
    """Whether an account may use the layer version. Which organisation it belongs to is not known, so statements for
    an organisation's members let nobody in.
    """
    return any(
        "Condition" not in statement and _names_account(statement["Principal"], account)
        for statement in statements
    )


def _names_account(principal: str | Mapping[str, str], account: str) -> bool:
    """Everybody, or this account's root in whatever partition."""
    return isinstance(principal, str) or principal["AWS"].endswith(f"::{account}:root")
