"""`berth alias` against a server that answers what it was told to."""

import json
from typing import Any

import pytest

ALIAS = "/_berth/alias"
UPDATE = "/2015-03-31/functions/hello/aliases/prod"
ARN = "arn:aws:lambda:us-east-1:123456789012:function:hello:prod"


def document(**members: Any) -> dict[str, Any]:
    return {
        "AliasArn": ARN,
        "Name": "prod",
        "FunctionVersion": "3",
        "Description": "",
        "RevisionId": "r",
        "Environment": {"Variables": {}},
        **members,
    }


def test_an_alias_is_shown(run: Any, berth: Any) -> None:
    """Versions with their shares, and variables a line each; what functions wrote cannot steer the terminal."""
    berth.answer(
        ALIAS,
        document(
            Description="the real one",
            RoutingConfig={"AdditionalVersionWeights": {"4": 0.1}},
            Environment={"Variables": {"STAGE": "prod", "BELL": "\a"}},
        ),
    )
    code, out, _ = run("alias", "hello", "prod")
    assert code == 0
    shown = out.splitlines()
    assert shown[:4] == [
        f"alias        {ARN}",
        "versions     3 (0.9), 4 (0.1)",
        "description  the real one",
        "environment  STAGE=prod",
    ]
    assert shown[4].startswith("             BELL=")
    assert "\a" not in out
    [asked] = berth.asked
    assert asked.path == f"{ALIAS}?function=hello&name=prod&account=123456789012&region=us-east-1"


def test_a_plain_alias_is_shown(run: Any, berth: Any) -> None:
    """What there is not is a dash."""
    berth.answer(ALIAS, document())
    assert run("alias", "hello", "prod")[1].splitlines()[1:] == [
        "versions     3 (1)",
        "description  -",
        "environment  -",
    ]
    assert json.loads(run("alias", "hello", "prod", "--json")[1]) == document()


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (("--environment", "STAGE=prod", "URL=a=b", "EMPTY="), {"STAGE": "prod", "URL": "a=b", "EMPTY": ""}),
        (("--no-environment",), {}),
    ],
)
def test_variables_are_set(run: Any, berth: Any, arguments: tuple[str, ...], variables: Any) -> None:
    """They are sent whole with an update of the alias, which is shown as it is afterwards."""
    berth.answer(UPDATE, {})
    berth.answer(ALIAS, document(Environment={"Variables": {"SHOWN": "afterwards"}}))
    code, out, _ = run("alias", "hello", "prod", *arguments)
    assert (code, "SHOWN=afterwards" in out) == (0, True)
    update, _ = berth.asked
    assert (update.method, update.path) == ("PUT", UPDATE)
    assert json.loads(update.body) == {"Environment": {"Variables": variables}}
    assert "Credential=123456789012/" in update.headers["Authorization"]


def test_refusals_are_one_line(run: Any, berth: Any) -> None:
    """What Lambda refuses is told with its code, and a slip before anything is sent."""
    berth.answer(UPDATE, {"message": "reserved keys"}, 400, x_amzn_ErrorType="InvalidParameterValueException")
    assert run("alias", "hello", "prod", "--environment", "AWS_REGION=x") == (
        2,
        "",
        "berth: InvalidParameterValueException: reserved keys\n",
    )
    berth.answer(ALIAS, {"Message": "Cannot find"}, 404, x_amzn_ErrorType="ResourceNotFoundException")
    assert run("alias", "hello", "prod")[::2] == (2, "berth: ResourceNotFoundException: Cannot find\n")
    asked = len(berth.asked)
    for pairs, text in (
        (["STAGE"], "'STAGE' is not NAME=VALUE"),
        (["=x"], "'=x' is not NAME=VALUE"),
        (["A=1", "A=2"], "A is set twice"),
    ):
        assert run("alias", "hello", "prod", "-e", *pairs) == (2, "", f"berth: --environment: {text}\n")
    assert len(berth.asked) == asked
