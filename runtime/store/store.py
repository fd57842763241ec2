"""The store: what the control plane must not forget.

A write is acknowledged once it is on the disk and visible in the catalog. Conditions (must be new, must be at this
revision, must not be referred to) and numbers of versions are decided inside the write's transaction, so concurrent
writers cannot both win.
Opening also collects garbage, for at that moment nobody uses blobs or trees yet.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from runtime.files import PRIVATE, TRAVERSABLE, make_directory
from runtime.model import Alias, Attachment, FunctionVersion, LayerVersion, Scope, State
from runtime.store import attachments, codec, sealing
from runtime.store.attachments import WHATEVER, Expected
from runtime.store.blobs import BlobStore
from runtime.store.catalog import (
    AliasDeleted,
    AliasPut,
    AttachmentDeleted,
    AttachmentPut,
    Catalog,
    Change,
    FunctionDeleted,
    FunctionPublished,
    FunctionPut,
    LayerVersionDeleted,
    LayerVersionPut,
    PolicyChanged,
    VersionDeleted,
)
from runtime.store.database import empty_log, erasing, open_database, translating_errors, vault_of
from runtime.store.errors import (
    RecordExists,
    RecordMissing,
    RecordReferenced,
    RecordUnreadable,
    RevisionMismatch,
)
from runtime.store.garbage import TrashCollection, collect
from runtime.store.statements import SQL
from runtime.store.vault import KEY_NAME, Vault
from runtime.store.writer import Writer
from runtime.trees import Trees

_Record = TypeVar("_Record", FunctionVersion, Alias, LayerVersion)


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

    async def publish_version(self, draft: FunctionVersion, *, latest_revision: str) -> FunctionVersion:
        """Store a version of a `$LATEST` that is still at this revision, under the function's next number.

        If the version that was published last is the same as the draft, it is given instead.
        """
        change = await self._writer.write(
            lambda connection: _publish_version(connection, draft, latest_revision)
        )
        assert isinstance(change, FunctionPut)  # noqa: S101 - what that write returns
        return change.record

    async def put_and_publish(
        self, latest: FunctionVersion, draft: FunctionVersion, *, expected_revision: str | None
    ) -> FunctionVersion:
        """`put_function` with `$LATEST` and `publish_version` with the draft: both are done, or neither."""
        change = await self._writer.write(
            lambda connection: _put_and_publish(connection, latest, draft, expected_revision)
        )
        assert isinstance(change, FunctionPublished)  # noqa: S101 - what that write returns
        return change.version

    async def delete_version(self, scope: Scope, name: str, version: str) -> None:
        """Delete a published version, if it is there; RecordReferenced while aliases lead to it."""
        await self._writer.write(lambda connection: _delete_version(connection, scope, name, version))

    async def delete_function(self, scope: Scope, name: str) -> None:
        """Delete a function with all its versions and aliases; RecordMissing if it is not there."""
        await self._writer.write(lambda connection: _delete_function(connection, scope, name))

    async def put_alias(self, record: Alias, *, expected_revision: str | None) -> None:
        """Create an alias (nothing expected: RecordExists if it is there) or replace one at a known revision.

        RecordMissing if a version that it leads to is not there.
        """
        await self._writer.write(lambda connection: _put_alias(connection, record, expected_revision))

    async def delete_alias(self, scope: Scope, function: str, name: str) -> None:
        """Delete an alias, if it is there."""
        await self._writer.write(lambda connection: _delete_alias(connection, scope, function, name))

    async def publish_layer_version(self, draft: LayerVersion) -> LayerVersion:
        """Store a new version under the layer's next number; numbers are never given twice."""
        change = await self._writer.write(lambda connection: _publish_layer_version(connection, draft))
        assert isinstance(change, LayerVersionPut)  # noqa: S101 - what that write returns
        return change.record

    async def delete_layer_version(self, scope: Scope, name: str, number: int) -> None:
        """Delete a layer version, if it is there. Functions that refer to it keep its content."""
        await self._writer.write(lambda connection: _delete_layer_version(connection, scope, name, number))

    async def attach(self, record: Attachment, *, expected_revision: Expected = WHATEVER) -> None:
        """Attach a record; RecordMissing if what it belongs to is not there.

        Expecting nothing (None) means that it must be new: RecordExists if it is not; expecting a revision,
        RevisionMismatch if it is at another or gone.
        """
        await self._writer.write(lambda connection: attachments.put(connection, record, expected_revision))

    async def detach(
        self,
        kind: type[Attachment],
        scope: Scope,
        owner: str,
        qualifier: str = "",
        *,
        expected_revision: str | Literal[attachments.Whatever.WHATEVER] = WHATEVER,
    ) -> None:
        """Take an attachment off; RecordMissing if it is not there, RevisionMismatch if it is at another revision."""
        gone = AttachmentDeleted(kind, scope, owner, qualifier)
        await self._writer.write(lambda connection: attachments.delete(connection, gone, expected_revision))

    async def change_policy(
        self,
        change: AttachmentPut | AttachmentDeleted,
        owner: FunctionVersion | Alias,
        *,
        expected_revision: str,
    ) -> None:
        """Write a policy and its owner, which must be at this revision: both, or neither.

        So the owner's revision is the policy's too: whoever has seen it knows that neither has changed since.
        """
        await self._writer.write(
            lambda connection: _change_policy(connection, change, owner, expected_revision)
        )

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
            _seal_all(connection, vault)
            empty_log(connection)
            vault.finish_change()
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
    for *key, document in connection.execute(SQL["load_aliases"]):
        yield AliasPut(_decode(lambda text: codec.decode_alias(text, vault), key, document))
    for *key, document in connection.execute(SQL["load_layer_versions"]):
        yield LayerVersionPut(_decode(codec.decode_layer_version, key, document))
    yield from attachments.load(connection)


def _seal_all(connection: sqlite3.Connection, vault: Vault) -> None:
    """Encrypt what earlier releases stored as it was, and all if the key is being changed."""
    functions = _outdated(connection, FunctionVersion, "load_functions", vault)
    aliases = _outdated(connection, Alias, "load_aliases", vault)
    if functions or aliases:
        with erasing(connection):
            for document in functions:
                function = codec.decode_function(document, vault)
                _update_function(connection, function, function.revision_id)
            for document in aliases:
                alias = codec.decode_alias(document, vault)
                _put_alias(connection, alias, alias.revision_id)


def _outdated(connection: sqlite3.Connection, kind: type, statement: str, vault: Vault) -> list[str]:
    rows = connection.execute(SQL[statement]).fetchall()
    return [document for *_, document in rows if sealing.is_outdated(kind, document, vault)]


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


def _insert_function(connection: sqlite3.Connection, record: FunctionVersion) -> FunctionPut:
    try:
        connection.execute(SQL["insert_function"], _function_row(connection, record))
    except sqlite3.IntegrityError as error:
        raise RecordExists(f"{record.arn}:{record.version}") from error
    return FunctionPut(record)


def _update_function(connection: sqlite3.Connection, record: FunctionVersion, expected: str) -> FunctionPut:
    row = {**_function_row(connection, record), "expected_revision": expected}
    if connection.execute(SQL["update_function"], row).rowcount == 0:
        raise RevisionMismatch(f"{record.arn}:{record.version} is not at revision {expected}")
    return FunctionPut(record)


def _publish_version(connection: sqlite3.Connection, draft: FunctionVersion, expected: str) -> FunctionPut:
    key = _key(draft.scope, draft.name)
    latest = connection.execute(SQL["latest_revision"], key).fetchone()
    if latest != (expected,):
        raise RevisionMismatch(f"{draft.arn}:$LATEST is not at revision {expected}")
    vault = vault_of(connection)
    for (document,) in connection.execute(SQL["last_version"], key):
        last = _decode(lambda text: codec.decode_function(text, vault), (draft.arn, "last"), document)
        if _is_same(last, draft):
            return FunctionPut(last)
    connection.execute(SQL["advance_version"], key)
    number = connection.execute(SQL["last_version_number"], key).fetchone()[0]
    return _insert_function(connection, replace(draft, version=str(number)))


def _is_same(published: FunctionVersion, draft: FunctionVersion) -> bool:
    """Whether both were made of the same `$LATEST`; descriptions of their own count for nothing.

    A version that failed is like no other: it cannot be mended, so publishing again must give another one.
    """
    if published.state is State.FAILED:
        return False
    config = replace(published.config, description=draft.config.description)
    before = (published.code, config, published.source_description)
    return before == (draft.code, draft.config, draft.source_description)


def _put_and_publish(
    connection: sqlite3.Connection, latest: FunctionVersion, draft: FunctionVersion, expected: str | None
) -> Change:
    if expected is None:
        _insert_function(connection, latest)
    else:
        _update_function(connection, latest, expected)
    return FunctionPublished(latest, _publish_version(connection, draft, latest.revision_id).record)


def _delete_version(connection: sqlite3.Connection, scope: Scope, name: str, version: str) -> Change:
    key = {**_key(scope, name), "version": version}
    if names := [alias for (alias,) in connection.execute(SQL["referring_aliases"], key)]:
        raise RecordReferenced(*names)
    connection.execute(SQL["delete_version"], key)
    _delete_attachments(connection, scope, name, version)
    return VersionDeleted(scope, name, version)


def _delete_function(connection: sqlite3.Connection, scope: Scope, name: str) -> Change:
    key = _key(scope, name)
    connection.execute(SQL["delete_aliases"], key)
    if connection.execute(SQL["delete_function"], key).rowcount == 0:
        raise RecordMissing(f"{scope.account}/{scope.region}/{name}")
    connection.execute(SQL["delete_function_attachments"], key)
    connection.execute(SQL["forget_version_numbers"], key)
    return FunctionDeleted(scope, name)


def _put_alias(connection: sqlite3.Connection, record: Alias, expected: str | None) -> AliasPut:
    row = _key(record.scope, record.name) | {
        "function": record.function,
        "version": record.version,
        "additional_version": next(iter(record.weights), None),
        "revision_id": record.revision_id,
        "document": codec.encode(record, vault_of(connection)),
        "expected_revision": expected,
    }
    statement = SQL["insert_alias"] if expected is None else SQL["update_alias"]
    try:
        done = connection.execute(statement, row).rowcount
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            raise RecordMissing(f"a version that {record.arn} leads to") from error
        raise RecordExists(record.arn) from error
    if done == 0:
        raise RevisionMismatch(f"{record.arn} is not at revision {expected}")
    return AliasPut(record)


def _delete_alias(connection: sqlite3.Connection, scope: Scope, function: str, name: str) -> Change:
    connection.execute(SQL["delete_alias"], {**_key(scope, name), "function": function})
    _delete_attachments(connection, scope, function, name)
    return AliasDeleted(scope, function, name)


def _change_policy(
    connection: sqlite3.Connection,
    change: AttachmentPut | AttachmentDeleted,
    owner: FunctionVersion | Alias,
    expected: str,
) -> Change:
    if isinstance(owner, Alias):
        put: FunctionPut | AliasPut = _put_alias(connection, owner, expected)
    else:
        put = _update_function(connection, owner, expected)
    if isinstance(change, AttachmentPut):
        attachments.put(connection, change.record, WHATEVER)
    else:
        attachments.delete(connection, change, WHATEVER)
    return PolicyChanged(put, change)


def _delete_attachments(connection: sqlite3.Connection, scope: Scope, function: str, qualifier: str) -> None:
    """What was attached to a version or an alias."""
    connection.execute(SQL["delete_qualifier_attachments"], {**_key(scope, function), "qualifier": qualifier})


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
    key = {**_key(scope, name), "number": number}
    connection.execute(SQL["delete_layer_version"], key)
    connection.execute(SQL["delete_layer_version_attachments"], key)
    return LayerVersionDeleted(scope, name, number)
