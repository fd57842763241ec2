"""OS-only runtimes: a `bootstrap` that the function brings speaks the Runtime API itself."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.helpers.languages import in_containers
from tests.helpers.platform_lines import messages, platform_lines, twice

SHELL = """\
#!/bin/bash
set -eu
api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime
while :; do
    headers=$(mktemp)
    event=$(curl -sS -D "$headers" "$api/invocation/next")
    id=$(sed -n 's/^Lambda-Runtime-Aws-Request-Id: \\([^[:space:]]*\\).*/\\1/Ip' "$headers")
    curl -sS -o /dev/null "$api/invocation/$id/response" -d "{\\"from\\": \\"$0\\", \\"event\\": $event}"
done
"""
"""Answers with its own path and the event."""

OBEDIENT = """\
#!/usr/bin/python3
import http.client, json, os

api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])

def call(method, path, body=None, headers={}):
    api.request(method, "/2018-06-01/runtime/" + path, body, headers)
    answer = api.getresponse()
    return answer.headers, answer.read()

while True:
    headers, event = call("GET", "invocation/next")
    wish = json.loads(event)
    id = headers["Lambda-Runtime-Aws-Request-Id"]
    body = wish["body"] if "body" in wish else json.dumps(dict(os.environ))
    call("POST", f"invocation/{id}/{wish['door']}", body.encode(), wish.get("headers", {}))
"""
"""Posts what its event asks for, or its environment, to `response` or `error`."""

REFUSING = """\
#!/usr/bin/python3
import http.client, json, os

api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
body = json.dumps({"errorType": "Runtime.NoConfig", "errorMessage": "no config", "more": [1]})
api.request("POST", "/2018-06-01/runtime/init/error", body, {"Lambda-Runtime-Function-Error-Type": "Runtime.NoConfig"})
api.getresponse().read()
"""


INVALID = "Status: error Error Type: Runtime.InvalidEntrypoint"

pytestmark = in_containers


@pytest.fixture
def deploy(berth: Any, name: str, zip_of: Callable[..., bytes]) -> Callable[..., None]:
    """Creates the test's function of a bootstrap, or of none, and of a layer if one is given."""

    def deploy(bootstrap: str | None, mode: int = 0o755, layer: str | None = None) -> None:
        layers = []
        if layer is not None:
            content = zip_of({"bootstrap": layer}, {"bootstrap": 0o755})
            published = berth.client.publish_layer_version(LayerName=name, Content={"ZipFile": content})
            layers = [published["LayerVersionArn"]]
        files = {"note": ""} if bootstrap is None else {"bootstrap": bootstrap}
        package = zip_of(files, {"bootstrap": mode})
        berth.deploy(name, package, Runtime="provided.al2023", Handler="any.thing", Layers=layers)

    return deploy


def post(berth: Any, name: str, wish: Any) -> tuple[str | None, bytes]:
    """Have a function post something: the kind of error and the bytes that its client gets."""
    answer = berth.client.invoke(FunctionName=name, Payload=json.dumps(wish))
    return answer.get("FunctionError"), answer["Payload"].read()


def test_a_bootstrap_in_the_package(berth: Any, name: str, deploy: Callable[..., None]) -> None:
    """A shell script with curl is a runtime; the same process serves again and again."""
    deploy(SHELL)
    for number in range(2):
        answer = berth.invoke(name, {"number": number})
        assert answer.payload == {"from": "/var/task/bootstrap", "event": {"number": number}}
    [start, *_] = messages(berth, name)
    assert start.startswith("INIT_START Runtime Version: provided:al2023.v1\t")
    assert platform_lines(berth, name) == ["INIT_START", *2 * ["START", "END", "REPORT"]]


def test_a_bootstrap_in_a_layer(berth: Any, name: str, deploy: Callable[..., None]) -> None:
    """It is looked for there where the package has none."""
    deploy(None, layer=SHELL)
    assert berth.invoke(name).payload == {"from": "/opt/bootstrap", "event": {}}


def test_the_package_comes_first(berth: Any, name: str, deploy: Callable[..., None]) -> None:
    """With a bootstrap in both, the function's own counts."""
    deploy(SHELL, layer="no program at all")
    assert berth.invoke(name).payload["from"] == "/var/task/bootstrap"


@pytest.mark.parametrize(
    ("bootstrap", "text"),
    [
        pytest.param(
            (None,), "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]", id="missing"
        ),
        pytest.param((SHELL, 0o644), "fork/exec /var/task/bootstrap: permission denied", id="mode"),
        pytest.param(("echo",), "fork/exec /var/task/bootstrap: exec format error", id="format"),
        pytest.param(("#!/no/such",), "fork/exec /var/task/bootstrap: no such file or directory", id="line"),
    ],
)
def test_no_valid_bootstrap(
    berth: Any, name: str, deploy: Callable[..., None], bootstrap: tuple[Any, ...], text: str
) -> None:
    """The client learns what was looked for, or why it cannot be executed."""
    deploy(*bootstrap)
    for _ in range(2):
        answer = berth.invoke(name)
        assert answer.error == "Unhandled"
        assert answer.payload == {
            "errorType": "Runtime.InvalidEntrypoint",
            "errorMessage": f"RequestId: {answer.request_id} Error: {text}",
        }
    assert platform_lines(berth, name) == twice(INVALID)


@pytest.mark.parametrize("body", ['{"mine": [1, 2.50]}', "no JSON", "", "null"])
def test_an_error_of_the_runtime_s_own(berth: Any, name: str, deploy: Callable[..., None], body: str) -> None:
    """Whatever a runtime posts as an error, the client gets byte by byte, marked as an error; and it goes on."""
    deploy(OBEDIENT)
    headers = {"Lambda-Runtime-Function-Error-Type": "Function.Mine"}
    wish = {"door": "error", "body": body, "headers": headers}
    assert post(berth, name, wish) == ("Unhandled", body.encode())
    assert post(berth, name, {"door": "response", "body": body}) == (None, body.encode())
    assert platform_lines(berth, name) == ["INIT_START", *2 * ["START", "END", "REPORT"]]


def test_a_runtime_that_refuses_to_start(berth: Any, name: str, deploy: Callable[..., None]) -> None:
    """What it says of its initialisation reaches the client as it is, and its type the log."""
    deploy(REFUSING)
    for _ in range(2):
        answer = berth.invoke(name)
        assert answer.error == "Unhandled"
        assert answer.payload == {"errorType": "Runtime.NoConfig", "errorMessage": "no config", "more": [1]}
    assert platform_lines(berth, name) == twice("Status: error Error Type: Runtime.NoConfig")


def test_variables(berth: Any, name: str, deploy: Callable[..., None]) -> None:
    """It is told its handler and where things are, and of no managed runtime."""
    deploy(OBEDIENT)
    _, document = post(berth, name, {"door": "response"})
    seen = json.loads(document)
    assert seen["_HANDLER"] == "any.thing"
    assert seen["LAMBDA_TASK_ROOT"] == seen["PWD"] == "/var/task"
    assert not {"AWS_EXECUTION_ENV", "PYTHONPATH", "NODE_PATH"} & seen.keys()
