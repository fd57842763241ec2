"""CloudFormation's intrinsic functions: what a value of a template comes to. Pure.

Parameters, mappings and conditions are the template's; what resources are (`Ref`, `Fn::GetAtt`) is asked of a callable,
because some of it is known only once they are deployed. Of `Fn::If` only the branch that counts is looked at.
"""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from runtime.deploy.errors import Path, TemplateError


class _NoValue:
    """What `AWS::NoValue` comes to: whatever has it is left out."""


NO_VALUE: Final = _NoValue()
_VARIABLE = re.compile(r"\$\{([^}]*)\}")

Attributes = Callable[[str, str | None], Any]
"""What a resource gives for an attribute, or for `Ref` where that is None; LookupError: there is no such thing."""


@dataclass(frozen=True)
class Evaluator:
    """Works out values of one template."""

    values: Mapping[str, Any]
    """Parameters and pseudo parameters."""
    mappings: Mapping[str, Any]
    conditions: Mapping[str, Any]
    attributes: Attributes
    _decided: dict[str, bool | None] = field(default_factory=dict)
    """Conditions that have been worked out; None while one is."""

    def value(self, node: Any, path: Path) -> Any:
        """What a value comes to; NO_VALUE if it is to be left out."""
        if isinstance(node, list):
            items = [self.value(item, (*path, str(index))) for index, item in enumerate(node)]
            return [item for item in items if item is not NO_VALUE]
        if not isinstance(node, Mapping):
            return node
        if (name := intrinsic(node)) is not None:
            return self._call(name, node[name], (*path, name))
        resolved = {key: self.value(item, (*path, key)) for key, item in node.items()}
        return {key: item for key, item in resolved.items() if item is not NO_VALUE}

    def text(self, node: Any, path: Path) -> str:
        """A value that has to be text."""
        value = self.value(node, path)
        if not isinstance(value, str):
            raise TemplateError("a text is wanted here", path)
        return value

    def condition(self, name: Any, path: Path) -> bool:
        """Whether a named condition holds."""
        if not isinstance(name, str) or name not in self.conditions:
            raise TemplateError(f"there is no condition {name}", path)
        if name not in self._decided:
            self._decided[name] = None
            self._decided[name] = self.holds(self.conditions[name], ("Conditions", name))
        decided = self._decided[name]
        if decided is None:
            raise TemplateError("depends on itself", ("Conditions", name))
        return decided

    def holds(self, node: Any, path: Path) -> bool:
        name = intrinsic(node) if isinstance(node, Mapping) else None
        if name is not None and name in _LOGIC:
            return _LOGIC[name](self, node[name], (*path, name))
        value = self.value(node, path)
        if value not in ("true", "false"):
            raise TemplateError("a condition is wanted here (Fn::Equals, Fn::Not, Fn::And, Fn::Or)", path)
        return bool(value == "true")

    def _call(self, name: str, argument: Any, path: Path) -> Any:
        if name in _LOGIC:
            return "true" if _LOGIC[name](self, argument, path) else "false"
        if name not in _FUNCTIONS:
            raise TemplateError(f"{name} is not done here", path)
        return _FUNCTIONS[name](self, argument, path)

    def ref(self, name: Any, path: Path) -> Any:
        """What `Ref` gives."""
        if isinstance(name, str) and name in self.values:
            return self.values[name]
        return self.attribute(name, None, path)

    def attribute(self, name: Any, attribute: str | None, path: Path) -> Any:
        if not isinstance(name, str):
            raise TemplateError("the name of a parameter or resource is wanted here", path)
        try:
            return self.attributes(name, attribute)
        except LookupError as error:
            raise TemplateError(str(error.args[0]), path) from None

    def piece(self, node: Any, path: Path) -> str:
        """What is put into a text: `AWS::NoValue` is nothing, a list has commas."""
        value = self.value(node, path)
        if value is NO_VALUE:
            return ""
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return ",".join(value)
        if not isinstance(value, str):
            raise TemplateError("only a text can be put into a text", path)
        return value


def _get_att(scope: Evaluator, argument: Any, path: Path) -> Any:
    parts = argument.split(".", 1) if isinstance(argument, str) else argument
    if not isinstance(parts, list) or len(parts) != 2:
        raise TemplateError("a resource and an attribute are wanted here", path)
    return scope.attribute(parts[0], scope.text(parts[1], path), path)


def _sub(scope: Evaluator, argument: Any, path: Path) -> str:
    text, own = argument, {}
    if isinstance(argument, list):
        text, own = _listed(argument, path, 2)
    if not isinstance(text, str) or not isinstance(own, Mapping):
        raise TemplateError("a text, or a text and a map of variables, is wanted here", path)
    # Variables are worked out before they are put in: what they hold is not looked at again.
    variables = {name: scope.piece(node, (*path, "1", name)) for name, node in own.items()}
    return _VARIABLE.sub(lambda found: _variable(scope, found[1], variables, path), text)


def _variable(scope: Evaluator, name: str, own: Mapping[str, str], path: Path) -> str:
    if name.startswith("!"):
        return f"${{{name[1:]}}}"
    if name in own:
        return own[name]
    if name in scope.values or "." not in name:
        return scope.piece({"Ref": name}, path)
    return scope.piece({"Fn::GetAtt": name.split(".", 1)}, path)


def _join(scope: Evaluator, argument: Any, path: Path) -> str:
    delimiter, items = _listed(argument, path, 2)
    values = scope.value(items, (*path, "1"))
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise TemplateError("a delimiter and a list of texts are wanted here", path)
    return scope.text(delimiter, (*path, "0")).join(values)


def _split(scope: Evaluator, argument: Any, path: Path) -> list[str]:
    delimiter, text = _listed(argument, path, 2)
    separator = scope.text(delimiter, (*path, "0"))
    if not separator:
        raise TemplateError("the delimiter is empty", path)
    return scope.text(text, (*path, "1")).split(separator)


def _select(scope: Evaluator, argument: Any, path: Path) -> Any:
    index, items = _listed(argument, path, 2)
    number, values = scope.text(index, (*path, "0")), scope.value(items, (*path, "1"))
    if not isinstance(values, list) or not (number.isascii() and number.isdigit()):
        raise TemplateError("an index and a list are wanted here", path)
    if int(number) >= len(values):
        raise TemplateError(f"there is no item {number} in a list of {len(values)}", path)
    return values[int(number)]


def _if(scope: Evaluator, argument: Any, path: Path) -> Any:
    name, yes, no = _listed(argument, path, 3)
    holds = scope.condition(name, path)
    return scope.value(yes if holds else no, (*path, "1" if holds else "2"))


def _find_in_map(scope: Evaluator, argument: Any, path: Path) -> Any:
    keys = [scope.text(key, (*path, str(index))) for index, key in enumerate(_listed(argument, path, 3))]
    found: Any = scope.mappings
    for key in keys:
        if not isinstance(found, Mapping) or key not in found:
            raise TemplateError(f"the mappings have no {' / '.join(keys)}", path)
        found = found[key]
    return found


def _base64(scope: Evaluator, argument: Any, path: Path) -> str:
    return base64.b64encode(scope.text(argument, path).encode()).decode()


def _zones(scope: Evaluator, argument: Any, path: Path) -> list[str]:
    region = scope.text(argument, path) or scope.values["AWS::Region"]
    return [f"{region}{letter}" for letter in "abc"]


def _import(scope: Evaluator, argument: Any, path: Path) -> str:
    """Other stacks are not known here: the name of what they export stands for it."""
    return scope.text(argument, path)


def _equals(scope: Evaluator, argument: Any, path: Path) -> bool:
    left, right = _listed(argument, path, 2)
    return bool(scope.value(left, (*path, "0")) == scope.value(right, (*path, "1")))


def _not(scope: Evaluator, argument: Any, path: Path) -> bool:
    [operand] = _listed(argument, path, 1)
    return not scope.holds(operand, (*path, "0"))


def _and(scope: Evaluator, argument: Any, path: Path) -> bool:
    return all(_operands(scope, argument, path))


def _or(scope: Evaluator, argument: Any, path: Path) -> bool:
    return any(_operands(scope, argument, path))


def _operands(scope: Evaluator, argument: Any, path: Path) -> list[bool]:
    if not isinstance(argument, list) or not 2 <= len(argument) <= 10:
        raise TemplateError("two to ten conditions are wanted here", path)
    return [scope.holds(node, (*path, str(index))) for index, node in enumerate(argument)]


def intrinsic(node: Mapping[str, Any]) -> str | None:
    """The name of the function that a map is a call of; None: it is a map."""
    if len(node) != 1:
        return None
    [(name, argument)] = node.items()
    if name == "Condition" and not isinstance(argument, str):
        return None  # of a policy statement
    return name if name in ("Ref", "Condition") or name.startswith("Fn::") else None


def variables(text: str) -> list[str]:
    """The names that a text of Fn::Sub refers to."""
    return [name for name in _VARIABLE.findall(text) if not name.startswith("!")]


def _listed(argument: Any, path: Path, count: int) -> list[Any]:
    if not isinstance(argument, list) or len(argument) != count:
        raise TemplateError(f"a list of {count} is wanted here", path)
    return argument


_FUNCTIONS: dict[str, Callable[[Evaluator, Any, Path], Any]] = {
    "Ref": Evaluator.ref,
    "Fn::Base64": _base64,
    "Fn::FindInMap": _find_in_map,
    "Fn::GetAZs": _zones,
    "Fn::GetAtt": _get_att,
    "Fn::If": _if,
    "Fn::ImportValue": _import,
    "Fn::Join": _join,
    "Fn::Select": _select,
    "Fn::Split": _split,
    "Fn::Sub": _sub,
}
_LOGIC: dict[str, Callable[[Evaluator, Any, Path], bool]] = {
    "Condition": Evaluator.condition,
    "Fn::And": _and,
    "Fn::Equals": _equals,
    "Fn::Not": _not,
    "Fn::Or": _or,
}
