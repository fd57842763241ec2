"""Published versions through boto3."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"
CREATING = ("Pending", "The function is being created.", "Creating")
PENDING = (
    409,
    "ResourceConflictException",
    (
        "The operation cannot be performed at this time. "
        "The function is currently in the following state: Pending"
    ),
)


def state(document: Any) -> tuple[Any, Any, Any]:
    return document["State"], document.get("StateReason"), document.get("StateReasonCode")


def facts(document: Any, *without: str) -> dict[str, Any]:
    left_out = {"ResponseMetadata", *without}
    return {name: value for name, value in document.items() if name not in left_out}


async def changed(door: Any, **params: Any) -> Any:
    """The function after a change of its configuration."""
    await door.call("update_function_configuration", FunctionName="f", **params)
    await door.wait("function_updated_v2")
    return await door.call("get_function_configuration", FunctionName="f")


async def versions(door: Any) -> list[str]:
    listed = await door.call("list_versions_by_function", FunctionName="f")
    return [each["Version"] for each in listed["Versions"]]


async def test_a_version_is_a_copy(door: Any, zip_of: Callable[..., bytes]) -> None:
    """It has code and configuration of `$LATEST`, its own revision and ARN, and is ready at once."""
    layer = await door.call("publish_layer_version", LayerName="l", Content={"ZipFile": zip_of()})
    latest = await door.created(
        Environment={"Variables": {"AB": "1"}}, Layers=[layer["LayerVersionArn"]], Description="d", Timeout=9
    )
    made = await door.call("publish_version", FunctionName="f")
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert facts(made, "RevisionId", "LastModified") == {
        **facts(latest, "RevisionId", "LastModified"),
        "Version": "1",
        "FunctionArn": f"{ARN}:1",
    }
    assert made["RevisionId"] != latest["RevisionId"]
    assert made["LastModified"] >= latest["LastModified"]
    assert (made["State"], made["LastUpdateStatus"]) == ("Active", "Successful")
    forms = [{"FunctionName": "f:1"}, {"FunctionName": "f", "Qualifier": "1"}, {"FunctionName": f"{ARN}:1"}]
    for form in forms:
        assert (await door.call("get_function", **form))["Configuration"] == facts(made)
        assert facts(await door.call("get_function_configuration", **form)) == facts(made)
    assert facts(await door.call("get_function_configuration", FunctionName="f")) == facts(latest)


async def test_a_version_never_changes(door: Any, zip_of: Callable[..., bytes]) -> None:
    """Whatever happens to `$LATEST`, the version stays as it was published, its code included."""
    await door.created(Environment={"Variables": {"AB": "1"}}, Description="first")
    made = await door.call("publish_version", FunctionName="f")
    await changed(door, Environment={"Variables": {}}, Description="second", Timeout=9, Handler="b.c")
    await door.call("update_function_code", FunctionName="f", ZipFile=zip_of(app="x = 2\n"))
    await door.wait("function_updated_v2")
    got = await door.call("get_function", FunctionName="f", Qualifier="1")
    assert got["Configuration"] == facts(made)
    path = got["Code"]["Location"].removeprefix(door.url)
    assert (await door.raw("GET", path))[2] == zip_of()


async def test_publishing_what_has_not_changed(door: Any) -> None:
    """The last version is given again, its description too, until code or configuration changes."""
    await door.created(Description="of the function")
    first = await door.call("publish_version", FunctionName="f", Description="of the version")
    assert first["Description"] == "of the version"
    for params in ({}, {"Description": "another"}):
        assert facts(await door.call("publish_version", FunctionName="f", **params)) == facts(first)
    await changed(door, Description="of the function, again")
    second = await door.call("publish_version", FunctionName="f")
    assert (second["Version"], second["Description"]) == ("2", "of the function, again")
    await changed(door, Timeout=9)
    assert (await door.call("publish_version", FunctionName="f"))["Version"] == "3"


async def test_an_update_that_changes_nothing(door: Any, zip_of: Callable[..., bytes]) -> None:
    """The same code and configuration once more make no new version."""
    await door.created()
    await door.call("publish_version", FunctionName="f")
    await changed(door, Timeout=3)
    await door.call("update_function_code", FunctionName="f", ZipFile=zip_of())
    await door.wait("function_updated_v2")
    assert (await door.call("publish_version", FunctionName="f"))["Version"] == "1"


async def test_numbers_are_not_reused(door: Any) -> None:
    """Deleted versions leave gaps; a function made anew counts from 1."""
    await door.created()
    for timeout in (5, 6):
        await door.call("publish_version", FunctionName="f")
        await changed(door, Timeout=timeout)
    assert await versions(door) == ["$LATEST", "1", "2"]
    await door.call("delete_function", FunctionName="f:2")
    assert (await door.call("publish_version", FunctionName="f"))["Version"] == "3"
    await door.call("delete_function", FunctionName="f", Qualifier="3")
    assert (await door.call("publish_version", FunctionName="f"))["Version"] == "4"
    assert await versions(door) == ["$LATEST", "1", "4"]
    await door.call("delete_function", FunctionName="f")
    assert (await door.refused("get_function", FunctionName="f:1"))[0] == 404
    await door.created()
    assert (await door.call("publish_version", FunctionName="f"))["Version"] == "1"


async def test_conditions(door: Any) -> None:
    """Digest and revision are those of `$LATEST`; a stale one publishes nothing."""
    latest = await door.created()
    assert await door.refused("publish_version", FunctionName="f", CodeSha256="other") == (
        400,
        "InvalidParameterValueException",
        (
            f"CodeSHA256 (other) is different from current CodeSHA256 in $LATEST ({latest['CodeSha256']}). "
            "Please try again with the CodeSHA256 in $LATEST."
        ),
    )
    assert await door.refused("publish_version", FunctionName="f", RevisionId="stale") == (
        412,
        "PreconditionFailedException",
        (
            "The Revision Id provided does not match the latest Revision Id. "
            "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
        ),
    )
    assert await versions(door) == ["$LATEST"]
    guards = {"CodeSha256": latest["CodeSha256"], "RevisionId": latest["RevisionId"]}
    assert (await door.call("publish_version", FunctionName="f", **guards))["Version"] == "1"


async def test_states_that_forbid_publishing(door: Any) -> None:
    """A function that is being created, has failed, or is being updated has no version made of it."""
    door.readiness.allowed.clear()
    await door.create()
    assert await door.refused("publish_version", FunctionName="f") == PENDING
    door.readiness.allowed.set()
    await door.wait("function_active_v2")
    door.readiness.allowed.clear()
    await door.call("update_function_configuration", FunctionName="f", Timeout=5)
    assert await door.refused("publish_version", FunctionName="f") == (
        409,
        "ResourceConflictException",
        f"The operation cannot be performed at this time. An update is in progress for resource: {ARN}",
    )
    door.readiness.allowed.set()
    door.readiness.fail()
    await door.create("broken")
    with pytest.raises(WaiterError):
        await door.wait("function_active_v2", "broken")
    assert (await door.refused("publish_version", FunctionName="broken"))[2].endswith("state: Failed")


async def test_missing_function(door: Any) -> None:
    """Both operations name the function that does not exist."""
    for operation in ("publish_version", "list_versions_by_function"):
        assert await door.refused(operation, FunctionName="f") == (
            404,
            "ResourceNotFoundException",
            f"Function not found: {ARN}",
        )


async def test_publish_with_creation(door: Any) -> None:
    """Version 1 is the answer, under the function's ARN, and becomes active beside `$LATEST`."""
    door.readiness.allowed.clear()
    made = await door.create(Publish=True, Description="d")
    assert (made["Version"], made["FunctionArn"], state(made)) == ("1", ARN, CREATING)
    latest = await door.call("get_function_configuration", FunctionName="f")
    assert (latest["Version"], state(latest)) == ("$LATEST", CREATING)
    assert (await door.refused("invoke", FunctionName="f:1")) == PENDING
    door.readiness.allowed.set()
    await door.wait("function_active_v2", "f:1")
    await door.wait("function_active_v2")
    got = await door.call("get_function_configuration", FunctionName="f:1")
    assert (got["FunctionArn"], got["LastUpdateStatus"]) == (f"{ARN}:1", "Successful")
    assert got["RevisionId"] != made["RevisionId"]
    assert facts(await door.call("publish_version", FunctionName="f")) == facts(got)


async def test_publish_with_update(door: Any, zip_of: Callable[..., bytes]) -> None:
    """The answer is the new version, under its own ARN; both are prepared."""
    before = await door.created()
    door.readiness.allowed.clear()
    made = await door.call(
        "update_function_code", FunctionName="f", ZipFile=zip_of(app="x = 2\n"), Publish=True
    )
    assert (made["Version"], made["FunctionArn"], state(made)) == ("1", f"{ARN}:1", CREATING)
    assert "LastUpdateStatus" not in made
    latest = await door.call("get_function_configuration", FunctionName="f", Qualifier="$LATEST")
    assert (latest["LastUpdateStatus"], latest["State"]) == ("InProgress", "Active")
    assert latest["CodeSha256"] == made["CodeSha256"] != before["CodeSha256"]
    door.readiness.allowed.set()
    await door.wait("function_active_v2", "f:1")
    await door.wait("function_updated_v2")
    again = await door.call(
        "update_function_code", FunctionName="f", ZipFile=zip_of(app="x = 2\n"), Publish=True
    )
    assert (again["Version"], again["State"]) == ("1", "Active")


async def test_failed_update_with_publish(door: Any, zip_of: Callable[..., bytes]) -> None:
    """`$LATEST` goes back, the version has failed, and publishing again does not give it."""
    before = await door.created()
    door.readiness.fail()
    await door.call("update_function_code", FunctionName="f", ZipFile=zip_of(app="x = 2\n"), Publish=True)
    with pytest.raises(WaiterError):
        await door.wait("function_active_v2", "f:1")
    with pytest.raises(WaiterError):
        await door.wait("function_updated_v2")
    latest = await door.call("get_function_configuration", FunctionName="f")
    assert latest["CodeSha256"] == before["CodeSha256"]
    door.readiness.failure = None
    await door.call("update_function_code", FunctionName="f", ZipFile=zip_of(app="x = 2\n"))
    await door.wait("function_updated_v2")
    assert (await door.call("publish_version", FunctionName="f"))["Version"] == "2"


async def test_restart_takes_up_versions(tmp_path: Path, serve: Callable[..., Any]) -> None:
    """A version that a process left pending becomes active under the next one."""
    async with serve(tmp_path) as door:
        door.readiness.allowed.clear()
        await door.create(Publish=True)
    async with serve(tmp_path) as door:
        await door.api.resume_pending()
        await door.wait("function_active_v2", "f:1")


async def test_snap_start(door: Any) -> None:
    """A published version becomes active with its snapshot; `$LATEST` never has one."""
    await door.created(SnapStart={"ApplyOn": "PublishedVersions"})
    door.readiness.allowed.clear()
    made = await door.call("publish_version", FunctionName="f")
    assert state(made) == CREATING
    assert made["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}
    door.readiness.allowed.set()
    await door.wait("published_version_active", "f:1")
    got = await door.call("get_function_configuration", FunctionName="f:1")
    assert got["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}
    latest = await door.call("get_function_configuration", FunctionName="f")
    assert latest["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}


async def test_listing(door: Any) -> None:
    """`$LATEST` comes first, numbers ascend, ARNs are qualified, states left out; pages do not overlap."""
    await door.created()
    for number in range(1, 12):
        await changed(door, MemorySize=128 + number)
        await door.call("publish_version", FunctionName="f")
    expected = ["$LATEST", *(str(number) for number in range(1, 12))]
    paginator = door.client().get_paginator("list_versions_by_function")
    pages = await door.aside(
        lambda: list(paginator.paginate(FunctionName="f", PaginationConfig={"PageSize": 5}))
    )
    listed = [each for page in pages for each in page["Versions"]]
    assert [len(page["Versions"]) for page in pages] == [5, 5, 2]
    assert [each["Version"] for each in listed] == expected
    assert [each["FunctionArn"] for each in listed] == [f"{ARN}:{version}" for version in expected]
    assert not any("State" in each for each in listed)
    every = await door.call("list_functions", FunctionVersion="ALL")
    assert every["Functions"] == listed
    assert [each["Version"] for each in (await door.call("list_functions"))["Functions"]] == ["$LATEST"]


async def test_tags_are_the_functions(door: Any) -> None:
    """A version shows the tags of its function."""
    await door.created(Tags={"team": "a"})
    await door.call("publish_version", FunctionName="f")
    assert (await door.call("get_function", FunctionName="f:1"))["Tags"] == {"team": "a"}


async def test_deletion(door: Any) -> None:
    """A version goes alone, one that is not there too; `$LATEST` and aliases are not deleted in this way."""
    await door.created()
    await door.call("publish_version", FunctionName="f")
    await door.call("create_alias", FunctionName="f", Name="live", FunctionVersion="1")
    for name, text in (
        ("f:$LATEST", "$LATEST version cannot be deleted without deleting the function."),
        ("f:live", "Deletion of aliases is not currently supported."),
    ):
        refused = await door.refused("delete_function", FunctionName=name)
        assert refused == (400, "InvalidParameterValueException", text)
    await door.call("delete_alias", FunctionName="f", Name="live")
    for _ in range(2):
        gone = await door.call("delete_function", FunctionName="f:1")
        assert gone["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert await versions(door) == ["$LATEST"]
    assert await door.refused("get_function", FunctionName="f", Qualifier="1") == (
        404,
        "ResourceNotFoundException",
        f"Function not found: {ARN}:1",
    )


async def test_invocation_by_number(door: Any) -> None:
    """Name, qualifier and ARN lead to the version, which the answer names; a missing one is a 404."""
    await door.created()
    await door.call("publish_version", FunctionName="f")
    for form in (
        {"FunctionName": "f:1"},
        {"FunctionName": "f", "Qualifier": "1"},
        {"FunctionName": f"{ARN}:1"},
        {"FunctionName": "123456789012:function:f:1"},
        {"FunctionName": "f:1", "Qualifier": "1"},
    ):
        assert (await door.call("invoke", **form))["ExecutedVersion"] == "1"
    assert await door.refused("invoke", FunctionName="f:2") == (
        404,
        "ResourceNotFoundException",
        f"Function not found: {ARN}:2",
    )


async def test_publishers_at_once(door: Any) -> None:
    """Publishers of the same `$LATEST` get the same version; beside an update each publishes what was there."""
    await door.created()
    made = await asyncio.gather(*(door.call("publish_version", FunctionName="f") for _ in range(8)))
    assert {(each["Version"], each["RevisionId"]) for each in made} == {("1", made[0]["RevisionId"])}
    outcomes = await asyncio.gather(
        door.call("update_function_configuration", FunctionName="f", Timeout=5),
        *(door.call("publish_version", FunctionName="f") for _ in range(8)),
        return_exceptions=True,
    )
    errors = [each for each in outcomes[1:] if isinstance(each, ClientError)]
    assert {each.response["Error"]["Code"] for each in errors} <= {"ResourceConflictException"}
    timeouts = {each["Version"]: each["Timeout"] for each in outcomes[1:] if isinstance(each, dict)}
    assert timeouts.items() <= {"1": 3, "2": 5}.items()
