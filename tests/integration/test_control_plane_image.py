"""Berth in a container of its own, with the engine's socket: code is delivered by copy."""

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def control_plane(own_image: str) -> Iterator[str]:
    """The URL of a Berth that runs in a container."""
    name = f"berth-test-{uuid4().hex[:8]}"
    docker(
        *("run", "--detach", "--name", name, "--publish", "127.0.0.1::3001"),
        *("--env", "BERTH_WARM_AHEAD=false"),  # tests say themselves when something starts
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
def test_functions_run_beside_the_control_plane(
    control_plane: str, zip_of: Callable[..., bytes], client_of: Callable[[str], Any]
) -> None:
    """A function with a layer answers; its files went over the link, and it cannot change them."""
    client = client_of(control_plane)
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


SPY = """
import os

def handler(event, context):
    found = {}
    for place in ("/var/task", "/opt"):
        for folder, _, names in os.walk(place):
            for name in names:
                path = os.path.join(folder, name)
                found[path] = [oct(os.lstat(path).st_mode), os.path.getsize(path), os.access(path, os.W_OK)]
    limit = next(p for p in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes") if os.path.exists(p))
    return {"files": found, "limit": int(open(limit).read()), "roots": [os.access(p, os.W_OK) for p in ("/var/task", "/opt")]}
"""


@pytest.mark.docker
def test_sandboxes_stand_by_for_copies_too(
    control_plane: str, zip_of: Callable[..., bytes], client_of: Callable[[str], Any]
) -> None:
    """One that stood by gets its files over the link, whole and not to be changed, and the function's own memory."""
    client = client_of(control_plane)
    data = bytes(range(256)) * 40_000  # ten megabytes, many frames
    layer = client.publish_layer_version(LayerName="data", Content={"ZipFile": zip_of({"data/block": data})})
    client.create_function(
        FunctionName="spy",
        Runtime="python3.11",
        Role="arn:aws:iam::123456789012:role/any",
        Handler="app.handler",
        Code={"ZipFile": zip_of({"app.py": SPY, "deep/er/tool": "#!"}, {"deep/er/tool": 0o755})},
        Layers=[layer["LayerVersionArn"]],
        MemorySize=320,
        Timeout=20,
    )
    client.get_waiter("function_active_v2").wait(FunctionName="spy")
    standing = stands_by(control_plane)
    found = json.loads(client.invoke(FunctionName="spy")["Payload"].read())
    assert found["files"] == {
        "/var/task/app.py": ["0o100644", len(SPY), False],
        "/var/task/deep/er/tool": ["0o100755", 2, False],
        "/opt/data/block": ["0o100644", len(data), False],
    }
    assert found["roots"] == [False, False]
    assert found["limit"] == (320 + 16) << 20
    [environment] = [each for each in ps(control_plane)["environments"] if each["function"] == "spy"]
    assert environment["environment"] in standing


def ps(control_plane: str) -> Any:
    with urllib.request.urlopen(f"{control_plane}/_berth/ps") as answer:  # noqa: S310  our own
        return json.load(answer)


def stands_by(control_plane: str) -> set[str]:
    """The sandboxes that stand by, once there are some and no other is under way."""
    deadline = time.monotonic() + 60
    while not (shown := ps(control_plane)["standbys"]) or any(each["state"] != "standby" for each in shown):
        assert time.monotonic() < deadline, shown
    return {each["environment"] for each in shown}


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
def test_functions_call_through_their_door_only(
    control_plane: str, zip_of: Callable[..., bytes], client_of: Callable[[str], Any]
) -> None:
    """The REST API listens on all of the container's addresses and hangs up on sandboxes; their door answers."""
    client = client_of(control_plane)
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
