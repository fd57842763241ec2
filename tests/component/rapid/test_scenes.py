"""Scenes: what runtimes and extensions do, as lists of actions, and what becomes of the environment."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from signal import SIGTERM
from typing import Any

import pytest

from rapid.invocation import ExitStatus
from rapid.states import Phase
from tests.helpers.scripts import (
    Exit,
    ExitError,
    Fail,
    InitError,
    Next,
    Print,
    Register,
    Respond,
    Scene,
    Script,
    Wait,
)

BOTH = ("INVOKE", "SHUTDOWN")


@pytest.fixture
async def play(make_house: Callable[..., Any]) -> AsyncIterator[Callable[..., Any]]:
    """Begins an environment whose parties have these scripts; it is over when the test is."""
    scenes: list[Scene] = []

    async def play(
        runtime: Sequence[Script], extensions: Mapping[str, Sequence[Script]] | None = None
    ) -> Scene:
        house = await make_house()
        scenes.append(Scene(house, runtime, extensions))
        house.environment.begin()
        return scenes[-1]

    yield play
    for scene in scenes:
        await scene.close()


async def invoke(scene: Scene, request_id: str = "r1", **members: Any) -> tuple[bytes, str]:
    """Hand in an invocation; its answer, and its log when it is over."""
    ticket = scene.house.invoke(request_id=request_id, **members)
    async with asyncio.timeout(5):
        outcome = await ticket.outcome
        await ticket.completed
    return outcome.payload, ticket.tail.content().decode()


async def test_a_quiet_life(play: Callable[..., Any]) -> None:
    """Initialise, answer twice; what is printed is in the log of its invocation, static lines before START."""
    scene = await play(
        [[Print("static"), Next(), Print("one"), Respond(b"1"), Next(), Respond(b"2"), Next()]]
    )
    await scene.house.become_idle(1)
    payload, log = await invoke(scene)
    assert payload == b"1"
    assert [line.split()[0] for line in log.splitlines()] == ["START", "one", "END", "REPORT"]
    assert (await invoke(scene, "r2"))[0] == b"2"
    assert scene.house.log().index("\nstatic") < scene.house.log().index("\nSTART")
    assert scene.heard["runtime"].statuses == [200, 202, 200, 202]


async def test_an_extension_holds_the_environment(play: Callable[..., Any]) -> None:
    """The client has its answer while an extension works on; the environment is free when it is back."""
    gate = asyncio.Event()
    runtime = [Next(), Respond(b"1"), Next()]
    watch = [Register(BOTH), Next(), Wait(gate), Print("late"), Next()]
    scene = await play([[*runtime]], {"watch": [watch]})
    await scene.house.become_idle(1)
    ticket = scene.house.invoke()
    async with asyncio.timeout(5):
        assert (await ticket.outcome).payload == b"1"
        await scene.house.until(lambda: scene.heard["runtime"].statuses == [200, 202])
        assert not ticket.completed.done()
        gate.set()
        await ticket.completed
    log = ticket.tail.content().decode()
    assert log.index("late") < log.index("END")
    assert scene.heard["watch"].events == ["INVOKE"]


async def test_a_crash_and_what_comes_after(play: Callable[..., Any]) -> None:
    """The next invocation meets a new runtime and a new extension; the old one has heard of the failure."""
    watch = [Register(BOTH), Next(), Next(), Exit(0)]
    again = [Register(BOTH), Next(), Next()]
    scene = await play(
        [[Next(), Print("going"), Exit(3)], [Print("static again"), Next(), Respond(b"2"), Next()]],
        {"watch": [watch, again]},
    )
    await scene.house.become_idle(1)
    payload, log = await invoke(scene)
    assert b"exit status 3" in payload
    assert "Status: error\tError Type: Runtime.ExitError\n" in log
    await scene.house.become_idle(2)
    payload, log = await invoke(scene, "r2")
    assert payload == b"2"
    assert log.startswith("static again\nEXTENSION\tName: watch\tState: Ready\t")
    assert scene.heard["watch"].events == ["INVOKE", "failure", "INVOKE"]


async def test_an_initialisation_that_fails_twice(play: Callable[..., Any]) -> None:
    """Ahead it is logged; inside the invocation it is the answer."""
    scene = await play([[Print("first"), InitError("Runtime.NoGood")], [Print("second"), Exit(1)]])
    await scene.house.become_idle(1)
    assert scene.house.environment.phase is Phase.COLD
    payload, log = await invoke(scene)
    assert b"Runtime.ExitError" in payload
    assert [line.split()[0] for line in log.splitlines()] == [
        "second",
        "INIT_REPORT",
        "START",
        "END",
        "REPORT",
    ]
    assert "Phase: init\tStatus: error\tError Type: Runtime.NoGood\n" in scene.house.log()
    assert "Phase: invoke\tStatus: error\tError Type: Runtime.ExitError\n" in log


@pytest.mark.parametrize(
    ("script", "error_type"),
    [
        ([Exit(0)], "Extension.Crash"),
        ([Register(), Exit(2)], "Extension.Crash"),
        ([Register(), InitError("Extension.NoKey")], "Extension.InitError"),
        ([Register(), ExitError("Extension.Gone")], "Extension.ExitError"),
    ],
)
async def test_extensions_that_fail(play: Callable[..., Any], script: Script, error_type: str) -> None:
    """In an initialisation each ends it; the log says who it was."""
    runtime = [Next(), Respond(), Next()]
    scene = await play([runtime, runtime], {"bad": [script, [Register(), Next()]]})
    await scene.house.become_idle(1)
    assert scene.house.environment.phase is Phase.COLD
    [line] = [each for each in scene.house.log().splitlines() if each.startswith("EXTENSION")]
    assert line.startswith("EXTENSION\tName: bad\t")
    assert line.endswith(f"Error Type: {error_type}")
    assert (await invoke(scene))[0] == b"{}", "it works the second time"


async def test_a_timeout_with_an_extension(play: Callable[..., Any]) -> None:
    """The extension hears why, and the client when."""
    gate = asyncio.Event()
    watch = [Register(BOTH), Next(), Next(), Exit(0)]
    scene = await play([[Next(), Wait(gate)]], {"watch": [watch]})
    await scene.house.become_idle(1)
    payload, log = await invoke(scene, timeout=0.05)
    assert b"Task timed out after 0.05 seconds" in payload
    assert log.endswith("Status: timeout\n")
    assert scene.heard["watch"].events == ["INVOKE", "timeout"]


async def test_calls_out_of_order(play: Callable[..., Any]) -> None:
    """Each is refused, and the invocation goes on as if it had not been."""
    scene = await play(
        [[Next(), InitError("Runtime.Late"), Fail(b'{"errorType":"E"}'), Respond(b"late"), Next()]]
    )
    await scene.house.become_idle(1)
    payload, _ = await invoke(scene)
    assert payload == b'{"errorType":"E"}'
    assert scene.heard["runtime"].statuses == [200, 403, 202, 403]


async def test_a_spindown(play: Callable[..., Any]) -> None:
    """The runtime is asked to end, then the extensions that want to know are told; then the environment is over."""
    watch = [Register(BOTH), Next(), Exit(0)]
    deaf = [Register(("INVOKE",)), Next()]
    scene = await play([[Next()]], {"deaf": [deaf], "watch": [watch]})
    await scene.house.become_idle(1)
    scene.house.environment.shut_down()
    scene.house.environment.exited(16, ExitStatus(-SIGTERM))
    await scene.house.until(lambda: scene.house.ended)
    assert scene.heard["watch"].events == ["spindown"]
    assert scene.heard["deaf"].events == []
