"""The door for functions, as boto3 inside a sandbox finds it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Container
from contextlib import AsyncExitStack
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from runtime.api.function_door import CONNECTIONS, FunctionDoor
from runtime.api.server import IMPLEMENTED, INVOCATIONS
from runtime.model import Scope
from runtime.variables import Credentials

SCOPE = Scope("123456789012", "us-east-1")
FAR = "192.0.2.7"

Opener = Callable[..., Any]


@pytest.fixture
async def open_door(door: Any) -> AsyncIterator[Opener]:
    """Opens a door for functions beside the REST door."""
    async with AsyncExitStack() as opened:

        async def make(allowed: Container[str] = INVOCATIONS) -> FunctionDoor:
            made = FunctionDoor(door.api._sessions)
            made.api = door.api.for_functions(allowed)
            await made.open("127.0.0.1")
            opened.push_async_callback(made.close)
            return made

        yield make


def client(
    url: str | None, credentials: Credentials, service: str = "lambda", region: str = "us-east-1"
) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        aws_session_token=credentials.session_token,
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
    )


async def refused(door: Any, call: Callable[..., Any], **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        await door.aside(call, **params)
    found = error.value.response["Error"]
    return found["Code"], found["Message"]


async def test_a_function_invokes_another(door: Any, open_door: Opener) -> None:
    """With the credentials of its environment, and nothing else to say who it is."""
    await door.created("other")
    functions = await open_door()
    mine = client(functions.url("127.0.0.1"), functions.begin("a", SCOPE, "127.0.0.1"))
    answer = await door.aside(mine.invoke, FunctionName="other", Payload=b'{"a": 1}')
    assert json.loads(answer["Payload"].read()) == {"a": 1}
    assert door.invoker.requests[-1].scope == SCOPE


async def test_the_account_is_the_sessions(door: Any, open_door: Opener) -> None:
    """A function of another account does not see this one's functions; its region is as it asks for."""
    await door.created("other")
    functions = await open_door()
    credentials = functions.begin("a", Scope("111122223333", "eu-west-1"), "127.0.0.1")
    mine = client(functions.url("127.0.0.1"), credentials)
    code, _ = await refused(door, mine.invoke, FunctionName="other")
    assert code == "ResourceNotFoundException"
    sts = client(functions.url("127.0.0.1"), credentials, "sts")
    assert (await door.aside(sts.get_caller_identity))["Account"] == "111122223333"


async def test_a_functions_key_names_its_account_at_the_rest_door_too(door: Any, open_door: Opener) -> None:
    """Where addresses cannot tell a function, its key does."""
    functions = await open_door()
    credentials = functions.begin("a", Scope("111122223333", "eu-west-1"), "127.0.0.1")
    sts = client(door.url, credentials, "sts")
    assert (await door.aside(sts.get_caller_identity))["Account"] == "111122223333"


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("create_function", {"FunctionName": "x", "Role": "r", "Code": {}}),
        ("get_function", {"FunctionName": "other"}),
        ("delete_function", {"FunctionName": "other"}),
        ("list_functions", {}),
    ],
)
async def test_a_function_may_only_invoke(
    door: Any, open_door: Opener, operation: str, params: dict[str, Any]
) -> None:
    """Nothing else is answered, reading of other functions' variables included."""
    await door.created("other")
    functions = await open_door()
    mine = client(functions.url("127.0.0.1"), functions.begin("a", SCOPE, "127.0.0.1"))
    code, text = await refused(door, getattr(mine, operation), **params)
    assert code == "AccessDeniedException"
    assert "functions_may_call" in text
    assert door.store.catalog.function(SCOPE, "other") is not None


async def test_a_function_may_do_everything_where_that_is_set(door: Any, open_door: Opener) -> None:
    """On its own account; the link to a package works from there too."""
    await door.created("other")
    functions = await open_door(IMPLEMENTED)
    mine = client(functions.url("127.0.0.1"), functions.begin("a", SCOPE, "127.0.0.1"))
    found = await door.aside(mine.get_function, FunctionName="other")
    location = found["Code"]["Location"]
    assert location.startswith(f"{functions.url('127.0.0.1')}/")
    path = location.removeprefix(functions.url("127.0.0.1"))
    status, _, body = await door.aside(get, functions.url("127.0.0.1"), path)
    assert (status, body[:2]) == (200, b"PK")
    await door.aside(mine.delete_function, FunctionName="other")
    assert door.store.catalog.function(SCOPE, "other") is None


def get(url: str, path: str) -> tuple[int, Any, bytes]:
    from http.client import HTTPConnection

    connection = HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/health", "/_berth/ps", "/_berth/settings", "/2015-03-31/functions"])
async def test_without_a_session_nothing_is_answered(door: Any, open_door: Opener, path: str) -> None:
    """Berth's own addresses neither: they are no operations of an account."""
    functions = await open_door(IMPLEMENTED)
    functions.begin("a", SCOPE, "127.0.0.1")
    status, _, body = await door.aside(get, functions.url("127.0.0.1"), path)
    assert status == 403
    assert b"security token" in body


@pytest.mark.parametrize("wrong", ["another's token", "no token", "an ended session", "made up"])
async def test_only_the_token_of_a_living_session_counts(door: Any, open_door: Opener, wrong: str) -> None:
    """An access key is no secret, so it proves nothing."""
    await door.created("other")
    functions = await open_door()
    right, other = (functions.begin(each, SCOPE, "127.0.0.1") for each in "ab")
    tokens = {"another's token": other.session_token, "no token": "", "made up": "x" * 128}
    if wrong == "an ended session":
        functions.end("a")
    key, secret = right.access_key_id, right.secret_access_key
    presented = Credentials(key, secret, tokens.get(wrong, right.session_token))
    mine = client(functions.url("127.0.0.1"), presented)
    code, text = await refused(door, mine.invoke, FunctionName="other")
    assert code == "AccessDeniedException"
    assert "security token" in text
    assert door.invoker.requests == []


async def test_only_sandboxes_are_let_in(door: Any, open_door: Opener) -> None:
    """While no sandbox lives at an address, whoever calls from there is hung up on."""
    functions = await open_door()
    functions.begin("a", SCOPE, FAR)
    with pytest.raises(ConnectionError):
        await door.aside(get, functions.url("127.0.0.1"), "/")


async def test_connections_of_a_sandbox_are_bounded_and_end_with_it(door: Any, open_door: Opener) -> None:
    """One too many is hung up on; when the last sandbox at an address ends, all are."""
    functions = await open_door()
    functions.begin("a", SCOPE, "127.0.0.1")
    port = int(functions.url("127.0.0.1").rpartition(":")[2])
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await closed(reader)
    writer.close()
    assert not any(reader.at_eof() for reader, _ in held)
    functions.end("a")
    assert all([await closed(reader) for reader, _ in held])
    for _, writer in held:
        writer.close()
    functions.begin("b", SCOPE, "127.0.0.1")  # and there is room again
    sts = client(functions.url("127.0.0.1"), functions.begin("c", SCOPE, "127.0.0.1"), "sts")
    assert await door.aside(sts.get_caller_identity)


async def closed(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(10):
            return await reader.read() == b""
    except ConnectionError:
        return True


async def test_sandboxes_are_hung_up_on_at_the_rest_door(door: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Where its address tells a sandbox, it does not get to the REST API; the log says so once."""
    server = door.api.server()
    admit = server.admit
    door.api._sessions.begin("a", SCOPE, FAR)
    assert [admit(From(FAR), 0), admit(From(FAR), 0), admit(From(f"::ffff:{FAR}"), 0)] == [False] * 3
    assert admit(From("192.0.2.8"), 0)
    assert admit(From("127.0.0.1"), 0)
    assert [record.getMessage() for record in caplog.records if "Hung up" in record.getMessage()] == [
        "Hung up on sandbox a, which called the REST API: functions call Berth at AWS_ENDPOINT_URL_LAMBDA"
    ]
    door.api._sessions.end("a")
    assert admit(From(FAR), 0)


async def test_the_rest_door_refuses_before_it_reads(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection from a sandbox ends without an answer."""
    monkeypatch.setattr(
        "runtime.sessions.bindable", lambda _: False
    )  # as if it were another machine's address
    door.api._sessions.begin("a", SCOPE, "127.0.0.1")
    with pytest.raises(ConnectionError):
        await door.aside(get, door.url, "/health")
    door.api._sessions.end("a")
    status, _, _ = await door.aside(get, door.url, "/health")
    assert status == 200


class From:
    """A connection from an address."""

    def __init__(self, peer: str) -> None:
        self._peer = peer

    def get_extra_info(self, name: str) -> tuple[str, int]:
        assert name == "peername"
        return self._peer, 1


async def test_a_door_that_does_not_listen_has_no_address(door: Any) -> None:
    """Where functions may call nothing, they are told of nothing."""
    silent = FunctionDoor(door.api._sessions, listens=False)
    await silent.open("127.0.0.1")
    assert silent.url("127.0.0.1") is None
    assert silent.begin("a", SCOPE, "127.0.0.1").session_token
    await silent.close()


async def test_an_ipv6_address_is_written_in_brackets(door: Any, open_door: Opener) -> None:
    """As URLs have it."""
    assert (await open_door()).url("::1").startswith("http://[::1]:")
