"""Whether an input satisfies the service model's constraints, in AWS's words.

All violations of a request are reported at once, in one ValidationException. Rules that the model does not hold
(whether a role exists, which runtimes are current) belong to the operations.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.model import Shape

from runtime.errors import validation_error

OVERRIDES: dict[str, dict[str, int]] = {
    # The model gives the bounds of managed instances; functions on demand have Lambda's usual quotas.
    "Timeout": {"max": 900},
    "MemorySize": {"max": 10_240},
    "EphemeralStorageSize": {"max": 10_240},
}
CHECKED_ELSEWHERE = {
    # AWS answers a bad runtime with InvalidParameterValueException; see runtime.api.configuration.
    ("CreateFunctionRequest", "Runtime"),
    ("UpdateFunctionConfigurationRequest", "Runtime"),
}
_JAVA_CLASSES = {
    # Unicode categories that Python's `re` lacks, each as the inside of a character class.
    r"\p{L}": r"\w",
    r"\p{N}": r"\w",
    r"\p{Z}": r" \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",
}
_NOT_NULL = "Member must not be null"
_SCALARS = {"string", "integer", "long", "float", "double", "boolean", "blob", "timestamp"}


@dataclass(frozen=True, slots=True)
class _Constraint:
    text: str
    holds: Callable[[Any], bool]


_constraints: dict[str, tuple[_Constraint, ...]] = {}
"""By shape name, compiled at first use: shapes of one service have unique names."""


def validate(shape: Shape, params: Mapping[str, Any]) -> None:
    """Raise a ValidationException that names every violation."""
    problems = list(_structure(shape, params, ""))
    if problems:
        raise validation_error(*problems)


def _structure(shape: Shape, params: Mapping[str, Any], prefix: str) -> Iterator[str]:
    # The order is AWS's own affair; the recorded pair of a layer's bad runtimes and architectures comes in
    # the reverse of the model's order.
    for name in reversed(shape.members):
        path = f"{prefix}{name[:1].lower()}{name[1:]}"
        value = params.get(name)
        if value is not None and (shape.name, name) not in CHECKED_ELSEWHERE:
            yield from _value(shape.members[name], value, path)
        elif value is None and name in shape.required_members:
            yield f"Value null at '{path}' failed to satisfy constraint: {_NOT_NULL}"


def _value(shape: Shape, value: Any, path: str) -> Iterator[str]:
    for constraint in constraints(shape):
        if not constraint.holds(value):
            yield _problem(shape, value, path, constraint.text)
    if shape.type_name == "structure":
        yield from _structure(shape, value, f"{path}.")
    elif shape.type_name == "list":
        yield from _list(shape, value, path)
    elif shape.type_name == "map":
        yield from _map(shape, value, path)


def _list(shape: Shape, items: list[Any], path: str) -> Iterator[str]:
    if shape.member.type_name in _SCALARS:
        if not all(_satisfies(shape.member, item) for item in items):
            text = f"Member must satisfy constraint: {_wrapped(shape.member)}"
            yield _problem(shape, items, path, text)
        return
    for position, item in enumerate(items, start=1):
        yield from _value(shape.member, item, f"{path}.{position}.member")


def _map(shape: Shape, items: Mapping[str, Any], path: str) -> Iterator[str]:
    if not all(_satisfies(shape.key, key) for key in items):
        yield _problem(shape, items, path, f"Map keys must satisfy constraint: {_wrapped(shape.key)}")
    if shape.value.type_name not in _SCALARS:
        for key, item in items.items():
            yield from _value(shape.value, item, f"{path}.{key}.member")
    elif not all(_satisfies(shape.value, item) for item in items.values()):
        yield _problem(shape, items, path, f"Map value must satisfy constraint: {_wrapped(shape.value)}")


def _satisfies(shape: Shape, value: Any) -> bool:
    return all(constraint.holds(value) for constraint in constraints(shape))


def _wrapped(shape: Shape) -> str:
    """A member's constraints, all of them, as AWS lists them for elements of lists and maps."""
    return f"[{', '.join([*(constraint.text for constraint in constraints(shape)), _NOT_NULL])}]"


def _problem(shape: Shape, value: Any, path: str, constraint: str) -> str:
    shown = "" if shape.metadata.get("sensitive") else f" '{_shown(value)}'"
    return f"Value{shown} at '{path}' failed to satisfy constraint: {constraint}"


def _shown(value: Any) -> str:
    """A value as Java prints it."""
    if isinstance(value, list):
        return f"[{', '.join(_shown(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}={_shown(item)}' for key, item in value.items())}}}"
    return str(value)


def constraints(shape: Shape) -> tuple[_Constraint, ...]:
    """What the model demands of one value of this shape."""
    found = _constraints.get(shape.name)
    if found is None:
        found = _constraints[shape.name] = tuple(_compiled(shape))
    return found


def _compiled(shape: Shape) -> Iterator[_Constraint]:
    bounds = {**shape.metadata, **OVERRIDES.get(shape.name, {})}
    if shape.type_name in {"string", "blob", "list", "map"}:
        yield from _bounds("length", bounds, len)
    elif shape.type_name in {"integer", "long", "float", "double"}:
        yield from _bounds("value", bounds, lambda value: value)
    if (pattern := bounds.get("pattern")) is not None:
        matches = compiled_pattern(pattern).fullmatch
        text = f"Member must satisfy regular expression pattern: {pattern}"
        yield _Constraint(text, lambda value: matches(value) is not None)
    if shape.type_name == "string" and shape.enum:
        allowed = frozenset(shape.enum)
        yield _Constraint(
            f"Member must satisfy enum value set: [{', '.join(shape.enum)}]", allowed.__contains__
        )


def _bounds(what: str, bounds: Mapping[str, Any], measure: Callable[[Any], float]) -> Iterator[_Constraint]:
    if (most := bounds.get("max")) is not None:
        yield _Constraint(
            f"Member must have {what} less than or equal to {most}", lambda v: measure(v) <= most
        )
    if (least := bounds.get("min")) is not None:
        text = f"Member must have {what} greater than or equal to {least}"
        yield _Constraint(text, lambda v: measure(v) >= least)


def compiled_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern of the model, which is written for Java."""
    translated = pattern
    for java, python in _JAVA_CLASSES.items():
        translated = translated.replace(java, python)
    return re.compile(translated, re.ASCII if translated == pattern else 0)
