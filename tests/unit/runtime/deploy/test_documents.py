"""Templates as text: YAML with short forms, JSON, and the lines of what is wrong."""

import pytest

from runtime.deploy.documents import line_of, parse
from runtime.deploy.errors import TemplateError


@pytest.mark.parametrize(
    ("short", "value"),
    [
        ("!Ref A", {"Ref": "A"}),
        ("!GetAtt A.B.C", {"Fn::GetAtt": ["A", "B.C"]}),
        ("!GetAtt [A, B]", {"Fn::GetAtt": ["A", "B"]}),
        ("!Sub '${A}'", {"Fn::Sub": "${A}"}),
        ("!Sub ['${A}', {A: 1}]", {"Fn::Sub": ["${A}", {"A": "1"}]}),
        ("!Join [',', [!Ref A, b]]", {"Fn::Join": [",", [{"Ref": "A"}, "b"]]}),
        ("!Condition A", {"Condition": "A"}),
        ("!If [A, !Ref B, !Ref AWS::NoValue]", {"Fn::If": ["A", {"Ref": "B"}, {"Ref": "AWS::NoValue"}]}),
        ("!Transform {Name: M, Parameters: {}}", {"Fn::Transform": {"Name": "M", "Parameters": {}}}),
        ("012345670123", "012345670123"),
        ("2010-09-09", "2010-09-09"),
        ("1.10", "1.10"),
        ("12:30", "12:30"),
        ("True", "true"),
        ("", None),
    ],
)
def test_short_forms_are_long_ones(short: str, value: object) -> None:
    """A tag is a call of its function; scalars stay the text that they are, booleans are `true` and `false`."""
    assert parse(f"A: {short}") == {"A": value}


def test_json_means_the_same() -> None:
    """JSON gives the same document as YAML, tabs and all."""
    assert parse('{\n\t"A": {"Ref": "B"}, "N": [1, 1.50, true, null, "x"]}') == {
        "A": {"Ref": "B"},
        "N": ["1", "1.50", "true", None, "x"],
    }
    assert parse('{"A": false}') == {"A": "false"}


def test_anchors_and_merges_work() -> None:
    """YAML's own ways of saying something once; what is said beside a merge wins."""
    document = parse("A: &a {X: 1, Y: 2}\nB:\n  <<: *a\n  Y: 3\nC: *a")
    assert document["B"] == {"X": "1", "Y": "3"}
    assert document["C"] == document["A"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("A: 1\nB: [", 2, "is not YAML"),
        ("A: 1\nA: 2", 2, "A is said twice"),
        ("A:\n  ? [x]\n  : 1", 2, "a key is a map or a list"),
        ("A: &a\n  B: *a", 1, "recursive"),
        ('{"A": 1,\n "B"}', 2, "is not JSON"),
        ('{"A": 1, "A": 2}', None, "A is said twice"),
        ("- A", None, "is not a template"),
        ("", None, "is not a template"),
        ("A: \x01", None, "is not YAML"),
        ('{"A":' * 20_000, None, "nested too deeply"),
        ("A: " + "[" * 20_000, None, "nested too deeply"),
    ],
)
def test_bad_text_is_explained(text: str, line: int | None, words: str) -> None:
    """With the line where the text has one."""
    with pytest.raises(TemplateError, match=words) as error:
        parse(text)
    if line is not None:
        assert error.value.line == line


def test_places_have_lines() -> None:
    """The line of a path is that of the last key on it that there is."""
    document = parse(
        "Resources:\n  A:\n    Type: T\n    List:\n      - X: 1\n      - X: !Sub\n          - a\n"
    )
    assert line_of(document, ("Resources", "A", "Type")) == 3
    assert line_of(document, ("Resources", "A", "List", "1", "X", "Fn::Sub")) == 6
    assert line_of(document, ("Resources", "A", "Missing", "X")) == 2
    assert line_of(document, ("Outputs",)) is None
    assert line_of(document, ()) is None
