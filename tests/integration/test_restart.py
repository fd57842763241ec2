"""What survives a control plane, and what must not."""

import json
import subprocess
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

SLEEP = (
    "import time\ndef handler(event, context):\n    time.sleep(event.get('seconds', 0))\n    return 'done'"
)

SPAWNERS = [pytest.param("docker", marks=pytest.mark.docker), "process"]


def labelled(instance: str) -> list[str]:
    """Everything on the engine that carries the instance's label."""
    found: list[str] = []
    for kind in (["ps", "--all"], ["network", "ls"], ["volume", "ls"], ["images"]):
        listing = ["docker", *kind, "--quiet", "--filter", f"label=berth={instance}"]
        found += subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split()
    return found


def sandboxes(berth: Any) -> list[str]:
    """Sandboxes of the instance that exist, by whatever its spawner runs them in."""
    if berth.spawner == "docker":
        listing = ["docker", "ps", "--all", "--quiet", "--filter", f"label=berth={berth.instance}"]
        return subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split()
    agents = Path("/proc").glob("[0-9]*/cmdline")
    return [
        str(path)
        for path in agents
        if b"rapid.agent" in _read(path) and berth.instance.encode() in _read(path)
    ]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("spawner", SPAWNERS)
def test_kill_9_in_mid_invocation(
    new_berth: Callable[..., Any], name: str, zip_of: Callable[..., bytes], spawner: str
) -> None:
    """Functions, layers and code are all there after a restart, sandboxes of before are not."""
    berth = new_berth(spawner)
    berth.start()
    layer = berth.client.publish_layer_version(LayerName=name, Content={"ZipFile": zip_of({"data.txt": "x"})})
    berth.deploy(name, SLEEP, Layers=[layer["LayerVersionArn"]], Timeout=60)
    assert berth.invoke(name).payload == "done"
    old = sandboxes(berth)
    with ThreadPoolExecutor(1) as threads:
        cut_off = threads.submit(berth.invoke, name, {"seconds": 50})
        berth.until(lambda: berth.is_busy(name))
        berth.kill()
        with pytest.raises(BotoCoreError):
            cut_off.result()
    berth.start()
    shown = berth.client.get_function(FunctionName=name)["Configuration"]
    assert shown["State"] == "Active"
    assert [each["Arn"] for each in shown["Layers"]] == [layer["LayerVersionArn"]]
    assert berth.invoke(name).payload == "done"
    assert not set(old) & set(sandboxes(berth))


@pytest.mark.docker
def test_nothing_is_left_on_the_engine(new_berth: Callable[..., Any], name: str) -> None:
    """After `berth down` no container, network, volume or image carries the instance's label."""
    berth = new_berth("docker")
    berth.start()
    berth.deploy(name, SLEEP)
    berth.invoke_many(name, [{"seconds": 1}] * 3)
    assert labelled(berth.instance)
    berth.stop()
    assert labelled(berth.instance) == []


@pytest.mark.parametrize("spawner", SPAWNERS)
def test_down_lets_invocations_finish(new_berth: Callable[..., Any], name: str, spawner: str) -> None:
    """A stop waits for what is under way."""
    berth = new_berth(spawner)
    berth.start()
    berth.deploy(name, SLEEP)
    berth.invoke(name)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(berth.invoke, name, {"seconds": 2})
        berth.until(lambda: berth.is_busy(name))
        berth.stop()
        assert running.result().payload == "done"
    assert sandboxes(berth) == []


def test_a_pending_function_becomes_active_after_a_restart(
    new_berth: Callable[..., Any], name: str, zip_of: Callable[..., bytes]
) -> None:
    """Killed right after CreateFunction has answered, Berth takes the function up again."""
    berth = new_berth("process")
    berth.start()
    berth.client.create_function(
        FunctionName=name,
        Runtime="python3.11",
        Role="arn:aws:iam::123456789012:role/any",
        Handler="app.handler",
        Code={"ZipFile": zip_of({"app.py": SLEEP})},
    )
    berth.kill()
    berth.start()
    berth.client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    assert berth.invoke(name).payload == "done"


def test_two_cannot_share_a_data_directory(new_berth: Callable[..., Any]) -> None:
    """The second one says who is there, and is content if nothing else was asked for."""
    berth = new_berth("process")
    berth.start()
    again = berth.run("up", "--detach", "--data-dir", str(berth.data_dir))
    assert f"already running at {berth.url}" in again.stdout
    other = berth.run(
        "up", "--detach", "--data-dir", str(berth.data_dir), "--region", "eu-west-1", check=False
    )
    assert other.returncode == 2
    assert "region is us-east-1, not eu-west-1" in other.stderr


def test_deleting_a_function_ends_its_environments(new_berth: Callable[..., Any], name: str) -> None:
    """Nothing of it runs on, and it cannot be invoked."""
    berth = new_berth("process")
    berth.start()
    berth.deploy(name, SLEEP)
    berth.invoke(name)
    berth.client.delete_function(FunctionName=name)
    with pytest.raises(ClientError) as refused:
        berth.invoke(name)
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"
    berth.until(lambda: not sandboxes(berth))
    assert (
        json.loads(berth.run("ps", "--json", "--data-dir", str(berth.data_dir)).stdout)["environments"] == []
    )


def _is_prepared(berth: Any) -> bool:
    with urllib.request.urlopen(f"{berth.url}/health") as answer:  # noqa: S310  our own
        return "function_host" in json.load(answer)


@pytest.mark.docker
def test_others_leave_a_restarted_one_its_network(new_berth: Callable[..., Any], name: str) -> None:
    """
    1. A control plane is killed and starts again; nothing runs in it yet.
    2. Another one starts, and removes what nobody will come back to.
    Result: the first one's functions run.
    """
    berth = new_berth("docker", "--no-standby", "--spare-networks", "0")
    berth.start()
    berth.deploy(name, SLEEP)
    berth.kill()
    berth.start()
    berth.until(lambda: _is_prepared(berth))
    other = new_berth("docker", "--no-standby", "--spare-networks", "0")
    other.start()
    other.until(lambda: _is_prepared(other))
    assert berth.invoke(name).payload == "done"
