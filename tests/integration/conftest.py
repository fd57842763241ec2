"""The whole program: `berth up` as a user starts it, and boto3 as a user calls it."""

import base64
import io
import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config

from tests.helpers.languages import PYTHON, Language, Place

BERTH = Path(sys.executable).parent / "berth"
ROLE = "arn:aws:iam::123456789012:role/any"


def make_zip(files: Mapping[str, str | bytes], modes: Mapping[str, int] | None = None) -> bytes:
    """A zip as `zip` would make it; files are 0644 unless `modes` says otherwise."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0))
            info.external_attr = (0o100000 | (modes or {}).get(name, 0o644)) << 16
            archive.writestr(info, content)
    return target.getvalue()


def make_client(url: str) -> Any:
    """A client that hears every answer as it is: it repeats nothing."""
    return boto3.client(
        "lambda",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 0}, read_timeout=120, max_pool_connections=64),
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What Invoke gave."""

    payload: Any
    error: str | None
    log: str
    request_id: str
    version: str


class Berth:
    """One running control plane, its clients, and shorthand for what tests do with it."""

    def __init__(
        self, data_dir: Path, spawner: str, settings: tuple[str, ...] = (), language: Language = PYTHON
    ) -> None:
        self.data_dir = data_dir
        self.spawner = spawner
        self.language = language
        self._settings = settings
        self.url = ""
        self.pid = 0

    def start(self) -> None:
        arguments = ["--data-dir", str(self.data_dir), "--port", "0", "--spawner", self.spawner]
        arguments.append("--no-warm-ahead")  # most tests say themselves when something starts
        self.run("up", "--detach", *arguments, *self._settings)
        state = json.loads((self.data_dir / "berth.json").read_text())
        self.url, self.pid = state["url"], state["pid"]
        self.client = make_client(self.url)

    def stop(self) -> None:
        self.run("down", "--data-dir", str(self.data_dir))

    def kill(self) -> None:
        """`kill -9`, and wait until the process is gone."""
        process = os.pidfd_open(self.pid)
        signal.pidfd_send_signal(process, signal.SIGKILL)
        ended, _, _ = select.select([process], [], [], 10)
        os.close(process)
        assert ended

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The `berth` command."""
        return subprocess.run(
            [str(BERTH), *arguments], check=check, capture_output=True, text=True, timeout=180
        )

    @property
    def function_host(self) -> str:
        """This machine as functions see it."""
        with urllib.request.urlopen(f"{self.url}/health") as answer:  # noqa: S310  our own
            return str(json.load(answer)["function_host"])

    @property
    def instance(self) -> str:
        return (self.data_dir / "instance").read_text().strip()

    def deploy(self, name: str, code: str | bytes, **options: Any) -> None:
        """Create a Python function and wait until it is active. Code is `app.py`, or a whole zip."""
        package = code if isinstance(code, bytes) else make_zip({"app.py": code})
        self.client.create_function(
            **{
                "FunctionName": name,
                "Runtime": "python3.11",
                "Role": ROLE,
                "Handler": "app.handler",
                "Code": {"ZipFile": package},
                "Timeout": 20,
                **options,
            }
        )
        self.client.get_waiter("function_active_v2").wait(
            FunctionName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 3000}
        )

    def update_code(self, name: str, code: str) -> None:
        self.client.update_function_code(FunctionName=name, ZipFile=make_zip({"app.py": code}))

    def invoke(self, name: str, event: Any = None, **options: Any) -> Answer:
        """Invoke with the end of the log."""
        payload = json.dumps({} if event is None else event).encode()
        given = self.client.invoke(FunctionName=name, Payload=payload, LogType="Tail", **options)
        return Answer(
            payload=json.loads(given["Payload"].read()),
            error=given.get("FunctionError"),
            log=base64.b64decode(given["LogResult"]).decode(),
            request_id=given["ResponseMetadata"]["RequestId"],
            version=given["ExecutedVersion"],
        )

    def invoke_many(self, name: str, events: list[Any]) -> list[Answer]:
        """Invoke in parallel, one thread for each event."""
        with ThreadPoolExecutor(len(events)) as threads:
            return list(threads.map(lambda event: self.invoke(name, event), events))

    def until(self, condition: Callable[[], object]) -> None:
        """Look until the condition holds, for a minute at the most; a look takes a command's time or a walk's."""
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, self.environments()

    def is_busy(self, name: str) -> bool:
        return any(each["state"] == "busy" for each in self.environments(name))

    def environments(self, name: str | None = None) -> list[dict[str, Any]]:
        shown = json.loads(self.run("ps", "--json", "--data-dir", str(self.data_dir)).stdout)
        return [each for each in shown["environments"] if name in (None, each["function"])]


def spawners() -> list[Any]:
    return [pytest.param("docker", marks=pytest.mark.docker), "process"]


@pytest.fixture(scope="module", params=spawners())
def berth(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """A control plane on each spawner, shared by the tests of a module."""
    place = request.param if isinstance(request.param, Place) else Place(request.param, PYTHON)
    started = Berth(tmp_path_factory.mktemp("berth") / "data", place.spawner, language=place.language)
    started.start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def language(berth: Berth) -> Language:
    """What functions of this test are written in."""
    return berth.language


@pytest.fixture
def new_berth(tmp_path: Path) -> Iterator[Callable[..., Berth]]:
    """Makes control planes (not yet started) for tests that stop or kill them."""
    made: list[Berth] = []

    def make(spawner: str, *settings: str) -> Berth:
        made.append(Berth(tmp_path / f"data{len(made)}", spawner, settings))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A function name of the test's own."""
    wanted = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return wanted[:60].strip("-")


@pytest.fixture(scope="session")
def own_image() -> Iterator[str]:
    """The control plane's own image, of this checkout."""
    tag = f"berth:test-{uuid4().hex[:8]}"
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, ".ci/image.py", tag], cwd=root, check=True, capture_output=True)
    yield tag
    subprocess.run(["docker", "rmi", tag], check=True, capture_output=True)


@pytest.fixture(scope="session")
def zip_of() -> Callable[..., bytes]:
    return make_zip


@pytest.fixture(scope="session")
def client_of() -> Callable[[str], Any]:
    return make_client
