"""Records as JSON documents and back: the only place that knows how a record looks at rest.

Driven by the types of `runtime.model`, and strict: a document of another format, an unknown member, a missing one or a
value of the wrong type is refused, never guessed at. A member that has a default may be missing: that is how documents
written before the member existed are read. What is secret in a record is sealed (`runtime.store.sealing`). Knows nothing
of SQL.
"""

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any

import orjson

from runtime.model import (
    Alias,
    Attachment,
    CapacityProvider,
    CodeSigningConfig,
    EventInvokeConfig,
    EventSourceMapping,
    FunctionCodeSigning,
    FunctionPolicy,
    FunctionScaling,
    FunctionUrl,
    FunctionVersion,
    LayerPolicy,
    LayerVersion,
    ProvisionedConcurrency,
    RecursionConfig,
    ReservedConcurrency,
    RuntimeManagement,
)
from runtime.store import sealing
from runtime.store.errors import RecordUnreadable
from runtime.store.vault import Vault

FORMAT = 1
"""Changes when a document's meaning does, not when a member with a default is added."""

ATTACHMENTS: dict[str, type[Attachment]] = {
    "capacity-provider": CapacityProvider,
    "code-signing-config": CodeSigningConfig,
    "event-invoke-config": EventInvokeConfig,
    "event-source-mapping": EventSourceMapping,
    "function-code-signing": FunctionCodeSigning,
    "function-policy": FunctionPolicy,
    "function-scaling": FunctionScaling,
    "function-url": FunctionUrl,
    "layer-policy": LayerPolicy,
    "provisioned-concurrency": ProvisionedConcurrency,
    "recursion-config": RecursionConfig,
    "reserved-concurrency": ReservedConcurrency,
    "runtime-management": RuntimeManagement,
}
"""What kinds of attachments are called at rest."""

_KIND_NAMES = {kind: name for name, kind in ATTACHMENTS.items()}
_Reader = Callable[[Any], Any]


def encode(record: FunctionVersion | Alias | LayerVersion | Attachment, vault: Vault | None = None) -> str:
    """The record's document. Kinds of records that hold a secret need the vault."""
    document = orjson.dumps({"format": FORMAT, "record": record}, default=_plain)
    return sealing.seal(type(record), document, vault).decode()


def decode_function(document: str, vault: Vault | None = None) -> FunctionVersion:
    return typing.cast("FunctionVersion", _decode(FunctionVersion, document, vault))


def decode_alias(document: str, vault: Vault | None = None) -> Alias:
    return typing.cast("Alias", _decode(Alias, document, vault))


def decode_layer_version(document: str) -> LayerVersion:
    return typing.cast("LayerVersion", _decode(LayerVersion, document))


def kind_name(kind: type[Attachment]) -> str:
    return _KIND_NAMES[kind]


def decode_attachment(kind: str, document: str) -> Attachment:
    if kind not in ATTACHMENTS:
        raise RecordUnreadable(f"Attachments of the kind {kind!r} are not known")
    return typing.cast("Attachment", _decode(ATTACHMENTS[kind], document))


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _decode(kind: type, document: str, vault: Vault | None = None) -> object:
    try:
        envelope = orjson.loads(document)
        if envelope["format"] != FORMAT:
            raise ValueError(f"its format is {envelope['format']!r}, this program knows {FORMAT}")
        sealing.unseal(kind, envelope["record"], vault)
        return _reader(kind)(envelope["record"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordUnreadable(f"A stored {kind.__name__} cannot be read: {error}") from error


@cache
def _reader(kind: Any) -> _Reader:
    """The function that turns a JSON value into a value of this type, or raises ValueError or TypeError."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return lambda value: value
    if origin in (typing.Union, types.UnionType):
        return _union(arguments)
    if origin is tuple:
        return _sequence(_reader(arguments[0]))
    if origin is Mapping:
        return _mapping(_reader(arguments[1]))
    if is_dataclass(kind):
        return _record(kind)
    return kind if issubclass(kind, StrEnum) else _scalar(kind)


def _scalar(kind: type) -> _Reader:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"{type(value).__name__} where {kind.__name__} belongs")
        return value

    return read


def _union(arguments: tuple[Any, ...]) -> _Reader:
    """Of one type and None, or of records, which are told apart by the members that they must and may have."""
    if types.NoneType in arguments:
        (wanted,) = (argument for argument in arguments if argument is not types.NoneType)
        inner = _reader(wanted)
        return lambda value: None if value is None else inner(value)
    kinds = [(_required(kind), {member.name for member in fields(kind)}, _reader(kind)) for kind in arguments]
    check = _scalar(dict)

    def read(value: Any) -> Any:
        given = check(value).keys()
        (inner,) = (reader for required, known, reader in kinds if required <= given <= known)
        return inner(value)

    return read


def _sequence(inner: _Reader) -> _Reader:
    check = _scalar(list)
    return lambda value: tuple(inner(item) for item in check(value))


def _mapping(inner: _Reader) -> _Reader:
    check = _scalar(dict)
    return lambda value: {key: inner(item) for key, item in check(value).items()}


def _required(kind: Any) -> set[str]:
    return {m.name for m in fields(kind) if m.default is MISSING and m.default_factory is MISSING}


def _record(kind: Any) -> _Reader:
    hints = typing.get_type_hints(kind)
    readers = {member.name: _reader(hints[member.name]) for member in fields(kind)}
    required = _required(kind)
    check = _scalar(dict)

    def read(value: Any) -> Any:
        if check(value).keys() - readers.keys() or required - value.keys():
            raise ValueError(f"{kind.__name__} has other members: {', '.join(sorted(value))}")
        return kind(**{name: readers[name](item) for name, item in value.items()})

    return read
