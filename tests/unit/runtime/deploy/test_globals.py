from typing import Any

import pytest

from runtime.deploy.globals import merged

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
