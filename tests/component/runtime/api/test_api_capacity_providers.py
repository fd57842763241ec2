"""Capacity providers, and functions that run on them."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

ARN = "arn:aws:lambda:us-east-1:123456789012:capacity-provider:here"
ROLE = "arn:aws:iam::123456789012:role/operator"
PROVIDER: dict[str, Any] = {
    "CapacityProviderName": "here",
    "VpcConfig": {"SubnetIds": ["subnet-1234abcd"], "SecurityGroupIds": ["sg-1234abcd"]},
    "PermissionsConfig": {"CapacityProviderOperatorRoleArn": ROLE},
}


def on(arn: str = ARN, **settings: Any) -> dict[str, Any]:
    config = {"CapacityProviderArn": arn, **settings}
    return {"CapacityProviderConfig": {"LambdaManagedInstancesCapacityProviderConfig": config}}


async def provide(door: Any, name: str = "here", **params: Any) -> Any:
    return await door.call("create_capacity_provider", **(PROVIDER | {"CapacityProviderName": name} | params))


async def managed(door: Any, **params: Any) -> Any:
    await provide(door)
    return await door.created(Runtime="python3.13", **(on(PerExecutionEnvironmentMaxConcurrency=4) | params))


async def test_a_providers_life(door: Any) -> None:
    """Created, shown, changed, listed, deleted; by name and by ARN."""
    made = (await provide(door, Tags={"a": "b"}))["CapacityProvider"]
    assert (made["CapacityProviderArn"], made["State"]) == (ARN, "Active")
    assert made["CapacityProviderScalingConfig"] == {"MaxVCpuCount": 400, "ScalingMode": "Auto"}
    assert made["InstanceRequirements"] == {"Architectures": ["x86_64"]}
    for name in ("here", ARN):
        found = await door.call("get_capacity_provider", CapacityProviderName=name)
        assert found["CapacityProvider"] == made
    changed = await door.call(
        "update_capacity_provider",
        CapacityProviderName="here",
        CapacityProviderScalingConfig={"MaxVCpuCount": 8},
    )
    scaling = changed["CapacityProvider"]["CapacityProviderScalingConfig"]
    assert scaling == {"MaxVCpuCount": 8, "ScalingMode": "Auto"}
    assert (await door.call("list_tags", Resource=ARN))["Tags"] == {"a": "b"}
    await provide(door, "more")
    listed = await door.call("list_capacity_providers", MaxItems=1)
    assert [each["CapacityProviderArn"] for each in listed["CapacityProviders"]] == [ARN]
    rest = await door.call("list_capacity_providers", Marker=listed["NextMarker"])
    assert len(rest["CapacityProviders"]) == 1
    assert (await door.call("list_capacity_providers", State="Failed"))["CapacityProviders"] == []
    deleted = await door.call("delete_capacity_provider", CapacityProviderName=ARN)
    assert deleted["CapacityProvider"]["State"] == "Deleting"
    refused = await door.refused("get_capacity_provider", CapacityProviderName="here")
    assert refused == (404, "ResourceNotFoundException", f"Capacity provider not found: {ARN}")


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []}}, "ValidationException"),
        ({"CapacityProviderName": "a b"}, "ValidationException"),
        ({"CapacityProviderName": ARN.replace("us-east-1", "eu-west-1")}, "ResourceNotFoundException"),
        (
            {
                "InstanceRequirements": {
                    "AllowedInstanceTypes": ["m5.large"],
                    "ExcludedInstanceTypes": ["m6.large"],
                }
            },
            "InvalidParameterValueException",
        ),
        ({"Tags": {"aws:a": "b"}}, "InvalidParameterValueException"),
    ],
)
async def test_refused_providers(door: Any, params: dict[str, Any], code: str) -> None:
    """What cannot be is not kept."""
    assert (await door.refused("create_capacity_provider", **(PROVIDER | params)))[1] == code


async def test_names_are_taken_once(door: Any) -> None:
    """409 for another of the name."""
    await provide(door)
    refused = await door.refused("create_capacity_provider", **PROVIDER)
    assert refused == (409, "ResourceConflictException", f"Capacity provider already exists: {ARN}")


@pytest.mark.parametrize(
    "operation",
    [
        "get_capacity_provider",
        "update_capacity_provider",
        "delete_capacity_provider",
        "list_function_versions_by_capacity_provider",
    ],
)
async def test_missing_providers(door: Any, operation: str) -> None:
    """404 for each."""
    refused = await door.refused(operation, CapacityProviderName="here")
    assert refused == (404, "ResourceNotFoundException", f"Capacity provider not found: {ARN}")


async def test_a_function_on_a_provider(door: Any) -> None:
    """It shows where it runs, logs in JSON, and has 2 GB unless it asks for another size; its versions are listed."""
    made = await managed(door, Publish=True)
    config = made["CapacityProviderConfig"]["LambdaManagedInstancesCapacityProviderConfig"]
    assert config == {"CapacityProviderArn": ARN, "PerExecutionEnvironmentMaxConcurrency": 4}
    assert (made["MemorySize"], made["LoggingConfig"]["LogFormat"]) == (2048, "JSON")
    listed = await door.call("list_function_versions_by_capacity_provider", CapacityProviderName="here")
    function = "arn:aws:lambda:us-east-1:123456789012:function:f"
    assert listed["CapacityProviderArn"] == ARN
    assert [(each["FunctionArn"], each["State"]) for each in listed["FunctionVersions"]] == [
        (f"{function}:$LATEST", "Active"),
        (f"{function}:1", "Active"),
    ]
    refused = await door.refused("delete_capacity_provider", CapacityProviderName="here")
    assert refused[:2] == (409, "ResourceConflictException")
    await door.call("delete_function", FunctionName="f")
    await door.call("delete_capacity_provider", CapacityProviderName="here")


async def test_it_can_be_changed(door: Any) -> None:
    """How many at once; memory and log format stay as they are, and text is not taken."""
    await managed(door, MemorySize=512)
    changes = on(PerExecutionEnvironmentMaxConcurrency=8) | {"LoggingConfig": {"LogFormat": "Text"}}
    changed = await door.call("update_function_configuration", FunctionName="f", **changes)
    config = changed["CapacityProviderConfig"]["LambdaManagedInstancesCapacityProviderConfig"]
    assert config["PerExecutionEnvironmentMaxConcurrency"] == 8
    assert (changed["MemorySize"], changed["LoggingConfig"]["LogFormat"]) == (512, "JSON")


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (on(ARN + "-not"), "does not exist"),
        (on() | {"Runtime": "python3.11"}, "The runtime python3.11 is not supported"),
        (on() | {"SnapStart": {"ApplyOn": "PublishedVersions"}}, "SnapStart is not supported"),
        (on() | {"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}, "TenancyConfig is not supported"),
        (on() | {"PublishTo": "LATEST_PUBLISHED"}, "does not implement versions of managed instances"),
    ],
)
async def test_refused_functions(door: Any, params: dict[str, Any], text: str) -> None:
    """What cannot run on a provider."""
    await provide(door)
    with pytest.raises(ClientError) as refused:
        await door.create(**({"Runtime": "python3.13"} | params))
    error = refused.value.response["Error"]
    assert error["Code"] == "InvalidParameterValueException"
    assert text in error["Message"]


async def test_only_from_the_beginning(door: Any) -> None:
    """An ordinary function stays one."""
    await provide(door)
    await door.created()
    refused = await door.refused("update_function_configuration", FunctionName="f", **on())
    assert refused[1] == "InvalidParameterValueException"


async def test_no_provisioned_concurrency(door: Any) -> None:
    """Its environments are not provisioned one by one."""
    await managed(door, Publish=True)
    refused = await door.refused(
        "put_provisioned_concurrency_config",
        FunctionName="f",
        Qualifier="1",
        ProvisionedConcurrentExecutions=1,
    )
    assert refused[1] == "InvalidParameterValueException"


async def test_scaling(door: Any) -> None:
    """What is asked for is kept and shown; that it is applied is not said."""
    await managed(door, Publish=True)
    place = {"FunctionName": "f", "Qualifier": "1"}
    wanted = {"MinExecutionEnvironments": 1, "MaxExecutionEnvironments": 3}
    put = await door.call("put_function_scaling_config", FunctionScalingConfig=wanted, **place)
    assert put["FunctionState"] == "Active"
    got = await door.call("get_function_scaling_config", **place)
    assert got["FunctionArn"].endswith(":function:f:1")
    assert got["RequestedFunctionScalingConfig"] == wanted
    assert "AppliedFunctionScalingConfig" not in got
    wrong = {"MinExecutionEnvironments": 4, "MaxExecutionEnvironments": 3}
    refused = await door.refused("put_function_scaling_config", FunctionScalingConfig=wrong, **place)
    assert refused[1] == "InvalidParameterValueException"
    missing = await door.refused("get_function_scaling_config", FunctionName="f", Qualifier="2")
    assert missing[:2] == (404, "ResourceNotFoundException")


async def test_scaling_of_ordinary_functions(door: Any) -> None:
    """They have none."""
    await door.published()
    refused = await door.refused("get_function_scaling_config", FunctionName="f", Qualifier="1")
    assert refused[1] == "InvalidParameterValueException"


async def test_limits_of_providers(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an account, and of versions on one of them: AWS's numbers, here smaller ones."""
    monkeypatch.setattr("runtime.api.capacity_providers.PROVIDERS_LIMIT", 1)
    monkeypatch.setattr("runtime.api.managed_functions.VERSIONS_LIMIT", 1)
    await managed(door)
    second = PROVIDER | {"CapacityProviderName": "second"}
    refused = await door.refused("create_capacity_provider", **second)
    assert refused[:2] == (400, "CapacityProviderLimitExceededException")
    await door.call("update_function_configuration", FunctionName="f", Timeout=9)
    await door.wait("function_updated_v2")
    refused = await door.refused("publish_version", FunctionName="f")
    assert refused[:2] == (400, "FunctionVersionsPerCapacityProviderLimitExceededException")
