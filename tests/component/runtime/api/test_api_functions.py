"""Functions through boto3: their life, and how AWS words every refusal."""

import asyncio
import base64
import hashlib
import urllib.request
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import WaiterError

ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"
INVALID = "InvalidParameterValueException"


async def test_life_of_a_function(door: Any) -> None:
    """A function is created pending, becomes active, answers and goes."""
    created = await door.create()
    assert (created["State"], created["StateReasonCode"]) == ("Pending", "Creating")
    await door.wait("function_active_v2")
    got = await door.call("get_function", FunctionName="f")
    assert got["Configuration"]["State"] == "Active"
    answer = await door.call("invoke", FunctionName="f", Payload=b'{"a": 1}')
    assert answer["Payload"].read() == b'{"a": 1}'
    deleted = await door.call("delete_function", FunctionName="f")
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert await door.refused("get_function", FunctionName="f") == (
        404,
        "ResourceNotFoundException",
        f"Function not found: {ARN}",
    )
    assert [name for _, name in door.retired] == ["f"]


async def test_creation_shows_the_whole_configuration(door: Any, zip_of: Callable[..., bytes]) -> None:
    """The response to CreateFunction has AWS's members, defaults and forms."""
    package = zip_of()
    created = await door.create(Code={"ZipFile": package})
    meta = created.pop("ResponseMetadata")
    assert meta["HTTPStatusCode"] == 201
    datetime.strptime(created.pop("LastModified"), "%Y-%m-%dT%H:%M:%S.%f%z")
    assert len(created.pop("RevisionId")) == 36
    runtime_version = created.pop("RuntimeVersionConfig")["RuntimeVersionArn"]
    assert runtime_version.startswith("arn:aws:lambda:us-east-1::runtime:")
    assert created == {
        "FunctionName": "f",
        "FunctionArn": ARN,
        "Runtime": "python3.12",
        "Role": "arn:aws:iam::123456789012:role/lambda-role",
        "Handler": "app.handler",
        "CodeSize": len(package),
        "CodeSha256": base64.b64encode(hashlib.sha256(package).digest()).decode(),
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "Version": "$LATEST",
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
        "EphemeralStorage": {"Size": 512},
        "TracingConfig": {"Mode": "PassThrough"},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"},
        "State": "Pending",
        "StateReason": "The function is being created.",
        "StateReasonCode": "Creating",
    }


async def test_active_function_has_a_new_revision(door: Any) -> None:
    """Becoming active changes the revision and takes the reasons away."""
    created = await door.create()
    await door.wait("function_active_v2")
    await door.wait("function_updated_v2")
    got = await door.call("get_function_configuration", FunctionName="f")
    assert got["RevisionId"] != created["RevisionId"]
    assert (got["State"], got["LastUpdateStatus"]) == ("Active", "Successful")
    assert not {"StateReason", "StateReasonCode", "LastUpdateStatusReason"} & got.keys()


async def test_every_member_is_kept(door: Any) -> None:
    """What is configured is what is shown, declared members included."""
    members: dict[str, Any] = {
        "Description": "d",
        "Timeout": 900,
        "MemorySize": 10240,
        "EphemeralStorage": {"Size": 10240},
        "Architectures": ["arm64"],
        "TracingConfig": {"Mode": "Active"},
        "Environment": {"Variables": {"KEY": "värde"}},
        "KMSKeyArn": "arn:aws:kms:us-east-1:123456789012:key/k",
        "DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:123456789012:q"},
        "FileSystemConfigs": [
            {
                "Arn": "arn:aws:elasticfilesystem:us-east-1:123456789012:access-point/fsap-0123456789abcdef0",
                "LocalMountPath": "/mnt/x",
            }
        ],
    }
    got = await door.created(
        **members,
        Tags={"a": "b"},
        LoggingConfig={"LogFormat": "JSON", "LogGroup": "mine"},
        SnapStart={"ApplyOn": "PublishedVersions"},
        VpcConfig={"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
    )
    assert members.items() <= got.items()
    assert got["LoggingConfig"] == {
        "LogFormat": "JSON",
        "ApplicationLogLevel": "INFO",
        "SystemLogLevel": "INFO",
        "LogGroup": "mine",
    }
    assert got["SnapStart"]["ApplyOn"] == "PublishedVersions"
    assert got["VpcConfig"]["SubnetIds"] == ["subnet-1"]
    assert (await door.call("get_function", FunctionName="f"))["Tags"] == {"a": "b"}


@pytest.mark.parametrize(
    ("environment", "shown"), [({}, {}), ({"Variables": {}}, {}), ({"Variables": {"AB": ""}}, {"AB": ""})]
)
async def test_environment_once_set_is_shown(door: Any, environment: Any, shown: Any) -> None:
    """An environment that was given empty is shown empty; one never given is absent."""
    assert (await door.create(Environment=environment))["Environment"] == {"Variables": shown}


async def test_code_location_serves_the_package(door: Any, zip_of: Callable[..., bytes]) -> None:
    """`Code.Location` is a working link; with another token it is not."""
    package = zip_of(app="x = 1\n")
    await door.create(Code={"ZipFile": package})
    code = (await door.call("get_function", FunctionName="f"))["Code"]
    assert code["RepositoryType"] == "S3"

    def download() -> bytes:
        with urllib.request.urlopen(code["Location"]) as response:  # noqa: S310 - our own server
            found: bytes = response.read()
            return found

    assert await door.aside(download) == package
    path = code["Location"].removeprefix(door.url)
    status, _, _ = await door.raw("GET", path.partition("?")[0])
    assert status == 403
    status, _, _ = await door.raw("GET", path.replace("token=", "token=%C3%A9"))
    assert status == 403


@pytest.mark.parametrize(
    "identifier",
    ["f", "f:$LATEST", "function:f", "123456789012:function:f", ARN, f"{ARN}:$LATEST"],
)
async def test_identifier_forms(door: Any, identifier: str) -> None:
    """Every form of the name leads to the function; the ARN shown has the qualifier that was asked for."""
    await door.created()
    got = await door.call("get_function_configuration", FunctionName=identifier)
    assert got["FunctionArn"] == (f"{ARN}:$LATEST" if "$LATEST" in identifier else ARN)
    answer = await door.call("invoke", FunctionName=identifier)
    assert answer["StatusCode"] == 200


async def test_qualifiers(door: Any) -> None:
    """`$LATEST` is there; a version or an alias that is not, is a 404 with the qualified ARN."""
    await door.created()
    got = await door.call("get_function", FunctionName="f", Qualifier="$LATEST")
    assert got["Configuration"]["FunctionArn"] == f"{ARN}:$LATEST"
    for qualifier in ("7", "prod"):
        assert await door.refused("get_function", FunctionName="f", Qualifier=qualifier) == (
            404,
            "ResourceNotFoundException",
            f"Function not found: {ARN}:{qualifier}",
        )
    status, code, text = await door.refused("get_function", FunctionName="f:1", Qualifier="2")
    assert (status, code) == (400, INVALID)
    assert text == "The derived qualifier from the function name does not match the specified qualifier."


async def test_bad_identifier(door: Any) -> None:
    """A name that fits no form is a ValidationException with the model's pattern."""
    status, code, text = await door.refused("get_function", FunctionName="not a name")
    assert (status, code) == (400, "ValidationException")
    assert text.startswith(
        "1 validation error detected: Value 'not a name' at 'functionName' failed to satisfy"
    )


async def test_scopes_are_apart(door: Any) -> None:
    """Account and region of the request decide what exists; ARNs of others are out of reach."""
    await door.created()
    elsewhere = door.client(region="eu-west-1")
    assert await door.aside(lambda: elsewhere.list_functions()["Functions"]) == []
    with pytest.raises(
        elsewhere.exceptions.ResourceNotFoundException, match="are not reachable in this region"
    ):
        await door.aside(elsewhere.get_function, FunctionName=ARN)
    stranger = door.client(key="000000000001")
    with pytest.raises(stranger.exceptions.ClientError, match="AccessDeniedException"):
        await door.aside(stranger.invoke, FunctionName=ARN)


async def test_duplicate(door: Any) -> None:
    """A name can be taken once."""
    await door.create()
    expected = (409, "ResourceConflictException", "Function already exist: f")
    assert await door.refused("create_function", **_params(door)) == expected


async def test_concurrent_creation_has_one_winner(door: Any) -> None:
    """Of many creations at once one succeeds, and the others hear that the function exists."""
    results = await asyncio.gather(*(door.create() for _ in range(6)), return_exceptions=True)
    errors = [str(result) for result in results if isinstance(result, Exception)]
    assert len(errors) == 5
    assert all("Function already exist: f" in error for error in errors)


def _params(door: Any, **changes: Any) -> dict[str, Any]:
    members = {
        "FunctionName": "f",
        "Runtime": "python3.12",
        "Handler": "app.handler",
        "Role": "arn:aws:iam::123456789012:role/r",
        "Code": {"ZipFile": b"no zip"},
    }
    return {name: value for name, value in (members | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "Could not unzip uploaded file. Please check your file, then try to upload again."),
        ({"Code": {}}, "Please provide a source for function code."),
        ({"Code": {"ZipFile": b""}}, "Uploaded file must be a non-empty zip"),
        ({"Code": {"S3Bucket": "bucket"}}, "Please provide a source for function code."),
        (
            {"PackageType": "Image"},
            "Please provide ImageUri when creating a function with packageType Image.",
        ),
        (
            {"PackageType": "Image", "Code": {"ImageUri": "i"}},
            "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image.",
        ),
        (
            {"ImageConfig": {"Command": ["app.handler"]}},
            "Please don't provide ImageConfig when the intended function PackageType is Zip.",
        ),
        (
            {"Code": {"ImageUri": "i"}},
            "Please don't provide ImageUri when creating a function with packageType Zip.",
        ),
        (
            {"PublishTo": "LATEST_PUBLISHED"},
            "Berth does not implement versions of managed instances (PublishTo) yet.",
        ),
        (
            {"Handler": None},
            "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
        ),
        (
            {"Runtime": "python2.7"},
            (
                "The runtime parameter of python2.7 is no longer supported for creating or updating AWS Lambda "
                "functions. We recommend you use a supported runtime while creating or updating functions."
            ),
        ),
        (
            {"Environment": {"Variables": {"AWS_REGION": "x", "AWS_EXECUTION_ENV": "y", "MINE": "z"}}},
            (
                "Lambda was unable to configure your environment variables because the environment variables you "
                "have provided contains reserved keys that are currently not supported for modification. "
                "Reserved keys used in this request: AWS_EXECUTION_ENV, AWS_REGION"
            ),
        ),
        (
            {"Environment": {"Variables": {"BIG": "x" * 4090}}},
            (
                "Lambda was unable to configure your environment variables because the environment variables you "
                'have provided exceeded the 4KB limit. String measured: {"BIG":"' + "x" * 4090 + '"}'
            ),
        ),
        (
            {"Environment": {"Variables": {"NUL": "\0"}}},
            "Lambda was unable to configure your environment variables: a value contains NUL.",
        ),
        (
            {"FunctionName": "f" * 65},
            (
                f"1 validation error detected: Value '{'f' * 65}' at 'functionName' failed to satisfy constraint: "
                "Member must have length less than or equal to 64"
            ),
        ),
        ({"Tags": {str(n): "" for n in range(51)}}, "Number of tags exceeds resource tag limit."),
        (
            {"FunctionName": "f:1"},
            (
                "This operation is permitted on Lambda functions only. Aliases and versions do not support this "
                "operation. Please specify either a function name or an unqualified function ARN."
            ),
        ),
    ],
)
async def test_creation_refused(door: Any, changes: dict[str, Any], text: str) -> None:
    """Rules beyond the model, each with its text; nothing is created."""
    refused = await door.refused("create_function", **_params(door, **changes))
    assert refused == (400, INVALID, text)
    assert (await door.call("list_functions"))["Functions"] == []


async def test_unknown_runtime(door: Any) -> None:
    """A runtime that Lambda never had is told the ones that can be used."""
    status, code, text = await door.refused("create_function", **_params(door, Runtime="cobol"))
    assert (status, code) == (400, INVALID)
    assert text.startswith(
        "Value cobol at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: ["
    )
    assert text.endswith("] or be a valid ARN")
    assert "python3.13" in text
    assert "python2.7" not in text


async def test_zip_too_large(door: Any) -> None:
    """A direct upload may have 50 MB."""
    params = _params(door, Code={"ZipFile": bytes(52_428_801)})
    assert await door.refused("create_function", **params) == (
        413,
        "RequestEntityTooLargeException",
        "Zipped size must be smaller than 52428800 bytes",
    )


async def test_failed_preparation(door: Any) -> None:
    """A function that cannot run ends as Failed with the reason, and the waiters end."""
    door.readiness.fail("InvalidRuntime", "There is no image for java21.")
    await door.create()
    for waiter in ("function_active_v2", "function_updated_v2"):
        with pytest.raises(WaiterError, match="terminal failure"):
            await door.wait(waiter)
    got = await door.call("get_function_configuration", FunctionName="f")
    assert (got["State"], got["StateReasonCode"]) == ("Failed", "InvalidRuntime")
    assert got["StateReason"] == "There is no image for java21."


async def test_bug_in_preparation(door: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error while preparing is logged and leaves nothing pending."""
    door.readiness.failure = RuntimeError("broken")
    await door.create()
    with pytest.raises(WaiterError):
        await door.wait("function_active_v2")
    got = await door.call("get_function_configuration", FunctionName="f")
    assert (got["StateReasonCode"], "broken" in got["StateReason"]) == ("InternalError", False)
    assert "broken" in caplog.text


async def test_pending_function(door: Any) -> None:
    """While it is pending a function can be read and deleted, not invoked or changed."""
    door.readiness.allowed.clear()
    await door.create()
    status, code, _ = await door.refused("invoke", FunctionName="f")
    assert (status, code) == (409, "ResourceConflictException")
    assert await door.refused("update_function_configuration", FunctionName="f", Timeout=5) == (
        409,
        "ResourceConflictException",
        "The operation cannot be performed at this time. The function is currently in the following state: Pending",
    )
    await door.call("delete_function", FunctionName="f")
    door.readiness.allowed.set()
    assert (await door.refused("get_function", FunctionName="f"))[0] == 404


async def test_name_can_be_used_again_while_the_first_is_prepared(
    door: Any, zip_of: Callable[..., bytes]
) -> None:
    """The outcome of a deleted function's preparation does not touch its namesake."""
    door.readiness.allowed.clear()
    await door.create()
    await door.call("delete_function", FunctionName="f")
    second = await door.create(Code={"ZipFile": zip_of(other="")})
    door.readiness.allowed.set()
    await door.wait("function_active_v2")
    got = await door.call("get_function_configuration", FunctionName="f")
    assert got["CodeSha256"] == second["CodeSha256"]
    assert len(door.readiness.seen) == 2


async def test_restart_takes_up_pending_functions(tmp_path: Path, serve: Callable[..., Any]) -> None:
    """What a process left pending, the next one brings to an end."""
    async with serve(tmp_path) as door:
        door.readiness.allowed.clear()
        await door.create()
        await door.create("g")
    async with serve(tmp_path) as door:
        assert (await door.call("get_function_configuration", FunctionName="f"))["State"] == "Pending"
        await door.api.resume_pending()
        for name in ("f", "g"):
            await door.wait("function_active_v2", name)


async def test_deletion_by_qualifier(door: Any) -> None:
    """`$LATEST` cannot go alone; a version that does not exist can."""
    await door.created()
    assert await door.refused("delete_function", FunctionName="f", Qualifier="$LATEST") == (
        400,
        INVALID,
        "$LATEST version cannot be deleted without deleting the function.",
    )
    await door.call("delete_function", FunctionName="f", Qualifier="7")
    assert (await door.call("get_function", FunctionName="f"))["Configuration"]["State"] == "Active"
    assert await door.refused("delete_function", FunctionName="g") == (
        404,
        "ResourceNotFoundException",
        f"Function not found: {ARN.removesuffix('f')}g",
    )


async def test_list_in_pages(door: Any) -> None:
    """Lists are sorted, come in pages and leave state members out."""
    for name in ("c", "a", "a-b", "b"):
        await door.create(name)
    client = door.client()

    def listed(**params: Any) -> list[dict[str, Any]]:
        pages = client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 3}, **params)
        return [function for page in pages for function in page["Functions"]]

    found = await door.aside(listed)
    assert [function["FunctionName"] for function in found] == ["a", "a-b", "b", "c"]
    assert not {"State", "LastUpdateStatus", "RuntimeVersionConfig"} & found[0].keys()
    every = await door.aside(lambda: listed(FunctionVersion="ALL"))
    assert [function["FunctionArn"].split(":function:")[1] for function in every] == [
        "a:$LATEST",
        "a-b:$LATEST",
        "b:$LATEST",
        "c:$LATEST",
    ]


async def test_list_refusals(door: Any) -> None:
    """Bad markers, sizes and version filters are refused."""
    assert await door.refused("list_functions", Marker="x") == (
        400,
        INVALID,
        "The provided marker is invalid.",
    )
    assert await door.refused("list_functions", MaxItems=0) == (
        400,
        "ValidationException",
        (
            "1 validation error detected: Value '0' at 'maxItems' failed to satisfy constraint: "
            "Member must have value greater than or equal to 1"
        ),
    )
    _, _, text = await door.refused("list_functions", FunctionVersion="SOME")
    assert text.endswith(
        "at 'functionVersion' failed to satisfy constraint: Member must satisfy enum value set: [ALL]"
    )


@pytest.mark.parametrize(
    "config", [{"ApplicationLogLevel": "DEBUG"}, {"LogFormat": "Text", "SystemLogLevel": "WARN"}]
)
async def test_text_has_no_levels(door: Any, zip_of: Callable[..., bytes], config: dict[str, str]) -> None:
    """Neither where a function is created nor where it is changed."""
    text = (
        'LogLevel is not supported when LogFormat is set to "Text". '
        'Remove LogLevel from your request or change the LogFormat to "JSON" and try again.'
    )
    refusal = (400, "InvalidParameterValueException", text)
    params = {
        "Runtime": "python3.12",
        "Handler": "a.b",
        "Role": "arn:aws:iam::123456789012:role/r",
        "Code": {"ZipFile": zip_of()},
    }
    assert await door.refused("create_function", FunctionName="f", **params, LoggingConfig=config) == refusal
    await door.created()
    assert (
        await door.refused("update_function_configuration", FunctionName="f", LoggingConfig=config) == refusal
    )
