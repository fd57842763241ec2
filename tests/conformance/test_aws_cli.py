"""The AWS CLI, unmodified, against the REST door: a whole working day of a function and a layer."""

import asyncio
import json
import os
import sys
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rapid.streamed import Streamed
from runtime.api.server import build_api
from runtime.invoker import InvokeRequest, InvokeResult, Told
from runtime.model import FunctionVersion
from runtime.store import Store
from tests.helpers.provisions import concurrency

AWS = Path(sys.executable).parent / "aws"
Aws = Callable[..., Awaitable[Any]]


class Echo:
    """An invoker whose functions return their event."""

    def check(self, request: InvokeRequest) -> None:
        pass

    async def invoke(self, request: InvokeRequest) -> InvokeResult:
        return InvokeResult(
            payload=request.payload,
            executed_version="$LATEST",
            function_error=None,
            log_tail=b"START\n",
            trace_id="Root=1-5759e988-bd862e3fe1be46a994272793",
        )

    def start(self, request: InvokeRequest, told: Told) -> None:
        task = asyncio.ensure_future(self.invoke(request))
        task.add_done_callback(lambda task: told(task.result))

    async def stream(self, request: InvokeRequest) -> Streamed:
        raise AssertionError("the AWS CLI has no command for it")


class Ready:
    """Everything is always prepared."""

    def warm(self, version: FunctionVersion) -> None:
        """Nothing is launched here."""

    async def prepare(self, version: FunctionVersion) -> None:
        pass


@pytest.fixture
async def aws(tmp_path: Path) -> AsyncIterator[Aws]:
    """Runs `aws lambda …` (or another service) against a door; returns the JSON that it prints, or None."""
    store = await Store.open(tmp_path / "data")
    api = build_api(
        store=store,
        invoker=Echo(),
        readiness=Ready(),
        retired=lambda _scope, _name: None,
        **concurrency(store),
        account_id="123456789012",
        region="us-east-1",
    )
    server = api.server()
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }

    async def run(*arguments: str, service: str = "lambda") -> Any:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            AWS,
            service,
            *arguments,
            env=environment,
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return json.loads(output) if output.strip() else None

    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("app.py", "def handler(event, context): return event\n")
    yield run
    listener.close()
    server.pre_shutdown()
    await server.shutdown(1)
    await api.close()
    await store.close()


async def test_a_function_and_a_layer(aws: Aws, tmp_path: Path) -> None:
    """Every step of the usual exercises works as typed."""
    layer = await aws("publish-layer-version", "--layer-name", "lib", "--zip-file", "fileb://app.zip")
    created = await aws(
        *("create-function", "--function-name", "f", "--runtime", "python3.12", "--handler", "app.handler"),
        *("--role", "arn:aws:iam::123456789012:role/r", "--zip-file", "fileb://app.zip"),
        *("--layers", layer["LayerVersionArn"], "--environment", "Variables={KEY=value}"),
    )
    assert created["State"] == "Pending"
    await aws("wait", "function-active-v2", "--function-name", "f")
    got = await aws("get-function", "--function-name", created["FunctionArn"])
    assert got["Configuration"]["State"] == "Active"
    assert got["Configuration"]["Environment"] == {"Variables": {"KEY": "value"}}

    invoked = await aws(
        "invoke", "--function-name", "f", "--payload", '{"a": 1}', "--log-type", "Tail", "out.json"
    )
    assert (invoked["StatusCode"], invoked["ExecutedVersion"]) == (200, "$LATEST")
    assert json.loads((tmp_path / "out.json").read_bytes()) == {"a": 1}

    await aws("update-function-configuration", "--function-name", "f", "--timeout", "10", "--layers")
    await aws("wait", "function-updated-v2", "--function-name", "f")
    updated = await aws("update-function-code", "--function-name", "f", "--zip-file", "fileb://app.zip")
    assert (updated["Timeout"], "Layers" in updated) == (10, False)
    await aws("wait", "function-updated", "--function-name", "f")

    assert [each["FunctionName"] for each in (await aws("list-functions"))["Functions"]] == ["f"]
    assert [each["LayerName"] for each in (await aws("list-layers"))["Layers"]] == ["lib"]
    await aws("get-layer-version-by-arn", "--arn", layer["LayerVersionArn"])
    await aws("delete-layer-version", "--layer-name", "lib", "--version-number", "1")
    await aws("delete-function", "--function-name", "f")
    assert (await aws("list-functions"))["Functions"] == []


async def test_a_function_that_isolates_tenants(aws: Aws, tmp_path: Path) -> None:
    """Made and invoked as typed."""
    created = await aws(
        *("create-function", "--function-name", "f", "--runtime", "python3.12", "--handler", "app.handler"),
        *("--role", "arn:aws:iam::123456789012:role/r", "--zip-file", "fileb://app.zip"),
        *("--tenancy-config", "TenantIsolationMode=PER_TENANT"),
    )
    assert created["TenancyConfig"] == {"TenantIsolationMode": "PER_TENANT"}
    await aws("wait", "function-active-v2", "--function-name", "f")
    invoked = await aws("invoke", "--function-name", "f", "--tenant-id", "blue", "out.json")
    assert invoked["StatusCode"] == 200
    assert json.loads((tmp_path / "out.json").read_bytes()) == {}


async def test_what_is_attached_to_a_function(aws: Aws) -> None:
    """Permissions, concurrency, tags, asynchronous invocation, event sources and URLs, as the exercises type them."""
    await aws(
        *("create-function", "--function-name", "f", "--runtime", "python3.12", "--handler", "app.handler"),
        *("--role", "arn:aws:iam::123456789012:role/r", "--zip-file", "fileb://app.zip"),
    )
    await aws("wait", "function-active-v2", "--function-name", "f")
    arn = "arn:aws:lambda:us-east-1:123456789012:function:f"
    await aws(
        *(
            "add-permission",
            "--function-name",
            "f",
            "--statement-id",
            "s3",
            "--action",
            "lambda:InvokeFunction",
        ),
        *("--principal", "s3.amazonaws.com", "--source-arn", "arn:aws:s3:::bucket"),
        *("--source-account", "123456789012"),
    )
    policy = json.loads((await aws("get-policy", "--function-name", "f"))["Policy"])
    assert [statement["Sid"] for statement in policy["Statement"]] == ["s3"]
    await aws("remove-permission", "--function-name", "f", "--statement-id", "s3")

    reserve = ("put-function-concurrency", "--function-name", "f", "--reserved-concurrent-executions", "3")
    assert await aws(*reserve) == {"ReservedConcurrentExecutions": 3}
    assert (await aws("get-function", "--function-name", "f"))["Concurrency"] == {
        "ReservedConcurrentExecutions": 3
    }
    limit = (await aws("get-account-settings"))["AccountLimit"]
    assert limit["UnreservedConcurrentExecutions"] == limit["ConcurrentExecutions"] - 3
    await aws("delete-function-concurrency", "--function-name", "f")
    assert not await aws("get-function-concurrency", "--function-name", "f")

    await aws("tag-resource", "--resource", arn, "--tags", "team=blue,stage=test")
    await aws("untag-resource", "--resource", arn, "--tag-keys", "stage")
    assert await aws("list-tags", "--resource", arn) == {"Tags": {"team": "blue"}}

    queue = "arn:aws:sqs:us-east-1:123456789012:queue"
    await aws(
        *("put-function-event-invoke-config", "--function-name", "f", "--maximum-retry-attempts", "1"),
        *("--maximum-event-age-in-seconds", "3600"),
        *("--destination-config", json.dumps({"OnFailure": {"Destination": queue}})),
    )
    config = await aws("get-function-event-invoke-config", "--function-name", "f")
    assert config["DestinationConfig"]["OnFailure"] == {"Destination": queue}

    mapping = await aws(
        *("create-event-source-mapping", "--function-name", "f", "--event-source-arn", queue),
        *("--batch-size", "5", "--function-response-types", "ReportBatchItemFailures"),
    )
    assert mapping["State"] == "Disabled"
    await aws("update-event-source-mapping", "--uuid", mapping["UUID"], "--no-enabled")
    listed = await aws("list-event-source-mappings", "--function-name", "f")
    assert [each["UUID"] for each in listed["EventSourceMappings"]] == [mapping["UUID"]]
    await aws("delete-event-source-mapping", "--uuid", mapping["UUID"])

    url = await aws("create-function-url-config", "--function-name", "f", "--auth-type", "NONE")
    got = await aws("get-function-url-config", "--function-name", "f")
    assert got["FunctionUrl"] == url["FunctionUrl"]
    await aws("delete-function-url-config", "--function-name", "f")


async def test_what_is_attached_to_an_alias(aws: Aws) -> None:
    """An alias has permissions and provisioned concurrency of its own."""
    await aws(
        *("create-function", "--function-name", "f", "--runtime", "python3.12", "--handler", "app.handler"),
        *("--role", "arn:aws:iam::123456789012:role/r", "--zip-file", "fileb://app.zip", "--publish"),
    )
    await aws("create-alias", "--function-name", "f", "--name", "PROD", "--function-version", "1")
    await aws(
        *("add-permission", "--function-name", "f:PROD", "--statement-id", "gateway"),
        *("--action", "lambda:InvokeFunction", "--principal", "apigateway.amazonaws.com"),
        *("--source-arn", "arn:aws:execute-api:us-east-1:123456789012:api-id/*"),
    )
    policy = json.loads((await aws("get-policy", "--function-name", "f", "--qualifier", "PROD"))["Policy"])
    assert policy["Statement"][0]["Resource"].endswith(":function:f:PROD")
    at = ("--function-name", "f", "--qualifier", "PROD")
    provision = ("put-provisioned-concurrency-config", *at, "--provisioned-concurrent-executions", "5")
    assert (await aws(*provision))["RequestedProvisionedConcurrentExecutions"] == 5
    assert (await aws("get-provisioned-concurrency-config", *at))["Status"] == "IN_PROGRESS"
    await aws("delete-provisioned-concurrency-config", *at)


async def test_sharing_a_layer(aws: Aws) -> None:
    """A layer version's policy is written and shown."""
    await aws("publish-layer-version", "--layer-name", "lib", "--zip-file", "fileb://app.zip")
    at = ("--layer-name", "lib", "--version-number", "1")
    await aws(
        *("add-layer-version-permission", *at, "--statement-id", "all", "--principal", "*"),
        *("--action", "lambda:GetLayerVersion"),
    )
    policy = json.loads((await aws("get-layer-version-policy", *at))["Policy"])
    assert policy["Statement"][0]["Principal"] == "*"
    await aws("remove-layer-version-permission", *at, "--statement-id", "all")


async def test_caller_identity(aws: Aws) -> None:
    """`aws sts get-caller-identity` names the account."""
    assert (await aws("get-caller-identity", service="sts"))["Account"] == "123456789012"
