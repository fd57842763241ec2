"""Snapshots of environments (SnapStart): the routes by hand, and AWS's own client with hooks."""

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rapid.exchange import Credentials
from rapid.states import Phase, RuntimeState

HANDLER = """
from snapshot_restore_py import register_after_restore, register_before_snapshot

steps = ["static"]

@register_before_snapshot
def before():
    steps.append("before")
    {before}

@register_after_restore
def after():
    steps.append("after")
    {after}

def handler(event, context):
    return steps
"""


@pytest.fixture
async def house(make_house: Callable[..., Any], settings: Any) -> Any:
    """An environment with snapshots, whose runtime has been started."""
    house = await make_house(settings=replace(settings, initialization_type="snap-start", init_limit=130))
    house.environment.credentials = Credentials("secret", "ASIA", "key", "session", "2026-12-01T00:00:00Z")
    house.environment.begin()
    await house.until(lambda: house.supervisor.started)
    return house


async def client(house: Any, place: Path, **hooks: str) -> Process:
    """AWS's client for Python, told that its environment is a snapshot's."""
    (place / "app.py").write_text(HANDLER.format(**{"before": "", "after": ""} | hooks))
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "awslambdaric",
        "app.handler",
        cwd=place,
        env={
            "PATH": os.environ["PATH"],
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{house.listener.port}",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def test_real_client(house: Any, tmp_path: Path) -> None:
    """Static code, hooks before the snapshot, hooks after the restoration, then the handler."""
    async with asyncio.timeout(30):
        process = await client(house, tmp_path)
        await house.become_idle(1)
        ticket = house.invoke()
        outcome = await ticket.outcome
        await ticket.completed
        process.kill()
        await process.wait()
    assert outcome.payload == b'["static", "before", "after"]'
    log = house.log()
    assert "\nINIT_REPORT Init Duration: " in log
    assert "\nRESTORE_START Runtime Version: " in log
    assert "\nRESTORE_REPORT Restore Duration: " in log
    [report] = [line for line in log.splitlines() if line.startswith("REPORT")]
    assert "\tRestore Duration: " in report
    assert "\tBilled Restore Duration: " in report
    assert "\tInit Duration: " not in report


@pytest.mark.parametrize(
    ("hook", "status", "line"),
    [
        ("before", 64, "INIT_REPORT"),
        ("after", 65, "RESTORE_REPORT"),
    ],
)
async def test_hooks_that_fail(house: Any, tmp_path: Path, hook: str, status: int, line: str) -> None:
    """The client says so and ends; what failed is reported, and the environment is cold again."""
    async with asyncio.timeout(30):
        process = await client(house, tmp_path, **{hook: "raise ValueError('no')"})
        assert await process.wait() == status
        await house.become_idle(1)
    assert house.environment.phase is Phase.COLD
    [report] = [each for each in house.log().splitlines() if each.startswith(line)]
    assert "\tStatus: error\tError Type: Runtime." in report
    assert ("RESTORE" in house.log()) == (hook == "after")


async def test_restoration_by_hand(house: Any) -> None:
    """`restore/next` is answered with nothing; a second one, and errors out of place, are refused."""
    assert (await house.call("POST", "/runtime/restore/error", b"{}")).status == 403
    restored = await house.call("GET", "/runtime/restore/next")
    assert (restored.status, restored.body) == (200, b"")
    again = await house.call("GET", "/runtime/restore/next")
    assert again.status == 403
    assert b"State transition from Restoring to Ready failed for runtime." in again.body
    error = {"Lambda_Runtime_Function_Error_Type": "Runtime.AfterRestoreError"}
    failed = await house.call("POST", "/runtime/restore/error", b"{}", **error)
    assert (failed.status, failed.body) == (202, b'{"status":"OK"}\n')
    await house.become_idle(1)
    assert "Status: error\tError Type: Runtime.AfterRestoreError\n" in house.log()


async def test_without_snapshots(make_house: Callable[..., Any]) -> None:
    """Where they are off there are no such routes, and asking changes nothing."""
    house = await make_house()
    house.environment.begin()
    await house.until(lambda: house.supervisor.started)
    for method, path in (("GET", "/runtime/restore/next"), ("POST", "/runtime/restore/error")):
        assert (await house.call(method, path)).status == 404
    assert (await house.call("GET", "/../2021-04-23/credentials")).status == 404
    assert house.environment._core.runtime is RuntimeState.STARTED


@pytest.mark.parametrize(("token", "status"), [("secret", 200), ("wrong", 403), ("", 403), ("ö", 403)])
async def test_credentials(house: Any, token: str, status: int) -> None:
    """They are given to who knows the token."""
    url = house.url.replace("/2018-06-01", "/2021-04-23/credentials")
    async with house.client.get(url, headers={"Authorization": token}) as answer:
        assert answer.status == status
        document = await answer.json()
    if status == 200:
        assert document == {
            "AccessKeyId": "ASIA",
            "SecretAccessKey": "key",
            "Token": "session",
            "Expiration": "2026-12-01T00:00:00Z",
        }
    else:
        assert document["errorMessage"] == "cannot get credentials for the provided token"
