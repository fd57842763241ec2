"""What Berth adds to Lambda's service model: input members that AWS does not have.

They travel in the same documents, are checked by the same rules and are never part of an answer, so that unmodified
clients neither send nor see them.
"""

from collections.abc import Mapping
from typing import Any

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
