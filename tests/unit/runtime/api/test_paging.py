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


@given(st.integers(1, 60), st.integers(0, 119))
def test_iterators_have_the_same_pages(size: int, last: int) -> None:
    """Whether the items can be looked at in any order or only one after the other makes no difference."""
    _, marker = page(ITEMS[: last + 2], str, None, 1)
    for asked in (None, marker):
        assert page(iter(ITEMS), str, asked, size) == page(ITEMS, str, asked, size)


def test_a_late_page_costs_what_the_first_costs() -> None:
    """Of a sequence only the page is looked at, and what leads to it by halving."""
    items = [f"{number:06d}" for number in range(100_000)]
    looked: list[str] = []

    def key(item: str) -> str:
        looked.append(item)
        return item

    _, marker = page(items[98_000:98_100], str, None, 50)
    assert page(items, key, marker, 50)[0] == items[98_050:98_100]
    assert len(looked) < 20


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
