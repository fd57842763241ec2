import re
import sqlite3
from pathlib import Path

import pytest

import runtime.store
from runtime.store.statements import SQL, Migration, parse, read_migrations

PACKAGE = Path(runtime.store.__file__).parent


def sources() -> str:
    return "".join(path.read_text() for path in PACKAGE.glob("*.py"))


def test_every_statement_is_used_and_every_used_one_is_named() -> None:
    """The names in the .sql file and the names in the code are the same."""
    assert set(re.findall(r'SQL\["(\w+)"\]', sources())) == set(SQL)


def test_every_statement_says_what_it_is_for() -> None:
    """A statement begins with a comment of one line."""
    assert all(text.startswith("-- ") for text in SQL.values())


def test_statements_fit_the_schema() -> None:
    """SQLite accepts each statement against the migrated schema."""
    connection = sqlite3.connect(":memory:")
    for step in read_migrations():
        connection.executescript(step.script)
    parameters = {name: 1 for text in SQL.values() for name in re.findall(r":(\w+)", text)}
    for text in SQL.values():
        connection.execute(f"EXPLAIN {text}", parameters)
    connection.close()


def test_no_sql_outside_the_files() -> None:
    """Python files of the store hold no statements on tables."""
    assert not re.search(r"\b(SELECT|INSERT INTO|UPDATE \w+ SET|DELETE FROM)\b", sources())


def test_parse() -> None:
    """A statement reaches to the next name."""
    parsed = parse("-- heading\n\n-- name: a\n-- What it does.\nSELECT 1;\n\n-- name: b\nSELECT 2;\n")
    assert parsed == {"a": "-- What it does.\nSELECT 1;", "b": "SELECT 2;"}


def test_parse_refuses_one_name_twice() -> None:
    """Two statements cannot share a name."""
    with pytest.raises(ValueError, match="one name"):
        parse("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;\n")


def test_migrations_sort_by_version() -> None:
    """Migration files are numbered from 1, without a gap."""
    found = read_migrations()
    assert [step.number for step in found] == list(range(1, len(found) + 1))
    assert all(isinstance(step, Migration) and step.script for step in found)


def test_migrations_with_a_gap_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing number is a mistake of the programmer's and stops the start."""
    directory = tmp_path / "sql" / "migrations"
    directory.mkdir(parents=True)
    (directory / "0002_second.sql").write_text("SELECT 1;")
    (directory / "README").write_text("not a migration")
    monkeypatch.setattr("runtime.store.statements.resources.files", lambda _: tmp_path)
    with pytest.raises(ValueError, match="count up"):
        read_migrations()
