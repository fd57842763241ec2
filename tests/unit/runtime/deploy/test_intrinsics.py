"""Every intrinsic function by table, and what has to hold for any text."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtime.deploy.documents import parse
from runtime.deploy.errors import TemplateError
from runtime.deploy.intrinsics import NO_VALUE, Evaluator

RESOURCES = {("Table", None): "demo-Table", ("Table", "Arn"): "arn:table", ("Api", "A.B"): "deep"}
CONDITIONS = """
Yes: !Equals [!Ref Stage, dev]
No: !Not [!Condition "Yes"]
Both: !And [!Condition "Yes", !Equals [a, a]]
Either: !Or [!Condition "No", !Condition "Yes"]
Neither: !Or [!Condition "No", !Condition "No"]
Ring: !Not [!Condition Ring]
Text: hello
"""


def attributes(name: str, attribute: str | None) -> Any:
    try:
        return RESOURCES[name, attribute]
    except KeyError:
        raise LookupError(f"there is no {name}") from None


@pytest.fixture
def evaluate() -> Callable[[str], Any]:
    """The value of a piece of YAML."""
    evaluator = Evaluator(
        values={
            "Stage": "dev",
            "Names": ["a", "b"],
            "AWS::Region": "us-east-1",
            "AWS::StackName": "demo",
            "AWS::NoValue": NO_VALUE,
        },
        mappings={"Sizes": {"dev": {"Memory": "128", "Zones": ["x", "y"]}}},
        conditions=parse(CONDITIONS),
        attributes=attributes,
    )
    return lambda text: evaluator.value(parse(f"V: {text}")["V"], ("V",))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("!Ref Stage", "dev"),
        ("!Ref Names", ["a", "b"]),
        ("!Ref Table", "demo-Table"),
        ("!GetAtt Table.Arn", "arn:table"),
        ("!GetAtt Api.A.B", "deep"),
        ("{Fn::GetAtt: Table.Arn}", "arn:table"),
        ("{Fn::GetAtt: [Table, !Sub Arn]}", "arn:table"),
        ("!Sub plain", "plain"),
        ("!Sub '${Stage}-${AWS::StackName}'", "dev-demo"),
        ("!Sub '${Table}/${Table.Arn}'", "demo-Table/arn:table"),
        ("!Sub '${!Stage} ${Stage}'", "${Stage} dev"),
        ("!Sub ['${Stage} ${Own}', {Own: !Ref Table, Stage: prod}]", "prod demo-Table"),
        ("!Sub ['${Own}', {Own: '${Stage}'}]", "${Stage}"),
        ("!Sub '$Stage $ {Stage} $'", "$Stage $ {Stage} $"),
        ("!Join ['-', [a, !Ref Stage, c]]", "a-dev-c"),
        ("!Join [',', !Ref Names]", "a,b"),
        ("!Join ['', []]", ""),
        ("!Join [',', [a, !Ref AWS::NoValue]]", "a"),
        ("!Split ['/', 'a/b//c']", ["a", "b", "", "c"]),
        ("!Select [1, !Split [':', 'a:b:c']]", "b"),
        ("!Select ['0', !Ref Names]", "a"),
        ("!If ['Yes', 1, 2]", "1"),
        ("!If ['No', !Ref Missing, 2]", "2"),
        ("{A: !If ['No', 1, !Ref AWS::NoValue], B: 2}", {"B": "2"}),
        ("[!If ['Yes', !Ref AWS::NoValue, 1], 2]", ["2"]),
        ("!If [Both, 1, 2]", "1"),
        ("!If [Either, 1, 2]", "1"),
        ("!If [Neither, 1, 2]", "2"),
        ("!Equals [!Ref Names, [a, b]]", "true"),
        ("!FindInMap [Sizes, !Ref Stage, Memory]", "128"),
        ("!FindInMap [Sizes, dev, Zones]", ["x", "y"]),
        ("!Base64 hello", "aGVsbG8="),
        ("!GetAZs ''", ["us-east-1a", "us-east-1b", "us-east-1c"]),
        ("!ImportValue shared-Table", "shared-Table"),
        ("{Condition: {StringEquals: {a: b}}}", {"Condition": {"StringEquals": {"a": "b"}}}),
    ],
)
def test_functions_by_table(evaluate: Callable[[str], Any], text: str, value: Any) -> None:
    """Each gives what CloudFormation gives."""
    assert evaluate(text) == value


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("!Ref Missing", "V.Ref", "there is no Missing"),
        ("!Ref [a]", "V.Ref", "the name of a parameter or resource"),
        ("!GetAtt Table", "V.Fn::GetAtt", "a resource and an attribute"),
        ("!Sub '${Missing}'", "V.Fn::Sub.Ref", "there is no Missing"),
        ("!Sub [a]", "V.Fn::Sub", "a list of 2"),
        ("!Sub [[a], {}]", "V.Fn::Sub", "a text and a map"),
        ("!Sub ['${A}', {A: {B: c}}]", "V.Fn::Sub.1.A", "only a text"),
        ("!Join [a, b]", "V.Fn::Join", "a list of texts"),
        ("!Join [a]", "V.Fn::Join", "a list of 2"),
        ("!Split ['', a]", "V.Fn::Split", "the delimiter is empty"),
        ("!Select [3, !Ref Names]", "V.Fn::Select", "no item 3 in a list of 2"),
        ("!Select [-1, !Ref Names]", "V.Fn::Select", "an index and a list"),
        ("!If [Missing, a, b]", "V.Fn::If", "no condition Missing"),
        ("!If ['Yes', a]", "V.Fn::If", "a list of 3"),
        ("!If [Ring, a, b]", "Conditions.Ring", "depends on itself"),
        ("!If [Text, a, b]", "Conditions.Text", "a condition is wanted"),
        ("!And [!Condition 'Yes']", "V.Fn::And", "two to ten"),
        ("!FindInMap [Sizes, prod, Memory]", "V.Fn::FindInMap", "no Sizes / prod / Memory"),
        ("!Cidr [a, 1, 2]", "V.Fn::Cidr", "Fn::Cidr is not done here"),
        ("[a, {B: !Base64 [c]}]", "V.1.B.Fn::Base64", "a text is wanted"),
    ],
)
def test_mistakes_name_their_place(evaluate: Callable[[str], Any], text: str, place: str, words: str) -> None:
    """What cannot be worked out says where it stands."""
    with pytest.raises(TemplateError, match=words) as error:
        evaluate(text)
    assert ".".join(error.value.path) == place


def evaluator(**values: Any) -> Evaluator:
    return Evaluator(values, {}, {}, attributes)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(st.text(st.sampled_from("${}!aA. "), max_size=12))
@example("${A}")
def test_sub_without_variables_changes_nothing(text: str) -> None:
    """A text stays itself once its variables are marked as none."""
    literal = re.sub(r"\$\{([^}]*)\}", r"${!\1}", text)
    assert evaluator().value({"Fn::Sub": literal}, ()) == text


@given(TEXT, TEXT, TEXT, TEXT)
def test_sub_puts_in_what_variables_hold(before: str, value: str, between: str, after: str) -> None:
    """Exactly the value, which is not looked at again, wherever it comes from."""
    before, between, after = (part.replace("$", "") for part in (before, between, after))
    text = f"{before}${{A}}{between}${{A}}{after}"
    expected = f"{before}{value}{between}{value}{after}"
    assert evaluator(A=value).value({"Fn::Sub": text}, ()) == expected
    assert evaluator().value({"Fn::Sub": [text, {"A": value}]}, ()) == expected


@given(st.lists(TEXT, min_size=1), st.text(min_size=1, max_size=3))
def test_split_undoes_join(items: list[str], delimiter: str) -> None:
    """As long as no item holds a piece of the delimiter."""
    items = ["".join(letter for letter in item if letter not in delimiter) for item in items]
    joined = {"Fn::Join": [delimiter, items]}
    assert evaluator().value(joined, ()) == delimiter.join(items)
    assert evaluator().value({"Fn::Split": [delimiter, joined]}, ()) == items
