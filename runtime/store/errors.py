"""Why the store refuses: one base class, a class per reason.

The store speaks of records; which HTTP error a refusal becomes is the REST API's to say.
"""

from runtime.files import StorageFull

__all__ = [
    "KeyRefused",
    "RecordExists",
    "RecordMissing",
    "RecordReferenced",
    "RecordUnreadable",
    "RevisionMismatch",
    "SchemaTooNew",
    "StorageFull",
    "StoreClosed",
    "StoreError",
]


class StoreError(Exception):
    """Any refusal or failure of the store."""


class KeyRefused(StoreError):
    """The key to what is encrypted is missing, or another, or none; the text says what to do."""


class RecordExists(StoreError):
    """A record of that key is already there."""


class RecordMissing(StoreError):
    """No record of that key is there."""


class RevisionMismatch(StoreError):
    """The record has changed, or gone, since the revision that the write was based on."""


class RecordReferenced(StoreError):
    """Other records lead to this one; their names are its arguments."""

    @property
    def names(self) -> tuple[str, ...]:
        return self.args


class RecordUnreadable(StoreError):
    """A stored document is not one that this program writes."""


class SchemaTooNew(StoreError):
    """The database was written by a newer program; this one must not touch it."""


class StoreClosed(StoreError):
    """A write came after the store was closed."""
