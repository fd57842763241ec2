"""Which resource comes before which: references and `DependsOn`. Pure."""

from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from runtime.deploy.errors import Path, TemplateError
from runtime.deploy.intrinsics import intrinsic, variables

Chosen = Callable[[Any, Path], bool]
"""Whether a named condition holds."""


def ordered(needs: Mapping[str, set[str]]) -> list[str]:
    """The names in the order given, but each after all that it needs."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        ring = list(reversed(error.args[1]))
        raise TemplateError(f"resources depend on each other: {' -> '.join(ring)}") from None
    order: dict[str, None] = {}

    def place(name: str) -> None:
        for other in needs:
            if other in needs[name] and other not in order:
                place(other)
        order[name] = None

    for name in needs:
        if name not in order:
            place(name)
    return list(order)


def references(node: Any, holds: Chosen, path: Path) -> Iterator[str]:
    """Every name that a value refers to; of `Fn::If` only the branch that counts."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from references(item, holds, (*path, str(index)))
        return
    if not isinstance(node, Mapping):
        return
    name = intrinsic(node)
    argument = node[name] if name else None
    if name == "Fn::If" and isinstance(argument, list) and len(argument) == 3:
        yield from references(argument[1 if holds(argument[0], path) else 2], holds, path)
        return
    yield from _named(name, argument)
    for key, item in node.items():
        yield from references(item, holds, (*path, key))


def _named(name: str | None, argument: Any) -> Iterator[str]:
    """The names in one call."""
    if name == "Ref" and isinstance(argument, str):
        yield argument
    elif name == "Fn::GetAtt":
        whole = argument[0] if isinstance(argument, list) and argument else argument
        if isinstance(whole, str):
            yield whole.partition(".")[0]
    elif name == "Fn::Sub":
        text = argument[0] if isinstance(argument, list) and argument else argument
        own = argument[1] if isinstance(argument, list) and len(argument) == 2 else {}
        if isinstance(text, str):
            yield from (each for each in variables(text) if not isinstance(own, Mapping) or each not in own)
