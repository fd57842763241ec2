"""Changing functions through boto3."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"
MISMATCH = (
    412,
    "PreconditionFailedException",
    (
        "The Revision Id provided does not match the latest Revision Id. "
        "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
    ),
)


async def test_code_update(door: Any, zip_of: Callable[..., bytes]) -> None:
    """New code goes through InProgress to Successful, with a new revision at each step."""
    before = await door.created()
    package = zip_of(app="x = 2\n")
    updated = await door.call(
        "update_function_code", FunctionName="f", ZipFile=package, Architectures=["arm64"]
    )
    assert updated["LastUpdateStatus"] == "InProgress"
    assert updated["LastUpdateStatusReasonCode"] == "Creating"
    assert (updated["CodeSize"], updated["Architectures"]) == (len(package), ["arm64"])
    await door.wait("function_updated_v2")
    after = await door.call("get_function_configuration", FunctionName="f")
    assert (after["State"], after["LastUpdateStatus"]) == ("Active", "Successful")
    assert "LastUpdateStatusReason" not in after
    assert after["CodeSha256"] == updated["CodeSha256"] != before["CodeSha256"]
    assert len({before["RevisionId"], updated["RevisionId"], after["RevisionId"]}) == 3
    assert [name for _, name in door.retired] == ["f"]


async def test_dry_run_changes_nothing(door: Any, zip_of: Callable[..., bytes]) -> None:
    """DryRun shows what the update would give, and refuses what it would refuse."""
    before = await door.created()
    shown = await door.call("update_function_code", FunctionName="f", ZipFile=zip_of(app=""), DryRun=True)
    assert shown["CodeSha256"] != before["CodeSha256"]
    after = await door.call("get_function_configuration", FunctionName="f")
    assert after["RevisionId"] == before["RevisionId"]
    status, _, text = await door.refused("update_function_code", FunctionName="f", ZipFile=b"x", DryRun=True)
    assert (status, text.startswith("Could not unzip")) == (400, True)
    assert not door.retired


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"ImageUri": "i"}, "Please don't provide ImageUri when updating a function with packageType Zip."),
        (
            {"PublishTo": "LATEST_PUBLISHED"},
            "Berth does not implement versions of managed instances (PublishTo) yet.",
        ),
        ({}, "Please provide a source for function code."),
    ],
)
async def test_code_update_refused(door: Any, params: dict[str, Any], text: str) -> None:
    """Code updates have their own refusals."""
    await door.created()
    refused = await door.refused("update_function_code", FunctionName="f", **params)
    assert refused == (400, "InvalidParameterValueException", text)


async def test_configuration_update(door: Any) -> None:
    """Given members are replaced, the others stay."""
    await door.created(Environment={"Variables": {"AB": "1"}}, Description="old", Timeout=7)
    await door.call("update_function_configuration", FunctionName="f", Description="new", MemorySize=512)
    await door.wait("function_updated_v2")
    got = await door.call("get_function_configuration", FunctionName="f")
    assert (got["Description"], got["MemorySize"], got["Timeout"]) == ("new", 512, 7)
    assert got["Environment"] == {"Variables": {"AB": "1"}}


async def test_clearing(door: Any) -> None:
    """Whole members are replaced by empty ones, and some by their empty value go away."""
    target = "arn:aws:sqs:us-east-1:123456789012:q"
    await door.created(
        Environment={"Variables": {"AB": "1"}}, DeadLetterConfig={"TargetArn": target}, KMSKeyArn=target
    )
    await door.call(
        "update_function_configuration",
        FunctionName="f",
        Environment={"Variables": {}},
        DeadLetterConfig={"TargetArn": ""},
        KMSKeyArn="",
        VpcConfig={"SubnetIds": [], "SecurityGroupIds": []},
    )
    await door.wait("function_updated_v2")
    got = await door.call("get_function_configuration", FunctionName="f")
    assert got["Environment"] == {"Variables": {}}
    assert "DeadLetterConfig" not in got
    assert "KMSKeyArn" not in got
    assert got["VpcConfig"]["VpcId"] == ""


async def test_revision_guard(door: Any, zip_of: Callable[..., bytes]) -> None:
    """A write with a stale revision is refused; with the latest it goes through."""
    got = await door.created()
    for operation, params in (
        ("update_function_configuration", {"Timeout": 5}),
        ("update_function_code", {"ZipFile": zip_of()}),
    ):
        assert await door.refused(operation, FunctionName="f", RevisionId="stale", **params) == MISMATCH
    await door.call(
        "update_function_configuration", FunctionName="f", RevisionId=got["RevisionId"], Timeout=5
    )


async def test_second_write_while_updating(door: Any) -> None:
    """While an update is in progress, the function answers but cannot be written."""
    await door.created()
    door.readiness.allowed.clear()
    await door.call("update_function_configuration", FunctionName="f", Timeout=5)
    assert await door.refused("update_function_configuration", FunctionName="f", Timeout=6) == (
        409,
        "ResourceConflictException",
        f"The operation cannot be performed at this time. An update is in progress for resource: {ARN}",
    )
    assert (await door.call("invoke", FunctionName="f"))["StatusCode"] == 200
    door.readiness.allowed.set()
    await door.wait("function_updated_v2")


async def test_concurrent_updates_have_one_winner(door: Any) -> None:
    """Of writes at the same moment one is taken; the others hear of it, whichever way they were guarded."""
    got = await door.created()
    door.readiness.allowed.clear()
    calls = [
        door.call("update_function_configuration", FunctionName="f", Timeout=number, **guard)
        for number, guard in enumerate(
            ({}, {}, {"RevisionId": got["RevisionId"]}, {"RevisionId": got["RevisionId"]}), 1
        )
    ]
    results = await asyncio.gather(*calls, return_exceptions=True)
    errors = [result for result in results if isinstance(result, ClientError)]
    assert len(errors) == 3
    assert {error.response["ResponseMetadata"]["HTTPStatusCode"] for error in errors} <= {409, 412}


async def test_failed_update_keeps_the_old_function(door: Any, zip_of: Callable[..., bytes]) -> None:
    """An update that cannot be prepared says so, and leaves code and configuration as they were."""
    before = await door.created()
    door.readiness.fail("InvalidRuntime", "There is no image for ruby3.4.")
    await door.call("update_function_configuration", FunctionName="f", Runtime="ruby3.4", Timeout=9)
    with pytest.raises(WaiterError, match="terminal failure"):
        await door.wait("function_updated_v2")
    after = await door.call("get_function_configuration", FunctionName="f")
    assert (after["State"], after["LastUpdateStatus"]) == ("Active", "Failed")
    assert after["LastUpdateStatusReason"] == "There is no image for ruby3.4."
    assert after["LastUpdateStatusReasonCode"] == "InvalidRuntime"
    assert (after["Runtime"], after["Timeout"]) == (before["Runtime"], before["Timeout"])
    assert [name for _, name in door.retired] == ["f", "f"]


async def test_failed_function_can_be_mended(door: Any) -> None:
    """After a failed creation an update may make the function active."""
    door.readiness.fail()
    await door.create(Runtime="java21")
    with pytest.raises(WaiterError):
        await door.wait("function_active_v2")
    door.readiness.failure = None
    await door.call("update_function_configuration", FunctionName="f", Runtime="python3.12")
    await door.wait("function_updated_v2")
    assert (await door.call("get_function_configuration", FunctionName="f"))["State"] == "Active"


async def test_missing_function_and_qualified_names(door: Any, zip_of: Callable[..., bytes]) -> None:
    """Updates are for functions that exist, as a whole."""
    assert await door.refused("update_function_configuration", FunctionName="f", Timeout=1) == (
        404,
        "ResourceNotFoundException",
        f"Function not found: {ARN}",
    )
    await door.created()
    for operation, params in (
        ("update_function_configuration", {"Timeout": 1}),
        ("update_function_code", {"ZipFile": zip_of()}),
        ("publish_version", {}),
    ):
        for qualifier in ("7", "prod"):
            assert await door.refused(operation, FunctionName=f"f:{qualifier}", **params) == (
                400,
                "InvalidParameterValueException",
                (
                    "Current operation does not support versions other than $LATEST. "
                    "Please set the version to $LATEST or do not set a version in your request."
                ),
            )
    await door.call("update_function_configuration", FunctionName="f:$LATEST", Timeout=1)


async def test_restart_takes_up_updates(tmp_path: Path, serve: Callable[..., Any]) -> None:
    """An update that a process left in progress ends under the next one."""
    async with serve(tmp_path) as door:
        await door.created()
        door.readiness.allowed.clear()
        await door.call("update_function_configuration", FunctionName="f", Timeout=5)
    async with serve(tmp_path) as door:
        await door.api.resume_pending()
        await door.wait("function_updated_v2")
        assert (await door.call("get_function_configuration", FunctionName="f"))["Timeout"] == 5
