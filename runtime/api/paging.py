"""Lists in pages. A marker is opaque to callers and names the last item shown, so deletions between pages do no harm."""

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import TypeVar

from runtime.errors import invalid_parameter

T = TypeVar("T")
PAGE_LIMIT = 50
"""AWS's largest page, whatever MaxItems asks for."""
_FORM = "after:"


def page(
    items: Iterable[T], key: Callable[[T], str], marker: str | None, max_items: int | None
) -> tuple[list[T], str | None]:
    """The items after the marker, and the next marker if there are more. `items` are in the order of `key`."""
    after = None if marker is None else _read(marker)
    size = min(max_items or PAGE_LIMIT, PAGE_LIMIT)
    rest = (item for item in items if after is None or key(item) > after)
    found = [item for item, _ in zip(rest, range(size + 1), strict=False)]
    if len(found) <= size:
        return found, None
    return found[:size], _write(key(found[size - 1]))


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
