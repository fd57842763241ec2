"""Attachments in memory: one scope's records by kind, owner and qualifier.

Snapshots share what did not change: a write copies one level of owners of the one kind that it touches.
"""

from collections.abc import Iterator, Mapping
from typing import TypeVar, cast

from runtime.model import Attachment, Holder

A = TypeVar("A", bound=Attachment)
_Owners = dict[str, Mapping[str, Attachment]]
_NONE: _Owners = {}


class Attached:
    """Written only while the snapshot that it belongs to is being made. Inner mappings are never changed or empty."""

    def __init__(self, kinds: dict[type[Attachment], _Owners] | None = None) -> None:
        self._kinds = kinds or {}
        self._own: set[type[Attachment]] = set()
        """Kinds whose owners this snapshot has already copied."""

    def copy(self) -> "Attached":
        return Attached(self._kinds.copy())

    def get(self, kind: type[A], owner: str, qualifier: str) -> A | None:
        return self.of(kind, owner).get(qualifier)

    def of(self, kind: type[A], owner: str) -> Mapping[str, A]:
        """One owner's records by qualifier, sorted."""
        return cast("Mapping[str, A]", self._kinds.get(kind, {}).get(owner, {}))

    def owners(self, kind: type[A]) -> Mapping[str, Mapping[str, A]]:
        """All records of a kind by owner and qualifier: the same mapping as long as none of the kind changes."""
        return cast("Mapping[str, Mapping[str, A]]", self._kinds.get(kind, _NONE))

    def every(self, kind: type[A]) -> Iterator[A]:
        """All records of a kind, sorted by owner and qualifier."""
        owners = self._kinds.get(kind, {})
        return (cast("A", record) for owner in sorted(owners) for record in owners[owner].values())

    def put(self, record: Attachment) -> None:
        owners = self._writable(type(record))
        records = {**owners.get(record.owner, {}), record.qualifier: record}
        owners[record.owner] = dict(sorted(records.items()))

    def remove(self, kind: type[Attachment], owner: str, qualifier: str) -> None:
        owners = self._writable(kind)
        kept = {name: record for name, record in owners.get(owner, {}).items() if name != qualifier}
        if kept:
            owners[owner] = kept
        else:
            owners.pop(owner, None)

    def remove_held(self, holder: Holder, owner: str, qualifier: str | None = None) -> None:
        """Everything that a function or layer version had; a qualifier narrows it to what was attached under that."""
        found = [
            (kind, each)
            for kind, owners in self._kinds.items()
            if kind.held_by is holder
            for each in owners.get(owner, ())
            if qualifier is None or each == qualifier
        ]
        for kind, each in found:
            self.remove(kind, owner, each)

    def _writable(self, kind: type[Attachment]) -> _Owners:
        if kind not in self._own:
            self._kinds[kind] = self._kinds.get(kind, {}).copy()
            self._own.add(kind)
        return self._kinds[kind]
