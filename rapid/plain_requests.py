"""Requests as every client writes them: read without an HTTP parser. Pure.

Only what cannot be taken in two ways is read here: a head of printable ASCII whose framing is a length or nothing.
Whatever else a request has, somebody else is to read it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

LONGEST_HEAD = 4096
"""Bytes, of a head that is looked at."""
_MOST_FIELDS = 24
_REMEMBERED = 128
"""Sets of fields. A runtime's client sends the same ones with every call, or with another length."""
_NAMES = 512
"""Names of fields that are remembered."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FRAMING = frozenset(
    ("transfer-encoding", "upgrade", "expect", "trailer", "content-encoding", "proxy-connection")
)
"""Fields with which a request is more than a head and so many bytes."""
_REFUSED = frozenset(("sec-websocket-key1",))
"""Fields with which it is no request at all."""
_HARMLESS = frozenset(
    ("host", "user-agent", "accept", "accept-encoding", "connection", "content-type", "content-length")
)
_LENGTH = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a head."""

    length: int
    """Of the body."""
    values: Mapping[str, str]
    """By their names in lower case; none comes twice."""
    is_harmless: bool
    """There are none but those that every client sends."""

    @property
    def content_type(self) -> str | None:
        return self.values.get("content-type")


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


FieldsReader = Callable[[bytes], Fields | None]


def read_fields(text: bytes) -> Fields | None:
    """Fields as they follow the first line, its end included; None where they take a closer look."""
    lines = text.decode("latin-1").split("\r\n")
    if not (text.isascii() and "".join(lines).isprintable()):
        return None
    found: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        known = _lower(name)
        if known is None or not colon:
            return None
        found[known] = value.strip(" ")
    if len(found) != len(lines) - 1 or len(found) > _MOST_FIELDS or "host" not in found:
        return None
    length = _length(found)
    return None if length is None else Fields(length, found, found.keys() <= _HARMLESS)


def _length(found: Mapping[str, str]) -> int | None:
    """Of the body; None where that is not all there is to its end, or to what follows it."""
    if not (_FRAMING.isdisjoint(found) and _REFUSED.isdisjoint(found)):
        return None
    length = found.get("content-length", "0")
    if _LENGTH.fullmatch(length) is None or found.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    return int(length)


remembered_fields: FieldsReader = lru_cache(_REMEMBERED)(read_fields)
"""The same, for callers who send the same again and again."""


def plain_head(data: bytes, fields: FieldsReader = read_fields) -> PlainHead | None:
    """The head that the data begins with; None where it is not whole, or takes a closer look."""
    end = data.find(b"\r\n\r\n", 0, LONGEST_HEAD)
    if end < 0:
        return None
    first = data.index(b"\r\n")
    found = fields(data[first:end])
    return None if found is None else PlainHead(data[:first], found, end + 4)


@lru_cache(_NAMES)
def _lower(name: str) -> str | None:
    """A field's name in lower case; None where it is no name."""
    return None if _NAME.fullmatch(name) is None else name.lower()
