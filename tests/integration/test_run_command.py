"""`berth run` on images that exist for it, and on images that do not."""

import json
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from runtime.settings import load

pytestmark = pytest.mark.docker

SHELL = """#!/bin/bash
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
    event=$(curl -sS -D /tmp/head "$api/next")
    id=$(sed -n 's/^lambda-runtime-aws-request-id: *//Ip' /tmp/head | tr -d '\\r')
    echo "with $STAGE"
    case "$event" in
        *bad*) curl -sS "$api/$id/error" -d '{"errorType": "Bad", "errorMessage": "no"}' >/dev/null ;;
        *) curl -sS "$api/$id/response" -d "{\\"handler\\": \\"$_HANDLER\\", \\"event\\": $event}" >/dev/null ;;
    esac
done
"""


def berth(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runtime.cli", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, check=False)


def docker(*arguments: str, stdin: str = "") -> str:
    host = load({}).settings.docker_host
    command = ["docker", *(["--host", host] if host else []), *arguments]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=300, check=True
    ).stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A function in shell."""
    assert berth("images", "standalone", "provided.al2023").returncode == 0
    place = tmp_path_factory.mktemp("image")
    (place / "bootstrap").write_text(SHELL)
    (place / "bootstrap").chmod(0o755)
    (place / "Dockerfile").write_text(
        'FROM berth/provided:al2023\nCOPY bootstrap /var/runtime/\nCMD ["a.b"]\n'
    )
    docker("build", "--tag", "berth-test/run:1", str(place))
    return "berth-test/run:1"


def test_an_event_goes_in_and_the_result_comes_out(image: str, tmp_path: Path) -> None:
    """From a file; the answer on stdout, the whole log on stderr, and nothing is left behind."""
    (tmp_path / "e.json").write_text('{"a": 1}')
    ran = berth("run", image, "--event", str(tmp_path / "e.json"), "--env", "STAGE=test")
    assert json.loads(ran.stdout) == {"handler": "a.b", "event": {"a": 1}}
    assert "with test\n" in ran.stderr
    assert "REPORT RequestId: " in ran.stderr
    assert ran.returncode == 0
    assert docker("ps", "--all", "--quiet", "--filter", "label=berth.run") == ""


def test_a_failure_is_the_exit_code(image: str) -> None:
    """Whichever of several events fails; another handler is named behind the image."""
    ran = berth("run", image, "c.d", "--event", '{"bad": 1}', "--event", "-", "--json", stdin="[2]")
    decoder = json.JSONDecoder()
    first, end = decoder.raw_decode(ran.stdout)
    second, _ = decoder.raw_decode(ran.stdout[end:].lstrip())
    assert (first["function_error"], first["payload"]["errorType"]) == ("Unhandled", "Bad")
    assert (second["function_error"], second["payload"]) == (None, {"handler": "c.d", "event": [2]})
    assert ran.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["berth-test/run:1", "--env", "nothing"], "'nothing' is not NAME=VALUE"),
        (["berth-test/run:1", "--timeout", "0"], "'0' is not a whole number above 0"),
        (["berth-test/run:1", "--event", "{"], "'{' is not JSON"),
        (["berth-test/no-such-image:1"], "pull"),
    ],
)
def test_what_cannot_run_is_said(image: str, arguments: list[str], said: str) -> None:
    """In one line, with another exit code than a function's failure."""
    ran = berth("run", *arguments)
    assert (ran.returncode, said in ran.stderr) == (2, True), ran.stderr


def test_in_a_container(image: str, own_image: str) -> None:
    """Berth's own image with the engine's socket is all that a job needs, on whichever network it is."""
    socket = ("--volume", "/var/run/docker.sock:/var/run/docker.sock")
    network = f"berth-test-{uuid4().hex[:8]}"
    docker("network", "create", network)
    try:
        for each in ("bridge", network):
            out = docker(
                *("run", "--rm", "--network", each, *socket, own_image),
                *("run", image, "--event", '{"a": 1}', "--env", "STAGE=test"),
            )
            assert json.loads(out) == {"handler": "a.b", "event": {"a": 1}}
    finally:
        docker("network", "rm", network)
    assert docker("ps", "--all", "--quiet", "--filter", "label=berth.run") == ""
