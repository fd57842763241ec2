"""Aliases through boto3."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.model import Scope

ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"
ALIASES = "/2015-03-31/functions/f/aliases"
INVALID = "InvalidParameterValueException"
STALE = (
    412,
    "PreconditionFailedException",
    (
        "The Revision Id provided does not match the latest Revision Id. "
        "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
    ),
)
INCLUDED = (
    400,
    INVALID,
    "Invalid function version 2. Function version 2 is already included in routing configuration.",
)


def facts(document: Any) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "ResponseMetadata"}


@pytest.fixture
async def two(door: Any) -> Any:
    """The door, with a function of two versions."""
    await with_versions(door)
    return door


async def with_versions(door: Any) -> None:
    await door.created()
    await door.call("publish_version", FunctionName="f")
    await door.call("update_function_configuration", FunctionName="f", Timeout=9)
    await door.wait("function_updated_v2")
    await door.call("publish_version", FunctionName="f")


async def create(door: Any, name: str = "live", version: str = "1", **params: Any) -> Any:
    return await door.call("create_alias", FunctionName="f", Name=name, FunctionVersion=version, **params)


async def update(door: Any, name: str = "live", **params: Any) -> Any:
    return await door.call("update_alias", FunctionName="f", Name=name, **params)


def weights(**numbers: float) -> dict[str, Any]:
    named = {name.removeprefix("v"): weight for name, weight in numbers.items()}
    return {"AdditionalVersionWeights": named}


async def test_life_of_an_alias(two: Any) -> None:
    """Created, read, changed a member at a time, listed, deleted: each answer is the whole alias."""
    made = await create(two, Description="d", RoutingConfig=weights(v2=0.2))
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    whole = {
        "AliasArn": f"{ARN}:live",
        "Name": "live",
        "FunctionVersion": "1",
        "Description": "d",
        "RoutingConfig": weights(v2=0.2),
    }
    assert facts(made) == whole | {"RevisionId": made["RevisionId"]}
    assert facts(await two.call("get_alias", FunctionName="f", Name="live")) == facts(made)

    described = await update(two, Description="other")
    assert facts(described) == facts(made) | {
        "Description": "other",
        "RevisionId": described["RevisionId"],
    }
    cleared = await update(two, RoutingConfig={})
    assert "RoutingConfig" not in cleared
    moved = await update(two, FunctionVersion="2")
    assert (moved["FunctionVersion"], moved["Description"]) == ("2", "other")
    revisions = {each["RevisionId"] for each in (made, described, cleared, moved, await update(two))}
    assert len(revisions) == 5

    for _ in range(2):
        gone = await two.call("delete_alias", FunctionName="f", Name="live")
        assert gone["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert (await two.call("list_aliases", FunctionName="f"))["Aliases"] == []


async def test_description_is_empty_unless_given(two: Any) -> None:
    """The member is there in any case, the routing is not."""
    assert (await create(two))["Description"] == ""
    assert "RoutingConfig" not in await create(two, "other", RoutingConfig=weights())


async def test_functions_through_aliases(two: Any) -> None:
    """GetFunction by alias shows the version under the alias's ARN, whichever way it is named."""
    await create(two, version="2")
    for form in (
        {"FunctionName": "f:live"},
        {"FunctionName": "f", "Qualifier": "live"},
        {"FunctionName": f"{ARN}:live"},
        {"FunctionName": "function:f:live", "Qualifier": "live"},
    ):
        for got in (
            (await two.call("get_function", **form))["Configuration"],
            await two.call("get_function_configuration", **form),
        ):
            assert (got["Version"], got["FunctionArn"], got["Timeout"]) == ("2", f"{ARN}:live", 9)
    missing = (404, "ResourceNotFoundException", f"Function not found: {ARN}:none")
    for operation in ("get_function", "get_function_configuration", "invoke"):
        assert await two.refused(operation, FunctionName="f", Qualifier="none") == missing
        refused = await two.refused(operation, FunctionName="f:live", Qualifier="2")
        assert refused[2].startswith("The derived qualifier from the function name does not match")


async def test_listing(two: Any) -> None:
    """By name, in pages; of one version, those that may invoke it."""
    for number in range(12):
        await create(two, f"a{number:02}", "1" if number % 2 else "2")
    await create(two, "both", "1", RoutingConfig=weights(v2=0.1))
    paginator = two.client().get_paginator("list_aliases")
    config = {"PageSize": 5}
    pages = await two.aside(lambda: list(paginator.paginate(FunctionName="f", PaginationConfig=config)))
    listed = [each["Name"] for page in pages for each in page["Aliases"]]
    assert listed == [*(f"a{number:02}" for number in range(12)), "both"]
    assert [len(page["Aliases"]) for page in pages] == [5, 5, 3]
    of_two = await two.call("list_aliases", FunctionName="f", FunctionVersion="2")
    assert [each["Name"] for each in of_two["Aliases"]] == ["a00", "a02", "a04", "a06", "a08", "a10", "both"]
    assert (await two.call("list_aliases", FunctionName="f", FunctionVersion="9"))["Aliases"] == []


async def test_missing_things(two: Any) -> None:
    """Each operation has its own words for what is not there."""
    code = "ResourceNotFoundException"
    for operation, text in (("get_alias", "Cannot find alias arn"), ("update_alias", "Alias not found")):
        for function in ("f", "g"):
            arn = f"{ARN[:-1]}{function}:none"
            refused = await two.refused(operation, FunctionName=function, Name="none")
            assert refused == (404, code, f"{text}: {arn}")
    for operation, params in (("list_aliases", {}), ("delete_alias", {"Name": "live"})):
        refused = await two.refused(operation, FunctionName="g", **params)
        assert refused == (404, code, f"Function not found: {ARN[:-1]}g")
    params = {"Name": "live", "FunctionVersion": "1"}
    refused = await two.refused("create_alias", FunctionName="g", **params)
    assert refused == (404, code, f"Function not found: {ARN[:-1]}g:1")
    refused = await two.refused("create_alias", FunctionName="f", Name="live", FunctionVersion="9")
    assert refused == (404, code, f"Function not found: {ARN}:9")


async def test_an_alias_is_created_once(two: Any) -> None:
    """The second is a conflict, also when both come at once."""
    outcomes = await asyncio.gather(*(create(two) for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(each, dict) for each in outcomes) == 1
    refused = await two.refused("create_alias", FunctionName="f", Name="live", FunctionVersion="1")
    assert refused == (409, "ResourceConflictException", f"Alias already exists: {ARN}:live")


@pytest.mark.parametrize("name", ["7", "a b", "a" * 129, "$LATEST", "a:b"])
async def test_names(two: Any, name: str) -> None:
    """An alias has a name that is neither a number nor anything but letters, digits, - and _."""
    refused = await two.refused("create_alias", FunctionName="f", Name=name, FunctionVersion="1")
    assert refused[:2] == (400, "ValidationException")
    assert "at 'name' failed to satisfy constraint" in refused[2]


@pytest.mark.parametrize(
    ("routing", "text"),
    [
        (
            weights(v2=2.0),
            (
                "Value '{2=2.0}' at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: "
                "Map value must satisfy constraint: [Member must have value less than or equal to 1.0, "
                "Member must have value greater than or equal to 0.0, Member must not be null]"
            ),
        ),
        (
            {"AdditionalVersionWeights": {"$LATEST": 0.5}},
            (
                "Value '{$LATEST=0.5}' at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: "
                "Map keys must satisfy constraint: [Member must have length less than or equal to 1024, "
                "Member must have length greater than or equal to 1, "
                "Member must satisfy regular expression pattern: [0-9]+, Member must not be null]"
            ),
        ),
    ],
)
async def test_recorded_validation(two: Any, routing: dict[str, Any], text: str) -> None:
    """Weights and their versions are checked by the model, in AWS's recorded words."""
    params = {"FunctionName": "f", "Name": "live", "FunctionVersion": "1", "RoutingConfig": routing}
    refused = await two.refused("create_alias", **params)
    assert refused == (400, "ValidationException", f"1 validation error detected: {text}")


async def test_weighted_latest(two: Any) -> None:
    """`$LATEST` may stand alone, not beside a version; that refusal has no `Type` on the wire."""
    await create(two, "dev", "$LATEST")
    assert (await two.call("invoke", FunctionName="f:dev"))["ExecutedVersion"] == "$LATEST"
    body = {"Name": "x", "FunctionVersion": "$LATEST", "RoutingConfig": weights(v1=0.5)}
    status, headers, answer = await two.raw("POST", ALIASES, json.dumps(body).encode())
    assert (status, headers["x-amzn-ErrorType"]) == (400, INVALID)
    text = "$LATEST is not supported for an alias pointing to more than 1 version"
    assert json.loads(answer) == {"message": text}


async def test_revision_guard(two: Any) -> None:
    """An update with a stale revision is refused, whatever else it says; with the latest it goes through."""
    made = await create(two)
    assert await two.refused("update_alias", FunctionName="f", Name="live", RevisionId="x") == STALE
    current = await update(two, RevisionId=made["RevisionId"], FunctionVersion="2")
    stale = {"RevisionId": made["RevisionId"], "FunctionVersion": "9"}
    assert await two.refused("update_alias", FunctionName="f", Name="live", **stale) == STALE
    assert facts(await two.call("get_alias", FunctionName="f", Name="live")) == facts(current)


async def test_updates_at_once(two: Any) -> None:
    """Writers of different members do not undo each other; of those with one revision, one wins."""
    made = await create(two)
    await asyncio.gather(
        update(two, Description="new"),
        update(two, FunctionVersion="2"),
        update(two, RoutingConfig=weights(v1=0.5), FunctionVersion="2"),
    )
    got = await two.call("get_alias", FunctionName="f", Name="live")
    assert (got["Description"], got["FunctionVersion"], got["RoutingConfig"]) == ("new", "2", weights(v1=0.5))
    assert got["RevisionId"] != made["RevisionId"]
    guarded = (update(two, RevisionId=got["RevisionId"], Description=str(n)) for n in range(6))
    outcomes = await asyncio.gather(*guarded, return_exceptions=True)
    assert sum(isinstance(each, dict) for each in outcomes) == 1


async def test_routing_stays_unless_it_is_said(two: Any) -> None:
    """As on AWS: to end a canary, the routing must be cleared in words."""
    await create(two, RoutingConfig=weights(v2=0.1))
    assert (await update(two, Description="x"))["RoutingConfig"] == weights(v2=0.1)
    assert await two.refused("update_alias", FunctionName="f", Name="live", FunctionVersion="2") == INCLUDED
    done = await update(two, FunctionVersion="2", RoutingConfig=weights())
    assert (done["FunctionVersion"], "RoutingConfig" in done) == ("2", False)


async def test_lenient_routing(tmp_path: Path, serve: Callable[..., Any]) -> None:
    """With the setting, a version without routing means that version alone; everything else stays as it is."""
    async with serve(tmp_path, lenient_routing=True) as door:
        await with_versions(door)
        await create(door, RoutingConfig=weights(v2=0.1))
        assert (await update(door, Description="x"))["RoutingConfig"] == weights(v2=0.1)
        done = await update(door, FunctionVersion="2")
        assert (done["FunctionVersion"], "RoutingConfig" in done) == ("2", False)
        back = await update(door, FunctionVersion="1", RoutingConfig=weights(v2=0.5))
        assert back["RoutingConfig"] == weights(v2=0.5)


async def test_referenced_versions_stay(two: Any) -> None:
    """A version is not deleted while aliases lead to it, by weight too; the function takes all with it."""
    await create(two, "prod", "1")
    await create(two, "canary", "2", RoutingConfig=weights(v1=0.1))
    assert await two.refused("delete_function", FunctionName="f:1") == (
        409,
        "ResourceConflictException",
        "Unable to delete version because the following aliases reference it: [canary, prod]",
    )
    await two.call("delete_alias", FunctionName="f", Name="prod")
    await update(two, "canary", RoutingConfig={})
    await two.call("delete_function", FunctionName="f:1")
    await two.call("delete_function", FunctionName="f")
    await two.created()
    assert (await two.call("list_aliases", FunctionName="f"))["Aliases"] == []


async def test_qualified_names_are_refused(two: Any) -> None:
    """Aliases belong to functions, not to versions."""
    refused = await two.refused("create_alias", FunctionName="f:1", Name="x", FunctionVersion="1")
    assert refused[:2] == (400, INVALID)
    assert refused[2].startswith("This operation is permitted on Lambda functions only.")
    await two.call("list_aliases", FunctionName="f:$LATEST")


async def test_everything_survives_a_restart(tmp_path: Path, serve: Callable[..., Any]) -> None:
    """Versions, aliases and their routing are there under the next process, and numbers go on."""
    async with serve(tmp_path) as door:
        await with_versions(door)
        made = await create(door, RoutingConfig=weights(v2=0.25))
    async with serve(tmp_path) as door:
        assert facts(await door.call("get_alias", FunctionName="f", Name="live")) == facts(made)
        await door.call("update_function_configuration", FunctionName="f", Timeout=10)
        await door.wait("function_updated_v2")
        assert (await door.call("publish_version", FunctionName="f"))["Version"] == "3"


# Alias environment variables, Berth's own


async def put(door: Any, **members: Any) -> tuple[int, Any]:
    status, _, body = await door.raw("PUT", f"{ALIASES}/live", json.dumps(members).encode())
    return status, json.loads(body)


def environment(door: Any) -> Any:
    alias = door.store.catalog.alias(Scope("123456789012", "us-east-1"), "f", "live")
    return alias.environment


async def test_alias_variables(two: Any) -> None:
    """They are set with a member of Berth's own, stay while it is left out, and never show in AWS's answers."""
    body = {"Name": "live", "FunctionVersion": "1", "Environment": {"Variables": {"STAGE": "dev"}}}
    status, _, answer = await two.raw("POST", ALIASES, json.dumps(body).encode())
    assert (status, "Environment" in json.loads(answer)) == (201, False)
    assert environment(two) == {"STAGE": "dev"}
    await update(two, FunctionVersion="2")
    assert environment(two) == {"STAGE": "dev"}
    status, answer = await put(two, Environment={"Variables": {"STAGE": "prod", "URL": "x"}})
    assert (status, "Environment" in answer) == (200, False)
    assert environment(two) == {"STAGE": "prod", "URL": "x"}
    got = await two.call("get_function_configuration", FunctionName="f:live")
    assert "Environment" not in got
    assert (await put(two, Environment={"Variables": {}}))[0] == 200
    assert environment(two) is None


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"AWS_REGION": "x"}, "contains reserved keys"),
        ({"BIG": "x" * 4096}, "exceeded the 4KB limit"),
        ({"1BAD": "x"}, "Map keys must satisfy constraint"),
        ({"BAD": "a\0b"}, "a value contains NUL"),
    ],
)
async def test_alias_variables_have_the_functions_rules(two: Any, variables: Any, text: str) -> None:
    """What a function may not set an alias may not set either, and nothing is changed then."""
    made = await create(two)
    status, answer = await put(two, Environment={"Variables": variables})
    assert status == 400
    assert text in answer["message"]
    assert facts(await two.call("get_alias", FunctionName="f", Name="live")) == facts(made)
