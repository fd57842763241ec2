"""Which members of records are secret, and where they are in a document: they are sealed on their way in.

A secret is bound to its record: elsewhere it does not open. One that lies open, as earlier releases wrote it, is read all
the same. How sealing is done is the vault's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from runtime.model import Alias, FunctionVersion
from runtime.store.vault import Vault


@dataclass(frozen=True, slots=True)
class _Secret:
    """A member of a kind of record that is sealed."""

    path: tuple[str, ...]
    identity: tuple[str, ...]
    """The members that say which record it is."""


_SECRETS: dict[type, _Secret] = {
    Alias: _Secret(("environment",), ("scope", "function", "name")),
    FunctionVersion: _Secret(("config", "environment"), ("scope", "name", "version")),
}


def seal(kind: type, document: bytes, vault: Vault | None) -> bytes:
    """A document as it may be stored. Kinds of records that hold a secret need the vault."""
    if (secret := _SECRETS.get(kind)) is None:
        return document
    envelope = orjson.loads(document)
    _replace(envelope["record"], secret, lambda value, context: _sealed(vault, value, context))
    return orjson.dumps(envelope)


def unseal(kind: type, record: Any, vault: Vault | None) -> None:
    """Put what was sealed back into a record that was parsed. Raises `KeyRefused`; ValueError and kin for damage."""
    if (secret := _SECRETS.get(kind)) is not None:
        _replace(record, secret, lambda value, context: _opened(vault, value, context))


def is_outdated(kind: type, document: str, vault: Vault) -> bool:
    """Whether a document that can be read holds a secret that is not sealed, or not with the key that seals now."""
    secret = _SECRETS.get(kind)
    if secret is None or not (vault.is_changing or f'"{secret.path[-1]}":{{' in document):
        return False  # most need not be parsed
    found: list[object] = []
    _replace(orjson.loads(document)["record"], secret, lambda value, _: found.append(value))
    return not all(isinstance(value, str) and vault.is_sealed_anew(value) for value in found)


def _replace(record: Any, secret: _Secret, change: Callable[[Any, bytes], object]) -> None:
    """Put another value in the place of a secret that is there."""
    *way, last = secret.path
    holder = record
    for member in way:
        holder = holder[member]
    if holder.get(last) is not None:
        identity = [record[member] for member in secret.identity]
        holder[last] = change(holder[last], orjson.dumps(identity, option=orjson.OPT_SORT_KEYS))


def _sealed(vault: Vault | None, value: object, context: bytes) -> str:
    if vault is None:
        raise TypeError("a record with secrets is written without a vault")
    return vault.seal(orjson.dumps(value), context)


def _opened(vault: Vault | None, value: object, context: bytes) -> object:
    if not isinstance(value, str):
        return value
    if vault is None:
        raise TypeError("a record with secrets is read without a vault")
    return orjson.loads(vault.open(value, context))
