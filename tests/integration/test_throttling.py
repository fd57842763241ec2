"""Limits on concurrency for real: who runs, who is refused, and in which words."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.helpers.gates import PASSES_GATE, Gate, gate

AWS = Path(sys.executable).parent / "aws"
REFUSAL = {
    "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded",
    "Type": "User",
    "message": "Rate Exceeded.",
}


def reserve(berth: Any, name: str, executions: int) -> None:
    berth.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=executions)


def ten_at_once(call: Callable[[], str], gate: Gate) -> Counter[str]:
    """What ten parallel calls come to, of which those that run wait until all others have been refused."""
    with ThreadPoolExecutor(10) as threads:
        calls = [threads.submit(call) for _ in range(10)]
        answered = as_completed(calls)
        first = Counter(next(answered).result() for _ in range(7))
        gate.open()
        return first + Counter(each.result() for each in answered)


def test_ten_at_once_with_three_reserved(berth: Any, name: str) -> None:
    """Three run and seven are refused, every time: with the first environments, and with those that are there."""
    berth.deploy(name, PASSES_GATE)
    reserve(berth, name, 3)

    def call() -> str:
        try:
            answer = berth.invoke(name, {"gate": closed.url})
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            return f"{status} {error.response['Error']['Code']} {error.response['Reason']}"
        return f"ran {answer.error}"

    refused = f"429 TooManyRequestsException {REFUSAL['Reason']}"
    for _ in range(2):
        with gate(berth.function_host) as closed:
            assert ten_at_once(call, closed) == {"ran None": 3, refused: 7}
    assert len(berth.environments(name)) == 3


@pytest.mark.docker
def test_ten_at_once_with_the_aws_cli(new_berth: Callable[..., Any], name: str, tmp_path: Path) -> None:
    """The exercise as courses have it, its SDK's own retries switched off."""
    berth = new_berth("docker")
    berth.start()
    berth.deploy(name, PASSES_GATE)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": berth.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_CLI_FILE_ENCODING": "UTF-8",
    }

    def aws(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(AWS), "lambda", *arguments]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )

    def call() -> str:
        done = aws(
            "invoke", "--function-name", name, "--payload", json.dumps({"gate": closed.url}), os.devnull
        )
        if done.returncode == 0:
            return "ran"
        assert "An error occurred (TooManyRequestsException)" in done.stderr
        assert "Rate Exceeded." in done.stderr
        return "throttled"

    aws("put-function-concurrency", "--function-name", name, "--reserved-concurrent-executions", "3")
    with gate(berth.function_host) as closed:
        assert ten_at_once(call, closed) == {"ran": 3, "throttled": 7}
    aws("delete-function-concurrency", "--function-name", name)
    assert berth.invoke(name).error is None


@pytest.mark.parametrize(
    "path",
    ["/2015-03-31/functions/{}/invocations", "/2021-11-15/functions/{}/response-streaming-invocations"],
)
def test_refusals_on_the_wire(berth: Any, name: str, path: str) -> None:
    """Both doors refuse alike, before anything runs: status, headers and document are AWS's."""
    berth.deploy(name, PASSES_GATE)
    reserve(berth, name, 0)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(berth.url + path.format(name), b"{}")  # noqa: S310  our own
    with caught.value as answer:
        assert (answer.code, answer.headers["x-amzn-ErrorType"]) == (429, "TooManyRequestsException")
        assert answer.headers["Retry-After"] == "1"
        assert json.load(answer) == REFUSAL
    assert not any(each["invocations"] for each in berth.environments(name))
    reserve(berth, name, 1)
    assert berth.invoke(name).error is None


def test_sequential_client(new_berth: Callable[..., Any], name: str) -> None:
    """With one reserved, a client that asks again as soon as it has its answer is never refused."""
    berth = new_berth("process", "--no-limit-request-rate")
    berth.start()
    berth.deploy(name, PASSES_GATE)
    reserve(berth, name, 1)
    streams = {json.load(berth.client.invoke(FunctionName=name)["Payload"])["stream"] for _ in range(200)}
    assert len(streams) == 1


def test_many_clients(new_berth: Callable[..., Any], name: str) -> None:
    """Eight clients that never rest, three reserved: no more than three run at a time, every refusal is that limit's."""
    berth = new_berth("process", "--no-limit-request-rate")
    berth.start()
    berth.deploy(name, PASSES_GATE)
    reserve(berth, name, 3)
    with gate(berth.function_host) as opened, ThreadPoolExecutor(8) as threads:
        opened.open()

        def client(_: int) -> Counter[str | None]:
            answers: Counter[str | None] = Counter()
            while answers[None] < 20:
                try:
                    answers[berth.invoke(name, {"gate": opened.url}).error] += 1
                except ClientError as error:
                    answers[error.response["Reason"]] += 1
            return answers

        total = sum(threads.map(client, range(8)), Counter[str | None]())
    assert opened.most <= 3
    assert set(total) <= {None, REFUSAL["Reason"]}
    assert total[None] == 160
    assert len(berth.environments(name)) <= 3


def test_request_rate(berth: Any, name: str) -> None:
    """Ten requests a second for each unit of concurrency, however short: one more is refused, for that reason."""
    berth.deploy(name, PASSES_GATE)
    berth.invoke(name)
    reserve(berth, name, 1)

    def flood() -> None:
        for _ in range(1000):
            berth.client.invoke(FunctionName=name)

    with pytest.raises(ClientError) as error:
        flood()
    assert error.value.response["Reason"] == "ReservedFunctionInvocationRateLimitExceeded"


def test_small_account(new_berth: Callable[..., Any], name: str) -> None:
    """Functions without a reservation share what the account has, across versions and functions."""
    berth = new_berth("process", "--account-concurrency", "2")
    berth.start()
    other = f"{name}-other"
    for each in (name, other):
        berth.deploy(each, PASSES_GATE, Publish=True)
    with gate(berth.function_host) as closed, ThreadPoolExecutor(2) as threads:
        running = [threads.submit(berth.invoke, each, {"gate": closed.url}) for each in (f"{name}:1", other)]
        closed.await_arrivals(2)
        with pytest.raises(ClientError) as error:
            berth.invoke(name)
        assert error.value.response["Reason"] == "ConcurrentInvocationLimitExceeded"
        closed.open()
        assert [each.result().error for each in running] == [None, None]
    assert berth.invoke(name).error is None
