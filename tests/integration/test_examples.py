"""The examples, each by the script that it has."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.helpers.function_images import build
from tests.helpers.languages import in_containers

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = in_containers

Run = Callable[..., list[str]]


def docker(*arguments: str, given: str = "") -> str:
    done = subprocess.run(["docker", *arguments], input=given, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def run(berth: Any, tmp_path: Path) -> Run:
    """Runs an example in a copy of its folder; gives the lines that it prints."""

    def run(name: str, **variables: str) -> list[str]:
        folder = shutil.copytree(EXAMPLES / name, tmp_path / name)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "BERTH_"))}
        tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            [folder / "run"],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,  # on a fresh machine it builds images
            env={**kept, "PATH": tools, "BERTH_URL": berth.url, **variables},
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout.splitlines()

    return run


@pytest.fixture
def image_base() -> Iterator[str]:
    """A base with Python, pip and the runtime client, so that the example's Dockerfile has nothing to fetch."""
    tag = f"berth-example:{uuid4().hex[:8]}"
    text = f"FROM {build('debian', {'app.py': ''})}\nENV PIP_BREAK_SYSTEM_PACKAGES=1\n"
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", tag, "-"],
        input=text.encode(),
        check=True,
        capture_output=True,
    )
    yield tag
    subprocess.run(["docker", "rmi", tag], check=True, capture_output=True)


def test_python_native_layer(run: Run) -> None:
    """The compiled module comes from the layer."""
    assert json.loads(run("python-native-layer")[-1]) == {
        "text": '{"a":[2.5,null],"b":1}',
        "from": "/opt/python/orjson",
    }


def test_node_streaming(run: Run) -> None:
    """The response arrives whole, line by line."""
    assert run("node-streaming")[-4:] == ["three", "two", "one", "lift-off"]


def test_shell_bootstrap(run: Run) -> None:
    """The script answers."""
    assert run("shell-bootstrap")[-1] == '{"SAY": "HELLO"}'


def test_c_bootstrap(run: Run) -> None:
    """A static program answers."""
    compiler = subprocess.run([EXAMPLES.parent / ".ci/compiler"], check=False, capture_output=True, text=True)
    if compiler.returncode == 3 and not os.environ.get("CI"):
        pytest.skip(compiler.stderr.strip())
    assert compiler.returncode == 0, compiler.stderr
    assert json.loads(run("c-bootstrap")[-1]) == {"bytes": len('{"n": 12345}')}


@pytest.mark.skipif(
    shutil.which("go") is None, reason="Go is not here (Debian, Ubuntu: apt-get install golang-go)"
)
def test_go_bootstrap(run: Run, tmp_path: Path) -> None:
    """A static program answers."""
    answer = json.loads(run("go-bootstrap", GOCACHE=str(tmp_path / "cache"))[-1])
    assert answer["greeting"] == "Hello, Go!"


def test_runtime_layer(run: Run) -> None:
    """Functions without a bootstrap run on the layer's; a handler that fails is an error of the function."""
    answers = run("runtime-layer")[-2:]
    assert answers[0] == '"htreB"'
    assert json.loads(answers[1]) == {
        "errorType": "Function.Failed",
        "errorMessage": "refuse ended with status 3",
    }


def test_extension_layer(run: Run) -> None:
    """The extension hears of both invocations and writes to the function's log."""
    out = run("extension-layer")
    assert out.count('"done"') == 2
    log = [line.split(" ", 1)[1] for line in out if line.startswith("2")]
    assert log.count("function: at work") == 2
    assert [line for line in log if line.startswith("clock")] == [
        "clock: invocation 1",
        "clock: invocation 2",
    ]
    assert any(line.startswith("EXTENSION\tName: clock\tState: Ready") for line in log)


def test_web_app(run: Run) -> None:
    """An event of an HTTP API becomes a request, and the response what the API expects."""
    answer = json.loads(run("web-app")[-1])
    assert (answer["statusCode"], answer["isBase64Encoded"]) == (200, False)
    assert json.loads(answer["body"]) == {"text": "Good evening, Berth!"}
    assert answer["headers"]["x-from"] == "Starlette"


def test_image_demo(run: Run, berth: Any, image_base: str) -> None:
    """The image is built from the example's Dockerfile, and greets."""
    image = image_base.replace(":", "-built:")
    try:
        assert json.loads(run("image-demo", BASE=image_base, IMAGE=image)[-1]) == {
            "greeting": "Hello, image!"
        }
        berth.client.delete_function(FunctionName="image-demo")
        berth.until(lambda: not docker("images", "--quiet", f"berth-pin/{berth.instance}"))
    finally:
        docker("rmi", image)
