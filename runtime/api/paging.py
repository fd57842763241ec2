"""Lists in pages. A marker is opaque to callers and names the last item shown, so deletions between pages do no harm."""

import base64
import binascii
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TypeVar

from runtime.errors import invalid_parameter

T = TypeVar("T")
PAGE_LIMIT = 50
"""AWS's largest page of most lists, whatever MaxItems asks for."""
_FORM = "after:"


def page(
    items: Iterable[T],
    key: Callable[[T], str],
    marker: str | None,
    max_items: int | None,
    most: int = PAGE_LIMIT,
) -> tuple[list[T], str | None]:
    """The items after the marker, and the next marker if there are more. `items` are in the order of `key`.

    In a sequence the place is found by halving, so that a late page of a long list costs no more than the first.
    """
    after = None if marker is None else _read(marker)
    size = min(max_items or most, most)
    found = _after(items, key, after, size + 1)
    if len(found) <= size:
        return found, None
    return found[:size], _write(key(found[size - 1]))


def _after(items: Iterable[T], key: Callable[[T], str], after: str | None, count: int) -> list[T]:
    if isinstance(items, Sequence):
        start = 0 if after is None else bisect_right(items, after, key=key)
        return list(items[start : start + count])
    return list(islice((item for item in items if after is None or key(item) > after), count))


def _write(key: str) -> str:
    return base64.urlsafe_b64encode(f"{_FORM}{key}".encode()).decode()


def _read(marker: str) -> str:
    try:
        text = base64.urlsafe_b64decode(marker.encode()).decode()
    except (UnicodeError, binascii.Error):
        text = ""
    if not text.startswith(_FORM):
        raise invalid_parameter("The provided marker is invalid.")
    return text.removeprefix(_FORM)
