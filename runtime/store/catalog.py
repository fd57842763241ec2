"""The catalog: everything the store holds, as an immutable snapshot in memory.

Reads are dictionary look-ups, never SQL. A write makes the next snapshot from a set of changes; it copies one level of
names for each scope that it touches and shares the rest, so a swap stays cheap with ten thousand functions.
Knows nothing of SQL, files or threads.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self, TypeVar, overload

from runtime.model import LATEST, Alias, Attachment, FunctionVersion, Holder, LayerVersion, Scope
from runtime.store.attached import Attached

A = TypeVar("A", bound=Attachment)


@dataclass(frozen=True, slots=True)
class FunctionPut:
    """A function version was created or changed."""

    record: FunctionVersion


@dataclass(frozen=True, slots=True)
class FunctionPublished:
    """`$LATEST` was created or changed, and a version made of it, in one."""

    latest: FunctionVersion
    version: FunctionVersion


@dataclass(frozen=True, slots=True)
class FunctionDeleted:
    """A function is gone, with all its versions and aliases."""

    scope: Scope
    name: str


@dataclass(frozen=True, slots=True)
class VersionDeleted:
    """A published version is gone."""

    scope: Scope
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class AliasPut:
    """An alias was created or changed."""

    record: Alias


@dataclass(frozen=True, slots=True)
class AliasDeleted:
    """An alias is gone."""

    scope: Scope
    function: str
    name: str


@dataclass(frozen=True, slots=True)
class LayerVersionPut:
    """A layer version was published."""

    record: LayerVersion


@dataclass(frozen=True, slots=True)
class LayerVersionDeleted:
    """A layer version is gone."""

    scope: Scope
    name: str
    number: int


@dataclass(frozen=True, slots=True)
class AttachmentPut:
    """Something was attached, or what was attached has changed."""

    record: Attachment


@dataclass(frozen=True, slots=True)
class AttachmentDeleted:
    """An attachment was taken off."""

    kind: type[Attachment]
    scope: Scope
    owner: str
    qualifier: str


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    """A policy has changed, and with it the revision of the version or alias that has it."""

    owner: FunctionPut | AliasPut
    policy: AttachmentPut | AttachmentDeleted


Single = (
    FunctionPut
    | FunctionDeleted
    | VersionDeleted
    | AliasPut
    | AliasDeleted
    | LayerVersionPut
    | LayerVersionDeleted
    | AttachmentPut
    | AttachmentDeleted
)
Change = Single | FunctionPublished | PolicyChanged
"""What one write means: a single change, or two that come together."""


@dataclass(slots=True)
class _Shelf:
    """One scope's records. Written only while the snapshot that it belongs to is being made."""

    functions: dict[str, dict[str, FunctionVersion]] = field(default_factory=dict)
    """By name, then by version: `$LATEST` first, numbers ascending. The inner dictionaries are never changed."""
    names: list[str] = field(default_factory=list)
    """Functions that have a `$LATEST`, sorted."""
    aliases: dict[str, dict[str, Alias]] = field(default_factory=dict)
    """By function, then by name, sorted. The inner dictionaries are never changed or empty."""
    layers: dict[str, dict[int, LayerVersion]] = field(default_factory=dict)
    """By name, then by number, newest first. The inner dictionaries are never changed or empty."""
    attached: Attached = field(default_factory=Attached)

    def copy(self) -> "_Shelf":
        return _Shelf(
            self.functions.copy(),
            self.names.copy(),
            self.aliases.copy(),
            self.layers.copy(),
            self.attached.copy(),
        )

    def apply(self, change: Single) -> None:
        match change:
            case FunctionPut(record):
                self._put_function(record)
            case FunctionDeleted(_, name):
                self._delete_function(name)
            case VersionDeleted(_, name, number):
                self._delete_version(name, number)
            case AliasPut(alias):
                self._put_alias(alias)
            case AliasDeleted(_, function, name):
                self._delete_alias(function, name)
            case LayerVersionPut(layer):
                self._put_layer_version(layer)
            case LayerVersionDeleted(_, name, layer_number):
                self._delete_layer_version(name, layer_number)
            case AttachmentPut(attachment):
                self.attached.put(attachment)
            case AttachmentDeleted(kind, _, owner, qualifier):
                self.attached.remove(kind, owner, qualifier)

    def _put_function(self, record: FunctionVersion) -> None:
        before = self.functions.get(record.name, {})
        after = before | {record.version: record}
        if record.version not in before:
            after = dict(sorted(after.items(), key=_age))
            if record.version == LATEST:
                insort(self.names, record.name)
        self.functions[record.name] = after

    def _delete_function(self, name: str) -> None:
        if LATEST in self.functions.pop(name, {}):
            del self.names[bisect_left(self.names, name)]
        self.attached.remove_held(Holder.FUNCTION, name)
        self.aliases.pop(name, None)

    def _delete_version(self, name: str, version: str) -> None:
        versions = {each: record for each, record in self.functions.get(name, {}).items() if each != version}
        if versions:
            self.functions[name] = versions
        else:
            self.functions.pop(name, None)
        self.attached.remove_held(Holder.FUNCTION, name, version)

    def _put_alias(self, record: Alias) -> None:
        aliases = self.aliases.get(record.function, {}) | {record.name: record}
        self.aliases[record.function] = dict(sorted(aliases.items()))

    def _delete_alias(self, function: str, name: str) -> None:
        aliases = {each: record for each, record in self.aliases.get(function, {}).items() if each != name}
        if aliases:
            self.aliases[function] = aliases
        else:
            self.aliases.pop(function, None)
        self.attached.remove_held(Holder.FUNCTION, function, name)

    def _put_layer_version(self, record: LayerVersion) -> None:
        versions = {record.number: record} | self.layers.get(record.name, {})
        self.layers[record.name] = dict(sorted(versions.items(), reverse=True))

    def _delete_layer_version(self, name: str, number: int) -> None:
        versions = {n: record for n, record in self.layers.get(name, {}).items() if n != number}
        if versions:
            self.layers[name] = versions
        else:
            self.layers.pop(name, None)
        self.attached.remove_held(Holder.LAYER_VERSION, name, str(number))


def _age(item: tuple[str, FunctionVersion]) -> int:
    """The order of versions: `$LATEST`, then numbers ascending."""
    version, _ = item
    return int(version) if version.isdecimal() else 0


class _Latest(Sequence[FunctionVersion]):
    """The `$LATEST` of each function by name; a view, so that a page of a long list costs only the page."""

    def __init__(self, shelf: _Shelf) -> None:
        self._shelf = shelf

    def __len__(self) -> int:
        return len(self._shelf.names)

    @overload
    def __getitem__(self, index: int) -> FunctionVersion: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[FunctionVersion]: ...
    def __getitem__(self, index: int | slice) -> FunctionVersion | Sequence[FunctionVersion]:
        if isinstance(index, slice):
            return [self._shelf.functions[name][LATEST] for name in self._shelf.names[index]]
        return self._shelf.functions[self._shelf.names[index]][LATEST]


_EMPTY = _Shelf()


class Catalog:
    """One snapshot: it never changes, so a reader may keep it for as long as it likes."""

    def __init__(self, shelves: Mapping[Scope, _Shelf] | None = None) -> None:
        self._shelves = shelves or {}

    def __repr__(self) -> str:
        counts = (
            f"{scope.account}/{scope.region}: {len(shelf.functions)} functions, {len(shelf.layers)} layers"
            for scope, shelf in self._shelves.items()
        )
        return f"<Catalog [{'; '.join(counts)}]>"

    def function(self, scope: Scope, name: str, version: str = LATEST) -> FunctionVersion | None:
        versions = self._shelf(scope).functions.get(name)
        return versions.get(version) if versions else None

    def functions(self, scope: Scope) -> Sequence[FunctionVersion]:
        """`$LATEST` of each function, sorted by name."""
        return _Latest(self._shelf(scope))

    def versions(self, scope: Scope, name: str) -> Sequence[FunctionVersion]:
        """`$LATEST` first, then numbers ascending."""
        return tuple(self._shelf(scope).functions.get(name, {}).values())

    def alias(self, scope: Scope, function: str, name: str) -> Alias | None:
        aliases = self._shelf(scope).aliases.get(function)
        return aliases.get(name) if aliases else None

    def aliases(self, scope: Scope, function: str) -> Sequence[Alias]:
        """Sorted by name."""
        return tuple(self._shelf(scope).aliases.get(function, {}).values())

    def layer_version(self, scope: Scope, name: str, number: int) -> LayerVersion | None:
        """None if it was deleted, or never existed."""
        return self._shelf(scope).layers.get(name, {}).get(number)

    def layer_versions(self, scope: Scope, name: str) -> Sequence[LayerVersion]:
        """Newest first."""
        return tuple(self._shelf(scope).layers.get(name, {}).values())

    def layers(self, scope: Scope) -> Sequence[str]:
        """Names that have at least one version, sorted."""
        return sorted(self._shelf(scope).layers)

    def attachment(self, kind: type[A], scope: Scope, owner: str, qualifier: str = "") -> A | None:
        return self._shelf(scope).attached.get(kind, owner, qualifier)

    def attachments_of(self, kind: type[A], scope: Scope, owner: str) -> Sequence[A]:
        """What one owner has of a kind, sorted by qualifier."""
        return tuple(self._shelf(scope).attached.of(kind, owner).values())

    def attachments(self, kind: type[A], scope: Scope) -> Iterator[A]:
        """All of a kind, sorted by owner and qualifier."""
        return self._shelf(scope).attached.every(kind)

    def owners(self, kind: type[A], scope: Scope) -> Mapping[str, Mapping[str, A]]:
        """All of a kind by owner and qualifier. The mapping is another one after a change of the kind, and only then."""
        return self._shelf(scope).attached.owners(kind)

    def all_attachments(self, kind: type[A]) -> Iterator[A]:
        """All of a kind in every scope."""
        return (record for shelf in self._shelves.values() for record in shelf.attached.every(kind))

    def all_functions(self) -> Iterator[FunctionVersion]:
        """Every version of every function in every scope."""
        return (
            record
            for shelf in self._shelves.values()
            for versions in shelf.functions.values()
            for record in versions.values()
        )

    def all_layer_versions(self) -> Iterator[LayerVersion]:
        """Every layer version in every scope."""
        return (
            record
            for shelf in self._shelves.values()
            for versions in shelf.layers.values()
            for record in versions.values()
        )

    def evolve(self, changes: Iterable[Change]) -> Self:
        """The snapshot after these changes, in their order."""
        shelves, copied = dict(self._shelves), set[Scope]()
        for single in (part for change in changes for part in _singles(change)):
            scope = _scope_of(single)
            if scope not in copied:
                shelves[scope] = shelves.get(scope, _EMPTY).copy()
                copied.add(scope)
            shelves[scope].apply(single)
        return type(self)(shelves)

    def _shelf(self, scope: Scope) -> _Shelf:
        return self._shelves.get(scope, _EMPTY)


def _singles(change: Change) -> tuple[Single, ...]:
    if isinstance(change, FunctionPublished):
        return (FunctionPut(change.latest), FunctionPut(change.version))
    if isinstance(change, PolicyChanged):
        return (change.owner, change.policy)
    return (change,)


def _scope_of(change: Single) -> Scope:
    if isinstance(change, FunctionPut | AliasPut | LayerVersionPut | AttachmentPut):
        return change.record.scope
    return change.scope
