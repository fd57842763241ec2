"""`berth attach`: processes of this machine as the runtime of a function."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Berth

pytestmark = pytest.mark.parametrize("berth", ["process"], indirect=True)

DEPLOYED = "def handler(event, context): return {'by': 'a sandbox'}"
LOCAL = """
import os
def handler(event, context):
    if event.get("leave"): os._exit(3)
    if event.get("fail"): raise ValueError("here")
    return {"by": "a guest", "event": event, "stage": os.environ["STAGE"], "arn": context.invoked_function_arn}
"""
CLIENT = [sys.executable, "-m", "awslambdaric", "app.handler"]


@pytest.fixture
def attached(berth: Berth, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts `berth attach` in a directory with the local handler."""
    (tmp_path / "app.py").write_text(LOCAL)
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        command = [
            sys.executable,
            "-m",
            "runtime.cli",
            "attach",
            "--data-dir",
            str(berth.data_dir),
            *arguments,
        ]
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        started.append(
            subprocess.Popen(
                command, cwd=tmp_path, env=environ, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                start_new_session=True,
            )
        )  # fmt: skip
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_invocations_go_to_the_guest_and_back_to_sandboxes(
    berth: Berth, name: str, attached: Callable[..., Any], tmp_path: Path
) -> None:
    """1. A function runs in a sandbox. 2. A process here is attached. 3. It crashes, comes back, and leaves."""
    berth.deploy(name, DEPLOYED, Environment={"Variables": {"STAGE": "debug"}})
    assert berth.invoke(name).payload["by"] == "a sandbox"

    command = attached(name)
    lines = [command.stdout.readline()]
    while "AWS_LAMBDA_RUNTIME_API" not in "".join(lines) or "STAGE" not in "".join(lines):
        lines.append(command.stdout.readline())
        assert lines[-1], command.stderr.read()
    variables = dict(shlex.split(line)[1].split("=", 1) for line in lines)
    assert "AWS_ACCESS_KEY_ID" not in variables

    def guest() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            CLIENT, cwd=tmp_path, env={**os.environ, **variables, "_HANDLER": "app.handler"}
        )

    with ThreadPoolExecutor(1) as pool:
        first = guest()
        answer = berth.invoke(name, {"n": 1}).payload
        assert (answer["by"], answer["event"], answer["stage"]) == ("a guest", {"n": 1}, "debug")
        assert answer["arn"].endswith(f":function:{name}")
        failed = berth.client.invoke(FunctionName=name, Payload=b'{"fail": 1}')
        assert failed["FunctionError"] == "Unhandled"
        # Whoever leaves in the middle gets the same event again when it is back: a debugger that is started anew.
        pending = pool.submit(berth.invoke, name, {"leave": 1})
        assert first.wait(30) == 3
        (tmp_path / "app.py").write_text(LOCAL.replace("os._exit(3)", "pass"))
        second = guest()
        assert pending.result(30).payload["event"] == {"leave": 1}
        second.kill()
        second.wait()

    os.killpg(command.pid, signal.SIGINT)
    assert command.wait(30) == 130
    berth.until(lambda: berth.invoke(name).payload.get("by") == "a sandbox")  # once Berth has noticed


def test_a_command_is_run_with_the_variables(
    berth: Berth, name: str, attached: Callable[..., Any], tmp_path: Path
) -> None:
    """Its exit code is the answer, and nobody is attached when it has ended. There is one guest at a time."""
    berth.deploy(name, DEPLOYED)
    code = "import json, os, sys; print(json.dumps(dict(os.environ))); sys.stdout.flush(); sys.stdin.readline(); sys.exit(5)"
    command = attached(name, "--", sys.executable, "-c", code)
    seen = json.loads(command.stdout.readline())
    assert (seen["AWS_LAMBDA_FUNCTION_NAME"], seen["_HANDLER"]) == (name, "app.handler")
    assert seen["LAMBDA_TASK_ROOT"] == str(tmp_path)
    refused = attached(name)
    assert "ResourceConflictException: " in refused.communicate(timeout=30)[1]
    command.communicate("end\n", timeout=30)
    assert command.returncode == 5
    berth.until(lambda: berth.invoke(name).payload.get("by") == "a sandbox")  # once Berth has noticed


def test_a_function_that_is_not_there(berth: Berth, attached: Callable[..., Any]) -> None:
    """Is said, with the exit code of what is refused."""
    command = attached("nobody-s-function")
    assert "ResourceNotFoundException" in command.communicate(timeout=30)[1]
    assert command.returncode == 2
