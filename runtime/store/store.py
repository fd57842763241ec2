"""The store: what the control plane must not forget.

A write is acknowledged once it is on the disk and visible in the catalog. Conditions (must be new, must be at this
revision) and layer numbers are decided inside the write's transaction, so concurrent writers cannot both win.
Opening also collects garbage, for at that moment nobody uses blobs or trees yet.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

from runtime.files import PRIVATE, TRAVERSABLE, make_directory
from runtime.model import FunctionVersion, LayerVersion, Scope
from runtime.store import codec
from runtime.store.blobs import BlobStore
from runtime.store.catalog import (
    Catalog,
    Change,
    FunctionDeleted,
    FunctionPut,
    LayerVersionDeleted,
    LayerVersionPut,
)
from runtime.store.database import empty_log, erasing, open_database, translating_errors, vault_of
from runtime.store.errors import RecordExists, RecordMissing, RecordUnreadable, RevisionMismatch
from runtime.store.garbage import TrashCollection, collect
from runtime.store.statements import SQL
from runtime.store.vault import KEY_NAME, Vault
from runtime.store.writer import Writer
from runtime.trees import Trees

_Record = TypeVar("_Record", FunctionVersion, LayerVersion)


class Store:
    """Open one with `Store.open`; a data directory has one at a time."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        catalog: Catalog,
        blobs: BlobStore,
        trees: Trees,
    ) -> None:
        self.catalog = catalog
        """The current snapshot; replaced by the writer's thread only."""
        self.blobs = blobs
        self._trash = TrashCollection(trees)
        self._writer = Writer(connection, self._on_commit)

    @classmethod
    async def open(cls, data_dir: Path, key_file: Path | None = None) -> Self:
        """`key_file` holds the key of functions' variables, if it is not beside the database."""
        make_directory(data_dir, TRAVERSABLE)
        return cls(*await asyncio.to_thread(_open, data_dir, key_file))

    async def close(self) -> None:
        """Finish the writes that are queued."""
        await self._writer.close()
        await self._trash.stop()

    async def put_function(self, record: FunctionVersion, *, expected_revision: str | None) -> None:
        """Create a version (nothing expected: RecordExists if it is there) or replace one at a known revision."""
        if expected_revision is None:
            await self._writer.write(lambda connection: _insert_function(connection, record))
        else:
            await self._writer.write(
                lambda connection: _update_function(connection, record, expected_revision)
            )

    async def delete_function(self, scope: Scope, name: str) -> None:
        """Delete a function with all its versions; RecordMissing if it is not there."""
        await self._writer.write(lambda connection: _delete_function(connection, scope, name))

    async def publish_layer_version(self, draft: LayerVersion) -> LayerVersion:
        """Store a new version under the layer's next number; numbers are never given twice."""
        change = await self._writer.write(lambda connection: _publish_layer_version(connection, draft))
        assert isinstance(change, LayerVersionPut)  # noqa: S101 - what that write returns
        return change.record

    async def delete_layer_version(self, scope: Scope, name: str, number: int) -> None:
        """Delete a layer version, if it is there. Functions that refer to it keep its content."""
        await self._writer.write(lambda connection: _delete_layer_version(connection, scope, name, number))

    def _on_commit(self, changes: Sequence[Change]) -> None:
        self.catalog = self.catalog.evolve(changes)


def _open(data_dir: Path, key_file: Path | None) -> tuple[sqlite3.Connection, Catalog, BlobStore, Trees]:
    make_directory(data_dir / "store", PRIVATE)
    blobs, trees = BlobStore(data_dir / "blobs"), Trees(data_dir)
    blobs.prepare()
    vault = Vault(key_file or data_dir / "store" / KEY_NAME)
    connection = open_database(data_dir / "store" / "berth.sqlite3", vault)
    try:
        with translating_errors():
            catalog = Catalog().evolve(_stored(connection))
            vault.ensure_key()
            _seal_functions(connection)
            empty_log(connection)
        collect(catalog, blobs, trees)
    except BaseException:
        connection.close()
        raise
    return connection, catalog, blobs, trees


def _stored(connection: sqlite3.Connection) -> Iterator[Change]:
    """The whole database as changes to an empty catalog."""
    vault = vault_of(connection)
    for *key, document in connection.execute(SQL["load_functions"]):
        yield FunctionPut(_decode(lambda text: codec.decode_function(text, vault), key, document))
    for *key, document in connection.execute(SQL["load_layer_versions"]):
        yield LayerVersionPut(_decode(codec.decode_layer_version, key, document))


def _seal_functions(connection: sqlite3.Connection) -> None:
    """Encrypt what earlier releases stored as it was."""
    rows = connection.execute(SQL["load_functions"]).fetchall()
    lying_open = [document for *_, document in rows if codec.lies_open(FunctionVersion, document)]
    if lying_open:
        with erasing(connection):
            for document in lying_open:
                row = _function_row(connection, codec.decode_function(document))
                connection.execute(SQL["rewrite_function"], row)


def _decode(decode: Callable[[str], _Record], key: Sequence[object], document: str) -> _Record:
    try:
        return decode(document)
    except RecordUnreadable as error:
        raise RecordUnreadable(f"{error} (at {'/'.join(map(str, key))})") from error


def _key(scope: Scope, name: str) -> dict[str, Any]:
    return {"account": scope.account, "region": scope.region, "name": name}


def _function_row(connection: sqlite3.Connection, record: FunctionVersion) -> Mapping[str, Any]:
    return _key(record.scope, record.name) | {
        "version": record.version,
        "revision_id": record.revision_id,
        "document": codec.encode(record, vault_of(connection)),
    }


def _insert_function(connection: sqlite3.Connection, record: FunctionVersion) -> Change:
    try:
        connection.execute(SQL["insert_function"], _function_row(connection, record))
    except sqlite3.IntegrityError as error:
        raise RecordExists(f"{record.arn}:{record.version}") from error
    return FunctionPut(record)


def _update_function(connection: sqlite3.Connection, record: FunctionVersion, expected: str) -> Change:
    row = {**_function_row(connection, record), "expected_revision": expected}
    if connection.execute(SQL["update_function"], row).rowcount == 0:
        raise RevisionMismatch(f"{record.arn}:{record.version} is not at revision {expected}")
    return FunctionPut(record)


def _delete_function(connection: sqlite3.Connection, scope: Scope, name: str) -> Change:
    if connection.execute(SQL["delete_function"], _key(scope, name)).rowcount == 0:
        raise RecordMissing(f"{scope.account}/{scope.region}/{name}")
    return FunctionDeleted(scope, name)


def _publish_layer_version(connection: sqlite3.Connection, draft: LayerVersion) -> Change:
    key = _key(draft.scope, draft.name)
    connection.execute(SQL["advance_layer"], key)
    number = connection.execute(SQL["last_layer_number"], key).fetchone()[0]
    record = replace(draft, number=number)
    connection.execute(
        SQL["insert_layer_version"], {**key, "number": number, "document": codec.encode(record)}
    )
    return LayerVersionPut(record)


def _delete_layer_version(connection: sqlite3.Connection, scope: Scope, name: str, number: int) -> Change:
    connection.execute(SQL["delete_layer_version"], {**_key(scope, name), "number": number})
    return LayerVersionDeleted(scope, name, number)
