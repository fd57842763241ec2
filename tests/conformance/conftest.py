"""Exercises as courses print them: shell commands with the unmodified AWS CLI, against the whole program.

Functions run in child processes, so no engine is needed. What a test changes about the commands, it says.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from runtime.spawners.local_runtime import IDENTIFIER

BIN = Path(sys.executable).parent
PROGRAMS = Path(__file__).parent / "programs"
"""Stands in for what exercises install from elsewhere."""
NOT_HERE = {
    "python3.8": IDENTIFIER,
    "python3.9": IDENTIFIER,
    " --cli-binary-format raw-in-base64-out": "",
}
"""What exercises name that is not to be had: child processes run on the interpreter that runs Berth, and the first
version of the AWS CLI takes payloads as they are without being told to."""
STEP_LIMIT = 240.0


class Exercise:
    """A shell in a folder of its own, and a Berth that it speaks to."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self._data_dir = folder / "data"
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        self._outside = {"PATH": os.environ["PATH"], "HOME": str(folder), **keys}
        self._berth("up", "--detach", "--port", "0", "--spawner", "process", *settings)
        url = json.loads((self._data_dir / "berth.json").read_text())["url"]
        self._environment = {
            **self._outside,
            "PATH": f"{PROGRAMS}:{BIN}:{os.environ['PATH']}:{PROGRAMS / 'missing'}",
            "AWS_ENDPOINT_URL": url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
            "BERTH_URL": url,
        }
        self.client = boto3.client(
            "lambda",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def stop(self) -> None:
        self.client.close()
        self._berth("down")

    def _berth(self, command: str, *arguments: str) -> None:
        """The `berth` command about the data directory."""
        line = [str(BIN / "berth"), command, "--data-dir", str(self._data_dir), *arguments]
        subprocess.run(line, check=True, env=self._outside, capture_output=True, timeout=120)

    def write(self, name: str, source: str) -> None:
        """A file that the exercise tells to create."""
        (self.folder / name).write_text(source)

    def run(self, script: str, *, fails: bool = False) -> str:
        """Type the commands, then wait until every function has settled, as somebody does who reads on.

        What they printed, errors included.
        """
        script = script.replace("\\\n", " ")
        for printed, had in NOT_HERE.items():
            script = script.replace(printed, had)
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", script],
            check=False,
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_LIMIT,
        )
        assert bool(done.returncode) == fails, done.stdout
        self.settle()
        return done.stdout

    def json(self, script: str) -> Any:
        """The same for one command that prints JSON."""
        return json.loads(self.run(script))

    def answer(self) -> Any:
        """What the last invocation wrote into `response.json`: the body of an HTTP answer."""
        return json.loads(json.loads((self.folder / "response.json").read_bytes())["body"])

    def settle(self) -> None:
        """Wait until every function is active and its last update done."""
        for function in self.client.list_functions()["Functions"]:
            for waiter in ("function_active_v2", "function_updated_v2"):
                self.client.get_waiter(waiter).wait(
                    FunctionName=function["FunctionName"], WaiterConfig={"Delay": 0.05, "MaxAttempts": 1200}
                )


@pytest.fixture
def exercise(tmp_path: Path) -> Iterator[Callable[..., Exercise]]:
    """Begins exercises, each with settings of its own."""
    begun: list[Exercise] = []

    def begin(*settings: str) -> Exercise:
        folder = tmp_path / str(len(begun))
        folder.mkdir()
        begun.append(Exercise(folder, *settings))
        return begun[-1]

    yield begin
    for each in begun:
        each.stop()
