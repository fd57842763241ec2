"""Looks into a catalog that nothing but tests has."""

from collections.abc import Iterator

from runtime.model import Alias
from runtime.store import Catalog


def every_alias(catalog: Catalog) -> Iterator[Alias]:
    """Of every function in every scope, those that no function should have any more included."""
    for shelf in catalog._shelves.values():
        for aliases in shelf.aliases.values():
            yield from aliases.values()
