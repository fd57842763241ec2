"""Values are what frozen dataclasses are, but for the check at run time."""

from dataclasses import field, replace

from rapid.values import value


@value(frozen=True, slots=True)
class Point:
    x: int
    y: int = field(default=0, compare=False)


def test_compared_by_content() -> None:
    """Two with the same content are equal and one entry of a set; one with another is not."""
    assert Point(1, 2) == Point(1, 3) != Point(2, 2)
    assert len({Point(1), Point(1), Point(2)}) == 2
    assert replace(Point(1, 2), x=5).y == 2


def test_slots() -> None:
    """Nothing can be put beside what is declared."""
    assert not hasattr(Point(1), "__dict__")
