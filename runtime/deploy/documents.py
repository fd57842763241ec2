"""The text of a template as a document: YAML with CloudFormation's short forms, or JSON. Pure.

To CloudFormation every scalar is text: `Timeout: 30` and `Timeout: "30"` are one, `01234` keeps its zero, and
`true` in a variable arrives as `true`. So all scalars are strings here, and None where there is nothing.
Maps know the line of each of their keys.
"""

import json
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from runtime.deploy.errors import Path, TemplateError

_PLAIN = {"Ref", "Condition"}
"""Short forms whose long form has no `Fn::`."""
_SCALARS = ("int", "float", "timestamp")


class Section(dict[str, Any]):
    """A map of a template, with the lines of its keys (from 1) where the text is YAML."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}


def parse(text: str) -> Section:
    """The document; TemplateError with the line if the text is none."""
    try:
        document = _json(text) if text.lstrip().startswith("{") else _yaml(text)
    except RecursionError:
        raise TemplateError("is nested too deeply") from None
    if not isinstance(document, Section):
        raise TemplateError("is not a template: it holds no map of sections")
    return document


def line_of(document: Section, path: Path) -> int | None:
    """The line of the last key on the way to `path` that the document has."""
    line = None
    for key, node in _way(document, path):
        line = node.lines.get(key, line) if isinstance(node, Section) else line
    return line


def reach(document: Mapping[str, Any], path: Path) -> int:
    """How many keys of a path the document has."""
    return sum(1 for _ in _way(document, path))


def _way(document: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """The keys of a path, each with what it is a key of, as far as the document has them."""
    node = document
    for key in path:
        if isinstance(node, Mapping) and key in node:
            yield key, node
            node = node[key]
        elif isinstance(node, list) and key.isdecimal() and int(key) < len(node):
            yield key, node
            node = node[int(key)]
        else:
            return


def _json(text: str) -> Any:
    try:
        return json.loads(
            text, object_pairs_hook=_section, parse_int=str, parse_float=str, parse_constant=str
        )
    except json.JSONDecodeError as error:
        raise TemplateError(f"is not JSON: {error.msg}", line=error.lineno) from None


def _section(pairs: list[tuple[str, Any]]) -> Section:
    section = Section()
    for key, value in pairs:
        if key in section:
            raise TemplateError(f"{key} is said twice")
        section[key] = _texts(value)
    return section


def _texts(value: Any) -> Any:
    """JSON's booleans as text."""
    if isinstance(value, bool):
        return str(value).lower()
    return [_texts(item) for item in value] if isinstance(value, list) else value


def _yaml(text: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506 -- it is a safe one
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise TemplateError(f"is not YAML: {error.problem or error.context}", line=line) from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise TemplateError(f"is not YAML: {str(error).splitlines()[0]}") from None


class _Loader(yaml.SafeLoader):
    """Safe YAML whose numbers and dates stay text, and whose tags are intrinsic functions."""


def _construct_map(loader: _Loader, node: MappingNode) -> Section:
    _refuse_doubles(loader, node)
    loader.flatten_mapping(node)
    section = Section()
    for key_node, value_node in node.value:
        key = _key(loader, key_node)
        section[key] = loader.construct_object(value_node, deep=True)
        section.lines[key] = key_node.start_mark.line + 1
    return section


def _refuse_doubles(loader: _Loader, node: MappingNode) -> None:
    seen: set[Hashable] = set()
    for key_node, _ in node.value:
        key = _key(loader, key_node)
        if key in seen:
            raise TemplateError(f"{key} is said twice", line=key_node.start_mark.line + 1)
        seen.add(key)


def _key(loader: _Loader, node: Node) -> str:
    if not isinstance(node, ScalarNode):
        raise TemplateError("a key is a map or a list", line=node.start_mark.line + 1)
    return str(loader.construct_scalar(node))


def _construct_bool(loader: _Loader, node: ScalarNode) -> str:
    return str(loader.construct_yaml_bool(node)).lower()


def _construct_text(loader: _Loader, node: ScalarNode) -> str:
    return str(loader.construct_scalar(node))


def _construct_list(loader: _Loader, node: SequenceNode) -> list[Any]:
    return [loader.construct_object(item, deep=True) for item in node.value]


def _construct_function(loader: _Loader, suffix: str, node: Node) -> Section:
    """`!Name value` as `{"Fn::Name": value}`."""
    value: Any
    if isinstance(node, MappingNode):
        value = _construct_map(loader, node)
    elif isinstance(node, SequenceNode):
        value = _construct_list(loader, node)
    else:
        value = str(loader.construct_scalar(node))  # type: ignore[arg-type]
        if suffix == "GetAtt":
            value = value.split(".", 1)
    name = suffix if suffix in _PLAIN else f"Fn::{suffix}"
    section = Section()
    section[name], section.lines[name] = value, node.start_mark.line + 1
    return section


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_map)
_Loader.add_constructor("tag:yaml.org,2002:seq", _construct_list)
_Loader.add_constructor("tag:yaml.org,2002:bool", _construct_bool)
for _name in _SCALARS:
    _Loader.add_constructor(f"tag:yaml.org,2002:{_name}", _construct_text)
_Loader.add_multi_constructor("!", _construct_function)
