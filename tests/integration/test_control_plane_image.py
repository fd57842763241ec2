"""Berth in a container of its own, with the engine's socket: code is delivered by copy."""

import json
import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def control_plane(own_image: str) -> Iterator[str]:
    """The URL of a Berth that runs in a container."""
    name = f"berth-test-{uuid4().hex[:8]}"
    docker(
        *("run", "--detach", "--name", name, "--publish", "127.0.0.1::3001"),
        *("--volume", "/var/run/docker.sock:/var/run/docker.sock", own_image),
    )
    try:
        log = subprocess.Popen(
            ["docker", "logs", "--follow", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert log.stdout
        said = []
        for line in log.stdout:
            said.append(line.decode())
            if re.search("spawner|sandboxes", said[-1]) and "delivery" in said[-1]:
                break
        else:
            pytest.fail("".join(said))
        log.kill()
        log.wait()
        log.stdout.close()
        # Only now: joining the sandboxes' network has moved a port that the engine chose.
        port = docker("port", name, "3001/tcp").rpartition(":")[2]
        yield f"http://127.0.0.1:{port}"
    finally:
        instance = docker("exec", name, "cat", "/var/lib/berth/instance")
        docker("stop", "--time", "20", name)
        left = docker("ps", "--all", "--quiet", "--filter", f"label=berth={instance}")
        left += docker("network", "ls", "--quiet", "--filter", f"label=berth={instance}")
        docker("rm", "--force", "--volumes", name)
        assert left == ""


@pytest.mark.docker
def test_functions_run_beside_the_control_plane(control_plane: str, zip_of: Callable[..., bytes]) -> None:
    """A function with a layer answers; its files went over the link, and it cannot change them."""
    client: Any = boto3.client(
        "lambda",
        endpoint_url=control_plane,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 0}, read_timeout=120),
    )
    layer = client.publish_layer_version(
        LayerName="words", Content={"ZipFile": zip_of({"python/words.py": "WORD = 'from a layer'"})}
    )
    code = """
import os, words

def handler(event, context):
    try:
        open("/var/task/written", "w")
    except OSError as error:
        return [words.WORD, words.__file__, type(error).__name__, os.getuid()]
"""
    client.create_function(
        FunctionName="inside",
        Runtime="python3.11",
        Role="arn:aws:iam::123456789012:role/any",
        Handler="app.handler",
        Code={"ZipFile": zip_of({"app.py": code})},
        Layers=[layer["LayerVersionArn"]],
        Timeout=20,
    )
    client.get_waiter("function_active_v2").wait(FunctionName="inside")
    answer = client.invoke(FunctionName="inside")
    assert json.loads(answer["Payload"].read()) == [
        "from a layer",
        "/opt/python/words.py",
        "PermissionError",
        993,
    ]


@pytest.mark.docker
def test_it_says_that_it_is_healthy(control_plane: str) -> None:
    """The address that the image's health check asks."""
    with urllib.request.urlopen(f"{control_plane}/health") as answer:  # noqa: S310  our own
        health = json.load(answer)
    assert health["status"] == "ok"
    assert "copy delivery" in health["spawner"]


KNOCK = """
import json, os, urllib.error, urllib.request, boto3

def handler(event, context):
    if "invoke" in event:
        return json.loads(boto3.client("lambda").invoke(FunctionName=event["invoke"])["Payload"].read())
    door = os.environ["AWS_ENDPOINT_URL_LAMBDA"].rpartition(":")[0]
    try:
        return urllib.request.urlopen(f"{door}:3001/health", timeout=5).status
    except OSError as error:
        return type(error).__name__
"""


@pytest.mark.docker
def test_functions_call_through_their_door_only(control_plane: str, zip_of: Callable[..., bytes]) -> None:
    """The REST API listens on all of the container's addresses and hangs up on sandboxes; their door answers."""
    client: Any = boto3.client(
        "lambda",
        endpoint_url=control_plane,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 0}, read_timeout=120),
    )
    client.create_function(
        FunctionName="knock",
        Runtime="python3.11",
        Role="arn:aws:iam::123456789012:role/any",
        Handler="app.handler",
        Code={"ZipFile": zip_of({"app.py": KNOCK})},
        Timeout=20,
    )
    client.get_waiter("function_active_v2").wait(FunctionName="knock")
    for event in ({}, {"invoke": "knock"}):
        answer = client.invoke(FunctionName="knock", Payload=json.dumps(event))
        found = json.loads(answer["Payload"].read())
        assert found in ("RemoteDisconnected", "ConnectionResetError"), found
