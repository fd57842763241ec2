"""Whole resource policies as callers write them: what they must look like, and how they are kept.

AWS says only that a policy is invalid; here the text also says what about it. Pure; where policies are kept and what
they allow is not known here.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from runtime.api.policy_statements import Statement, named_principal
from runtime.errors import LambdaError, invalid_parameter

_VERSIONS = ("2012-10-17", "2008-10-17")
_MEMBERS = {"Id", "Statement", "Version"}
_STATEMENT_MEMBERS = {
    "Action",
    "Condition",
    "Effect",
    "NotAction",
    "NotPrincipal",
    "Principal",
    "Resource",
    "Sid",
}
_SID = re.compile(r"[a-zA-Z0-9_-]{1,100}")
_ACTION = re.compile(r"\*|lambda:[a-zA-Z*?]+")
_SCALARS = (str, bool, int, float)


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """A policy, checked."""

    version: str
    id: str | None
    statements: tuple[Statement, ...]


def read_policy(text: str, resource: str) -> PolicyDocument:
    """The policy in a JSON text that is to be attached to the resource of this ARN. Raises `LambdaError`."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _invalid("it is not a JSON document") from None
    if not isinstance(document, dict):
        raise _invalid("it is not a JSON object")
    _only(document, _MEMBERS, "the policy")
    version = document.get("Version", _VERSIONS[1])
    if version not in _VERSIONS:
        raise _invalid(f"Version must be one of {', '.join(_VERSIONS)}")
    identifier = document.get("Id")
    if identifier is not None and not isinstance(identifier, str):
        raise _invalid("Id must be a string")
    statements = _statements(document.get("Statement"), resource)
    return PolicyDocument(version, identifier, statements)


def _statements(value: Any, resource: str) -> tuple[Statement, ...]:
    listed = [value] if isinstance(value, dict) else value
    if not isinstance(listed, list) or not listed or not all(isinstance(each, dict) for each in listed):
        raise _invalid("Statement must be an object or a list of them")
    statements = tuple(_statement(each, resource) for each in listed)
    sids = [each["Sid"] for each in statements if "Sid" in each]
    if len(sids) > len(set(sids)):
        raise _invalid("statement ids must be unique")
    return statements


def _statement(value: dict[str, Any], resource: str) -> Statement:
    _only(value, _STATEMENT_MEMBERS, "a statement")
    sid = value.get("Sid")
    if sid is not None and not (isinstance(sid, str) and _SID.fullmatch(sid)):
        raise _invalid("Sid must be letters, digits, dashes and underscores")
    if value.get("Effect") not in ("Allow", "Deny"):
        raise _invalid("Effect must be Allow or Deny")
    principal = _one_of(value, "Principal", "NotPrincipal")
    action = _one_of(value, "Action", "NotAction")
    _check_texts(
        value[action], lambda each: _ACTION.fullmatch(each) is not None, f"{action} must name Lambda's"
    )
    _check_texts(
        value.get("Resource"),
        lambda each: each == resource,
        f"Resource must be {resource}, which has the policy,",
    )
    _check_condition(value.get("Condition", {}))
    return {**value, principal: _principal(value[principal])}


def _principal(value: Any) -> Any:
    """As AWS shows it: accounts by the ARN of their root."""
    if value == "*":
        return value
    if not isinstance(value, dict) or not value:
        raise _invalid('a principal must be "*" or an object')
    return {kind: _names(kind, names) for kind, names in value.items()}


def _names(kind: str, value: Any) -> Any:
    if kind not in ("AWS", "Service"):
        raise _invalid("principals are of the kinds AWS and Service")
    listed = _texts(value)
    if listed is None:
        raise _invalid(f"principals of the kind {kind} must be strings")
    known = [each if each == "*" else named_principal(kind, each) for each in listed]
    return known[0] if isinstance(value, str) else known


def _check_condition(value: Any) -> None:
    """`{operator: {key: value or values}}`; which operators and keys there are is IAM's matter."""
    keys = value.values() if isinstance(value, dict) else ()
    well_formed = isinstance(value, dict) and all(
        isinstance(each, dict) and all(_is_operand(item) for item in each.values()) for each in keys
    )
    if not well_formed:
        raise _invalid("Condition must be an object of operators, each with an object of keys")


def _is_operand(value: Any) -> bool:
    listed = value if isinstance(value, list) else [value]
    return all(isinstance(each, _SCALARS) for each in listed)


def _check_texts(value: Any, holds: Callable[[str], bool], complaint: str) -> None:
    listed = _texts(value)
    if listed is None or not all(map(holds, listed)):
        raise _invalid(f"{complaint} and nothing else")


def _texts(value: Any) -> list[str] | None:
    """One string or several; None for anything else."""
    listed = [value] if isinstance(value, str) else value
    if isinstance(listed, list) and listed and all(isinstance(each, str) for each in listed):
        return listed
    return None


def _one_of(value: Mapping[str, Any], *names: str) -> str:
    given = [name for name in names if name in value]
    if len(given) != 1:
        raise _invalid(f"a statement must have either {' or '.join(names)}")
    return given[0]


def _only(value: Iterable[str], allowed: set[str], what: str) -> None:
    if unknown := sorted(set(value) - allowed):
        raise _invalid(f"{what} has unknown members: {', '.join(unknown)[:200]}")


def _invalid(reason: str) -> LambdaError:
    return invalid_parameter(f"The provided policy is invalid: {reason}.")
