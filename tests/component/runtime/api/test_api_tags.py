"""Tags of functions and of other resources, through boto3."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f"
INVALID, MISSING = "InvalidParameterValueException", "ResourceNotFoundException"
QUEUE = "arn:aws:sqs:us-east-1:123456789012:queue"
PROFILE = "arn:aws:signer:us-east-1:123456789012:/signing-profiles/test"
UNKNOWN = "12345678-1234-1234-1234-123456789012"


async def tags_of(door: Any, arn: str) -> dict[str, str]:
    tags: dict[str, str] = (await door.call("list_tags", Resource=arn))["Tags"]
    return tags


async def resource(door: Any, kind: str) -> str:
    """The ARN of a new resource with one tag."""
    await door.created(Tags={"a": "1"} if kind == "function" else {})
    if kind == "mapping":
        params = {"FunctionName": "f", "EventSourceArn": QUEUE, "Tags": {"a": "1"}}
        made = await door.call("create_event_source_mapping", **params)
        return str(made["EventSourceMappingArn"])
    if kind == "signing":
        publishers = {"SigningProfileVersionArns": [PROFILE]}
        made = await door.call("create_code_signing_config", AllowedPublishers=publishers, Tags={"a": "1"})
        return str(made["CodeSigningConfig"]["CodeSigningConfigArn"])
    return FUNCTION


@pytest.mark.parametrize("kind", ["function", "mapping", "signing"])
async def test_life_of_tags(door: Any, kind: str) -> None:
    """Tags are added, replaced and removed; keys that are not there do not matter."""
    arn = await resource(door, kind)
    assert await tags_of(door, arn) == {"a": "1"}
    tagged = await door.call("tag_resource", Resource=arn, Tags={"a": "2", "b": "ü"})
    assert tagged["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert await tags_of(door, arn) == {"a": "2", "b": "ü"}
    untagged = await door.call("untag_resource", Resource=arn, TagKeys=["a", "z"])
    assert untagged["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert await tags_of(door, arn) == {"b": "ü"}
    await door.call("untag_resource", Resource=arn, TagKeys=["b"])
    assert await tags_of(door, arn) == {}


@pytest.mark.parametrize("kind", ["function", "mapping", "signing"])
async def test_tag_limits(door: Any, kind: str) -> None:
    """There are at most 50 tags, counted together with those that are there, and AWS's prefix is AWS's."""
    arn = await resource(door, kind)
    many = {f"k{i}": "" for i in range(50)}
    limit = (400, INVALID, "Number of tags exceeds resource tag limit.")
    assert await door.refused("tag_resource", Resource=arn, Tags=many) == limit
    assert await tags_of(door, arn) == {"a": "1"}
    await door.call("untag_resource", Resource=arn, TagKeys=["a"])
    await door.call("tag_resource", Resource=arn, Tags=many)
    await door.call("tag_resource", Resource=arn, Tags={"k0": "changed"})
    nothing = (400, INVALID, "An error occurred and the request cannot be processed.")
    assert await door.refused("tag_resource", Resource=arn, Tags={}) == nothing
    for key in ("aws:x", "AWS:x"):
        status, code, text = await door.refused("tag_resource", Resource=arn, Tags={key: ""})
        assert (status, code, "aws:" in text) == (400, INVALID, True)
    status, code, _ = await door.refused("tag_resource", Resource=arn, Tags={"": ""})
    assert (status, code) == (400, "ValidationException")
    assert len(await tags_of(door, arn)) == 50


async def test_tags_of_functions(door: Any) -> None:
    """GetFunction shows them, and each change gives the function another RevisionId."""
    created = await door.created()
    await door.call("tag_resource", Resource=FUNCTION, Tags={"a": "1"})
    shown = await door.call("get_function", FunctionName="f")
    assert shown["Tags"] == {"a": "1"}
    assert shown["Configuration"]["RevisionId"] != created["RevisionId"]
    assert shown["Configuration"]["State"] == "Active"
    assert (await door.refused("create_function", **_new({"aws:x": "1"})))[1] == INVALID


def _new(tags: dict[str, str]) -> dict[str, Any]:
    return {
        "FunctionName": "g",
        "Runtime": "python3.12",
        "Handler": "app.handler",
        "Role": "arn:aws:iam::123456789012:role/r",
        "Code": {"ZipFile": b"x"},
        "Tags": tags,
    }


async def test_tagging_a_function_in_preparation(door: Any) -> None:
    """A tag set while the function is Pending stays when it becomes Active."""
    door.readiness.allowed.clear()
    await door.create()
    await door.call("tag_resource", Resource=FUNCTION, Tags={"a": "1"})
    door.readiness.allowed.set()
    await door.wait("function_active_v2")
    assert await tags_of(door, FUNCTION) == {"a": "1"}


async def test_tagging_while_code_is_uploaded(
    door: Any, zip_of: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update of the code does not fail because tags and policies were written meanwhile, and keeps them; one that
    names a revision does.
    """
    created = await door.created()
    put = door.store.blobs.put
    keys = iter("abc")

    async def slowly(data: bytes) -> str:
        key = next(keys)
        await door.call("tag_resource", Resource=FUNCTION, Tags={key: ""})
        statement = {"StatementId": key, "Action": "lambda:InvokeFunction", "Principal": "*"}
        await door.call("add_permission", FunctionName="f", **statement)
        return str(await put(data))

    monkeypatch.setattr(door.store.blobs, "put", slowly)
    code = {"FunctionName": "f", "ZipFile": zip_of(app="x = 1\n")}
    stale = await door.refused("update_function_code", RevisionId=created["RevisionId"], **code)
    assert stale[:2] == (412, "PreconditionFailedException")
    updated = await door.call("update_function_code", **code)
    assert updated["CodeSha256"] != created["CodeSha256"]
    await door.wait("function_updated_v2")
    assert await tags_of(door, FUNCTION) == {"a": "", "b": ""}
    assert (await door.call("get_policy", FunctionName="f"))["Policy"].count('"Sid"') == 2


async def test_tags_together(door: Any) -> None:
    """Of many callers that tag at the same time, each leaves its tag."""
    await door.created()
    client = door.client()
    await asyncio.gather(
        *(door.aside(client.tag_resource, Resource=FUNCTION, Tags={f"k{i}": ""}) for i in range(24))
    )
    assert await tags_of(door, FUNCTION) == {f"k{i}": "" for i in range(24)}


async def test_tag_refusals(door: Any) -> None:
    """What cannot be tagged, and what is not there."""
    await door.created()
    qualified = "Tags on function aliases and versions are not supported. Please specify a function ARN."
    mapping = f"arn:aws:lambda:us-east-1:123456789012:event-source-mapping:{UNKNOWN}"
    signing = "arn:aws:lambda:us-east-1:123456789012:code-signing-config:csc-" + "0" * 17
    provider = "arn:aws:lambda:us-east-1:123456789012:capacity-provider:p"
    gone = "The resource you requested does not exist."
    for arn, expected in (
        (f"{FUNCTION}:1", (400, INVALID, qualified)),
        (f"{FUNCTION}:$LATEST", (400, INVALID, qualified)),
        (f"{FUNCTION}x", (404, MISSING, f"Function not found: {FUNCTION}x")),
        (mapping, (404, MISSING, gone)),
        (mapping.replace("us-east-1", "eu-west-1"), (404, MISSING, gone)),
        (signing, (404, MISSING, f"The Lambda code signing configuration {signing} can not be found.")),
        (provider, (404, MISSING, f"Capacity provider not found: {provider}")),
    ):
        assert await door.refused("list_tags", Resource=arn) == expected
        assert await door.refused("tag_resource", Resource=arn, Tags={"a": "1"}) == expected
        assert await door.refused("untag_resource", Resource=arn, TagKeys=["a"]) == expected
    foreign = FUNCTION.replace("123456789012", "210987654321")
    assert (await door.refused("list_tags", Resource=foreign))[:2] == (403, "AccessDeniedException")
    status, _, body = await door.raw("DELETE", f"/2017-03-31/tags/{FUNCTION}")
    assert status == 400
    assert b"Value null at 'tagKeys' failed to satisfy constraint: Member must not be null" in body
    _, code, _ = await door.refused("list_tags", Resource="arn:aws:something")
    assert code == "ValidationException"
