"""What hostile function code can see and do inside its sandbox."""

from collections.abc import Callable
from typing import Any

import pytest

PROBE = """
import os, socket, http.client

def attempt(do):
    try:
        return do() or "done"
    except OSError as error:
        return type(error).__name__

def call(address, path="/2018-06-01/ping"):
    connection = http.client.HTTPConnection(address, timeout=3)
    connection.request("GET", path)
    return connection.getresponse().status

def handler(event, context):
    status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines() if ":" in line)
    return {
        "api": os.environ["AWS_LAMBDA_RUNTIME_API"],
        "uid": os.getuid(),
        "groups": os.getgroups(),
        "capabilities": status["CapEff"].strip(),
        "bounding": status["CapBnd"].strip(),
        "no_new_privs": status["NoNewPrivs"].strip(),
        "seccomp": status["Seccomp"].strip(),
        "root": attempt(lambda: open("/written", "w").close()),
        "task": attempt(lambda: open("/var/task/written", "w").close()),
        "tmp": attempt(lambda: open("/tmp/written", "w").close()),
        "agent_environment": attempt(lambda: open("/proc/1/environ", "rb").read()),
        "agent_killed": attempt(lambda: os.kill(1, 9)),
        "token": any(key.startswith("BERTH") for key in os.environ),
        "files": __import__("resource").getrlimit(__import__("resource").RLIMIT_NOFILE)[1],
        "mine": attempt(lambda: call(os.environ["AWS_LAMBDA_RUNTIME_API"])),
        "other": attempt(lambda: call(event["other"])) if "other" in event else None,
        "neighbour": attempt(lambda: socket.create_connection((event["neighbour"], 8080), 2).close())
        if "neighbour" in event else None,
    }
"""


@pytest.fixture
def docker(new_berth: Callable[..., Any]) -> Any:
    berth = new_berth("docker")
    berth.start()
    return berth


@pytest.mark.docker
def test_a_function_is_unprivileged(docker: Any, name: str) -> None:
    """No privileges, no way to more, nothing writable but `/tmp`, nothing of the agent."""
    docker.deploy(name, PROBE)
    found = docker.invoke(name).payload
    assert found["uid"] == 993
    assert found["groups"] in ([], [990])
    assert found["capabilities"] == "0" * 16
    assert found["no_new_privs"] == "1"
    assert found["seccomp"] == "2"
    assert found["root"] == found["task"] == "OSError"
    assert found["tmp"] == "done"
    assert found["agent_environment"] == "PermissionError"
    assert found["agent_killed"] == "PermissionError"
    assert found["token"] is False
    assert found["files"] == 1024


@pytest.mark.docker
def test_a_runtime_api_serves_only_its_own_sandbox(docker: Any, name: str) -> None:
    """A function reaches its own Runtime API; its neighbour's hangs up on it."""
    other = f"{name}-other"[-60:].strip("-")
    docker.deploy(other, PROBE)
    docker.deploy(name, PROBE)
    address = docker.invoke(other).payload["api"]
    found = docker.invoke(name, {"other": address}).payload
    assert found["mine"] == 200
    assert found["other"] in ("ConnectionResetError", "RemoteDisconnected")
