"""Berth's own addresses beside Lambda's API: `/health`, and under `/_berth/` what the `berth` command asks for.

    GET /health                                           {"status": "ok", …}
    GET /_berth/settings                                  the settings in force
    GET /_berth/ps                                        environments, standbys, and every function's `$LATEST`
    GET /_berth/logs?function=F[&limit=N][&follow=1]      log events, one JSON object a line
                                                          [&account=A&region=R], F a name or an ARN
    GET /_berth/alias?function=F&name=N                   an alias with its variables, which Lambda's API lacks
                                                          [&account=A&region=R]
    GET /_berth/metrics                                   counts of invocations and environments, for Prometheus
    GET /_berth/guest?function=F[&qualifier=Q][&port=P]   lets a process here be the function's runtime until the answer is
                                                          hung up on; its first line says how [&account=A&region=R]
    GET /_berth/story?environment=E                       what an environment has been through; E its identifier,
                                                          or as much of it as no other one begins with

For people and tools; what web pages send is refused before it comes here (`runtime.api.browsers`).

Handlers are for aiohttp's low-level server. Errors are `LambdaError`, which the API renders like its own.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Protocol

import orjson
from aiohttp import web

from rapid.responses import is_waiting
from runtime import __version__
from runtime.api.documents import alias_configuration
from runtime.errors import LambdaError
from runtime.exposition import Census
from runtime.guests import Guests
from runtime.logs import LogEvent, LogStore
from runtime.metrics import CONTENT_TYPE, Metrics
from runtime.model import LATEST, Alias, FunctionVersion, Scope
from runtime.names import FunctionName, function_arn, function_missing, parse_function
from runtime.settings import Settings, as_text
from runtime.stories import Stories, Story
from runtime.variables import log_group

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
NDJSON = "application/x-ndjson"
DEFAULT_LIMIT = 100
MOST_EVENTS = 10_000
NAMED = 10
"""Environments that a refusal names."""
LOOK = 0.1
"""Seconds between two looks whether the client of a guest is there: until it is missed, invocations go to the guest."""
HEARTBEAT = 10.0
"""Seconds between the empty lines by which each side of a followed log notices that the other one is gone."""


class Fleet(Protocol):
    """What the fleet tells about its environments."""

    def snapshot(self) -> list[dict[str, Any]]: ...

    def census(self) -> Iterable[Census]: ...


class Catalog(Protocol):
    """What the catalog tells about functions."""

    def function(self, scope: Scope, name: str, version: str = LATEST) -> FunctionVersion | None: ...

    def all_functions(self) -> Iterable[FunctionVersion]: ...

    def alias(self, scope: Scope, function: str, name: str) -> Alias | None: ...


def handlers(
    *,
    settings: Settings,
    instance: str,
    fleet: Fleet,
    catalog: Callable[[], Catalog],
    logs: LogStore,
    stories: Stories,
    metrics: Metrics,
    guests: Guests,
    standbys: Callable[[], list[dict[str, Any]]] = list,
    about: Callable[[], Mapping[str, str]] = dict,
) -> Mapping[str, Handler]:
    """Handlers by exact path. `about` adds facts to `/health`, e.g. the spawner's description once it is known."""
    default = Scope(settings.account_id, settings.region)
    reader = _LogReader(default, catalog, logs)

    async def health(_: web.BaseRequest) -> web.StreamResponse:
        return _json({"status": "ok", "version": __version__, "instance": instance, **about()})

    async def show_settings(_: web.BaseRequest) -> web.StreamResponse:
        return _json(as_text(settings))

    async def ps(_: web.BaseRequest) -> web.StreamResponse:
        environments = fleet.snapshot()
        functions = _functions(catalog(), environments)
        return _json({"environments": environments, "standbys": standbys(), "functions": functions})

    async def alias(request: web.BaseRequest) -> web.StreamResponse:
        scope, function = _function(request.query, default)
        return _json(_alias(catalog(), scope, function, request.query.get("name", "")))

    async def story(request: web.BaseRequest) -> web.StreamResponse:
        return _json(_told(_meant(stories, request.query.get("environment", ""))))

    async def show_metrics(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=await metrics.render(fleet), headers={"Content-Type": CONTENT_TYPE})

    return {
        "/health": _only_get(health),
        "/_berth/alias": _only_get(alias),
        "/_berth/guest": _only_get(_GuestBook(default, catalog, guests).handle),
        "/_berth/settings": _only_get(show_settings),
        "/_berth/ps": _only_get(ps),
        "/_berth/logs": _only_get(reader.handle),
        "/_berth/metrics": _only_get(show_metrics),
        "/_berth/story": _only_get(story),
    }


def _functions(catalog: Catalog, environments: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    running = Counter((each["account"], each["region"], each["function"]) for each in environments)
    latest = [each for each in catalog.all_functions() if each.version == LATEST]
    latest.sort(key=lambda each: (each.scope, each.name))
    return [
        {
            "account": each.scope.account,
            "region": each.scope.region,
            "function": each.name,
            "runtime": each.config.runtime,
            "state": each.state,
            "environments": running[each.scope.account, each.scope.region, each.name],
        }
        for each in latest
    ]


def _alias(catalog: Catalog, scope: Scope, function: str, name: str) -> dict[str, Any]:
    found = catalog.alias(scope, function, name)
    if found is None:
        arn = function_arn(scope, function, name)
        raise LambdaError("ResourceNotFoundException", f"Cannot find alias arn: {arn}")
    environment = {"Environment": {"Variables": found.environment or {}}}
    return {
        key: value for key, value in alias_configuration(found).items() if value is not None
    } | environment


def _function(query: Mapping[str, str], default: Scope) -> tuple[Scope, str]:
    """The function that a question means."""
    found = parse_function(query.get("function", "")) or FunctionName("")
    if not found.name:
        raise LambdaError("InvalidParameterValueException", "function: give a name or an ARN")
    account = found.account or query.get("account") or default.account
    region = found.region or query.get("region") or default.region
    return Scope(account, region), found.name


def _told(story: Story) -> dict[str, Any]:
    return {
        "environment": story.environment,
        "function": story.function,
        "version": story.version,
        "ended": story.ended,
        "lines": list(story.tell()),
    }


def _meant(stories: Stories, beginning: str) -> Story:
    """The one environment that is meant. Raises `LambdaError`, saying which others there are."""
    found = stories.find(beginning) if beginning else []
    if len(found) == 1:
        return found[0]
    if found:
        text = f"Several environments begin with {beginning}: {_names(found)}."
    elif everything := stories.all():
        asked = f"There is no environment {beginning}" if beginning else "Name an environment"
        text = f"{asked}; there are: {_names(everything)}."
    else:
        text = "There are no environments yet; the first invocation of a function makes one."
    raise LambdaError("ResourceNotFoundException", text)


def _names(stories: Sequence[Story]) -> str:
    """Some of them, those that live first."""
    shown = [
        f"{each.environment} ({each.function}{'' if each.ended is None else ', ended'})"
        for each in stories[:NAMED]
    ]
    more = len(stories) - NAMED
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


class _LogReader:
    """`/_berth/logs`."""

    def __init__(self, default: Scope, catalog: Callable[[], Catalog], logs: LogStore) -> None:
        self._default = default
        self._catalog = catalog
        self._logs = logs

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        scope, name, limit = self._question(request.query)
        known = self._catalog().function(scope, name)
        group = log_group(known) if known else f"/aws/lambda/{name}"
        # Functions that share a group are told apart by their streams' names.
        part = f"/{name}[" if known and known.config.logging.log_group else ""
        if request.query.get("follow") in ("1", "true"):
            if known is None:
                raise _unknown(name)
            return await self._stream(request, scope, group, limit, part)
        events = await self._logs.tail(scope, group, limit=limit, part=part)
        if known is None and not events:
            raise _unknown(name)
        return web.Response(body=b"".join(map(_line, events)), content_type=NDJSON)

    def _question(self, query: Mapping[str, str]) -> tuple[Scope, str, int]:
        scope, name = _function(query, self._default)
        limit = query.get("limit", str(DEFAULT_LIMIT))
        if not (limit.isascii() and limit.isdigit() and len(limit) < 9 and int(limit) <= MOST_EVENTS):
            raise LambdaError(
                "InvalidParameterValueException", f"limit: give a number from 0 to {MOST_EVENTS}"
            )
        return scope, name, int(limit)

    async def _stream(
        self, request: web.BaseRequest, scope: Scope, group: str, limit: int, part: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": NDJSON})
        async with aclosing(self._logs.follow(scope, group, limit=limit, part=part)) as events:
            await response.prepare(request)
            await _send(response, events)
        return response


class _GuestBook:
    """`/_berth/guest`. The answer lasts as long as the guest is welcome."""

    def __init__(self, default: Scope, catalog: Callable[[], Catalog], guests: Guests) -> None:
        self._default = default
        self._catalog = catalog
        self._guests = guests

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        port = request.query.get("port", "0")
        if not (port.isascii() and port.isdigit() and int(port) < 65536):
            raise LambdaError("InvalidParameterValueException", "port: give a number from 0 to 65535")
        response = web.StreamResponse(headers={"Content-Type": NDJSON})
        async with self._guests.attach(self._version(request.query), int(port)) as invitation:
            version = invitation.version
            document = {
                "function": version.name,
                "version": version.version,
                "variables": dict(invitation.variables),
            }
            await response.prepare(request)
            with suppress(ConnectionError):
                await response.write(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))
                await _until_left(request, response)
        return response

    def _version(self, query: Mapping[str, str]) -> FunctionVersion:
        scope, function = _function(query, self._default)
        qualifier = query.get("qualifier") or LATEST
        catalog = self._catalog()
        alias = catalog.alias(scope, function, qualifier)
        found = catalog.function(scope, function, alias.version if alias else qualifier)
        if found is None:
            raise function_missing(scope, function, query.get("qualifier"))
        return found


async def _send(response: web.StreamResponse, events: AsyncIterator[LogEvent]) -> None:
    """Events until they end or the reader has left."""
    try:
        async with asyncio.TaskGroup() as group:
            heart = group.create_task(_beat(response))
            async for event in events:
                await response.write(_line(event))
            heart.cancel()
    except* ConnectionError:
        pass


async def _until_left(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Wait for the client to hang up. That is looked for, since nothing tells: while it is there it writes nothing."""
    waits = is_waiting(request)
    beaten = time.monotonic()
    while waits():
        await asyncio.sleep(LOOK)
        if time.monotonic() - beaten > HEARTBEAT:
            beaten = time.monotonic()
            await response.write(b"\n")


async def _beat(response: web.StreamResponse) -> None:
    while True:
        await response.write(b"\n")
        await asyncio.sleep(HEARTBEAT)


def _line(event: LogEvent) -> bytes:
    return orjson.dumps(
        {"timestamp": event.timestamp, "stream": event.stream, "message": event.text},
        option=orjson.OPT_APPEND_NEWLINE,
    )


def _only_get(handler: Handler) -> Handler:
    async def checked(request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            raise LambdaError("UnknownOperationException", f"{request.path} answers GET only")
        return await handler(request)

    return checked


def _unknown(name: str) -> LambdaError:
    return LambdaError("ResourceNotFoundException", f"There is no function {name}, and no log of one.")


def _json(document: Any) -> web.Response:
    return web.Response(body=orjson.dumps(document), content_type="application/json")
