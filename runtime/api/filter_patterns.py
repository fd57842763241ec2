"""Whether event filters are well formed. Pure; what a pattern matches is not decided here."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from runtime.errors import invalid_parameter

FILTER_LIMIT = 5
_COMPARISONS = {"=", "<", "<=", ">", ">="}
_DEPTH_LIMIT = 32
_Check = Callable[[Any], bool]


def check_filters(criteria: Mapping[str, Any]) -> None:
    """Refuse what FilterCriteria may not hold."""
    filters = criteria.get("Filters", [])
    if len(filters) > FILTER_LIMIT:
        raise invalid_parameter(f"An event source mapping can have at most {FILTER_LIMIT} filters.")
    if not all(_is_pattern(each["Pattern"]) for each in filters if "Pattern" in each):
        raise invalid_parameter("Invalid filter pattern definition.")


def _is_pattern(text: str) -> bool:
    try:
        pattern = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(pattern, dict) and bool(pattern) and _is_node(pattern, _DEPTH_LIMIT)


def _is_node(node: Any, depth: int) -> bool:
    """An object of further nodes, or the list of what a value may be."""
    if isinstance(node, list):
        return bool(node) and all(_is_rule(rule) for rule in node)
    if not isinstance(node, dict) or not node or depth == 0:
        return False
    return all(
        _is_alternatives(inner, depth) if key == "$or" else _is_node(inner, depth - 1)
        for key, inner in node.items()
    )


def _is_alternatives(branches: Any, depth: int) -> bool:
    """What `$or` holds; a list without objects is a field of that name."""
    if not isinstance(branches, list) or not all(isinstance(branch, dict) for branch in branches):
        return _is_node(branches, depth - 1)
    return len(branches) > 1 and all(_is_node(branch, depth - 1) for branch in branches)


def _is_rule(rule: Any) -> bool:
    if not isinstance(rule, dict):
        return not isinstance(rule, list)
    if len(rule) != 1:
        return False
    ((operator, operand),) = rule.items()
    check = _OPERATORS.get(operator)
    return check is not None and check(operand)


def _is_text(operand: Any) -> bool:
    return isinstance(operand, str)


def _is_excluded(operand: Any) -> bool:
    """What `anything-but` names: values, or one affix."""
    if isinstance(operand, dict):
        return len(operand) == 1 and all(
            key in {"prefix", "suffix", "equals-ignore-case", "wildcard"}
            and (_is_text(text) or _are_texts(text))
            for key, text in operand.items()
        )
    values = operand if isinstance(operand, list) else [operand]
    return bool(values) and all(type(value) in {str, int, float} for value in values)


def _are_texts(operand: Any) -> bool:
    return isinstance(operand, list) and bool(operand) and all(_is_text(text) for text in operand)


def _is_affix(operand: Any) -> bool:
    """A text, or one that is to be compared without regard to case."""
    if isinstance(operand, dict):
        return operand.keys() == {"equals-ignore-case"} and _is_text(operand["equals-ignore-case"])
    return _is_text(operand)


def _is_range(operand: Any) -> bool:
    """`[">", 0, "<=", 5]`: pairs of a comparison and a number."""
    if not isinstance(operand, list) or len(operand) not in {2, 4}:
        return False
    comparisons, numbers = operand[::2], operand[1::2]
    return all(isinstance(each, str) and each in _COMPARISONS for each in comparisons) and all(
        type(number) in {int, float} for number in numbers
    )


_OPERATORS: Mapping[str, _Check] = {
    "anything-but": _is_excluded,
    "equals-ignore-case": _is_text,
    "exists": lambda operand: isinstance(operand, bool),
    "numeric": _is_range,
    "prefix": _is_affix,
    "suffix": _is_affix,
    "wildcard": _is_text,
}
