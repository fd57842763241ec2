"""Whole policies of functions, versions and aliases, through boto3."""

import json
from typing import Any

import pytest

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f"
INVALID, MISSING = "InvalidParameterValueException", "ResourceNotFoundException"
GONE = (404, MISSING, "The resource you requested does not exist.")
ALLOW = {
    "Sid": "partners",
    "Effect": "Allow",
    "Principal": {"AWS": ["210987654321", "arn:aws:iam::210987654321:user/u"]},
    "Action": ["lambda:InvokeFunction", "lambda:Get*"],
    "Resource": FUNCTION,
}
DENY = {
    "Effect": "Deny",
    "NotPrincipal": {"Service": "s3.amazonaws.com"},
    "Action": "*",
    "Resource": [FUNCTION],
    "Condition": {
        "StringNotEquals": {"aws:SourceAccount": ["123456789012"]},
        "Bool": {"aws:SecureTransport": False},
    },
}


def policy(*statements: Any, **members: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **members})


async def put(door: Any, text: str, arn: str = FUNCTION, **params: Any) -> Any:
    return await door.call("put_resource_policy", ResourceArn=arn, Policy=text, **params)


async def test_life_of_a_policy(door: Any) -> None:
    """Put whole, shown as it was put with accounts as their roots, replaced, deleted; its revision is the function's."""
    await door.created()
    made = await put(door, policy(ALLOW, DENY, Id="mine"))
    kept = json.loads(made["Policy"])
    roots = ["arn:aws:iam::210987654321:root", "arn:aws:iam::210987654321:user/u"]
    assert kept == {
        "Version": "2012-10-17",
        "Id": "mine",
        "Statement": [{**ALLOW, "Principal": {"AWS": roots}}, DENY],
    }
    got = await door.call("get_resource_policy", ResourceArn=FUNCTION)
    assert (got["Policy"], got["RevisionId"]) == (made["Policy"], made["RevisionId"])
    function = await door.call("get_function_configuration", FunctionName="f")
    assert function["RevisionId"] == made["RevisionId"]
    other = await put(door, json.dumps({"Statement": {**ALLOW, "Principal": "*"}}))
    assert json.loads(other["Policy"]) == {
        "Version": "2008-10-17",
        "Statement": [{**ALLOW, "Principal": "*"}],
    }
    assert other["RevisionId"] != made["RevisionId"]
    await door.call("delete_resource_policy", ResourceArn=FUNCTION)
    assert await door.refused("get_resource_policy", ResourceArn=FUNCTION) == GONE
    assert await door.refused("delete_resource_policy", ResourceArn=FUNCTION) == GONE


async def test_it_is_the_policy_of_single_statements(door: Any) -> None:
    """AddPermission adds to what was put, GetPolicy shows it, and putting replaces what was added."""
    await door.created()
    await put(door, policy(ALLOW, DENY))
    added = {"StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
    await door.call("add_permission", FunctionName="f", **added)
    shown = json.loads((await door.call("get_policy", FunctionName="f"))["Policy"])
    assert [each.get("Sid") for each in shown["Statement"]] == ["partners", None, "s3"]
    assert "Id" not in shown
    refused = await door.refused("add_permission", FunctionName="f", **added | {"StatementId": "partners"})
    assert refused[:2] == (409, "ResourceConflictException")
    for sid in ("partners", "s3"):
        await door.call("remove_permission", FunctionName="f", StatementId=sid)
    shown = json.loads((await door.call("get_resource_policy", ResourceArn=FUNCTION))["Policy"])
    assert shown["Statement"] == [DENY]
    await door.call("add_permission", FunctionName="f", **added)
    await put(door, policy(ALLOW))
    shown = json.loads((await door.call("get_policy", FunctionName="f"))["Policy"])
    assert [each["Sid"] for each in shown["Statement"]] == ["partners"]


async def test_each_qualifier_has_its_own(door: Any) -> None:
    """Versions and aliases too; statements name the very resource."""
    await door.published()
    await door.alias()
    for arn in (f"{FUNCTION}:1", f"{FUNCTION}:live"):
        assert await door.refused("get_resource_policy", ResourceArn=arn) == GONE
        await put(door, policy({**ALLOW, "Resource": arn}), arn)
        refused = await door.refused("put_resource_policy", ResourceArn=arn, Policy=policy(ALLOW))
        assert refused[:2] == (400, INVALID)
        assert f"Resource must be {arn}" in refused[2]
    assert await door.refused("get_resource_policy", ResourceArn=FUNCTION) == GONE
    await door.call("delete_resource_policy", ResourceArn=f"{FUNCTION}:1")
    assert await door.call("get_resource_policy", ResourceArn=f"{FUNCTION}:live")


async def test_it_survives_a_restart(door: Any, serve: Any, tmp_path: Any) -> None:
    """All of it, with its revision."""
    async with serve(tmp_path / "other") as before:
        await before.created()
        made = await put(before, policy(ALLOW, DENY, Id="mine"))
    async with serve(tmp_path / "other") as after:
        got = await after.call("get_resource_policy", ResourceArn=FUNCTION)
        assert (got["Policy"], got["RevisionId"]) == (made["Policy"], made["RevisionId"])


async def test_revisions(door: Any) -> None:
    """Who is at another revision than the function is refused; the deletion's travels in the query."""
    await door.created()
    first = (await put(door, policy(ALLOW)))["RevisionId"]
    second = (await put(door, policy(DENY), RevisionId=first))["RevisionId"]
    text = (
        "The Revision Id provided does not match the latest Revision Id. "
        "Call the GetPolicy API to retrieve the latest Revision Id"
    )
    stale = (412, "PreconditionFailedException", text)
    params = {"ResourceArn": FUNCTION, "RevisionId": first}
    assert await door.refused("put_resource_policy", Policy=policy(ALLOW), **params) == stale
    assert await door.refused("delete_resource_policy", **params) == stale
    await door.call("delete_resource_policy", ResourceArn=FUNCTION, RevisionId=second)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "it is not a JSON document"),
        ("[]", "it is not a JSON object"),
        (policy(ALLOW, Extra=1), "the policy has unknown members: Extra"),
        (policy(ALLOW, Version="2020-01-01"), "Version must be one of 2012-10-17, 2008-10-17"),
        (policy(ALLOW, Id=1), "Id must be a string"),
        (policy(), "Statement must be an object or a list of them"),
        (policy("x"), "Statement must be an object or a list of them"),
        (policy(ALLOW, ALLOW), "statement ids must be unique"),
        (policy(ALLOW | {"X": 1}), "a statement has unknown members: X"),
        (policy(ALLOW | {"Sid": "a b"}), "Sid must be letters"),
        (policy(ALLOW | {"Effect": "allow"}), "Effect must be Allow or Deny"),
        (policy(ALLOW | {"NotPrincipal": "*"}), "a statement must have either Principal or NotPrincipal"),
        (policy({**ALLOW, "Action": "s3:GetObject"}), "Action must name Lambda's"),
        (policy({**ALLOW, "Action": []}), "Action must name Lambda's"),
        (policy({**ALLOW, "Resource": "*"}), f"Resource must be {FUNCTION}"),
        (policy({**ALLOW, "Resource": [FUNCTION, 1]}), f"Resource must be {FUNCTION}"),
        (policy({**ALLOW, "Principal": "s3.amazonaws.com"}), 'a principal must be "*" or an object'),
        (policy({**ALLOW, "Principal": {"Federated": "x"}}), "principals are of the kinds AWS and Service"),
        (policy({**ALLOW, "Principal": {"AWS": 1}}), "principals of the kind AWS must be strings"),
        (policy({**ALLOW, "Condition": []}), "Condition must be an object"),
        (policy({**ALLOW, "Condition": {"Bool": "x"}}), "Condition must be an object"),
        (policy({**ALLOW, "Condition": {"Bool": {"k": {}}}}), "Condition must be an object"),
    ],
)
async def test_what_is_no_policy(door: Any, text: str, reason: str) -> None:
    """It is refused with what is wrong about it, and nothing changes."""
    await door.created()
    status, code, said = await door.refused("put_resource_policy", ResourceArn=FUNCTION, Policy=text)
    assert (status, code) == (400, INVALID)
    assert said.startswith(f"The provided policy is invalid: {reason}")
    assert await door.refused("get_resource_policy", ResourceArn=FUNCTION) == GONE


async def test_principals_that_cannot_be(door: Any) -> None:
    """As with AddPermission."""
    await door.created()
    for principal in ({"AWS": "me"}, {"Service": "s3"}, {"AWS": "s3.amazonaws.com"}):
        text = policy({**ALLOW, "Principal": principal})
        refused = await door.refused("put_resource_policy", ResourceArn=FUNCTION, Policy=text)
        assert refused[2].startswith("The provided principal was invalid.")


async def test_a_policy_that_is_too_long(door: Any) -> None:
    """The model counts characters, the limit bytes."""
    await door.created()
    texts = ["ä" * 12_000]
    text = json.dumps(
        {"Statement": {**ALLOW, "Condition": {"StringEquals": {"aws:x": texts}}}}, ensure_ascii=False
    )
    refused = await door.refused("put_resource_policy", ResourceArn=FUNCTION, Policy=text)
    assert refused[:2] == (400, "PolicyLengthExceededException")


async def test_resources_that_have_none(door: Any) -> None:
    """Unknown ones, `$LATEST`, runtimes, and those of other accounts and regions."""
    await door.published()
    latest = f"{FUNCTION}:$LATEST"
    for arn, expected in (
        (f"{FUNCTION}x", (404, MISSING, f"Function not found: {FUNCTION}x")),
        (f"{FUNCTION}:2", (404, MISSING, f"Function not found: {FUNCTION}:2")),
        (f"{FUNCTION}:no", (404, MISSING, f"Cannot find alias arn: {FUNCTION}:no")),
        (latest, (400, INVALID, "We currently do not support adding policies for $LATEST.")),
    ):
        assert await door.refused("put_resource_policy", ResourceArn=arn, Policy=policy(ALLOW)) == expected
        if arn != latest:
            assert await door.refused("get_resource_policy", ResourceArn=arn) == expected
        assert await door.refused("delete_resource_policy", ResourceArn=arn) == expected
    assert await door.refused("get_resource_policy", ResourceArn=latest) == GONE
    runtime = "arn:aws:lambda:us-east-1:123456789012:runtime/python"
    assert (await door.refused("get_resource_policy", ResourceArn=runtime))[:2] == (400, INVALID)
    foreign = FUNCTION.replace("123456789012", "210987654321")
    assert (await door.refused("get_resource_policy", ResourceArn=foreign))[:2] == (
        403,
        "AccessDeniedException",
    )
    elsewhere = FUNCTION.replace("us-east-1", "eu-west-1")
    assert (await door.refused("get_resource_policy", ResourceArn=elsewhere))[:2] == (404, MISSING)
