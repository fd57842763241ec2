from typing import Any

import pytest

from runtime.deploy.documents import line_of, parse
from runtime.deploy.errors import Path
from runtime.deploy.globals import merged, written_at

REF = {"Ref": "A"}


@pytest.mark.parametrize(
    ("shared", "own", "together"),
    [
        ({"A": "1"}, {"B": "2"}, {"A": "1", "B": "2"}),
        ({"A": "1"}, {"A": "2"}, {"A": "2"}),
        ({"A": {"X": "1", "Y": "1"}}, {"A": {"Y": "2", "Z": "2"}}, {"A": {"X": "1", "Y": "2", "Z": "2"}}),
        ({"L": ["a"]}, {"L": ["b"]}, {"L": ["a", "b"]}),
        ({"L": [REF]}, {"L": REF}, {"L": REF}),
        ({"A": REF}, {"A": {"Fn::Sub": "b"}}, {"A": {"Fn::Sub": "b"}}),
        ({"A": {"X": "1"}}, {"A": REF}, {"A": REF}),
        ({"A": REF}, {"A": {"X": "1"}}, {"A": {"X": "1"}}),
        ({"A": "1"}, {"A": None}, {"A": None}),
        ({}, {}, {}),
    ],
)
def test_globals_and_own_properties(shared: Any, own: Any, together: Any) -> None:
    """Maps key by key, lists one after the other, the rest is the resource's own; calls of functions stay whole."""
    assert merged(shared, own) == together


DOCUMENT = parse("""
Globals:
  Function:
    Timeout: 1
    Environment:
      Variables:
        A: 1
Resources:
  F:
    Type: T
    Properties:
      Environment:
        Variables:
          B: 2
  G: {}
""")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("Resources", "F", "Properties", "Timeout"), 4),
        (("Resources", "F", "Properties", "Environment", "Variables", "A"), 7),
        (("Resources", "F", "Properties", "Environment", "Variables", "B"), 14),
        (("Resources", "F", "Properties", "Environment", "Variables", "C"), 13),
        (("Resources", "G", "Properties", "Timeout"), 4),
        (("Resources", "F", "Properties", "Handler"), 11),
        (("Resources", "F"), 9),
        (("Outputs", "F", "Value", "Timeout"), None),
    ],
)
def test_the_place_of_a_property(path: Path, line: int | None) -> None:
    """It is where the text says it, be that in `Globals`."""
    assert line_of(DOCUMENT, written_at(DOCUMENT, path)) == line
