import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.deploy.documents import parse
from runtime.deploy.errors import TemplateError
from runtime.deploy.order import ordered, references


@given(st.lists(st.sets(st.integers(0, 9)), min_size=1, max_size=10))
def test_needs_come_first(edges: list[set[int]]) -> None:
    """Whatever the graph: everything once, and each after all that it needs."""
    needs = {
        str(number): {str(other) for other in edge if other < number} for number, edge in enumerate(edges)
    }
    shuffled = dict(reversed(needs.items()))
    order = ordered(shuffled)
    assert sorted(order) == sorted(needs)
    assert all(order.index(other) < order.index(name) for name, others in needs.items() for other in others)


def test_what_needs_nothing_keeps_its_place() -> None:
    """The order of the template, as far as needs allow."""
    assert ordered({"C": set(), "A": {"D"}, "B": set(), "D": set()}) == ["C", "D", "A", "B"]


def test_a_ring_is_refused() -> None:
    """And it is told, from one member round to itself."""
    with pytest.raises(TemplateError, match=r"depend on each other: (A -> B -> A|B -> A -> B)$"):
        ordered({"A": {"B"}, "B": {"A"}, "C": {"A"}})


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("!Ref A", ["A"]),
        ("!GetAtt A.Arn", ["A"]),
        ("{Fn::GetAtt: A.Arn}", ["A"]),
        ("!Sub '${A} ${B.Arn} ${!C}'", ["A", "B.Arn"]),
        ("!Sub ['${A} ${Own}', {Own: !Ref B}]", ["A", "B"]),
        ("[{X: !Join ['', [!Ref A]]}, !Ref B]", ["A", "B"]),
        ("!If ['Yes', !Ref A, !Ref B]", ["A"]),
        ("!If ['No', !Ref A, !Ref B]", ["B"]),
        ("plain", []),
    ],
)
def test_references_are_found(text: str, names: list[str]) -> None:
    """Wherever they stand, but not in the branch that does not count."""
    found = references(parse(f"V: {text}")["V"], lambda name, _path: name == "Yes", ())
    assert list(found) == names
