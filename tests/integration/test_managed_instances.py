"""Functions on a capacity provider: many invocations at once in one environment, with the clients that can do it."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.helpers.languages import PYTHON, Place

PROVIDER = "here"
ARN = f"arn:aws:lambda:us-east-1:123456789012:capacity-provider:{PROVIDER}"
SLOTS = 3
PYTHON_CODE = """
import json, logging, os, resource, socket, urllib.request

def handler(event, context):
    logging.getLogger().warning("working on %s", event["number"])
    if "url" in event:
        urllib.request.urlopen(event["url"]).close()
    if event.get("die"):
        os._exit(3)
    if event.get("raise"):
        raise ValueError(event["number"])
    return {
        "number": event["number"], "id": context.aws_request_id,
        "host": socket.gethostname(), "pid": os.getpid(),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "environment": os.environ["AWS_LAMBDA_LOG_STREAM_NAME"],
    }
"""
NODE_CODE = """
const http = require("node:http");

exports.handler = async (event, context) => {
  console.warn("working on " + event.number);
  if (event.url) await new Promise((done) => http.get(event.url, (answer) => answer.resume().on("end", done)));
  if (event.raise) throw new TypeError(String(event.number));
  return {
    number: event.number, id: context.awsRequestId, host: require("node:os").hostname(),
    environment: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
  };
};
"""
CLIENTS = {
    "python3.13": ("app.handler", {"app.py": PYTHON_CODE}),
    "nodejs24.x": ("app.handler", {"app.js": NODE_CODE}),
}
pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def berth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from tests.integration.conftest import Berth

    place = Place("docker", PYTHON)
    started = Berth(tmp_path_factory.mktemp("berth") / "data", place.spawner, language=place.language)
    started.start()
    started.client.create_capacity_provider(
        CapacityProviderName=PROVIDER,
        VpcConfig={"SubnetIds": ["subnet-1234abcd"], "SecurityGroupIds": ["sg-1234abcd"]},
        PermissionsConfig={"CapacityProviderOperatorRoleArn": "arn:aws:iam::123456789012:role/operator"},
    )
    yield started
    started.stop()


@pytest.fixture(params=list(CLIENTS))
def function(request: pytest.FixtureRequest, berth: Any, name: str, zip_of: Any) -> str:
    handler, files = CLIENTS[request.param]
    deploy(berth, name, zip_of(files), Runtime=request.param, Handler=handler)
    return name


def deploy(berth: Any, name: str, package: bytes, **options: Any) -> None:
    config = {"CapacityProviderArn": ARN, "PerExecutionEnvironmentMaxConcurrency": SLOTS}
    capacity = {"LambdaManagedInstancesCapacityProviderConfig": config}
    berth.deploy(name, package, **{"MemorySize": 512, "CapacityProviderConfig": capacity, **options})


@contextmanager
def meeting(berth: Any, parties: int) -> Iterator[str]:
    """An address that answers nobody before so many ask."""
    gate = threading.Barrier(parties, timeout=60)

    class Gate(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            gate.wait()
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer((berth.function_host, 0), Gate) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{berth.function_host}:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_open_files(berth: Any, name: str, zip_of: Any) -> None:
    """Four times as many as other functions may have open."""
    handler, files = CLIENTS["python3.13"]
    deploy(berth, name, zip_of(files), Runtime="python3.13", Handler=handler)
    assert berth.invoke(name, {"number": 1}).payload["files"] == [4096, 4096]


def test_one_environment_for_many(berth: Any, function: str) -> None:
    """
    1. As many invocations as an environment has slots meet; then one more than that.
    Result: the first ones run at once in one container; the second time there are two. Each has its own answer and id.
    """
    for parties, environments in ((SLOTS, 1), (SLOTS + 1, 2)):
        with meeting(berth, parties) as url:
            events = [{"number": number, "url": url} for number in range(parties)]
            answers = berth.invoke_many(function, events)
        assert [answer.payload["number"] for answer in answers] == list(range(parties))
        assert [answer.payload["id"] for answer in answers] == [answer.request_id for answer in answers]
        assert len({answer.payload["environment"] for answer in answers}) == environments
        assert len({answer.payload["host"] for answer in answers}) == environments
    assert len(berth.environments(function)) == 2


def test_logs_name_their_invocation(berth: Any, function: str) -> None:
    """Lines are JSON with the request's id, in between those of others, and the tail of an invocation is its own."""
    with meeting(berth, SLOTS) as url:
        answers = berth.invoke_many(function, [{"number": number, "url": url} for number in range(SLOTS)])
    for number, answer in enumerate(answers):
        lines = [json.loads(line) for line in answer.log.splitlines()]
        own = [line for line in lines if "message" in line]
        assert [(line["requestId"], line["message"]) for line in own] == [
            (answer.request_id, f"working on {number}")
        ]
        kinds = [line["type"] for line in lines if "type" in line]
        assert kinds == ["platform.start", "platform.report"]


def test_lines_stay_whole(berth: Any, name: str, zip_of: Any) -> None:
    """Workers that print long lines in pieces, all at once, do not cut each other's."""
    code = """
import sys, urllib.request

def handler(event, context):
    urllib.request.urlopen(event["url"]).close()
    for _ in range(20):
        for _ in range(50):
            sys.stdout.write(str(event["number"]) * 100)
        print(context.aws_request_id)
"""
    deploy(berth, name, zip_of({"app.py": code}), Runtime="python3.13")
    with meeting(berth, SLOTS) as url:
        answers = berth.invoke_many(name, [{"number": number, "url": url} for number in range(SLOTS)])
    expected = {str(number) * 5000 + answer.request_id for number, answer in enumerate(answers)}

    def lines() -> list[str]:
        shown = berth.run(
            "logs", name, "--data-dir", str(berth.data_dir), "--limit", "1000"
        ).stdout.splitlines()
        return [line for each in shown for line in expected if each.endswith(line)]

    berth.until(lambda: len(lines()) == 20 * SLOTS)


def test_errors_are_one_invocations(berth: Any, function: str) -> None:
    """A handler that raises fails its own invocation."""
    events = [{"number": number, "raise": number == 1} for number in range(SLOTS)]
    answers = berth.invoke_many(function, events)
    assert [answer.error for answer in answers] == [None, "Unhandled", None]
    assert answers[1].payload["errorMessage"] == "1"
    assert len(berth.environments(function)) == 1


def test_a_crash_of_one_worker(berth: Any, name: str, zip_of: Any) -> None:
    """
    1. One of Python's worker processes exits in mid-invocation.
    Result: its invocation times out; the others, and later ones, run in the same environment.
    """
    deploy(berth, name, zip_of({"app.py": PYTHON_CODE}), Runtime="python3.13", Timeout=2)
    first = berth.invoke(name, {"number": 0}).payload
    with ThreadPoolExecutor(SLOTS) as threads:
        dying = threads.submit(berth.invoke, name, {"number": 1, "die": True})
        others = [threads.submit(berth.invoke, name, {"number": number}) for number in (2, 3)]
        assert [each.result().payload["number"] for each in others] == [2, 3]
    assert "Task timed out after 2.00 seconds" in dying.result().payload["errorMessage"]
    after = berth.invoke(name, {"number": 4}).payload
    assert (after["number"], after["host"]) == (4, first["host"])


def test_every_worker_ends(berth: Any, name: str, zip_of: Any) -> None:
    """The runtime ends with its last worker: the environment is replaced, and whoever it worked for is told."""
    code = (
        "import os, signal, time\ndef handler(event, context):\n"
        "    os.kill(os.getppid(), signal.SIGKILL)\n    time.sleep(60)"
    )
    deploy(berth, name, zip_of({"app.py": code}), Runtime="python3.13", Timeout=10)
    for _ in range(2):
        answer = berth.invoke(name)
        assert answer.error == "Unhandled"
        assert answer.payload["errorType"] == "Runtime.ExitError"


def test_failed_initialisation(berth: Any, name: str, zip_of: Any) -> None:
    """Every worker fails alike: the caller is told what was wrong."""
    deploy(berth, name, zip_of({"app.py": "raise ValueError('no')"}), Runtime="python3.13")
    answer = berth.invoke(name)
    assert answer.error == "Unhandled"
    assert (answer.payload["errorType"], answer.payload["errorMessage"]) == ("ValueError", "no")
