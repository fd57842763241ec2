"""Runtimes and extensions as lists of actions: a scene of an environment's life is what each party does, in order.

The parties speak HTTP to the environment's real listener; processes are the scene's own, whose supervisor starts the
next script of a party whenever the environment starts its program. A party whose script has come to its end just
stays; one that is killed stops where it is.
"""

import asyncio
import json
from asyncio import Future, Task
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from rapid.invocation import ExitStatus


@dataclass(frozen=True)
class Register:
    """An extension registers, under its own name."""

    events: tuple[str, ...] = ()


@dataclass(frozen=True)
class Next:
    """Ask for the next event; comes back with it."""


@dataclass(frozen=True)
class Respond:
    """Post a result for the event fetched last."""

    body: bytes = b"{}"


@dataclass(frozen=True)
class Fail:
    """Post an error for it."""

    body: bytes = b"{}"


@dataclass(frozen=True)
class InitError:
    """Give up the initialisation."""

    error_type: str


@dataclass(frozen=True)
class ExitError:
    """An extension gives up."""

    error_type: str


@dataclass(frozen=True)
class Print:
    """Write a line."""

    text: str


@dataclass(frozen=True)
class Exit:
    """End, with this status."""

    code: int = 0


@dataclass(frozen=True)
class Wait:
    """Until the scene lets go."""

    gate: asyncio.Event


Action = Register | Next | Respond | Fail | InitError | ExitError | Print | Exit | Wait
Script = Sequence[Action]


@dataclass
class Heard:
    """What a party was answered: each call's status, and the kinds of events that it got."""

    statuses: list[int] = field(default_factory=list)
    events: list[str] = field(default_factory=list)


class Scene:
    """The parties of one environment. `runtime` and each extension have one script for each time they are started."""

    def __init__(
        self, house: Any, runtime: Sequence[Script], extensions: Mapping[str, Sequence[Script]] | None = None
    ) -> None:
        self.house = house
        self.heard: dict[str, Heard] = {}
        self._scripts = {"runtime": iter(runtime)} | {
            name: iter(scripts) for name, scripts in (extensions or {}).items()
        }
        self._parties: dict[int, Task[None]] = {}
        house.supervisor.names["/opt/extensions"] = sorted(extensions or {})
        self._start, house.supervisor.start = house.supervisor.start, self._started
        self._clear, house.supervisor.clear = house.supervisor.clear, self._cleared

    def _started(self, process: int, argv: Sequence[str], *rest: Any, **options: Any) -> Future[None]:
        name = argv[0].rpartition("/")[2] if "extensions" in argv[0] else "runtime"
        script = next(self._scripts[name], ())
        party = _Party(self.house, process, name, self.heard.setdefault(name, Heard()))
        self._parties[process] = asyncio.create_task(party.play(script))
        future: Future[None] = self._start(process, argv, *rest, **options)
        return future

    def _cleared(self) -> Future[int]:
        for task in self._parties.values():
            task.cancel()
        future: Future[int] = self._clear()
        return future

    async def close(self) -> None:
        """Whoever is still at work stops; what went wrong in a script is raised here."""
        for task in self._parties.values():
            task.cancel()
        for result in await asyncio.gather(*self._parties.values(), return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, aiohttp.ClientError):
                raise result


class _Party:
    def __init__(self, house: Any, process: int, name: str, heard: Heard) -> None:
        self._house = house
        self._process = process
        self._name = name
        self._heard = heard
        self._identifier = ""
        self._request_id = ""
        self._root = f"http://127.0.0.1:{house.listener.port}"

    async def play(self, script: Script) -> None:
        for action in script:
            await self._act(action)

    async def _act(self, action: Action) -> None:
        match action:
            case Print(text):
                self._house.environment.output(self._process, 1, f"{text}\n".encode())
            case Exit(code):
                self._house.environment.exited(self._process, ExitStatus(code))
            case Wait(gate):
                await gate.wait()
            case _ if self._name == "runtime":
                await self._runtime(action)
            case _:
                await self._extension(action)

    async def _runtime(self, action: Action) -> None:
        invocation = f"/2018-06-01/runtime/invocation/{self._request_id}"
        match action:
            case Next():
                answer, body = await self._call("GET", "/2018-06-01/runtime/invocation/next")
                self._request_id = answer.headers.get("Lambda-Runtime-Aws-Request-Id", self._request_id)
                self._heard.events.append(body.decode())
            case Respond(body):
                await self._call("POST", f"{invocation}/response", body)
            case Fail(body):
                await self._call("POST", f"{invocation}/error", body)
            case InitError(kind):
                header = {"Lambda-Runtime-Function-Error-Type": kind}
                await self._call("POST", "/2018-06-01/runtime/init/error", b"{}", header)
            case _:
                raise AssertionError(action)

    async def _extension(self, action: Action) -> None:
        root = "/2020-01-01/extension"
        known = {"Lambda-Extension-Identifier": self._identifier}
        match action:
            case Register(events):
                body = json.dumps({"events": events}).encode()
                answer, _ = await self._call(
                    "POST", f"{root}/register", body, {"Lambda-Extension-Name": self._name}
                )
                self._identifier = answer.headers.get("Lambda-Extension-Identifier", "")
            case Next():
                _, event = await self._call("GET", f"{root}/event/next", headers=known)
                told = json.loads(event)
                self._heard.events.append(told.get("shutdownReason") or told["eventType"])
            case InitError(kind) | ExitError(kind):
                which = "init" if isinstance(action, InitError) else "exit"
                header = known | {"Lambda-Extension-Function-Error-Type": kind}
                await self._call("POST", f"{root}/{which}/error", b"{}", header)
            case _:
                raise AssertionError(action)

    async def _call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        client: aiohttp.ClientSession = self._house.client
        async with client.request(method, self._root + path, data=body, headers=headers) as answer:
            received = await answer.read()
        self._heard.statuses.append(answer.status)
        return answer, received
