"""Code signing configurations, and small settings of functions, through boto3."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f"
INVALID, MISSING = "InvalidParameterValueException", "ResourceNotFoundException"
PROFILE = "arn:aws:signer:us-east-1:123456789012:/signing-profiles/test"
NOWHERE = "arn:aws:lambda:us-east-1:123456789012:code-signing-config:csc-" + "0" * 17
PUBLISHERS = {"SigningProfileVersionArns": [PROFILE]}


async def configured(door: Any, **params: Any) -> str:
    """The ARN of a new configuration."""
    made = await door.call("create_code_signing_config", AllowedPublishers=PUBLISHERS, **params)
    return str(made["CodeSigningConfig"]["CodeSigningConfigArn"])


async def test_life_of_a_configuration(door: Any) -> None:
    """Created, read, changed, listed, deleted."""
    made = await door.call("create_code_signing_config", AllowedPublishers=PUBLISHERS, Description="d")
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    config = made["CodeSigningConfig"]
    arn, identifier = config["CodeSigningConfigArn"], config["CodeSigningConfigId"]
    assert arn == f"arn:aws:lambda:us-east-1:123456789012:code-signing-config:{identifier}"
    assert config["LastModified"].endswith("+0000")
    shown = {
        "CodeSigningConfigId": identifier,
        "CodeSigningConfigArn": arn,
        "Description": "d",
        "AllowedPublishers": PUBLISHERS,
        "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": "Warn"},
        "LastModified": config["LastModified"],
    }
    assert config == shown
    got = await door.call("get_code_signing_config", CodeSigningConfigArn=arn)
    assert got["CodeSigningConfig"] == shown
    enforce = {"UntrustedArtifactOnDeployment": "Enforce"}
    changed = await door.call(
        "update_code_signing_config", CodeSigningConfigArn=arn, CodeSigningPolicies=enforce
    )
    assert changed["CodeSigningConfig"]["CodeSigningPolicies"] == enforce
    assert changed["CodeSigningConfig"]["Description"] == "d"
    other = await configured(door)
    page = await door.call("list_code_signing_configs", MaxItems=1)
    rest = await door.call("list_code_signing_configs", Marker=page["NextMarker"])
    arns = {each["CodeSigningConfigArn"] for part in (page, rest) for each in part["CodeSigningConfigs"]}
    assert arns == {arn, other}
    deleted = await door.call("delete_code_signing_config", CodeSigningConfigArn=arn)
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert (await door.refused("get_code_signing_config", CodeSigningConfigArn=arn))[1] == MISSING


async def test_functions_of_a_configuration(door: Any) -> None:
    """A function uses one, shows it, and lets go of it; a used one stays."""
    await door.created()
    arn = await configured(door)
    nothing = await door.call("get_function_code_signing_config", FunctionName="f")
    assert nothing.keys() == {"ResponseMetadata"}
    put = await door.call("put_function_code_signing_config", FunctionName="f", CodeSigningConfigArn=arn)
    got = await door.call("get_function_code_signing_config", FunctionName=FUNCTION)
    for answer in (put, got):
        assert (answer["CodeSigningConfigArn"], answer["FunctionName"]) == (arn, "f")
    used = await door.call("list_functions_by_code_signing_config", CodeSigningConfigArn=arn)
    assert used["FunctionArns"] == [FUNCTION]
    in_use = await door.refused("delete_code_signing_config", CodeSigningConfigArn=arn)
    assert in_use[:2] == (409, "ResourceConflictException")
    for _ in range(2):
        gone = await door.call("delete_function_code_signing_config", FunctionName="f")
        assert gone["ResponseMetadata"]["HTTPStatusCode"] == 204
    unused = await door.call("list_functions_by_code_signing_config", CodeSigningConfigArn=arn)
    assert unused["FunctionArns"] == []
    await door.call("delete_code_signing_config", CodeSigningConfigArn=arn)


async def test_enforced_signatures(door: Any) -> None:
    """Where signatures are enforced, an unsigned package is refused: uploads are always unsigned."""
    created = await door.created()
    arn = await configured(door)
    await door.call("put_function_code_signing_config", FunctionName="f", CodeSigningConfigArn=arn)
    code = {"FunctionName": "f", "ZipFile": b"x"}
    assert (await door.refused("update_function_code", **code))[1] == INVALID  # only warned: no zip at all
    enforce = {"UntrustedArtifactOnDeployment": "Enforce"}
    await door.call("update_code_signing_config", CodeSigningConfigArn=arn, CodeSigningPolicies=enforce)
    text = (
        "Lambda cannot deploy the function. The function or layer might be signed using a signature that the client "
        f"is not configured to accept. Check the provided signature for {FUNCTION}."
    )
    refused = await door.refused("update_function_code", **code)
    assert refused == (400, "CodeVerificationFailedException", text)
    got = await door.call("get_function_configuration", FunctionName="f")
    assert got["CodeSha256"] == created["CodeSha256"]


async def test_a_function_created_with_a_configuration(door: Any) -> None:
    """It uses it from the beginning, where unsigned code is only warned of."""
    arn = await configured(door)
    await door.created(CodeSigningConfigArn=arn)
    used = await door.call("get_function_code_signing_config", FunctionName="f")
    assert (used["CodeSigningConfigArn"], used["FunctionName"]) == (arn, "f")
    listed = await door.call("list_functions_by_code_signing_config", CodeSigningConfigArn=arn)
    assert listed["FunctionArns"] == [FUNCTION]
    assert (await door.refused("delete_code_signing_config", CodeSigningConfigArn=arn))[0] == 409


async def test_a_function_that_may_not_be_created_unsigned(door: Any) -> None:
    """One whose configuration enforces signatures, is not there, or is to go with an image: there is no function then."""
    enforce = {"UntrustedArtifactOnDeployment": "Enforce"}
    arn = await configured(door, CodeSigningPolicies=enforce)
    with pytest.raises(ClientError) as error:
        await door.create(CodeSigningConfigArn=arn)
    assert error.value.response["Error"]["Code"] == "CodeVerificationFailedException"
    with pytest.raises(ClientError) as error:
        await door.create(CodeSigningConfigArn=NOWHERE)
    assert error.value.response["Error"]["Code"] == "CodeSigningConfigNotFoundException"
    with pytest.raises(ClientError) as error:
        await door.create(CodeSigningConfigArn=arn, PackageType="Image", Code={"ImageUri": "any"})
    assert error.value.response["Error"]["Code"] == INVALID
    assert (await door.refused("get_function", FunctionName="f"))[0] == 404


async def test_layers_where_signatures_are_enforced(door: Any, zip_of: Any) -> None:
    """Layers are unsigned too: none is added; those that are there stay or go."""
    arns = []
    for _ in range(2):
        made = await door.call("publish_layer_version", LayerName="l", Content={"ZipFile": zip_of()})
        arns.append(made["LayerVersionArn"])
    await door.created(Layers=arns[:1])
    arn = await configured(door, CodeSigningPolicies={"UntrustedArtifactOnDeployment": "Enforce"})
    await door.call("put_function_code_signing_config", FunctionName="f", CodeSigningConfigArn=arn)
    refused = await door.refused("update_function_configuration", FunctionName="f", Layers=arns[1:])
    assert refused[:2] == (400, "CodeVerificationFailedException")
    for layers in (arns[:1], []):
        await door.call("update_function_configuration", FunctionName="f", Layers=layers)
        await door.wait("function_updated_v2")


async def test_code_signing_refusals(door: Any) -> None:
    """What is missing is missing; AWS leaves out `Type` for the configuration itself."""
    await door.created()
    text = f"The Lambda code signing configuration {NOWHERE} can not be found."
    for operation in (
        "get_code_signing_config",
        "update_code_signing_config",
        "delete_code_signing_config",
        "list_functions_by_code_signing_config",
    ):
        with pytest.raises(ClientError) as error:
            await door.call(operation, CodeSigningConfigArn=NOWHERE)
        response = error.value.response
        assert response["Error"] == {"Code": MISSING, "Message": text}
        assert "Type" not in response
    for name in ("f", "fx"):
        text = (
            "The code signing configuration cannot be found. "
            f"Check that the provided configuration is not deleted: {NOWHERE}."
        )
        params = {"FunctionName": name, "CodeSigningConfigArn": NOWHERE}
        refused = await door.refused("put_function_code_signing_config", **params)
        assert refused == (404, "CodeSigningConfigNotFoundException", text)
    arn = await configured(door)
    missing = (404, MISSING, f"Function not found: {FUNCTION}x")
    params = {"FunctionName": "fx", "CodeSigningConfigArn": arn}
    assert await door.refused("put_function_code_signing_config", **params) == missing
    for operation in ("get_function_code_signing_config", "delete_function_code_signing_config"):
        assert await door.refused(operation, FunctionName="fx") == missing
    foreign = arn.replace("us-east-1", "eu-west-1")
    text = f"The Lambda code signing configuration {foreign} can not be found."
    refused = await door.refused("get_code_signing_config", CodeSigningConfigArn=foreign)
    assert refused == (404, MISSING, text)
    params = {"FunctionName": "f", "CodeSigningConfigArn": foreign}
    refused = await door.refused("put_function_code_signing_config", **params)
    assert refused[:2] == (404, "CodeSigningConfigNotFoundException")
    many = {"SigningProfileVersionArns": [PROFILE] * 21}
    assert (await door.refused("create_code_signing_config", AllowedPublishers=many))[
        1
    ] == "ValidationException"


async def test_recursion(door: Any) -> None:
    """Terminate, until something else is put; gone with the function."""
    await door.created()
    get, put = "get_function_recursion_config", "put_function_recursion_config"
    assert (await door.call(get, FunctionName="f"))["RecursiveLoop"] == "Terminate"
    for value in ("Allow", "Terminate", "Allow"):
        assert (await door.call(put, FunctionName="f", RecursiveLoop=value))["RecursiveLoop"] == value
        assert (await door.call(get, FunctionName=FUNCTION))["RecursiveLoop"] == value
    assert (await door.refused(put, FunctionName="f", RecursiveLoop="No"))[1] == "ValidationException"
    for operation, params in ((get, {}), (put, {"RecursiveLoop": "Allow"})):
        missing = (404, MISSING, f"Function not found: {FUNCTION}x")
        assert await door.refused(operation, FunctionName="fx", **params) == missing
    await door.call("delete_function", FunctionName="f")
    await door.created()
    assert (await door.call(get, FunctionName="f"))["RecursiveLoop"] == "Terminate"


async def test_runtime_management(door: Any) -> None:
    """Each version has its own; Auto, until something else is put."""
    await door.published()
    await door.alias()
    get, put = "get_runtime_management_config", "put_runtime_management_config"
    default = await door.call(get, FunctionName="f")
    del default["ResponseMetadata"]
    assert default == {"UpdateRuntimeOn": "Auto", "FunctionArn": f"{FUNCTION}:$LATEST"}
    runtime = "arn:aws:lambda:us-east-1::runtime:" + "0" * 64
    manual = {"UpdateRuntimeOn": "Manual", "RuntimeVersionArn": runtime}
    assert manual.items() <= (await door.call(put, FunctionName="f:1", **manual)).items()
    assert (await door.call(get, FunctionName="f"))["UpdateRuntimeOn"] == "Auto"
    got = await door.call(get, FunctionName="f", Qualifier="1")
    assert (got["RuntimeVersionArn"], got["FunctionArn"]) == (runtime, f"{FUNCTION}:1")
    changed = await door.call(put, FunctionName="f:1", UpdateRuntimeOn="FunctionUpdate")
    assert "RuntimeVersionArn" not in changed
    for params in ({"UpdateRuntimeOn": "Manual"}, manual | {"UpdateRuntimeOn": "Auto"}):
        assert (await door.refused(put, FunctionName="f", **params))[:2] == (400, INVALID)
    for operation, params in ((get, {}), (put, manual)):
        assert (await door.refused(operation, FunctionName="f:live", **params))[:2] == (400, INVALID)
    missing = (404, MISSING, f"Function not found: {FUNCTION}:2")
    assert await door.refused(get, FunctionName="f:2") == missing
    assert await door.refused(put, FunctionName="f:2", **manual) == missing
