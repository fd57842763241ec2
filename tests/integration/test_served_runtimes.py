"""Functions on images that are not Berth's: AWS's layout without an agent, named by the setting runtime_images.

And runtimes that no image can be had for.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import function_images
from tests.integration.conftest import Berth

pytestmark = pytest.mark.docker

PYTHON = """
import os, sys
def handler(event, context):
    if event.get("leave"): os._exit(3)
    names = ("FOREIGN", "LANG", "LAMBDA_TASK_ROOT", "AWS_EXECUTION_ENV", "_HANDLER", "WRAPPED")
    try:
        open("/opt/x", "w")
    except OSError as error:
        readonly = error.strerror
    return {
        **{name: os.environ.get(name) for name in names},
        "who": os.getuid(), "where": os.getcwd(), "here": sorted(os.listdir("/var/task")), "layer": sorted(os.listdir("/opt")),
        "image": open("/etc/foreign").read(), "agent": os.path.isdir("/var/rapid/rapid"), "readonly": readonly,
        "tmp": open("/tmp/x", "w").write("x"),
    }
"""
NODE = """
const fs = require("fs");
exports.handler = async () => ({ FOREIGN: process.env.FOREIGN, node: process.version.split(".")[0], here: fs.readdirSync("/var/task") });
"""
SHELL = """#!/bin/sh
set -euo pipefail  # which bash knows, as AWS's `sh`
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
    event=$(curl -sS -D /tmp/head "$api/next")
    id=$(sed -n 's/^lambda-runtime-aws-request-id: *//Ip' /tmp/head | tr -d '\\r')
    curl -sS "$api/$id/response" -d "{\\"FOREIGN\\": \\"$FOREIGN\\", \\"program\\": \\"$0\\"}" >/dev/null
done
"""
WRAPPER = '#!/bin/sh\nset -o pipefail\nexport WRAPPED=yes\nexec "$@"\n'


@pytest.fixture(scope="module", params=["bind", "copy"])
def berth(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """For runtimes that Berth has, others' images stand in; where an engine sees our files, and where it does not."""
    made = {
        runtime: function_images.build("foreign-runtime", runtime=base)
        for runtime, base in (
            ("python3.12", "python3.11"),
            ("nodejs20.x", "nodejs22.x"),
            ("provided.al2", "provided.al2023"),
        )
    }
    choice = ",".join(f"{runtime}={image}" for runtime, image in made.items())
    place = tmp_path_factory.mktemp("berth") / "data"
    started = Berth(place, "docker", ("--runtime-images", choice, "--delivery", request.param))
    started.start()
    yield started
    started.stop()


def test_python(berth: Berth, zip_of: Callable[..., bytes], name: str) -> None:
    """The package, a layer and the agent are brought into it; the image's variables count below Lambda's own."""
    layer = berth.client.publish_layer_version(
        LayerName=name, Content={"ZipFile": zip_of({"wrapper": WRAPPER}, {"wrapper": 0o755})}
    )
    berth.deploy(
        name,
        PYTHON,
        Runtime="python3.12",
        Layers=[layer["LayerVersionArn"]],
        Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper"}},
    )
    answer = berth.invoke(name)
    assert answer.payload == {
        "FOREIGN": "yes",
        "LANG": "C.UTF-8",
        "LAMBDA_TASK_ROOT": "/var/task",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.12",
        "_HANDLER": "app.handler",
        "WRAPPED": "yes",
        "who": 993,
        "where": "/var/task",
        "here": ["app.py"],
        "layer": ["wrapper"],
        "image": "here\n",
        "agent": False,
        "readonly": answer.payload["readonly"],
        "tmp": 1,
    }
    assert answer.payload["readonly"] in ("Read-only file system", "Permission denied")


def test_a_function_that_exits(berth: Berth, name: str) -> None:
    """Faults are told as everywhere, and the next environment is a new one."""
    berth.deploy(name, PYTHON, Runtime="python3.12")
    failed = berth.invoke(name, {"leave": True})
    assert (failed.error, failed.payload["errorType"]) == ("Unhandled", "Runtime.ExitError")
    assert berth.invoke(name).payload["FOREIGN"] == "yes"


def test_node(berth: Berth, zip_of: Callable[..., bytes], name: str) -> None:
    """Its program is the image's, whatever the runtime is called."""
    berth.deploy(name, zip_of({"app.js": NODE}), Runtime="nodejs20.x")
    assert berth.invoke(name).payload == {"FOREIGN": "yes", "node": "v22", "here": ["app.js"]}


def test_a_runtime_of_the_function_s_own(berth: Berth, zip_of: Callable[..., bytes], name: str) -> None:
    """The bootstrap comes with the package."""
    berth.deploy(name, zip_of({"bootstrap": SHELL}, {"bootstrap": 0o755}), Runtime="provided.al2")
    assert berth.invoke(name).payload == {"FOREIGN": "yes", "program": "/var/task/bootstrap"}


@pytest.fixture
def alone(tmp_path: Path, new_berth: Callable[..., Berth]) -> Callable[..., Berth]:
    """Control planes that can pull nothing: there is no such registry."""

    def make(*settings: str) -> Berth:
        berth = new_berth("docker", *settings)
        berth.start()
        return berth

    return make


def create(berth: Berth, name: str, runtime: str, package: bytes) -> Any:
    berth.client.create_function(
        FunctionName=name, Runtime=runtime, Role="arn:aws:iam::123456789012:role/any", Handler="app.handler",
        Code={"ZipFile": package},
    )  # fmt: skip
    berth.until(lambda: berth.client.get_function_configuration(FunctionName=name)["State"] != "Pending")
    return berth.client.get_function_configuration(FunctionName=name)


def test_a_runtime_without_an_image(
    alone: Callable[..., Berth], zip_of: Callable[..., bytes], name: str
) -> None:
    """Its identifier is valid, so the function is created; it ends in state Failed, with the ways out."""
    berth = alone("--runtime-images", "java21=registry.invalid/java:21")
    state = create(berth, name, "java21", zip_of({"x": ""}))
    assert (state["State"], state["StateReasonCode"]) == ("Failed", "InternalError")
    reason = state["StateReason"]
    assert reason.startswith("there is no image for the runtime java21: ")
    assert "registry.invalid/java:21 cannot be pulled" in reason
    assert "runtime_images (java21=IMAGE)" in reason
