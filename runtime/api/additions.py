"""What Berth adds to Lambda's service model: input members that AWS does not have, and another place for one it has.

Members travel in the same documents, are checked by the same rules and are never part of an answer, so that unmodified
clients neither send nor see them.
"""

from collections.abc import Mapping
from typing import Any

from runtime.names import parse_function

MEMBERS: dict[str, dict[str, str]] = {
    # Input shape → member → the shape of its value.
    "CreateAliasRequest": {"Environment": "Environment"},
    "UpdateAliasRequest": {"Environment": "Environment"},
}


def with_additions(model: Mapping[str, Any]) -> dict[str, Any]:
    """The model with Berth's members; what was given is not changed."""
    shapes = dict(model["shapes"])
    for name, members in MEMBERS.items():
        added = {member: {"shape": shape} for member, shape in members.items()}
        shapes[name] = {**shapes[name], "members": {**shapes[name]["members"], **added}}
    return {**model, "shapes": shapes}


_QUALIFIED = frozenset(f"{verb}ProvisionedConcurrencyConfig" for verb in ("Delete", "Get", "Put"))
"""Operations whose model wants a Qualifier beside the name. A name that has one already says it all."""


def with_qualifier(operation: str, params: dict[str, Any]) -> None:
    """Give such an operation the qualifier that its function's name carries, where it has no other."""
    if operation not in _QUALIFIED or "Qualifier" in params:
        return
    found = parse_function(params.get("FunctionName", ""))
    if found is not None and found.qualifier is not None:
        params["Qualifier"] = found.qualifier
