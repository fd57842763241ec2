"""What operations on attachments have in common, so that a kind of its own is little more than a row.

A row says which record it is, where a request wants it, how it is shown and what AWS says when it is not there.
Get, Delete and List follow from it; writes that build on what is there go through `change`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from runtime.api.calls import Call, Operation, Services
from runtime.api.paging import PAGE_LIMIT, page
from runtime.api.targets import Target, asked_target, exists
from runtime.errors import LambdaError
from runtime.model import Attachment, Scope
from runtime.store.errors import RecordExists, RecordMissing, RevisionMismatch

A = TypeVar("A", bound=Attachment)
E = TypeVar("E", bound=Attachment | None)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record is attached, or would be."""

    scope: Scope
    owner: str
    qualifier: str = ""

    @property
    def members(self) -> dict[str, Any]:
        """The members of a record that is attached here."""
        return {"scope": self.scope, "owner": self.owner, "qualifier": self.qualifier}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Generic[A]):
    """One kind of attachment as the API knows it."""

    record: type[A]
    place: Callable[[Services, Call], Place]
    """Where the request wants it; raises what AWS answers if there is no such place."""
    document: Callable[[Call, A], Mapping[str, Any]]
    missing: Callable[[Place], LambdaError] | None = None
    """None where AWS does not mind the absence: it answers with nothing."""

    def find(self, services: Services, place: Place) -> A | None:
        return services.store.catalog.attachment(self.record, place.scope, place.owner, place.qualifier)


def getter(row: Row[A]) -> Operation:
    """Shows the record."""

    async def get(services: Services, call: Call) -> Mapping[str, Any]:
        place = row.place(services, call)
        found = row.find(services, place)
        if found is not None:
            return row.document(call, found)
        if row.missing is not None:
            raise row.missing(place)
        return {}

    return get


def deleter(row: Row[A], *, tolerant: bool = False) -> Operation:
    """Takes the record off; `tolerant` where AWS minds its absence to other operations only."""

    async def delete(services: Services, call: Call) -> Mapping[str, Any]:
        place = row.place(services, call)
        try:
            await services.store.detach(row.record, place.scope, place.owner, place.qualifier)
        except RecordMissing:
            if row.missing is not None and not tolerant:
                raise row.missing(place) from None
        return {}

    return delete


def lister(
    row: Row[A],
    member: str,
    owner: Callable[[Services, Call], Place],
    document: Callable[[Call, A], Mapping[str, Any]] | None = None,
) -> Operation:
    """Shows an owner's records, whatever their qualifier, in pages; `document` where lists show them otherwise."""

    async def list_records(services: Services, call: Call) -> Mapping[str, Any]:
        place = owner(services, call)
        records = services.store.catalog.attachments_of(row.record, place.scope, place.owner)
        return pages(call, member, records, lambda record: record.qualifier, document or row.document)

    return list_records


def owner_of(missing: Callable[[Target], LambdaError]) -> Callable[[Services, Call], Place]:
    """For `lister`: the function that the request names, which must exist, whatever the qualifier."""

    def owner(services: Services, call: Call) -> Place:
        target = asked_target(call).unqualified
        if not exists(services.store.catalog, target):
            raise missing(target)
        return Place(target.scope, target.name)

    return owner


def pages(
    call: Call,
    member: str,
    records: Iterable[A],
    key: Callable[[A], str],
    document: Callable[[Call, A], Mapping[str, Any] | str],
    *,
    most: int = PAGE_LIMIT,
) -> Mapping[str, Any]:
    """The page that the call asks for; `records` are in the order of `key`."""
    found, marker = page(records, key, call.params.get("Marker"), call.params.get("MaxItems"), most)
    return {member: [document(call, record) for record in found], "NextMarker": marker}


async def change(
    services: Services,
    kind: type[A],
    place: Place,
    edit: Callable[[A | None], E],
    gone: Callable[[], LambdaError],
) -> E:
    """Read a record, edit it, store it at the revision that was read; again if somebody else came between.

    `edit` gets None if there is no record and returns None to delete it. `gone` is what to say if the owner is.
    """
    while True:
        before = services.store.catalog.attachment(kind, place.scope, place.owner, place.qualifier)
        after = edit(before)
        expected = None if before is None else before.revision_id
        try:
            if after is not None:
                await services.store.attach(after, expected_revision=expected)
            elif expected is not None:
                await services.store.detach(
                    kind, place.scope, place.owner, place.qualifier, expected_revision=expected
                )
        except (RevisionMismatch, RecordExists):
            continue
        except RecordMissing:
            if after is None:
                continue  # somebody else deleted it
            raise gone() from None
        return after
