"""The SQL of the store: named statements and migrations, read once from the files under `sql/`.

A statement begins at `-- name: <name>`; what follows, comments included, is its text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_MIGRATION = re.compile(r"^(\d{4})_\w+\.sql$")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: brings a database of version `number - 1` to `number`."""

    number: int
    script: str


def parse(text: str) -> Mapping[str, str]:
    """Split a file of statements by their names."""
    _, *parts = _NAME.split(text)
    names, bodies = parts[::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError("Two statements have one name")
    return MappingProxyType({name: body.strip() for name, body in zip(names, bodies, strict=True)})


def read_migrations() -> tuple[Migration, ...]:
    """All migrations, in order; their numbers count up from 1 without a gap."""
    files = sorted(
        (resources.files(__package__) / "sql" / "migrations").iterdir(), key=lambda file: file.name
    )
    found = tuple(
        Migration(int(match[1]), file.read_text()) for file in files if (match := _MIGRATION.match(file.name))
    )
    if [step.number for step in found] != list(range(1, len(found) + 1)):
        raise ValueError("Migrations do not count up from 1")
    return found


SQL = parse((resources.files(__package__) / "sql" / "queries.sql").read_text())
"""Statement texts by name."""
