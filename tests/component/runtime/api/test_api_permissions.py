"""Policies of functions and of layer versions, through boto3."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f"
LAYER = "arn:aws:lambda:us-east-1:123456789012:layer:lib"
INVALID, MISSING = "InvalidParameterValueException", "ResourceNotFoundException"
S3 = {
    "StatementId": "s3",
    "Action": "lambda:InvokeFunction",
    "Principal": "s3.amazonaws.com",
    "SourceArn": "arn:aws:s3:::bucket",
}
SHARE = {"StatementId": "share", "Action": "lambda:GetLayerVersion", "Principal": "210987654321"}
Publish = Callable[[], Awaitable[str]]


async def statements(door: Any, **params: Any) -> list[dict[str, Any]]:
    policy = json.loads((await door.call("get_policy", **({"FunctionName": "f"} | params)))["Policy"])
    assert policy.keys() == {"Version", "Id", "Statement"}
    assert (policy["Version"], policy["Id"]) == ("2012-10-17", "default")
    found: list[dict[str, Any]] = policy["Statement"]
    return found


async def test_life_of_a_policy(door: Any) -> None:
    """Statements are added, shown, and removed; with the last one the policy is gone."""
    await door.created()
    added = await door.call("add_permission", FunctionName="f", **S3)
    assert added["ResponseMetadata"]["HTTPStatusCode"] == 201
    statement = {
        "Sid": "s3",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": FUNCTION,
        "Condition": {"ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"}},
    }
    assert json.loads(added["Statement"]) == statement
    await door.call("add_permission", FunctionName=FUNCTION, **(S3 | {"StatementId": "two"}))
    assert [each["Sid"] for each in await statements(door)] == ["s3", "two"]
    removed = await door.call("remove_permission", FunctionName="f", StatementId="s3")
    assert removed["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert [each["Sid"] for each in await statements(door)] == ["two"]
    await door.call("remove_permission", FunctionName="f", StatementId="two")
    gone = (404, MISSING, "The resource you requested does not exist.")
    assert await door.refused("get_policy", FunctionName="f") == gone


@pytest.mark.parametrize(
    ("members", "principal", "condition"),
    [
        pytest.param({"Principal": "*"}, "*", None, id="everybody"),
        pytest.param(
            {"Principal": "123456789012"}, {"AWS": "arn:aws:iam::123456789012:root"}, None, id="account"
        ),
        pytest.param(
            {"Principal": "arn:aws:iam::123456789012:role/r"},
            {"AWS": "arn:aws:iam::123456789012:role/r"},
            None,
            id="role",
        ),
        pytest.param(
            {"Principal": "events.amazonaws.com", "SourceAccount": "123456789012"},
            {"Service": "events.amazonaws.com"},
            {"StringEquals": {"AWS:SourceAccount": "123456789012"}},
            id="account of the source",
        ),
        pytest.param(
            {"Principal": "alexa-appkit.amazon.com", "EventSourceToken": "amzn1.ask.skill.x"},
            {"Service": "alexa-appkit.amazon.com"},
            {"StringEquals": {"lambda:EventSourceToken": "amzn1.ask.skill.x"}},
            id="token",
        ),
        pytest.param(
            {"Principal": "*", "InvokedViaFunctionUrl": True},
            "*",
            {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}},
            id="through the URL",
        ),
        pytest.param(
            {
                "Principal": "*",
                "Action": "lambda:InvokeFunctionUrl",
                "FunctionUrlAuthType": "NONE",
                "PrincipalOrgID": "o-1234567890",
                "SourceAccount": "123456789012",
                "SourceArn": "arn:aws:s3:::bucket",
            },
            "*",
            {
                "StringEquals": {
                    "lambda:FunctionUrlAuthType": "NONE",
                    "aws:PrincipalOrgID": "o-1234567890",
                    "AWS:SourceAccount": "123456789012",
                },
                "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"},
            },
            id="everything",
        ),
    ],
)
async def test_rendering(door: Any, members: dict[str, Any], principal: Any, condition: Any) -> None:
    """Principals and conditions are written as AWS writes them."""
    await door.created()
    params = {"StatementId": "s", "Action": "lambda:InvokeFunction"} | members
    added = json.loads((await door.call("add_permission", FunctionName="f", **params))["Statement"])
    assert added["Principal"] == principal
    assert added.get("Condition") == condition
    assert await statements(door) == [added]


async def test_policies_of_versions(door: Any) -> None:
    """A version has a policy of its own, whose resource is the qualified ARN."""
    await door.published()
    await door.call("add_permission", FunctionName="f:1", **S3)
    assert [each["Resource"] for each in await statements(door, Qualifier="1")] == [f"{FUNCTION}:1"]
    assert (await door.refused("get_policy", FunctionName="f"))[1] == MISSING
    await door.call("remove_permission", FunctionName="f", Qualifier="1", StatementId="s3")
    assert (await door.refused("get_policy", FunctionName="f:1"))[1] == MISSING


async def test_policies_go_with_their_function(door: Any) -> None:
    """A function made anew has no policy."""
    await door.created()
    await door.call("add_permission", FunctionName="f", **S3)
    await door.call("delete_function", FunctionName="f")
    await door.created()
    assert (await door.refused("get_policy", FunctionName="f"))[1] == MISSING


async def test_policy_refusals(door: Any) -> None:
    """Each mistake has AWS's own text."""
    await door.published()
    await door.call("add_permission", FunctionName="f", **S3)
    add, remove, read = "add_permission", "remove_permission", "get_policy"
    twice = (
        "The statement id (s3) provided already exists. "
        "Please provide a new statement id, or remove the existing statement."
    )
    url_only = "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action"
    for operation, params, expected in (
        (
            add,
            {"FunctionName": "f", **S3},
            (409, "ResourceConflictException", twice),
        ),
        (
            add,
            {"FunctionName": "f:$LATEST", **S3},
            (400, INVALID, "We currently do not support adding policies for $LATEST."),
        ),
        (
            add,
            {"FunctionName": "f", **S3, "Principal": "invalid.nonaws.com"},
            (
                400,
                INVALID,
                "The provided principal was invalid. Please check the principal and try again.",
            ),
        ),
        (add, {"FunctionName": "f", **S3, "FunctionUrlAuthType": "NONE"}, (400, INVALID, url_only)),
        (
            add,
            {"FunctionName": "f:1", **S3, "Qualifier": "2"},
            (
                400,
                INVALID,
                "The derived qualifier from the function name does not match the specified qualifier.",
            ),
        ),
        (
            add,
            {"FunctionName": "no", **S3},
            (404, MISSING, f"Function not found: {FUNCTION[:-1]}no"),
        ),
        (add, {"FunctionName": "f:42", **S3}, (404, MISSING, f"Function not found: {FUNCTION}:42")),
        (
            add,
            {"FunctionName": "f", "Qualifier": "with-$", **S3},
            (404, MISSING, f"Function not found: {FUNCTION}:with-$"),
        ),
        (add, {"FunctionName": "f:no", **S3}, (404, MISSING, f"Cannot find alias arn: {FUNCTION}:no")),
        (read, {"FunctionName": "no"}, (404, MISSING, f"Function not found: {FUNCTION[:-1]}no")),
        (read, {"FunctionName": "f:42"}, (404, MISSING, "The resource you requested does not exist.")),
        (
            remove,
            {"FunctionName": "no", "StatementId": "s3"},
            (404, MISSING, f"No policy found for: {FUNCTION[:-1]}no"),
        ),
        (
            remove,
            {"FunctionName": "f:1", "StatementId": "s3"},
            (404, MISSING, "No policy is associated with the given resource."),
        ),
        (
            remove,
            {"FunctionName": "f:no", "StatementId": "s3"},
            (404, MISSING, f"Cannot find alias arn: {FUNCTION}:no"),
        ),
        (
            remove,
            {"FunctionName": "f", "StatementId": "s4"},
            (404, MISSING, "Statement s4 is not found in resource policy."),
        ),
    ):
        assert await door.refused(operation, **params) == expected


async def test_policies_of_aliases(door: Any) -> None:
    """An alias has a policy of its own too, and both go with what has them."""
    await door.published(2)
    await door.alias("live", "2")
    for qualifier in ("1", "live"):
        await door.call("add_permission", FunctionName=f"f:{qualifier}", **S3)
        assert [each["Resource"] for each in await statements(door, Qualifier=qualifier)] == [
            f"{FUNCTION}:{qualifier}"
        ]
    await door.call("delete_alias", FunctionName="f", Name="live")
    await door.alias("live", "2")
    await door.call("delete_function", FunctionName="f", Qualifier="1")
    for qualifier in ("1", "live"):
        gone = (404, MISSING, "The resource you requested does not exist.")
        assert await door.refused("get_policy", FunctionName=f"f:{qualifier}") == gone


async def revision(door: Any, qualifier: str) -> str:
    """The RevisionId of what has the policy."""
    if qualifier == "live":
        found = await door.call("get_alias", FunctionName="f", Name="live")
    else:
        params = {"Qualifier": qualifier} if qualifier else {}
        found = await door.call("get_function_configuration", FunctionName="f", **params)
    return str(found["RevisionId"])


@pytest.mark.parametrize("qualifier", ["", "1", "live"])
async def test_policy_revisions(door: Any, qualifier: str) -> None:
    """A policy's RevisionId is that of the version or alias: each change of a policy changes it, another is refused."""
    await door.published()
    await door.alias()
    name = f"f:{qualifier}" if qualifier else "f"
    others = {each: await revision(door, each) for each in {"", "1", "live"} - {qualifier}}
    text = (
        "The Revision Id provided does not match the latest Revision Id. "
        "Call the GetPolicy API to retrieve the latest Revision Id"
    )
    stale = (412, "PreconditionFailedException", text)
    assert await door.refused("add_permission", FunctionName=name, RevisionId="r", **S3) == stale
    first = await revision(door, qualifier)
    await door.call("add_permission", FunctionName=name, RevisionId=first, **S3)
    second = await revision(door, qualifier)
    assert (await door.call("get_policy", FunctionName=name))["RevisionId"] == second != first
    two = S3 | {"StatementId": "two"}
    assert await door.refused("add_permission", FunctionName=name, RevisionId=first, **two) == stale
    await door.call("add_permission", FunctionName=name, RevisionId=second, **two)
    params = {"FunctionName": name, "StatementId": "two"}
    assert await door.refused("remove_permission", RevisionId=second, **params) == stale
    await door.call("remove_permission", RevisionId=await revision(door, qualifier), **params)
    assert [each["Sid"] for each in await statements(door, FunctionName=name)] == ["s3"]
    assert {each: await revision(door, each) for each in others} == others


async def test_policy_of_a_function_in_preparation(door: Any) -> None:
    """A policy can be written while the function is Pending, and does not keep it from becoming Active."""
    door.readiness.allowed.clear()
    await door.create()
    await door.call("add_permission", FunctionName="f", **S3)
    door.readiness.allowed.set()
    await door.wait("function_active_v2")
    assert [each["Sid"] for each in await statements(door)] == ["s3"]


async def test_policy_size(door: Any) -> None:
    """A policy has at most 20 KB; the text names the size that was reached."""
    await door.created()
    long = {"StatementId": "x" * 100, "SourceArn": "arn:aws:s3:::" + "b" * 9900}
    await door.call("add_permission", FunctionName="f", **(S3 | long))
    await door.call("add_permission", FunctionName="f", **(S3 | long | {"StatementId": "y"}))
    status, code, text = await door.refused("add_permission", FunctionName="f", **S3)
    assert (status, code) == (400, "PolicyLengthExceededException")
    policy = json.loads((await door.call("get_policy", FunctionName="f"))["Policy"])
    small = policy["Statement"][0] | {
        "Sid": "s3",
        "Condition": {"ArnLike": {"AWS:SourceArn": S3["SourceArn"]}},
    }
    policy["Statement"].append(small)
    size = len(json.dumps(policy, separators=(",", ":")))
    assert text == f"The final policy size ({size}) is bigger than the limit (20480)."


async def test_no_statement_is_lost(door: Any) -> None:
    """Of many callers that add statements at the same time, each is in the policy in the end."""
    await door.created()
    client = door.client()
    calls = (
        door.aside(client.add_permission, FunctionName="f", **(S3 | {"StatementId": f"s{i}"}))
        for i in range(24)
    )
    await asyncio.gather(*calls)
    assert {each["Sid"] for each in await statements(door)} == {f"s{i}" for i in range(24)}


# Layer versions


@pytest.fixture
def publish(door: Any, zip_of: Callable[..., bytes]) -> Publish:
    async def publish() -> str:
        made = await door.call("publish_layer_version", LayerName="lib", Content={"ZipFile": zip_of()})
        arn: str = made["LayerVersionArn"]
        return arn

    return publish


async def test_life_of_a_layer_policy(door: Any, publish: Publish) -> None:
    """As a function's; answers carry the revision."""
    await publish()
    at = {"LayerName": "lib", "VersionNumber": 1}
    added = await door.call("add_layer_version_permission", **at, **SHARE)
    statement = {
        "Sid": "share",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::210987654321:root"},
        "Action": "lambda:GetLayerVersion",
        "Resource": f"{LAYER}:1",
    }
    assert json.loads(added["Statement"]) == statement
    organisation = {"StatementId": "org", "Principal": "*", "OrganizationId": "o-1234567890"}
    more = await door.call("add_layer_version_permission", **at, **(SHARE | organisation))
    condition = {"StringEquals": {"aws:PrincipalOrgID": "o-1234567890"}}
    assert json.loads(more["Statement"])["Condition"] == condition
    shown = await door.call("get_layer_version_policy", **(at | {"LayerName": LAYER}))
    assert shown["RevisionId"] == more["RevisionId"] != added["RevisionId"]
    assert json.loads(shown["Policy"])["Statement"] == [statement, json.loads(more["Statement"])]
    stale = {"StatementId": "org", "RevisionId": added["RevisionId"]}
    status, code, text = await door.refused("remove_layer_version_permission", **at, **stale)
    assert (status, code, "Call the GetLayerPolicy API" in text) == (412, "PreconditionFailedException", True)
    for sid in ("org", "share"):
        await door.call("remove_layer_version_permission", **at, StatementId=sid)
    nothing = (404, MISSING, "No policy is associated with the given resource.")
    assert await door.refused("get_layer_version_policy", **at) == nothing


async def test_layer_policy_refusals(door: Any, publish: Publish) -> None:
    """Each mistake has AWS's own text."""
    await publish()
    at = {"LayerName": "lib", "VersionNumber": 1}
    missing = (404, MISSING, f"Layer version {LAYER}:2 does not exist.")
    gone = (404, MISSING, "No policy is associated with the given resource.")
    for operation, params, expected in (
        ("add_layer_version_permission", {**SHARE, "VersionNumber": 2}, missing),
        ("get_layer_version_policy", {"VersionNumber": 2}, missing),
        ("remove_layer_version_permission", {"VersionNumber": 2, "StatementId": "s"}, missing),
        (
            "get_layer_version_policy",
            {"VersionNumber": 0},
            (400, INVALID, "Layer Version Cannot be less than 1"),
        ),
        ("get_layer_version_policy", {}, gone),
        ("remove_layer_version_permission", {"StatementId": "s"}, gone),
    ):
        assert await door.refused(operation, **(at | params)) == expected
    await door.call("add_layer_version_permission", **at, **SHARE)
    status, code, text = await door.refused("add_layer_version_permission", **at, **SHARE)
    assert (status, code, text[:22]) == (409, "ResourceConflictException", "The statement id (shar")
    unknown = (404, MISSING, "Statement s is not found in resource policy.")
    assert await door.refused("remove_layer_version_permission", **at, StatementId="s") == unknown
    wrong = SHARE | {"StatementId": "w", "Action": "lambda:*", "Principal": "s3.amazonaws.com"}
    _, code, text = await door.refused("add_layer_version_permission", **at, **wrong)
    assert (code, text[:29]) == ("ValidationException", "2 validation errors detected:")


async def test_layer_policies_go_with_their_version(door: Any, publish: Publish) -> None:
    """A number is never given twice, so neither is its policy; other versions keep theirs."""
    for number in (1, 2):
        await publish()
        await door.call("add_layer_version_permission", LayerName="lib", VersionNumber=number, **SHARE)
    await door.call("delete_layer_version", LayerName="lib", VersionNumber=1)
    refused = await door.refused("get_layer_version_policy", LayerName="lib", VersionNumber=1)
    assert refused == (404, MISSING, f"Layer version {LAYER}:1 does not exist.")
    await door.call("get_layer_version_policy", LayerName="lib", VersionNumber=2)


@pytest.mark.parametrize(
    "case",
    [
        ({"Principal": "210987654321"}, True),
        ({"Principal": "arn:aws:iam::210987654321:root"}, True),
        ({"Principal": "*"}, True),
        ({"Principal": "111111111111"}, False),
        ({"Principal": "*", "OrganizationId": "o-1234567890"}, False),
    ],
)
async def test_layers_of_other_accounts(
    door: Any,
    publish: Publish,
    zip_of: Callable[..., bytes],
    case: tuple[dict[str, str], bool],
) -> None:
    """Another account attaches and reads a layer version as its policy says. A member of an organisation is not known
    as one, so what is open to an organisation is closed.
    """
    members, allowed = case
    arn = await publish()
    stranger = door.client(key="210987654321")
    function = {
        "FunctionName": "g",
        "Runtime": "python3.12",
        "Handler": "app.handler",
        "Role": "arn:aws:iam::210987654321:role/r",
        "Code": {"ZipFile": zip_of()},
        "Layers": [arn],
    }
    denied = (
        "User: arn:aws:iam::210987654321:root is not authorized to perform: lambda:GetLayerVersion on resource: "
        f"{arn} because no resource-based policy allows the lambda:GetLayerVersion action"
    )

    async def denied_to(method: Callable[..., Any], **params: Any) -> str:
        with pytest.raises(stranger.exceptions.ClientError) as error:
            await door.aside(method, **params)
        response = error.value.response
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 403
        assert response["Error"]["Code"] == "AccessDeniedException"
        text: str = response["Error"]["Message"]
        return text

    assert await denied_to(stranger.create_function, **function) == denied
    assert await denied_to(stranger.get_layer_version_by_arn, Arn=arn) == denied
    await door.call("add_layer_version_permission", LayerName="lib", VersionNumber=1, **(SHARE | members))
    if allowed:
        created = await door.aside(stranger.create_function, **function)
        assert [layer["Arn"] for layer in created["Layers"]] == [arn]
        assert (await door.aside(stranger.get_layer_version_by_arn, Arn=arn))["LayerVersionArn"] == arn
    else:
        assert await denied_to(stranger.create_function, **function) == denied
    params = {
        "LayerName": LAYER,
        "VersionNumber": 1,
        "StatementId": "own",
        "Action": "lambda:GetLayerVersion",
    }
    with pytest.raises(stranger.exceptions.ResourceNotFoundException):  # nobody but the owner writes
        await door.aside(stranger.add_layer_version_permission, Principal="210987654321", **params)
