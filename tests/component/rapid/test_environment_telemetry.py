"""An environment that has a subscriber to its telemetry: what it tells, when, and in which order."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rapid import telemetry as telemetry_module
from rapid.invocation import ExitStatus
from tests.helpers.listeners import Dialler, Listener

RUNTIME, AGENT = 16, 17
"""Process numbers of the first generation."""
SOON = {"timeoutMs": 25}


class Scene:
    """An environment with an external extension and a listener of its own."""

    def __init__(self, house: Any, dialler: Dialler, listener: Listener) -> None:
        self.house, self.dialler, self.listener = house, dialler, listener
        self.identifier = ""

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Lambda-Extension-Identifier": self.identifier, "Lambda-Extension-Name": "agent"}
        url = f"http://127.0.0.1:{self.house.listener.port}{path}"
        data = None if body is None else json.dumps(body)
        async with self.house.client.request(method, url, data=data, headers=headers) as answer:
            self.identifier = answer.headers.get("Lambda-Extension-Identifier", self.identifier)
            return answer.status, await answer.json(content_type=None)

    async def begin(self, *events: str) -> None:
        """Until the extension has registered."""
        self.house.supervisor.names["/opt/extensions"] = ["agent"]
        self.house.environment.begin()
        await self.house.until(lambda: self.house.supervisor.started)
        assert (await self.ask("POST", "/2020-01-01/extension/register", {"events": events}))[0] == 200

    async def subscribe(self, path: str = "/2022-07-01/telemetry", **members: Any) -> tuple[int, Any]:
        destination = {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{self.listener.port}"}
        version = "2022-07-01" if "telemetry" in path else "2021-03-18"
        types = ["platform", "function", "extension"]
        body = {"schemaVersion": version, "types": types, "destination": destination, "buffering": SOON}
        return await self.ask("PUT", path, body | members)

    async def wait(self) -> "asyncio.Task[Any]":
        """The extension's `event/next`, arrived."""
        polls = self.house.environment._extension_polls
        before = polls[self.identifier]._future
        task = asyncio.create_task(self.ask("GET", "/2020-01-01/extension/event/next"))
        await self.house.until(lambda: task.done() or polls[self.identifier]._future not in (None, before))
        return task

    async def ready(self, *events: str) -> tuple[Any, Any]:
        """Initialised and idle; both pending polls."""
        await self.begin(*events)
        assert (await self.subscribe())[0] == 200
        poll = await self.house.poll()
        next_event = await self.wait()
        await self.house.until(lambda: self.house.idle)
        return poll, next_event

    def write(self, process: int, text: str) -> None:
        self.house.environment.output(process, 1, text.encode())

    def told(self) -> list[str]:
        """What has been heard: types of platform events, lines."""
        return [
            event["type"] if event["type"].startswith("platform") else f"{event['type']}: {event['record']}"
            for event in self.listener.events
        ]

    async def until_told(self, what: str, times: int = 1) -> list[str]:
        await self.listener.until(lambda: self.told().count(what) >= times)
        return self.told()


@pytest.fixture
async def scene(make_house: Any, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """One that is not frozen, unless it is marked so."""
    house = await make_house(freeze=getattr(request, "param", False))
    dialler, listener = Dialler(), Listener()
    house.supervisor.connect = dialler.connect
    await listener.open(http=True)
    yield Scene(house, dialler, listener)
    house.environment.lost("the test is over")
    await house.environment.close()
    for tunnel in dialler.tunnels:
        tunnel.close()
    await listener.close()


async def test_the_order_of_a_life(scene: Scene) -> None:
    """Early events, the initialisation, an invocation with the lines of both sides in it."""
    await scene.begin("INVOKE")
    scene.write(AGENT, "before\n")
    assert await scene.subscribe() == (200, "OK")
    scene.write(RUNTIME, "static\n")
    poll = await scene.house.poll()
    next_event = await scene.wait()
    await scene.house.until(lambda: scene.house.idle)
    scene.house.invoke()
    await asyncio.gather(poll, next_event)
    scene.write(RUNTIME, "handling\n")
    scene.write(AGENT, "watching\n")
    scene.write(RUNTIME, "without an end")
    await scene.house.respond()
    await scene.house.poll()
    told = await scene.until_told("platform.runtimeDone")  # the extension may wait for it before its `next`
    assert "platform.report" not in told
    scene.write(AGENT, "done\n")
    await scene.wait()
    assert await scene.until_told("platform.report") == [
        "platform.initStart",
        "extension: before\n",
        "platform.telemetrySubscription",
        "function: static\n",
        "platform.initRuntimeDone",
        "platform.extension",
        "platform.initReport",
        "platform.start",
        "function: handling\n",
        "extension: watching\n",
        "function: without an end",
        "platform.runtimeDone",
        "extension: done\n",
        "platform.report",
    ]
    assert (
        "TELEMETRY\tName: agent\tState: Subscribed\tTypes: [Platform, Function, Extension]\n"
        in scene.house.log()
    )


async def test_too_late(scene: Scene) -> None:
    """When the initialisation is over, subscriptions are closed, each API in its own words."""
    await scene.ready()
    status, document = await scene.subscribe()
    assert (status, document["errorType"]) == (403, "Telemetry.SubscriptionClosed")
    scene.house.environment._telemetry.reset()
    status, document = await scene.subscribe("/2020-08-15/logs")
    assert (status, document["errorType"]) == (403, "Logs.SubscriptionClosed")


async def test_one_api_each(scene: Scene) -> None:
    """Whoever has subscribed to one API cannot subscribe to the other."""
    await scene.begin()
    assert (await scene.subscribe())[0] == 200
    assert await scene.subscribe("/2020-08-15/logs") == (
        400,
        {
            "errorMessage": "extension agent has subscribed to the Telemetry API already",
            "errorType": "Logs.ValidationError",
        },
    )
    assert (await scene.subscribe())[0] == 200


async def test_a_stranger(scene: Scene) -> None:
    """An identifier that nobody has registered under."""
    await scene.begin()
    scene.identifier = "00000000-0000-4000-8000-000000000000"
    status, document = await scene.subscribe()
    assert (status, document["errorType"]) == (403, "Extension.UnknownExtensionIdentifier")


async def test_the_logs_api(scene: Scene) -> None:
    """The older words."""
    await scene.begin()
    assert await scene.subscribe("/2020-08-15/logs") == (200, "OK")
    poll = await scene.house.poll()
    await scene.wait()
    await scene.house.until(lambda: scene.house.idle)
    scene.house.invoke()
    await poll
    await scene.house.respond()
    await scene.house.poll()
    assert await scene.until_told("platform.report") == [
        "platform.logsSubscription",
        "platform.extension",
        "platform.start",
        "platform.runtimeDone",
        "platform.end",
        "platform.report",
    ]
    assert (
        "LOGS\tName: agent\tState: Subscribed\tTypes: [Platform, Function, Extension]\n" in scene.house.log()
    )


@pytest.mark.parametrize("scene", [True], indirect=True)
async def test_frozen(scene: Scene) -> None:
    """What has not been delivered when the environment freezes comes with the next invocation."""
    await scene.begin("INVOKE")
    await scene.subscribe(buffering={"timeoutMs": 200})
    poll = await scene.house.poll()
    next_event = await scene.wait()
    await scene.house.until(lambda: scene.house.supervisor.calls[-1] == "freeze")
    assert scene.house.environment._telemetry._clock.stands_still
    assert scene.listener.requests == []
    scene.house.invoke()
    await asyncio.gather(poll, next_event)
    assert (await scene.until_told("platform.start"))[0] == "platform.initStart"


async def test_the_end(scene: Scene) -> None:
    """Before an extension hears of the end it has heard everything else."""
    poll, next_event = await scene.ready("SHUTDOWN")
    scene.house.invoke()
    await poll
    await scene.house.respond()
    await scene.house.poll()
    await scene.house.until(lambda: scene.house.idle == 2)
    scene.listener.hold.clear()
    scene.house.environment.shut_down()
    scene.house.environment.exited(RUNTIME, ExitStatus(-15))
    await scene.until_told("platform.report")
    assert not next_event.done()
    scene.listener.hold.set()
    _, event = await next_event
    assert event["eventType"] == "SHUTDOWN"
    scene.write(AGENT, "goodbye\n")
    await scene.until_told("extension: goodbye\n")
    scene.house.environment.exited(AGENT, ExitStatus(0))
    await scene.house.until(lambda: scene.house.ended)
    assert not scene.house.environment._telemetry.listens


async def test_a_listener_that_is_gone_does_not_delay_the_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only for so long."""
    monkeypatch.setattr(telemetry_module, "PATIENCE", 0.01)
    _, next_event = await scene.ready("SHUTDOWN")
    await scene.listener.close()
    scene.house.environment.shut_down()
    scene.house.environment.exited(RUNTIME, ExitStatus(-15))
    assert (await next_event)[1]["eventType"] == "SHUTDOWN"


async def test_another_generation(scene: Scene) -> None:
    """A crash takes subscribers along; the report of it is for those that come after."""
    poll, next_event = await scene.ready("INVOKE", "SHUTDOWN")
    ticket = scene.house.invoke()
    await asyncio.gather(poll, next_event)
    farewell = await scene.wait()
    scene.write(RUNTIME, "last words\n")
    scene.house.environment.exited(RUNTIME, ExitStatus(1))
    assert (await farewell)[1]["shutdownReason"] == "failure"
    assert scene.told()[-2:] == ["function: last words\n", "platform.runtimeDone"]
    scene.house.environment.exited(AGENT, ExitStatus(0))
    await ticket.completed
    before = len(scene.listener.events)
    scene.house.invoke(request_id="r2")
    await scene.house.until(lambda: len(scene.house.supervisor.started) == 3)
    await scene.ask("POST", "/2020-01-01/extension/register", {"events": ["INVOKE"]})
    assert (await scene.subscribe())[0] == 200
    await scene.listener.until(lambda: len(scene.listener.events) >= before + 3)
    first, second, third = scene.listener.events[before : before + 3]
    assert (first["type"], first["record"]["status"]) == ("platform.report", "error")
    assert (second["type"], second["record"]["phase"]) == ("platform.initStart", "invoke")
    assert third["type"] == "platform.telemetrySubscription"


async def test_nobody_listens(house: Any) -> None:
    """Where nobody has subscribed nothing is kept."""
    house.environment.output(RUNTIME, 1, b"static\n")
    telemetry = house.environment._telemetry
    assert telemetry.listens
    await house.poll()
    await house.until(lambda: house.idle)
    assert not telemetry.listens
    assert telemetry._early.kept == []
