"""The SQLite database file: how it is opened, brought up to date, and what it promises.

Write-ahead log with full synchronisation: once a transaction has committed, neither a killed process nor a power
failure takes it back. A connection carries the vault for what is sealed in the file. Knows nothing of what the tables mean.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runtime.files import StorageFull, sync_directory
from runtime.store.errors import SchemaTooNew, StoreError
from runtime.store.statements import Migration, read_migrations
from runtime.store.vault import Vault


class Database(sqlite3.Connection):
    """A connection, and the vault for what is sealed in its file."""

    vault: Vault | None = None


def vault_of(connection: sqlite3.Connection) -> Vault | None:
    return connection.vault if isinstance(connection, Database) else None


def open_database(path: Path, vault: Vault | None = None) -> sqlite3.Connection:
    """Open, or create, a database at the newest version of the schema. One thread at a time may use it."""
    _create_private(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Database)
    connection.vault = vault
    try:
        with translating_errors():
            _configure(connection)
            migrate(connection, read_migrations())
    except BaseException:
        connection.close()
        raise
    return connection


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Run the steps that the database has not seen, each in a transaction together with its number."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        raise SchemaTooNew(
            f"The database is of schema version {version}, this program knows {len(migrations)}: "
            "it was last used by a newer release. Use that release, or another data directory."
        )
    for step in migrations[version:]:
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{step.script}\nPRAGMA user_version = {step.number};\nCOMMIT;"
        )


@contextmanager
def erasing(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction after which nothing of what it replaced, or what was deleted before it, is left in the file."""
    connection.execute(
        "VACUUM"
    )  # first: whoever is interrupted begins anew, for what is to be replaced is still there
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("PRAGMA secure_delete = OFF")


def empty_log(connection: sqlite3.Connection) -> None:
    """Bring the write-ahead log home and cut it off: what it holds may be older than what was erased."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


@contextmanager
def translating_errors() -> Iterator[None]:
    """SQLite's own errors become the store's; a full disk gets its name."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise StorageFull("No space left on device while storing a record") from error
        raise StoreError(f"The database refused: {error}") from error


def _create_private(path: Path) -> None:
    """Create the file before SQLite does: its log and index take over the mode of the database."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    sync_directory(path.parent)


def _configure(connection: sqlite3.Connection) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(
            f"The file system of the data directory cannot hold a write-ahead log (mode: {mode})"
        )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
