"""Versions and aliases for real: what runs is what was published, and an alias leads where it was last told to."""

import json
import threading
import urllib.request
from collections import Counter
from typing import Any

CODE = """
import os

def handler(event, context):
    return {{
        "code": {0},
        "version": context.function_version,
        "variable": os.environ["AWS_LAMBDA_FUNCTION_VERSION"],
        "arn": context.invoked_function_arn,
        "stage": os.environ.get("STAGE"),
        "kept": os.environ.get("KEPT"),
        "stream": os.environ["AWS_LAMBDA_LOG_STREAM_NAME"],
    }}
"""


def publish(berth: Any, name: str, number: int) -> None:
    """Deploy code that says its number, and publish it under the same one."""
    if number == 1:
        berth.deploy(name, CODE.format(1), Environment={"Variables": {"STAGE": "none", "KEPT": "yes"}})
    else:
        berth.update_code(name, CODE.format(number))
        berth.client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    made = berth.client.publish_version(FunctionName=name)
    assert made["Version"] == str(number)


def route(berth: Any, name: str, version: str, **weights: float) -> None:
    named = {number.removeprefix("v"): weight for number, weight in weights.items()}
    berth.client.update_alias(
        FunctionName=name,
        Name="live",
        FunctionVersion=version,
        RoutingConfig={"AdditionalVersionWeights": named},
    )


def test_versions_run_what_was_published(berth: Any, name: str) -> None:
    """
    1. Two versions are published and invoked beside `$LATEST`, by name, qualifier and ARN.
    2. `$LATEST` changes again; version 1 is deleted.
    Result: each runs its own code in environments of its own; the change ends none of theirs, the deletion only one's.
    """
    publish(berth, name, 1)
    publish(berth, name, 2)
    arn = f"arn:aws:lambda:us-east-1:123456789012:function:{name}"
    first = berth.invoke(f"{name}:1")
    assert (first.payload["code"], first.version, first.payload["arn"]) == (1, "1", f"{arn}:1")
    assert first.payload["version"] == first.payload["variable"] == "1"
    assert f"START RequestId: {first.request_id} Version: 1\n" in first.log
    assert berth.invoke(name, Qualifier="2").payload["code"] == 2
    latest = berth.invoke(name)
    assert (latest.payload["code"], latest.version) == (2, "$LATEST")

    berth.update_code(name, CODE.format(3))
    assert berth.invoke(name).payload["code"] == 3
    again = berth.invoke(f"{arn}:1")
    assert (again.payload["code"], again.payload["stream"]) == (1, first.payload["stream"])
    berth.client.delete_function(FunctionName=f"{name}:1")
    berth.until(lambda: {each["version"] for each in berth.environments(name)} == {"$LATEST", "2"})


def test_a_canary_and_the_way_back(berth: Any, name: str) -> None:
    """
    1. An alias of version 1 gives version 2 a tenth of 300 invocations.
    2. It is moved to version 2, and back to version 1.
    Result: both versions are met in proportion, each named by answer, log and context; a move is total and at once.
    """
    publish(berth, name, 1)
    publish(berth, name, 2)
    berth.client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    arn = f"arn:aws:lambda:us-east-1:123456789012:function:{name}:live"
    assert berth.invoke(f"{name}:live").payload["arn"] == arn
    streamed = berth.client.invoke_with_response_stream(FunctionName=name, Qualifier="live")
    pieces = [
        event["PayloadChunk"]["Payload"] for event in streamed["EventStream"] if "PayloadChunk" in event
    ]
    assert (json.loads(b"".join(pieces))["arn"], streamed["ExecutedVersion"]) == (arn, "1")

    route(berth, name, "1", v2=0.1)
    answers = [berth.invoke(f"{name}:live") for _ in range(300)]
    for answer in answers:
        assert answer.version == answer.payload["version"] == str(answer.payload["code"])
        assert answer.payload["arn"] == arn
        assert f"Version: {answer.version}\n" in answer.log
    met = Counter(answer.version for answer in answers)
    assert 3 < met["2"] < 57, met  # 30, to within five standard deviations
    assert len({answer.payload["stream"] for answer in answers}) == 2

    route(berth, name, "2")
    assert {berth.invoke(f"{name}:live").version for _ in range(10)} == {"2"}
    route(berth, name, "1")
    assert {berth.invoke(f"{name}:live").version for _ in range(10)} == {"1"}


def test_variables_of_aliases(berth: Any, name: str) -> None:
    """
    1. Two aliases of one version get variables with `berth alias`, and one gets others.
    Result: each sees its own over the version's, in environments apart; the version by itself sees none of them.
    """
    publish(berth, name, 1)

    def say(alias: str, *pairs: str) -> Any:
        told = berth.run(
            *("alias", name, alias, "--json", "--data-dir", str(berth.data_dir), "--environment", *pairs)
        )
        return json.loads(told.stdout)["Environment"]["Variables"]

    for alias in ("dev", "prod"):
        berth.client.create_alias(FunctionName=name, Name=alias, FunctionVersion="1")
        assert say(alias, f"STAGE={alias}") == {"STAGE": alias}
    seen = {each: berth.invoke(f"{name}:{each}").payload for each in ("dev", "prod", "1")}
    assert {each: (said["stage"], said["kept"]) for each, said in seen.items()} == {
        "dev": ("dev", "yes"),
        "prod": ("prod", "yes"),
        "1": ("none", "yes"),
    }
    assert len({said["stream"] for said in seen.values()}) == 3

    say("prod", "STAGE=blue")
    assert berth.invoke(f"{name}:prod").payload["stage"] == "blue"
    assert berth.invoke(f"{name}:dev").payload["stream"] == seen["dev"]["stream"]
    assert berth.invoke(f"{name}:1").payload["stream"] == seen["1"]["stream"]
    berth.run("alias", name, "prod", "--no-environment", "--data-dir", str(berth.data_dir))
    assert berth.invoke(f"{name}:prod").payload["stream"] == seen["1"]["stream"]
    with urllib.request.urlopen(f"{berth.url}/2015-03-31/functions/{name}/aliases/dev") as answer:  # noqa: S310
        assert "Environment" not in json.load(answer)


def test_no_invocation_sees_an_old_target(berth: Any, name: str) -> None:
    """Under load: whatever begins after UpdateAlias has returned runs the new version."""
    for number in range(1, 5):
        publish(berth, name, number)
    berth.client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    current, stop, wrong, beaten = [1], threading.Event(), [], threading.Semaphore(0)

    def invoke() -> None:
        while not stop.is_set():
            least = current[0]
            got = berth.invoke(f"{name}:live").payload["code"]
            if got < least:
                wrong.append((least, got))
            beaten.release()

    threads = [threading.Thread(target=invoke) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(2, 5):
        for _ in range(30):
            assert beaten.acquire(timeout=60)
        route(berth, name, str(number))
        current[0] = number
    for _ in range(30):
        assert beaten.acquire(timeout=60)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert berth.invoke(f"{name}:live").payload["code"] == 4
