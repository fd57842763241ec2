"""A control plane whose files the engine cannot see, as with a remote engine: code goes over the link."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BERTH = Path(sys.executable).parent / "berth"
ROLE = "arn:aws:iam::123456789012:role/any"
CODE = """
import os, words

def handler(event, context):
    return [words.WORD, os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], sorted(os.listdir("/var/task"))]
"""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A Berth that alone sees what is in its data directory, and has sandboxes stand by."""
    data, log = tmp_path / "data", tmp_path / "log"
    data.mkdir()
    own_mounts = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    program = [str(BERTH), "up", "--port", "0", "--data-dir", str(data), "--spawner", "docker"]
    hidden = 'mount -t tmpfs none "$0" && exec "$@"'
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*own_mounts, "sh", "-c", hidden, str(data), *program],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout
    try:
        address = next((line for line in process.stdout if line.startswith("  address")), None)
        assert address, log.read_text()
        yield address.split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        process.stdout.close()
        assert process.wait(60) == 0, log.read_text()
    assert list(data.iterdir()) == []


@pytest.mark.docker
def test_functions_run(url: str, zip_of: Callable[..., bytes], client_of: Callable[[str], Any]) -> None:
    """A function with a layer answers, provisioned and on demand, with the files of its package and no others."""
    client = client_of(url)
    layer = client.publish_layer_version(
        LayerName="words", Content={"ZipFile": zip_of({"python/words.py": "WORD = 'from a layer'"})}
    )
    client.create_function(
        FunctionName="far",
        Runtime="python3.11",
        Role=ROLE,
        Handler="app.handler",
        Code={"ZipFile": zip_of({"app.py": CODE})},
        Layers=[layer["LayerVersionArn"]],
        Timeout=20,
        Publish=True,
    )
    client.get_waiter("function_active_v2").wait(
        FunctionName="far", WaiterConfig={"Delay": 0.1, "MaxAttempts": 3000}
    )
    with urllib.request.urlopen(f"{url}/health") as answer:  # noqa: S310  our own
        assert "copy delivery" in json.load(answer)["spawner"]
    assert _invoke(client, "far") == ["from a layer", "on-demand", ["app.py"]]
    client.put_provisioned_concurrency_config(
        FunctionName="far", Qualifier="1", ProvisionedConcurrentExecutions=1
    )
    deadline = time.monotonic() + 60
    while True:
        got = client.get_provisioned_concurrency_config(FunctionName="far", Qualifier="1")
        if got["Status"] != "IN_PROGRESS":
            break
        assert time.monotonic() < deadline, got
    assert got["Status"] == "READY"
    assert _invoke(client, "far:1") == ["from a layer", "provisioned-concurrency", ["app.py"]]


def _invoke(client: Any, function: str) -> Any:
    return json.loads(client.invoke(FunctionName=function)["Payload"].read())
