"""Functions that call other functions by plain boto3, and what they are told of other services."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import spawners

CALLER = """
import json, boto3
from botocore.config import Config
from botocore.exceptions import ClientError

def handler(event, context):
    client = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}))
    try:
        answer = getattr(client, event["operation"])(**event["params"])
    except ClientError as error:
        return error.response["Error"]["Code"]
    return json.loads(answer["Payload"].read()) if "Payload" in answer else sorted(answer)
"""

ECHO = """
def handler(event, context):
    return {"arn": context.invoked_function_arn, "heard": event}
"""

TELL = """
import os

def handler(event, context):
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_ENDPOINT_URL")}
"""

KNOCK = """
import os, urllib.error, urllib.request

def handler(event, context):
    try:
        return urllib.request.urlopen(event["url"], timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return type(error).__name__
"""


def call(operation: str, **params: Any) -> dict[str, Any]:
    return {"operation": operation, "params": params}


def test_a_function_invokes_another(berth: Any, name: str) -> None:
    """
    1. A function calls `boto3.client("lambda").invoke`, with nothing said of address or credentials.
    Result: the other function's answer, from the same account and region.
    """
    other = f"{name}-other"[-60:].strip("-")
    berth.deploy(other, ECHO)
    berth.deploy(name, CALLER)
    answer = berth.invoke(name, call("invoke", FunctionName=other, Payload='{"a": 1}'))
    assert answer.error is None, answer.log
    assert answer.payload == {
        "arn": f"arn:aws:lambda:us-east-1:123456789012:function:{other}",
        "heard": {"a": 1},
    }


WHO = """
import boto3

def handler(event, context):
    return boto3.client("sts").get_caller_identity()["Account"]
"""


def test_a_function_learns_who_it_is(berth: Any, name: str) -> None:
    """STS is found where Lambda is, with nothing said of its address."""
    berth.deploy(name, WHO)
    assert berth.invoke(name).payload == "123456789012"


def test_a_function_may_not_write(berth: Any, name: str) -> None:
    """By default it may invoke, and nothing else."""
    berth.deploy(name, CALLER)
    for operation in (call("delete_function", FunctionName=name), call("list_functions")):
        assert berth.invoke(name, operation).payload == "AccessDeniedException"
    assert berth.invoke(name, call("invoke", FunctionName="nobody")).payload == "ResourceNotFoundException"


@pytest.mark.parametrize("spawner", spawners())
def test_functions_are_told_of_their_neighbours(
    new_berth: Callable[..., Any], name: str, spawner: str
) -> None:
    """Endpoints of the settings become variables; loopback is this machine as functions see it."""
    urls = "http://localhost:4566,s3=http://minio:9000"
    berth = new_berth(spawner, "--aws-endpoint-url", urls, "--functions-may-call", "nothing")
    berth.start()
    variables = {"AWS_ENDPOINT_URL_SQS": "http://mine"}
    berth.deploy(name, TELL, Environment={"Variables": variables})
    assert berth.invoke(name).payload == {
        "AWS_ENDPOINT_URL": f"http://{berth.function_host}:4566",
        "AWS_ENDPOINT_URL_S3": "http://minio:9000",
        **variables,
    }


@pytest.mark.parametrize("spawner", spawners())
def test_a_function_may_do_more_where_that_is_set(
    new_berth: Callable[..., Any], name: str, spawner: str
) -> None:
    """Every operation of its account."""
    berth = new_berth(spawner, "--functions-may-call", "all")
    berth.start()
    berth.deploy(name, CALLER)
    assert "Functions" in berth.invoke(name, call("list_functions")).payload


@pytest.mark.docker
def test_a_rest_api_on_all_addresses_is_closed_to_functions(new_berth: Callable[..., Any], name: str) -> None:
    """A function that finds the REST API's port is hung up on; the door for functions asks who it is."""
    berth = new_berth("docker", "--host", "0.0.0.0")
    berth.start()
    berth.deploy(name, KNOCK)
    berth.deploy("tell", TELL)
    port = berth.url.rpartition(":")[2]
    found = berth.invoke(name, {"url": f"http://{berth.function_host}:{port}/health"}).payload
    assert found in ("RemoteDisconnected", "ConnectionResetError")
    door = berth.invoke("tell").payload["AWS_ENDPOINT_URL_LAMBDA"]
    assert berth.invoke(name, {"url": f"{door}/health"}).payload == 403
