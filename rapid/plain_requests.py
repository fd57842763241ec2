"""Requests as every runtime client writes them: read without an HTTP parser. Pure.

Only what cannot be taken in two ways is read here: a head of printable ASCII whose framing is a length or nothing.
Whatever else a request has, somebody else is to read it.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

LONGEST_HEAD = 4096
"""Bytes, of a head that is looked at."""
_MOST_FIELDS = 16
_REMEMBERED = 128
"""Sets of fields. A client sends the same ones with every call, or with another length."""
_FIELDS = re.compile(rb"(?:\r\n[!-9;-~]+:[ -~]*)*")
_FRAMING = frozenset((b"transfer-encoding", b"upgrade", b"expect", b"trailer", b"content-encoding"))
"""Fields with which a request is more than a head and so many bytes."""
_HARMLESS = frozenset(
    (b"host", b"user-agent", b"accept", b"accept-encoding", b"connection", b"content-type", b"content-length")
)
_LENGTH = re.compile(rb"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Fields:
    """What the fields of a head come to."""

    length: int
    """Of the body."""
    content_type: str | None
    is_harmless: bool
    """There are none but those that every client sends."""


@dataclass(slots=True)
class PlainHead:
    """A request's head."""

    line: bytes
    """Whatever the first line is."""
    fields: Fields
    begin: int
    """Where the body begins, counted from the head's first byte."""

    @property
    def size(self) -> int:
        """Bytes of the whole request."""
        return self.begin + self.fields.length


def plain_head(data: bytes) -> PlainHead | None:
    """The head that the data begins with; None where it is not whole, or takes a closer look."""
    end = data.find(b"\r\n\r\n", 0, LONGEST_HEAD)
    if end < 0:
        return None
    first = data.index(b"\r\n")
    fields = _fields(data[first:end])
    return None if fields is None else PlainHead(data[:first], fields, end + 4)


@lru_cache(_REMEMBERED)
def _fields(text: bytes) -> Fields | None:
    if _FIELDS.fullmatch(text) is None:
        return None
    found = {}
    lines = text.split(b"\r\n")[1:]
    for each in lines:
        name, _, value = each.partition(b":")
        found[name.lower()] = value.strip(b" ")
    if len(found) != len(lines) or len(lines) > _MOST_FIELDS or not _FRAMING.isdisjoint(found):
        return None
    length = found.get(b"content-length", b"0")
    if _LENGTH.fullmatch(length) is None or found.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    content_type = found.get(b"content-type")
    return Fields(
        length=int(length),
        content_type=None if content_type is None else content_type.decode(),
        is_harmless=found.keys() <= _HARMLESS,
    )
