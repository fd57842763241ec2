"""Lists in pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.api.paging import PAGE_LIMIT, page
from runtime.errors import LambdaError

ITEMS = [f"item-{number:03d}" for number in range(120)]


def whole(size: int | None, items: list[str] = ITEMS) -> list[list[str]]:
    pages, marker = [], None
    while True:
        found, marker = page(items, str, marker, size)
        pages.append(found)
        if marker is None:
            return pages


@given(st.none() | st.integers(1, 10000))
def test_pages_make_up_the_list(size: int | None) -> None:
    """Whatever the page size, all items come once and in order, and no page is too long."""
    pages = whole(size)
    assert [item for each in pages for item in each] == ITEMS
    assert all(0 < len(each) <= min(size or PAGE_LIMIT, PAGE_LIMIT) for each in pages)


def test_last_page_has_no_marker() -> None:
    """Also when it is exactly full."""
    assert page(ITEMS[:50], str, None, None) == (ITEMS[:50], None)
    assert page([], str, None, None) == ([], None)


def test_items_may_go_between_pages() -> None:
    """A marker still works after the item that it names is gone."""
    found, marker = page(ITEMS, str, None, 10)
    assert page(ITEMS[10:], str, marker, 10)[0] == ITEMS[10:20]
    assert found == ITEMS[:10]


@pytest.mark.parametrize("marker", ["", "x", "no marker", "é", "////", "eHl6"])
def test_bad_marker(marker: str) -> None:
    """A marker that was not given out is refused."""
    with pytest.raises(LambdaError, match="marker is invalid") as error:
        page(ITEMS, str, marker, None)
    assert error.value.status == 400
