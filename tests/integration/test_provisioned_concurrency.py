"""Provisioned concurrency for real: environments that are there before anybody invokes."""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.helpers.gates import PASSES_GATE, gate

AHEAD, ON_DEMAND = "provisioned-concurrency", "on-demand"


def provision(berth: Any, name: str, qualifier: str, executions: int) -> Any:
    return berth.client.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=qualifier, ProvisionedConcurrentExecutions=executions
    )


def progress(berth: Any, name: str, qualifier: str) -> dict[str, Any]:
    got = berth.client.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)
    return {member.removesuffix("ProvisionedConcurrentExecutions"): value for member, value in got.items()}


def made_ahead(berth: Any, name: str) -> list[dict[str, Any]]:
    """The environments of provisioned concurrency."""
    return [each for each in berth.environments(name) if each["purpose"] == "provisioned"]


def streams(berth: Any, name: str) -> set[str]:
    """What they log to."""
    return {each["log_stream"] for each in made_ahead(berth, name)}


def await_status(berth: Any, name: str, qualifier: str, status: str = "READY") -> dict[str, Any]:
    berth.until(lambda: progress(berth, name, qualifier)["Status"] == status)
    return progress(berth, name, qualifier)


def in_parallel(berth: Any, name: str, count: int) -> list[dict[str, Any]]:
    """What so many invocations at the same time say that they run in."""
    with gate(berth.function_host) as closed, ThreadPoolExecutor(count) as threads:
        calls = [threads.submit(berth.invoke, name, {"gate": closed.url}) for _ in range(count)]
        closed.await_arrivals(count)
        closed.open()
        return [call.result().payload for call in calls]


def publish(berth: Any, name: str, *codes: str) -> None:
    """Versions from 1 on."""
    berth.deploy(name, codes[0], Publish=True)
    for code in codes[1:]:
        berth.update_code(name, code)
        berth.client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        berth.client.publish_version(FunctionName=name)


def test_life(berth: Any, name: str) -> None:
    """
    1. An alias gets two environments ahead, and three invocations at once.
    2. Its provisioned concurrency is deleted.
    Result: two run in those that were there, the third spills over; afterwards the environments are gone.
    """
    publish(berth, name, PASSES_GATE)
    berth.client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    put = provision(berth, name, "live", 2)
    assert put["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert put["Status"] == "IN_PROGRESS"
    assert put["AvailableProvisionedConcurrentExecutions"] == 0
    ready = await_status(berth, name, "live")
    assert (ready["Requested"], ready["Allocated"], ready["Available"]) == (2, 2, 2)
    ahead = streams(berth, name)
    assert len(ahead) == 2
    answers = in_parallel(berth, f"{name}:live", 3)
    assert Counter(each["type"] for each in answers) == {AHEAD: 2, ON_DEMAND: 1}
    assert {each["stream"] for each in answers if each["type"] == AHEAD} == ahead
    again = berth.invoke(f"{name}:live")
    assert again.payload["type"] == AHEAD
    assert "Init Duration" not in again.log
    assert berth.invoke(name).payload["type"] == ON_DEMAND
    berth.client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="live")
    berth.until(lambda: not ahead & {each["log_stream"] for each in berth.environments(name)})
    assert not made_ahead(berth, name)
    assert berth.invoke(f"{name}:live").payload["type"] == ON_DEMAND


def test_log(berth: Any, name: str) -> None:
    """An initialisation ahead is told of by an INIT_REPORT without a status."""
    publish(berth, name, PASSES_GATE)
    provision(berth, name, "1", 1)
    await_status(berth, name, "1")
    berth.invoke(f"{name}:1")
    said = berth.run("logs", name, "--data-dir", str(berth.data_dir)).stdout
    [report] = [line for line in said.splitlines() if "INIT_REPORT" in line]
    assert "Init Duration:" in report
    assert "Phase: init" in report
    assert "Status" not in report


def test_log_as_json(berth: Any, name: str) -> None:
    """Both events of the initialisation name its kind, and the report of it shows at the ordinary level."""
    berth.deploy(name, PASSES_GATE, Publish=True, LoggingConfig={"LogFormat": "JSON"})
    provision(berth, name, "1", 1)
    await_status(berth, name, "1")
    berth.invoke(f"{name}:1")
    said = berth.run("logs", name, "--data-dir", str(berth.data_dir)).stdout
    events = [json.loads(line[line.index("{") :]) for line in said.splitlines() if '"platform.init' in line]
    ahead = [each["type"] for each in events if each["record"]["initializationType"] == AHEAD]
    assert ahead == ["platform.initStart", "platform.initReport"]


def test_all_of_the_reservation(berth: Any, name: str) -> None:
    """Where everything reserved is provisioned, `$LATEST` is throttled, and the version runs."""
    publish(berth, name, PASSES_GATE)
    berth.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    provision(berth, name, "1", 1)
    await_status(berth, name, "1")
    with pytest.raises(ClientError) as error:
        berth.invoke(name)
    assert error.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    for _ in range(5):
        assert berth.invoke(f"{name}:1").payload["type"] == AHEAD


def test_follows_its_alias(berth: Any, name: str) -> None:
    """
    1. An alias with two environments is moved to another version, then gets half of the first one back.
    2. The alias gets variables of its own; then it is deleted.
    Result: the environments are those of where it leads, under the variables that it gives, and in the end none.
    """
    publish(berth, name, PASSES_GATE, PASSES_GATE + "\n")
    berth.client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    provision(berth, name, "live", 2)
    await_status(berth, name, "live")
    berth.client.update_alias(FunctionName=name, Name="live", FunctionVersion="2")
    assert progress(berth, name, "live")["Status"] == "IN_PROGRESS"
    await_status(berth, name, "live")
    answer = berth.invoke(f"{name}:live").payload
    assert (answer["type"], answer["version"]) == (AHEAD, "2")
    berth.until(lambda: versions(berth, name) == {"2": 2})
    routing = {"AdditionalVersionWeights": {"1": 0.5}}
    berth.client.update_alias(FunctionName=name, Name="live", RoutingConfig=routing)
    await_status(berth, name, "live")
    berth.until(lambda: versions(berth, name) == {"1": 1, "2": 1})
    berth.client.update_alias(FunctionName=name, Name="live", RoutingConfig={})
    berth.run("alias", name, "live", "--environment", "STAGE=live", "--data-dir", str(berth.data_dir))
    await_status(berth, name, "live")
    answer = berth.invoke(f"{name}:live").payload
    assert (answer["type"], answer["stage"]) == (AHEAD, "live")
    berth.client.delete_alias(FunctionName=name, Name="live")
    berth.until(lambda: not made_ahead(berth, name))


def test_moves_under_an_invocation(berth: Any, name: str) -> None:
    """What runs in an environment of the version before is finished there; then the environment ends."""
    publish(berth, name, PASSES_GATE, PASSES_GATE + "\n")
    berth.client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    provision(berth, name, "live", 1)
    await_status(berth, name, "live")
    with gate(berth.function_host) as closed, ThreadPoolExecutor(1) as threads:
        call = threads.submit(berth.invoke, f"{name}:live", {"gate": closed.url})
        closed.await_arrivals(1)
        berth.client.update_alias(FunctionName=name, Name="live", FunctionVersion="2")
        await_status(berth, name, "live")
        assert berth.invoke(f"{name}:live").payload["version"] == "2"
        closed.open()
        answer = call.result().payload
    assert (answer["type"], answer["version"]) == (AHEAD, "1")
    berth.until(lambda: versions(berth, name) == {"2": 1})


def versions(berth: Any, name: str) -> Counter[str]:
    return Counter(each["version"] for each in made_ahead(berth, name))


def test_failed_initialisation(berth: Any, name: str) -> None:
    """A version whose static code fails has no environment ahead, and the status says why; it still can be invoked."""
    publish(berth, name, "raise RuntimeError('not today')")
    provision(berth, name, "1", 1)
    failed = await_status(berth, name, "1", "FAILED")
    assert (failed["StatusReason"], failed["Available"]) == ("FUNCTION_ERROR_INIT_FAILURE", 0)
    assert berth.invoke(f"{name}:1").payload["errorMessage"] == "not today"


def test_after_a_restart(new_berth: Callable[..., Any], name: str) -> None:
    """A control plane that is started again makes the environments again, and replaces one that dies."""
    berth = new_berth("process")
    berth.start()
    publish(berth, name, PASSES_GATE)
    provision(berth, name, "1", 2)
    await_status(berth, name, "1")
    before = streams(berth, name)
    berth.kill()
    berth.start()
    await_status(berth, name, "1")
    after = streams(berth, name)
    assert len(after) == 2
    assert not before & after
    victim = made_ahead(berth, name)[0]
    os.kill(int(victim["reference"]), signal.SIGKILL)
    berth.until(lambda: len(streams(berth, name) - after) == 1)
    ready = await_status(berth, name, "1")
    berth.until(lambda: progress(berth, name, "1")["Available"] == 2)
    assert ready["Requested"] == 2
    assert berth.invoke(f"{name}:1").payload["type"] == AHEAD
