"""SAM's `Globals`: what every function of a template has unless it says otherwise. Pure."""

from collections.abc import Mapping
from typing import Any

from runtime.deploy.documents import reach
from runtime.deploy.errors import Path
from runtime.deploy.intrinsics import intrinsic

GLOBALS = ("Globals", "Function")


def merged(shared: Any, own: Any) -> Any:
    """The two together: maps key by key, lists one after the other, anything else is the resource's own.

    A call of an intrinsic function is not a map: it is taken whole.
    """
    if _is_map(shared) and _is_map(own):
        # A Section's lines are not carried over: where a merged value stands is where its resource does.
        together = {key: merged(value, own[key]) if key in own else value for key, value in shared.items()}
        return together | {key: value for key, value in own.items() if key not in shared}
    if isinstance(shared, list) and isinstance(own, list):
        return [*shared, *own]
    return own


def written_at(document: Mapping[str, Any], path: Path) -> Path:
    """Where a property of a resource stands in the text: in `Globals`, if more of the way to it leads there."""
    shared = (*GLOBALS, *path[3:])
    own_reach, shared_reach = reach(document, path) - 3, reach(document, shared) - len(GLOBALS)
    return shared if path[:1] == ("Resources",) and shared_reach > max(own_reach, 0) else path


def _is_map(node: Any) -> bool:
    return isinstance(node, Mapping) and intrinsic(node) is None
