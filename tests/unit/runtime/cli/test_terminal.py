import pytest

from runtime.cli.terminal import duration, megabytes, table


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (-0.001, "0ms"),
        (0.0123, "12ms"),
        (59.9, "59s"),
        (60, "1m"),
        (185.2, "3m 5s"),
        (7800, "2h 10m"),
        (86400 * 4 + 3600, "4d 1h"),
    ],
)
def test_duration_has_two_units_at_most(seconds: float | None, shown: str) -> None:
    """Durations are for a glance, not for reckoning."""
    assert duration(seconds) == shown


@pytest.mark.parametrize(("size", "shown"), [(None, "-"), (0, "-"), (1, "1 MB"), (36 * 1024**2, "36 MB")])
def test_sizes_are_whole_megabytes(size: int | None, shown: str) -> None:
    """Sizes are rounded up, as Lambda reports them."""
    assert megabytes(size) == shown


def test_table_has_straight_columns_and_no_trailing_space() -> None:
    """Columns are as wide as their widest cell."""
    assert table(("A", "BEE"), [("long", ""), ("x", "y")]) == "A     BEE\nlong\nx     y"


def test_table_without_rows_is_its_head() -> None:
    """No rows, no error."""
    assert table(("A", "B"), []) == "A  B"
