import sqlite3
from pathlib import Path

import pytest

from runtime.store.database import migrate, open_database
from runtime.store.errors import SchemaTooNew, StorageFull, StoreError
from runtime.store.statements import Migration, read_migrations


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "berth.sqlite3"


def pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_promises(path: Path) -> None:
    """Write-ahead log, full synchronisation (2), foreign keys, newest schema."""
    connection = open_database(path)
    assert pragma(connection, "journal_mode") == "wal"
    assert pragma(connection, "synchronous") == 2
    assert pragma(connection, "foreign_keys") == 1
    assert pragma(connection, "user_version") == len(read_migrations())
    connection.close()


def test_opening_again_changes_nothing(path: Path) -> None:
    """Migrations that have run do not run again."""
    open_database(path).close()
    open_database(path).close()


def test_a_newer_database_is_refused(path: Path) -> None:
    """A database of a later release is not touched, and the text says what to do."""
    connection = open_database(path)
    newer = len(read_migrations()) + 1
    connection.execute(f"PRAGMA user_version = {newer}")
    connection.close()
    with pytest.raises(SchemaTooNew, match=f"schema version {newer}.*newer release"):
        open_database(path)
    connection = sqlite3.connect(path)
    assert pragma(connection, "user_version") == newer
    connection.close()


def test_no_database(path: Path) -> None:
    """A file that is something else is refused as the store's own error."""
    path.write_bytes(b"something else" * 100)
    with pytest.raises(StoreError, match="not a database"):
        open_database(path)


def test_steps_run_from_where_the_database_is() -> None:
    """Each step runs once, in order, together with its number."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    steps = [Migration(1, "CREATE TABLE a (x);"), Migration(2, "ALTER TABLE a ADD COLUMN y;")]
    migrate(connection, steps[:1])
    migrate(connection, steps)
    connection.execute("INSERT INTO a (x, y) VALUES (1, 2)")
    assert pragma(connection, "user_version") == 2
    connection.close()


def test_a_failed_step_leaves_no_trace(path: Path) -> None:
    """A step that fails half-way is undone with its number, so that a repaired one can run."""
    connection = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, [Migration(1, "CREATE TABLE a (x); CREATE TABLE a (x);")])
    connection.close()
    connection = sqlite3.connect(path, isolation_level=None)
    assert pragma(connection, "user_version") == 0
    migrate(connection, [Migration(1, "CREATE TABLE a (x);")])
    assert pragma(connection, "user_version") == 1
    connection.close()


def test_a_layer_version_needs_its_layer(path: Path) -> None:
    """Foreign keys are on: a version cannot be without the row that counts versions."""
    connection = open_database(path)
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(
            "INSERT INTO layer_versions (account, region, name, number, document) VALUES ('a', 'r', 'l', 1, '')"
        )
    connection.close()


def test_full_disk_has_a_name(path: Path) -> None:
    """SQLite's word for a full disk is the store's StorageFull."""
    from runtime.store.database import translating_errors

    connection = open_database(path)
    connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StorageFull), translating_errors():
        connection.execute("CREATE TABLE big AS SELECT zeroblob(1000000) AS x")
    connection.close()
