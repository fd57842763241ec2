"""Attachments in the database: conditions are decided here, inside the write's transaction.

Whether there is anything to attach to is one of them, so what is deleted never gets a late attachment.
"""

import sqlite3
from collections.abc import Iterator
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

from runtime.model import Attachment, Holder, Scope
from runtime.store import codec
from runtime.store.catalog import AttachmentDeleted, AttachmentPut, Change
from runtime.store.errors import RecordExists, RecordMissing, RecordUnreadable, RevisionMismatch
from runtime.store.statements import SQL


class Whatever(Enum):
    """The type of `WHATEVER`."""

    WHATEVER = "whatever"


WHATEVER: Final = Whatever.WHATEVER
"""Expects nothing: what is there is replaced or deleted, whatever it is."""
Expected: TypeAlias = str | Literal[Whatever.WHATEVER] | None
"""The revision that must be there; None: no record may be there yet."""


def load(connection: sqlite3.Connection) -> Iterator[Change]:
    """All that is stored, as changes to an empty catalog."""
    for *key, document in connection.execute(SQL["load_attachments"]):
        try:
            yield AttachmentPut(codec.decode_attachment(key[3], document))
        except RecordUnreadable as error:
            raise RecordUnreadable(f"{error} (at {'/'.join(key)})") from error


def put(connection: sqlite3.Connection, record: Attachment, expected: Expected) -> Change:
    key = _key(type(record), record.scope, record.owner, record.qualifier)
    _require_holder(connection, record, key)
    row = {**key, "revision_id": record.revision_id, "document": codec.encode(record)}
    if expected is WHATEVER:
        connection.execute(SQL["put_attachment"], row)
    elif expected is None:
        _insert(connection, row)
    elif connection.execute(SQL["update_attachment"], row | {"expected_revision": expected}).rowcount == 0:
        raise RevisionMismatch(f"{_name(key)} is not at revision {expected}")
    return AttachmentPut(record)


def delete(
    connection: sqlite3.Connection, gone: AttachmentDeleted, expected: str | Literal[Whatever.WHATEVER]
) -> Change:
    key = _key(gone.kind, gone.scope, gone.owner, gone.qualifier)
    found = connection.execute(SQL["attachment_revision"], key).fetchone()
    if found is None:
        raise RecordMissing(_name(key))
    if expected is not WHATEVER and found[0] != expected:
        raise RevisionMismatch(f"{_name(key)} is not at revision {expected}")
    connection.execute(SQL["delete_attachment"], key)
    return gone


def _insert(connection: sqlite3.Connection, row: dict[str, Any]) -> None:
    try:
        connection.execute(SQL["insert_attachment"], row)
    except sqlite3.IntegrityError as error:
        raise RecordExists(_name(row)) from error


def _require_holder(connection: sqlite3.Connection, record: Attachment, key: dict[str, Any]) -> None:
    statement = _HOLDER_EXISTS.get(record.held_by)
    if statement is not None and not connection.execute(statement, key).fetchone()[0]:
        raise RecordMissing(f"There is no {record.held_by} {record.owner} to attach to")


_HOLDER_EXISTS = {
    Holder.FUNCTION: SQL["function_exists"],
    Holder.LAYER_VERSION: SQL["layer_version_exists"],
}


def _key(kind: type[Attachment], scope: Scope, owner: str, qualifier: str) -> dict[str, Any]:
    return {
        "account": scope.account,
        "region": scope.region,
        "holder": kind.held_by,
        "owner": owner,
        "kind": codec.kind_name(kind),
        "qualifier": qualifier,
    }


def _name(key: dict[str, Any]) -> str:
    return "/".join(key[part] for part in ("account", "region", "owner", "kind", "qualifier"))
