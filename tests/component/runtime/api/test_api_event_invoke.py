"""Configuration of asynchronous invocation, through boto3."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"
INVALID, MISSING = "InvalidParameterValueException", "ResourceNotFoundException"
QUEUE = "arn:aws:sqs:us-east-1:123456789012:queue"
BUCKET = "arn:aws:s3:::bucket"
BAD_CONFIG = "The provided destination config DestinationConfig(onSuccess={}, onFailure={}) is invalid."
EMPTY: dict[str, Any] = {"OnSuccess": {}, "OnFailure": {}}


def shown(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what differs each time."""
    return {name: value for name, value in answer.items() if name not in {"ResponseMetadata", "LastModified"}}


async def test_life_of_a_configuration(door: Any) -> None:
    """Put replaces, update changes what it names, delete removes."""
    await door.created()
    put = await door.call(
        "put_function_event_invoke_config",
        FunctionName="f",
        MaximumRetryAttempts=2,
        MaximumEventAgeInSeconds=60,
    )
    expected = {
        "FunctionArn": f"{ARN}:$LATEST",
        "MaximumRetryAttempts": 2,
        "MaximumEventAgeInSeconds": 60,
        "DestinationConfig": EMPTY,
    }
    assert shown(put) == expected
    assert abs(put["LastModified"] - datetime.now(UTC)) < timedelta(minutes=1)
    updated = await door.call(
        "update_function_event_invoke_config",
        FunctionName="f",
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": QUEUE}},
    )
    expected |= {
        "MaximumRetryAttempts": 0,
        "DestinationConfig": EMPTY | {"OnFailure": {"Destination": QUEUE}},
    }
    assert shown(updated) == expected
    assert shown(await door.call("get_function_event_invoke_config", FunctionName="f")) == expected
    success = {"OnSuccess": {"Destination": QUEUE}, "OnFailure": {"Destination": ""}}
    changed = await door.call(
        "update_function_event_invoke_config", FunctionName="f", DestinationConfig=success
    )
    assert changed["DestinationConfig"] == EMPTY | {"OnSuccess": {"Destination": QUEUE}}
    replaced = await door.call(
        "put_function_event_invoke_config", FunctionName="f", MaximumEventAgeInSeconds=21_600
    )
    assert shown(replaced) == {
        "FunctionArn": f"{ARN}:$LATEST",
        "MaximumEventAgeInSeconds": 21_600,
        "DestinationConfig": EMPTY,
    }
    deleted = await door.call("delete_function_event_invoke_config", FunctionName="f:$LATEST")
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    none = (404, MISSING, f"The function {ARN}:$LATEST doesn't have an EventInvokeConfig")
    for operation in ("get_function_event_invoke_config", "delete_function_event_invoke_config"):
        assert await door.refused(operation, FunctionName="f") == none


async def test_configurations_of_qualifiers(door: Any) -> None:
    """`$LATEST`, versions and aliases are configured for themselves, and listed together in pages."""
    await door.published()
    await door.alias()
    for qualifier, retries in (("1", 1), ("live", 2), ("$LATEST", 0)):
        await door.call(
            "put_function_event_invoke_config",
            FunctionName="f",
            Qualifier=qualifier,
            MaximumRetryAttempts=retries,
        )
    got = await door.call("get_function_event_invoke_config", FunctionName=f"{ARN}:1")
    assert (got["FunctionArn"], got["MaximumRetryAttempts"]) == (f"{ARN}:1", 1)
    page = await door.call("list_function_event_invoke_configs", FunctionName="f", MaxItems=1)
    rest = await door.call("list_function_event_invoke_configs", FunctionName="f", Marker=page["NextMarker"])
    arns = [each["FunctionArn"] for part in (page, rest) for each in part["FunctionEventInvokeConfigs"]]
    assert arns == [f"{ARN}:$LATEST", f"{ARN}:1", f"{ARN}:live"]
    await door.call("delete_alias", FunctionName="f", Name="live")
    none = (404, MISSING, f"The function {ARN}:live doesn't have an EventInvokeConfig")
    assert await door.refused("get_function_event_invoke_config", FunctionName="f:live") == none
    await door.call("delete_function", FunctionName="f")
    await door.created()
    listed = await door.call("list_function_event_invoke_configs", FunctionName="f")
    assert listed["FunctionEventInvokeConfigs"] == []


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (
            {"OnSuccess": {"Destination": BUCKET}},
            BAD_CONFIG.format(f"OnSuccess(destination={BUCKET})", "null"),
        ),
        (
            {"OnSuccess": {"Destination": QUEUE}, "OnFailure": {"Destination": "kafka://topic"}},
            BAD_CONFIG.format(f"OnSuccess(destination={QUEUE})", "OnFailure(destination=kafka://topic)"),
        ),
        ({"OnSuccess": {"Destination": f"{ARN}x"}}, f"The destination ARN {ARN}x is invalid."),
        ({"OnSuccess": {"Destination": ARN}}, "You can't specify the function as a destination for itself."),
        (
            {"OnFailure": {"Destination": f"{ARN}:1"}},
            "You can't specify the function as a destination for itself.",
        ),
    ],
)
async def test_bad_destinations(door: Any, config: dict[str, Any], text: str) -> None:
    """Destinations are of kinds that can receive outcomes, exist as far as is known, and are not the function."""
    await door.published()
    await door.call("put_function_event_invoke_config", FunctionName="f", MaximumRetryAttempts=1)
    for operation in ("put_function_event_invoke_config", "update_function_event_invoke_config"):
        refused = await door.refused(operation, FunctionName="f", DestinationConfig=config)
        assert refused == (400, INVALID, text)
    assert (await door.call("get_function_event_invoke_config", FunctionName="f"))[
        "DestinationConfig"
    ] == EMPTY


@pytest.mark.parametrize(
    "arn",
    [
        QUEUE,
        "arn:aws:sns:us-east-1:123456789012:topic",
        "arn:aws:events:us-east-1:123456789012:event-bus/default",
        "arn:aws:lambda:us-east-1:123456789012:function:g",
        "arn:aws:lambda:eu-west-1:210987654321:function:far",
        BUCKET,
    ],
)
async def test_good_destinations(door: Any, arn: str) -> None:
    """All kinds of destinations are kept as they were given."""
    await door.created()
    await door.created("g")
    config = {"OnFailure": {"Destination": arn}}
    await door.call("put_function_event_invoke_config", FunctionName="f", DestinationConfig=config)
    got = await door.call("get_function_event_invoke_config", FunctionName="f")
    assert got["DestinationConfig"] == EMPTY | config


async def test_event_invoke_refusals(door: Any) -> None:
    """What is missing, out of range, or says nothing."""
    await door.created()
    no_function = (404, MISSING, "The function doesn't exist.")
    for operation in ("put_function_event_invoke_config", "update_function_event_invoke_config"):
        for name in ("fx", "f:1", "f:no"):
            refused = await door.refused(operation, FunctionName=name, MaximumRetryAttempts=1)
            assert refused == no_function
        nothing = "You must specify at least one of error handling or destination setting."
        assert await door.refused(operation, FunctionName="f") == (400, INVALID, nothing)
        for member, value in (
            ("MaximumRetryAttempts", 3),
            ("MaximumEventAgeInSeconds", 59),
            ("MaximumEventAgeInSeconds", 21_601),
        ):
            assert (await door.refused(operation, FunctionName="f", **{member: value}))[
                1
            ] == "ValidationException"
    assert await door.refused("list_function_event_invoke_configs", FunctionName="fx") == no_function
    none = "The function {} doesn't have an EventInvokeConfig"
    for operation in ("get_function_event_invoke_config", "delete_function_event_invoke_config"):
        for name, arn in (("fx", f"{ARN}x:$LATEST"), ("f:no", f"{ARN}:no")):
            assert await door.refused(operation, FunctionName=name) == (404, MISSING, none.format(arn))
    update = {"FunctionName": "f", "MaximumRetryAttempts": 1}
    refused = await door.refused("update_function_event_invoke_config", **update)
    assert refused == (404, MISSING, none.format(f"{ARN}:$LATEST"))
