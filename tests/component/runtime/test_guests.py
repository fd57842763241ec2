"""Guests over their Runtime API, with a client that stands for the process in a debugger."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rapid.invocation import Invocation
from runtime.errors import LambdaError
from runtime.guests import Guests, Invitation
from runtime.logs import LogStore
from runtime.model import Code, FunctionConfig, FunctionVersion, Scope, State

VERSION = FunctionVersion(
    scope=Scope("123456789012", "us-east-1"),
    name="f",
    config=FunctionConfig(role="r", runtime="python3.11", handler="app.handler", environment={"STAGE": "x"}),
    code=Code("0" * 64, 1, 1),
    revision_id="r",
    last_modified="",
    state=State.ACTIVE,
)


@pytest.fixture
async def guests(tmp_path: Path) -> AsyncIterator[Guests]:
    async with LogStore(tmp_path) as logs:
        yield Guests(logs)


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session:
        yield session


def event(name: str) -> Invocation:
    return Invocation(request_id=name, arn="arn", payload=b"{}", trace_id="Root=1")


def url(invitation: Invitation, path: str) -> str:
    return f"http://{invitation.variables['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation/{path}"


async def serve(client: aiohttp.ClientSession, invitation: Invitation, body: bytes) -> Any:
    """One turn of a runtime; the identifier of what it answered."""
    async with client.get(url(invitation, "next")) as answer:
        request = answer.headers["Lambda-Runtime-Aws-Request-Id"]
    async with client.post(url(invitation, f"{request}/response"), data=body) as answer:
        assert answer.status == 202
    return request


async def test_a_guest_serves_its_version_and_no_other(guests: Guests, client: aiohttp.ClientSession) -> None:
    """In order, one at a time, with the function's variables and without what belongs to a sandbox."""
    assert not guests.serve(VERSION)
    async with guests.attach(VERSION) as invitation:
        assert guests.serve(VERSION)
        asked = [asyncio.create_task(guests.run(VERSION, event(name), None)) for name in ("a", "b")]
        assert [await serve(client, invitation, b"1"), await serve(client, invitation, b"2")] == ["a", "b"]
        tickets = [await each for each in asked]
        assert [(await ticket.outcome).payload for ticket in tickets if ticket] == [b"1", b"2"]
    assert not guests.serve(VERSION)
    variables = invitation.variables
    assert (variables["STAGE"], variables["_HANDLER"], variables["AWS_LAMBDA_FUNCTION_NAME"]) == (
        "x",
        "app.handler",
        "f",
    )
    assert not {"AWS_ACCESS_KEY_ID", "PATH", "LAMBDA_TASK_ROOT"} & variables.keys()


async def test_who_waits_for_a_guest_that_leaves_is_served_elsewhere(guests: Guests) -> None:
    """It never came to fetch the event, so no one has seen it."""
    async with guests.attach(VERSION):
        waiting = asyncio.create_task(guests.run(VERSION, event("a"), None))
        await asyncio.sleep(0)
    assert await waiting is None
    assert await guests.run(VERSION, event("b"), None) is None


async def test_who_is_being_served_when_a_guest_leaves_is_told(
    guests: Guests, client: aiohttp.ClientSession
) -> None:
    """With an error, for the event may have had its effect."""
    async with guests.attach(VERSION) as invitation:
        asked = asyncio.create_task(guests.run(VERSION, event("a"), None))
        async with client.get(url(invitation, "next")):
            ticket = await asked
    assert ticket
    assert (await ticket.outcome).function_error


async def test_there_is_one_guest_at_a_time(guests: Guests) -> None:
    """And it can have a port of its choice, if that is free."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(LambdaError, match="cannot listen on port"):
            async with guests.attach(VERSION, taken.getsockname()[1]):
                pass
        port = taken.getsockname()[1]
    async with guests.attach(VERSION, port) as invitation:
        assert invitation.variables["AWS_LAMBDA_RUNTIME_API"] == f"127.0.0.1:{port}"
        with pytest.raises(LambdaError, match="has a guest already"):
            async with guests.attach(VERSION):
                pass
