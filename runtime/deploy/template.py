"""The sections of a template: what may stand where, and what its parameters come to. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.deploy.errors import Path, TemplateError

SECTIONS = {
    *("AWSTemplateFormatVersion", "Conditions", "Description", "Globals", "Mappings", "Metadata"),
    *("Outputs", "Parameters", "Resources", "Rules", "Transform"),
}
_NAME = re.compile(r"[A-Za-z0-9]+")
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Stack:
    """What a template is deployed as, and where."""

    name: str
    account: str
    region: str

    def arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"

    def pseudo_parameters(self, no_value: Any) -> dict[str, Any]:
        return {
            "AWS::AccountId": self.account,
            "AWS::NoValue": no_value,
            "AWS::NotificationARNs": [],
            "AWS::Partition": "aws",
            "AWS::Region": self.region,
            "AWS::StackId": self.arn("cloudformation", f"stack/{self.name}/berth"),
            "AWS::StackName": self.name,
            "AWS::URLSuffix": "amazonaws.com",
        }


def section(document: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """A section that may be missing or empty."""
    node: Any = document
    for key in path:
        node = node.get(key)
        if node is None:
            return {}
        if not isinstance(node, Mapping):
            raise TemplateError("a map is wanted here", path)
    return node  # type: ignore[no-any-return]


def check(document: Mapping[str, Any]) -> None:
    """Refuse what is no template, before any of it is looked at closely."""
    for name in document:
        if name not in SECTIONS:
            raise TemplateError("is not a section of a template", (name,))
    for name in ("Parameters", "Mappings", "Conditions", "Resources", "Outputs"):
        for key in section(document, name):
            if name in ("Parameters", "Resources") and not _NAME.fullmatch(key):
                raise TemplateError("a name here has letters and digits only", (name, key))
    if not section(document, "Resources"):
        raise TemplateError("the template has none", ("Resources",))
    for name, resource in section(document, "Resources").items():
        if not isinstance(resource, Mapping) or not isinstance(resource.get("Type"), str):
            raise TemplateError("a resource has a Type", ("Resources", name))


def parameters(document: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """The values of all parameters: given ones, else defaults; lists where the type says so."""
    declared = section(document, "Parameters")
    if unknown := sorted(given.keys() - declared.keys()):
        raise TemplateError(f"the template has no parameter {', '.join(unknown)}")
    return {
        name: _parameter(name, section(document, "Parameters", name), given.get(name)) for name in declared
    }


def _parameter(name: str, declared: Mapping[str, Any], given: str | None) -> Any:
    path = ("Parameters", name)
    text = declared.get("Default") if given is None else given
    if text is None:
        raise TemplateError(f"has no default: give it with --parameter {name}=VALUE", path)
    if not isinstance(text, str):
        raise TemplateError("a text is wanted here", (*path, "Default"))
    kind = declared.get("Type", "String")
    if not isinstance(kind, str):
        raise TemplateError("a text is wanted here", (*path, "Type"))
    is_list = kind == "CommaDelimitedList" or "List<" in kind
    values = [item.strip() for item in text.split(",")] if is_list else [text]
    for value in values:
        _check_value(value, kind, declared, path)
    return values if is_list else text


def _check_value(value: str, kind: str, declared: Mapping[str, Any], path: Path) -> None:
    if kind in ("Number", "List<Number>") and not _NUMBER.fullmatch(value):
        raise TemplateError(f"{value!r} is not a number", path)
    allowed = declared.get("AllowedValues")
    if isinstance(allowed, Sequence) and value not in allowed:
        raise TemplateError(f"{value!r} is not one of {', '.join(map(str, allowed))}", path)
    pattern = declared.get("AllowedPattern")
    try:
        if isinstance(pattern, str) and not re.fullmatch(pattern, value):
            raise TemplateError(f"{value!r} does not match {pattern}", path)
    except re.error as error:
        raise TemplateError(f"cannot be read as a pattern: {error}", (*path, "AllowedPattern")) from None
    _check_bounds(len(value), "Length", declared, path, f"the length of {value!r}")
    if kind in ("Number", "List<Number>"):
        _check_bounds(float(value), "Value", declared, path, value)


def _check_bounds(measure: float, what: str, declared: Mapping[str, Any], path: Path, named: str) -> None:
    """`MinLength`, `MaxLength`, `MinValue`, `MaxValue`."""
    for key, is_off in ((f"Min{what}", float.__lt__), (f"Max{what}", float.__gt__)):
        bound = declared.get(key)
        if bound is None:
            continue
        if not isinstance(bound, str) or not _NUMBER.fullmatch(bound):
            raise TemplateError("a number is wanted here", (*path, key))
        if is_off(float(measure), float(bound)):
            raise TemplateError(f"{named} is beyond {key} {bound}", path)
