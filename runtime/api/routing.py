"""Which operation a request line means: the routing table, read off the service model.

A path template becomes a chain of segments in a tree; a query-string constant in a template
(`/2018-10-31/layers?find=LayerVersion`) is tried at the leaf, the most specific first.
It knows nothing of bodies, headers or what an operation does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from botocore.model import OperationModel, ServiceModel


@dataclass(frozen=True, slots=True)
class Match:
    operation: OperationModel
    labels: Mapping[str, str]
    """Path members by the name in the template, decoded."""


@dataclass(slots=True)
class _Leaf:
    operation: OperationModel
    constants: tuple[tuple[str, str], ...]
    label_names: tuple[str, ...]


@dataclass(slots=True)
class _Node:
    literals: "dict[str, _Node]" = field(default_factory=dict)
    label: "_Node | None" = None
    greedy: "_Node | None" = None
    """The child that takes all remaining segments, as `{Name+}` asks."""
    leaves: dict[str, list[_Leaf]] = field(default_factory=dict)
    """By HTTP method."""


class Routes:
    """The table of one service."""

    def __init__(self, service: ServiceModel) -> None:
        self._root = _Node()
        for name in service.operation_names:
            self._add(service.operation_model(name))

    def _add(self, operation: OperationModel) -> None:
        path, _, query = operation.http["requestUri"].partition("?")
        node, names = self._root, []
        for segment in _segments(path):
            node, name = _descend(node, segment)
            if name is not None:
                names.append(name)
        leaf = _Leaf(operation, tuple(parse_qsl(query, keep_blank_values=True)), tuple(names))
        leaves = node.leaves.setdefault(operation.http["method"], [])
        leaves.append(leaf)
        leaves.sort(key=lambda each: -len(each.constants))

    def match(self, method: str, raw_path: str, query: Mapping[str, str]) -> Match | None:
        """The operation behind a still encoded path, or None. A trailing slash is the same path."""
        return _find(self._root, _segments(raw_path), (), method, query)


def _segments(path: str) -> tuple[str, ...]:
    return tuple(path.strip("/").split("/"))


def _descend(node: _Node, segment: str) -> tuple[_Node, str | None]:
    if not segment.startswith("{"):
        return node.literals.setdefault(segment, _Node()), None
    if segment.endswith("+}"):
        node.greedy = node.greedy or _Node()
        return node.greedy, segment[1:-2]
    node.label = node.label or _Node()
    return node.label, segment[1:-1]


def _find(
    node: _Node, rest: tuple[str, ...], taken: tuple[str, ...], method: str, query: Mapping[str, str]
) -> Match | None:
    if not rest:
        return _leaf(node.leaves.get(method, ()), taken, query)
    head, tail = rest[0], rest[1:]
    found = None
    if (child := node.literals.get(head)) is not None:
        found = _find(child, tail, taken, method, query)
    if found is None and node.label is not None and head:
        found = _find(node.label, tail, (*taken, unquote(head)), method, query)
    if found is None and node.greedy is not None:
        found = _find(node.greedy, (), (*taken, unquote("/".join(rest))), method, query)
    return found


def _leaf(leaves: Iterable[_Leaf], taken: tuple[str, ...], query: Mapping[str, str]) -> Match | None:
    for leaf in leaves:
        if all(query.get(name) == value for name, value in leaf.constants):
            return Match(leaf.operation, dict(zip(leaf.label_names, taken, strict=True)))
    return None
