"""Function URLs, through boto3."""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f"
INVALID, MISSING = "InvalidParameterValueException", "ResourceNotFoundException"
NO_FUNCTION = (404, MISSING, "Function does not exist")
NO_URL = (404, MISSING, "The resource you requested does not exist.")
CORS = {
    "AllowCredentials": True,
    "AllowHeaders": ["x-a"],
    "AllowMethods": ["GET", "*"],
    "AllowOrigins": ["https://example.com"],
    "ExposeHeaders": ["x-b"],
    "MaxAge": 86_400,
}


async def test_life_of_a_url(door: Any) -> None:
    """Created, read, listed, changed, deleted."""
    await door.created()
    made = await door.call("create_function_url_config", FunctionName="f", AuthType="NONE")
    assert made.pop("ResponseMetadata")["HTTPStatusCode"] == 201
    assert made.keys() == {"FunctionUrl", "FunctionArn", "AuthType", "CreationTime"}
    assert (made["FunctionArn"], made["AuthType"]) == (FUNCTION, "NONE")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", made["CreationTime"])
    assert made["FunctionUrl"].endswith("/")
    parts, here = urlsplit(made["FunctionUrl"]), urlsplit(door.url)
    assert (parts.scheme, parts.port) == ("http", here.port)
    assert re.fullmatch(r"[a-z2-7]{32}\.lambda-url\.us-east-1\.localhost", parts.hostname or "")
    got = await door.call("get_function_url_config", FunctionName=FUNCTION)
    assert made.items() <= got.items()
    assert (got["InvokeMode"], got["LastModifiedTime"]) == ("BUFFERED", made["CreationTime"])
    changed = await door.call(
        "update_function_url_config", FunctionName="f", Cors=CORS, InvokeMode="RESPONSE_STREAM"
    )
    assert (changed["Cors"], changed["InvokeMode"], changed["AuthType"]) == (CORS, "RESPONSE_STREAM", "NONE")
    kept = await door.call("update_function_url_config", FunctionName="f")
    assert (kept["Cors"], kept["InvokeMode"]) == (CORS, "RESPONSE_STREAM")
    cleared = await door.call("update_function_url_config", FunctionName="f", Cors={}, AuthType="AWS_IAM")
    assert ("Cors" in cleared, cleared["AuthType"]) == (False, "AWS_IAM")
    (listed,) = (await door.call("list_function_url_configs", FunctionName="f"))["FunctionUrlConfigs"]
    assert listed["FunctionUrl"] == made["FunctionUrl"]
    deleted = await door.call("delete_function_url_config", FunctionName="f")
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert await door.refused("get_function_url_config", FunctionName="f") == NO_URL
    assert (await door.call("list_function_url_configs", FunctionName="f"))["FunctionUrlConfigs"] == []


async def test_created_with_everything(door: Any) -> None:
    """What is given is shown; a second URL is refused, a new one after deletion is another."""
    await door.created()
    params = {"FunctionName": "f", "AuthType": "AWS_IAM", "Cors": CORS, "InvokeMode": "BUFFERED"}
    made = await door.call("create_function_url_config", **params)
    assert (made["Cors"], made["InvokeMode"], made["AuthType"]) == (CORS, "BUFFERED", "AWS_IAM")
    exists = (
        f"Failed to create function url config for [functionArn = {FUNCTION}]. "
        "Error message:  FunctionUrlConfig exists for this Lambda function"
    )
    refused = await door.refused("create_function_url_config", **params)
    assert refused == (409, "ResourceConflictException", exists)
    await door.call("delete_function", FunctionName="f")
    assert await door.refused("get_function_url_config", FunctionName="f") == NO_URL
    await door.created()
    again = await door.call("create_function_url_config", **params)
    assert again["FunctionUrl"] != made["FunctionUrl"]


async def test_urls_of_aliases(door: Any) -> None:
    """An alias has a URL of its own, which goes with it; both are listed with the function."""
    await door.published()
    await door.alias()
    own = await door.call("create_function_url_config", FunctionName="f", AuthType="NONE")
    made = await door.call(
        "create_function_url_config", FunctionName="f", Qualifier="live", AuthType="AWS_IAM"
    )
    assert made["FunctionArn"] == f"{FUNCTION}:live"
    assert made["FunctionUrl"] != own["FunctionUrl"]
    page = await door.call("list_function_url_configs", FunctionName="f", MaxItems=1)
    rest = await door.call("list_function_url_configs", FunctionName="f", Marker=page["NextMarker"])
    urls = [each["FunctionUrl"] for part in (page, rest) for each in part["FunctionUrlConfigs"]]
    assert urls == [own["FunctionUrl"], made["FunctionUrl"]]
    got = await door.call("get_function_url_config", FunctionName="f:live")
    assert got["AuthType"] == "AWS_IAM"
    await door.call("delete_alias", FunctionName="f", Name="live")
    assert await door.refused("get_function_url_config", FunctionName="f", Qualifier="live") == NO_URL
    await door.call("get_function_url_config", FunctionName="f")


@pytest.mark.parametrize("operation", ["create", "get", "update", "delete"])
async def test_url_refusals(door: Any, operation: str) -> None:
    """Only functions and aliases have URLs."""
    await door.created()
    name = f"{operation}_function_url_config"
    value = {"AuthType": "NONE"} if operation == "create" else {}
    missing = NO_FUNCTION if operation in {"create", "update"} else NO_URL
    assert await door.refused(name, FunctionName="fx", **value) == missing
    assert await door.refused(name, FunctionName="f", Qualifier="no", **value) == missing
    for qualifier in ("1", "$LATEST"):
        pattern = (
            f"1 validation error detected: Value '{qualifier}' at 'qualifier' failed to satisfy constraint: "
            r"Member must satisfy regular expression pattern: ((?!^\d+$)^[0-9a-zA-Z-_]+$)"
        )
        refused = await door.refused(name, FunctionName="f", Qualifier=qualifier, **value)
        assert refused == (400, "ValidationException", pattern)
    if operation != "create":
        assert await door.refused(name, FunctionName="f") == NO_URL
    assert await door.refused("list_function_url_configs", FunctionName="fx") == NO_FUNCTION


async def test_url_constraints(door: Any) -> None:
    """The model's limits hold."""
    await door.created()
    for params in (
        {"AuthType": "OPEN"},
        {"AuthType": "NONE", "InvokeMode": "FAST"},
        {"AuthType": "NONE", "Cors": {"MaxAge": 86_401}},
        {"AuthType": "NONE", "Cors": {"AllowMethods": ["GET"] * 7}},
    ):
        refused = await door.refused("create_function_url_config", FunctionName="f", **params)
        assert refused[:2] == (400, "ValidationException")
