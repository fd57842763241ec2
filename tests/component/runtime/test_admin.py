import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from runtime import admin
from runtime.api.errors import render
from runtime.errors import LambdaError
from runtime.exposition import Census
from runtime.guests import Guests
from runtime.logs import LogStore
from runtime.metrics import Metrics
from runtime.model import LATEST, Alias, Code, FunctionConfig, FunctionVersion, LoggingConfig, Scope
from runtime.settings import Settings
from runtime.store.catalog import Catalog
from runtime.stories import Stories, Story

SCOPE = Scope("123456789012", "us-east-1")
LIVE = Alias(
    scope=SCOPE,
    function="hello",
    name="live",
    version="1",
    weights={"2": 0.25},
    environment={"STAGE": "live"},
    revision_id="r",
)


def function(
    name: str, *, scope: Scope = SCOPE, version: str = LATEST, group: str | None = None
) -> FunctionVersion:
    return FunctionVersion(
        scope=scope,
        name=name,
        version=version,
        config=FunctionConfig(role="r", runtime="python3.11", logging=LoggingConfig(log_group=group)),
        code=Code("0" * 64, 1, 1),
        revision_id="r",
        last_modified="",
    )


class Shelf:
    """A catalog and a fleet of a few known things."""

    def __init__(self, *functions: FunctionVersion) -> None:
        self.functions = functions
        self.environments: list[dict[str, Any]] = []

    def function(self, scope: Scope, name: str, version: str = LATEST) -> FunctionVersion | None:
        wanted = (scope, name, version)
        return next(
            (each for each in self.functions if (each.scope, each.name, each.version) == wanted), None
        )

    def all_functions(self) -> Iterable[FunctionVersion]:
        return self.functions

    def alias(self, scope: Scope, function: str, name: str) -> Alias | None:
        known = (SCOPE, "hello", "live")
        return LIVE if (scope, function, name) == known else None

    def snapshot(self) -> list[dict[str, Any]]:
        return self.environments

    def census(self) -> list[Census]:
        return [Census(SCOPE, "hello", "1", "idle", 2)]


class Berth:
    """The handlers behind a real server, and a client for them."""

    def __init__(
        self, url: str, shelf: Shelf, logs: LogStore, client: aiohttp.ClientSession, stories: Stories
    ) -> None:
        self.url, self.shelf, self.logs, self.client, self.stories = url, shelf, logs, client, stories

    def begin(self, environment: str, *lines: str) -> None:
        """An environment that has this to tell."""
        self.stories.begin(
            Story(environment=environment, function="hello", version="1", tell=lambda: list(lines))
        )

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        async with self.client.get(self.url + path, headers=headers) as response:
            body = await response.read()
            if response.content_type == admin.NDJSON:
                return response.status, [json.loads(line) for line in body.splitlines()]
            return response.status, json.loads(body)

    def log(self, text: str, *, group: str = "/aws/lambda/hello", stream: str = "s", time: int = 0) -> None:
        self.logs.writer(SCOPE, group, stream).write(time, text.encode())


@pytest.fixture
async def berth(tmp_path: Path) -> AsyncIterator[Berth]:
    shelf = Shelf(
        function("hello"),
        function("hello", version="1"),
        function("abroad", scope=Scope("123456789012", "eu-west-1")),
        function("shared", group="/all"),
    )
    async with LogStore(tmp_path) as logs, aiohttp.ClientSession() as client:
        stories = Stories()
        found = admin.handlers(
            settings=Settings(data_dir=tmp_path, port=4711),
            instance="0a1b",
            fleet=shelf,
            catalog=lambda: shelf,
            logs=logs,
            stories=stories,
            standbys=lambda: [{"runtime": "python3.11", "state": "standby"}],
            metrics=Metrics(Catalog),
            guests=Guests(logs),
            about=lambda: {"spawner": "Docker Engine 20.10"},
        )

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            try:
                return await found[request.path](request)
            except LambdaError as error:
                answer = render(error)
                return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

        runner = web.ServerRunner(web.Server(handle))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield Berth(site_url(runner), shelf, logs, client, stories)
        await logs.close()
        await runner.cleanup()


def site_url(runner: web.ServerRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://{host}:{port}"


async def test_health_says_who_answers(berth: Berth) -> None:
    """Health is a small document: alive, which version and instance, and what else is known."""
    status, document = await berth.get("/health")
    assert status == 200
    assert document == {
        "status": "ok",
        "version": "0.1.0",
        "instance": "0a1b",
        "spawner": "Docker Engine 20.10",
    }


async def test_settings_are_those_in_force(berth: Berth) -> None:
    """Settings come as they would be written in the file."""
    _, document = await berth.get("/_berth/settings")
    assert (document["port"], document["freeze"], document["docker_host"]) == ("4711", "true", "")


async def test_ps_lists_environments_and_functions(berth: Berth) -> None:
    """Functions come once each, sorted, with the number of their environments."""
    environment = {"account": SCOPE.account, "region": SCOPE.region, "function": "hello", "version": "1"}
    berth.shelf.environments = [environment, environment]
    _, document = await berth.get("/_berth/ps")
    assert document["environments"] == [environment, environment]
    assert document["standbys"] == [{"runtime": "python3.11", "state": "standby"}]
    assert [(each["region"], each["function"], each["environments"]) for each in document["functions"]] == [
        ("eu-west-1", "abroad", 0),
        ("us-east-1", "hello", 2),
        ("us-east-1", "shared", 0),
    ]


async def test_metrics_are_prometheus_text(berth: Berth) -> None:
    """A scraper finds the environments, the process and the program, in the text format it asks for."""
    async with berth.client.get(f"{berth.url}/_berth/metrics") as response:
        assert (response.status, response.headers["Content-Type"]) == (
            200,
            "text/plain; version=0.0.4; charset=utf-8",
        )
        lines = (await response.text()).splitlines()
    labels = f'account="{SCOPE.account}",function="hello",place="idle",region="us-east-1",version="1"'
    assert f"berth_environments{{{labels}}} 2.0" in lines
    assert 'berth_info{version="0.1.0"} 1.0' in lines
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)


async def test_alias_has_its_variables(berth: Berth) -> None:
    """An alias is shown as Lambda shows it, and its variables beside that; an unknown one is a 404."""
    assert await berth.get("/_berth/alias?function=hello&name=live") == (
        200,
        {
            "AliasArn": "arn:aws:lambda:us-east-1:123456789012:function:hello:live",
            "Name": "live",
            "FunctionVersion": "1",
            "Description": "",
            "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.25}},
            "RevisionId": "r",
            "Environment": {"Variables": {"STAGE": "live"}},
        },
    )
    for question in ("function=hello&name=x", "function=hello", "function=abroad&name=live&region=eu-west-1"):
        status, error = await berth.get(f"/_berth/alias?{question}")
        assert (status, error["Message"].startswith("Cannot find alias arn: arn:")) == (404, True)
    assert (await berth.get("/_berth/alias?name=live"))[0] == 400


async def test_logs_are_the_last_events(berth: Berth) -> None:
    """Events come oldest first, one JSON object a line, as many as wanted; an ARN names a function too."""
    for time in range(5):
        berth.log(f"line {time}", time=time)
    _, events = await berth.get("/_berth/logs?function=hello&limit=2")
    assert events == [
        {"timestamp": 3, "stream": "s", "message": "line 3"},
        {"timestamp": 4, "stream": "s", "message": "line 4"},
    ]
    arn = f"arn:aws:lambda:us-east-1:{SCOPE.account}:function:hello"
    assert (await berth.get(f"/_berth/logs?function={arn}"))[1][1:] == (
        await berth.get("/_berth/logs?function=hello")
    )[1][1:]


async def test_logs_of_a_shared_group_are_the_functions_own(berth: Berth) -> None:
    """A group that several functions write to is read by the streams' names."""
    berth.log("mine", group="/all", stream="2024/01/31/shared[1]aa")
    berth.log("not mine", group="/all", stream="2024/01/31/other[1]bb")
    _, events = await berth.get("/_berth/logs?function=shared")
    assert [event["message"] for event in events] == ["mine"]


async def test_function_without_logs_has_none_and_an_unknown_one_is_an_error(berth: Berth) -> None:
    """No line yet is no error; no such function is one, unless it left logs behind."""
    assert await berth.get("/_berth/logs?function=hello") == (200, [])
    status, error = await berth.get("/_berth/logs?function=nobody")
    assert (status, error["Message"]) == (404, "There is no function nobody, and no log of one.")
    assert (await berth.get("/_berth/logs?function=nobody&follow=1"))[0] == 404
    berth.log("last words", group="/aws/lambda/nobody")
    assert [event["message"] for event in (await berth.get("/_berth/logs?function=nobody"))[1]] == [
        "last words"
    ]


async def test_scope_comes_from_the_question(berth: Berth) -> None:
    """Another region's function is another function."""
    assert (await berth.get("/_berth/logs?function=abroad"))[0] == 404
    assert (await berth.get("/_berth/logs?function=abroad&region=eu-west-1"))[0] == 200


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?function=",
        "?function=a:b:c:d:e",
        "?function=hello&limit=-1",
        "?function=hello&limit=10001",
        f"?function=hello&limit={'9' * 5000}",
    ],
)
async def test_senseless_question_is_refused(berth: Berth, query: str) -> None:
    """What cannot be understood is answered with what would do."""
    status, error = await berth.get(f"/_berth/logs{query}")
    assert status == 400
    assert error["message"].startswith(("function: give", "limit: give"))


async def test_follow_sends_events_as_they_come(berth: Berth) -> None:
    """A follower has the past first, then each event at once, and an end when Berth stops."""
    berth.log("past", time=1)
    async with (
        asyncio.timeout(10),
        berth.client.get(f"{berth.url}/_berth/logs?function=hello&follow=1") as response,
    ):
        assert await next_message(response) == "past"
        berth.log("now", time=2)
        assert await next_message(response) == "now"
        await berth.logs.close()
        assert (await response.content.read()).strip() == b""


async def test_follower_that_left_is_noticed_without_an_event(
    berth: Berth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heartbeat finds out that nobody reads, though the function is silent."""
    monkeypatch.setattr(admin, "HEARTBEAT", 0.001)
    forgotten, forget = asyncio.Event(), LogStore._forget

    def telling(self: LogStore, *arguments: Any) -> None:
        forget(self, *arguments)
        forgotten.set()

    monkeypatch.setattr(LogStore, "_forget", telling)
    async with berth.client.get(f"{berth.url}/_berth/logs?function=hello&follow=1") as response:
        await response.content.readline()
        assert berth.logs._followers
        response.close()
    async with asyncio.timeout(10):
        await forgotten.wait()


async def test_only_get_is_answered(berth: Berth) -> None:
    """These addresses change nothing."""
    async with berth.client.post(f"{berth.url}/_berth/ps") as response:
        assert response.status == 404
        assert "answers GET only" in await response.text()


async def next_message(response: aiohttp.ClientResponse) -> str:
    while not (line := await response.content.readline()).strip():
        assert line, "the log ended"
    message: str = json.loads(line)["message"]
    return message


async def test_a_story_is_found_by_the_beginning_of_its_name(berth: Berth) -> None:
    """As much of an identifier as no other one begins with is enough, ended or not."""
    berth.begin("3f9a", "12:00 begun", "12:01 more")
    berth.begin("3fff")
    status, document = await berth.get("/_berth/story?environment=3f9")
    assert status == 200
    assert document == {
        "environment": "3f9a",
        "function": "hello",
        "version": "1",
        "ended": None,
        "lines": ["12:00 begun", "12:01 more"],
    }
    berth.stories.end("3f9a")
    _, ended = await berth.get("/_berth/story?environment=3f9a")
    assert ended["lines"] == document["lines"]
    assert ended["ended"] > 0


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("3f", "Several environments begin with 3f: 3fff (hello), 3f9a (hello, ended)."),
        ("4", "There is no environment 4; there are: 3fff (hello), 3f9a (hello, ended)."),
        ("", "Name an environment; there are: 3fff (hello), 3f9a (hello, ended)."),
    ],
)
async def test_a_refusal_says_which_stories_there_are(berth: Berth, asked: str, text: str) -> None:
    """Whoever means none, or several, learns what to ask for."""
    berth.begin("3f9a")
    berth.begin("3fff")
    berth.stories.end("3f9a")
    status, document = await berth.get(f"/_berth/story?environment={asked}")
    assert (status, document["Message"]) == (404, text)


async def test_no_stories_yet(berth: Berth) -> None:
    """Before there was any environment, the refusal says how one comes about."""
    _, document = await berth.get("/_berth/story?environment=1")
    assert "the first invocation of a function makes one" in document["Message"]


async def test_a_refusal_stays_short(berth: Berth) -> None:
    """Of many environments some are named."""
    for number in range(admin.NAMED + 3):
        berth.begin(f"e{number:02}")
    _, document = await berth.get("/_berth/story?environment=e")
    assert document["Message"].endswith("e09 (hello) and 3 more.")
