"""The Extensions API over real sockets: statuses, headers, bodies and refusals as AWS's."""

import asyncio
import json
import re
import uuid
from asyncio import Future
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import aiohttp
import pytest

from rapid import errors
from rapid.apis import Apis
from rapid.errors import MAX_EXTENSION_BODY
from rapid.exchange import Function, Notice, Registered
from rapid.extensions import MAX_EXTENSIONS, Extension, ExtensionRefused, Extensions
from rapid.polls import Poll
from rapid.server import Listener
from rapid.states import ExtensionCall, ExtensionState

EXTERNAL = "agent.sh"
NOBODY = "00000000-0000-4000-8000-000000000000"
UUID4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
NOT_ALLOWED = "Error: State transition is not allowed"


class FakeEnvironment:
    """Knows its extensions and their states, has no processes. `gave_up` is what error calls have told."""

    def __init__(self) -> None:
        self.extensions = Extensions.launched([EXTERNAL])
        self.polls: dict[str, Poll[Notice]] = {}
        self.has_extensions = True
        self.gave_up: list[tuple[str, ExtensionCall, str]] = []

    def register_extension(self, name: str, events: Sequence[str]) -> Registered:
        identifier = str(uuid.uuid4())
        self.extensions.register(name, tuple(events), identifier)
        self.polls[identifier] = Poll()
        return Registered(identifier, Function("grüße", "7", "app.handler", "123456789012"))

    def extension_next(self, identifier: str, is_alive: Callable[[], bool]) -> Future[Notice]:
        extension = self.find(identifier, errors.unknown_extension(identifier))
        if not self.polls[identifier].is_abandoned:
            extension.call(ExtensionCall.NEXT)
        return self.polls[identifier].ask(is_alive)

    def extension_error(self, identifier: str, call: ExtensionCall, error_type: str) -> None:
        extension = self.find(identifier, errors.UNKNOWN_IDENTIFIER)
        extension.call(call)
        self.gave_up.append((extension.name, call, error_type))

    def find(self, identifier: str, otherwise: errors.Refusal) -> Extension:
        extension = self.extensions.find(identifier)
        if extension is None:
            raise ExtensionRefused(otherwise)
        return extension


class Answer:
    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def refusal(self) -> tuple[int, str, str]:
        document = json.loads(self.body)
        assert list(document) == ["errorMessage", "errorType"]
        assert self.headers["Content-Type"] == "application/json"
        return self.status, document["errorType"], document["errorMessage"]


class Api:
    """The listener, a client, and the environment behind it."""

    def __init__(self, client: aiohttp.ClientSession, port: int) -> None:
        self.environment = FakeEnvironment()
        self.client = client
        self.port = port

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.client.request(method, url, data=body, headers=named) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def register(self, body: Any = None, name: str = EXTERNAL, **headers: str) -> Answer:
        path = "/2020-01-01/extension/register"
        return await self.call("POST", path, body, Lambda_Extension_Name=name, **headers)

    async def registered(self, name: str = EXTERNAL) -> str:
        """The identifier of a fresh extension."""
        identifier: str = (await self.register(name=name)).headers["Lambda-Extension-Identifier"]
        return identifier

    async def next(self, **headers: str) -> Answer:
        return await self.call("GET", "/2020-01-01/extension/event/next", **headers)

    async def error(self, phase: str, body: Any = None, **headers: str) -> Answer:
        return await self.call("POST", f"/2020-01-01/extension/{phase}/error", body, **headers)

    async def poll(self, identifier: str) -> "asyncio.Task[Answer]":
        """An `event/next` that has arrived and waits."""
        poll = self.environment.polls[identifier]
        before = poll._future
        task = asyncio.create_task(self.next(Lambda_Extension_Identifier=identifier))
        await self.until(lambda: poll._future not in (None, before))
        return task

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(3):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0)  # a turn of the loop, no time

    async def raw(self, request: bytes, *, hang_up: bool = False) -> bytes:
        """All that comes back for bytes that no client library would send."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        if hang_up:
            writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    listener = Listener("127.0.0.1", "127.0.0.1")
    await listener.open()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5)) as client:
        made = Api(client, listener.port)
        listener.api = Apis(made.environment)  # type: ignore[arg-type]
        yield made
    await listener.close()


def not_found(answer: Answer) -> bool:
    return (answer.status, answer.body) == (404, b"404 page not found\n")


class TestRoutes:
    async def test_both_apis(self, api: Api) -> None:
        """The Runtime API answers beside the Extensions API."""
        assert (await api.call("GET", "/2018-06-01/ping")).body == b"pong"
        assert (await api.register()).status == 200

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/2020-01-01/extension/register"),
            ("POST", "/2020-01-01/extension/event/next"),
            ("POST", "/2020-01-01/extension/"),
            ("POST", "/2020-01-01/extension"),
            ("POST", "/2020-01-01/extensionregister"),
            ("POST", "/2018-06-01/extension/register"),
        ],
    )
    async def test_unknown(self, api: Api, method: str, path: str) -> None:
        """What is no route of either is not found."""
        assert not_found(await api.call(method, path, Lambda_Extension_Name=EXTERNAL))


class TestRegister:
    async def test_answer(self, api: Api) -> None:
        """The extension gets an identifier and learns whom it serves."""
        answer = await api.register(b'{"events":["INVOKE","SHUTDOWN"]}')
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        identifier = answer.headers["Lambda-Extension-Identifier"]
        assert re.fullmatch(UUID4, identifier)
        assert json.loads(answer.body) == {
            "functionName": "grüße",
            "functionVersion": "7",
            "handler": "app.handler",
        }
        extension = api.environment.extensions.named(EXTERNAL)
        assert (extension.identifier, extension.events) == (identifier, ("INVOKE", "SHUTDOWN"))

    @pytest.mark.parametrize("features", ["accountId", "other, accountId ,", "accountId,accountId"])
    async def test_account(self, api: Api, features: str) -> None:
        """The account is told to those that ask for it; features nobody knows do no harm."""
        answer = await api.register(Lambda_Extension_Accept_Feature=features)
        assert json.loads(answer.body)["accountId"] == "123456789012"

    @pytest.mark.parametrize("features", ["", "accountid", "other", "accountId;q=1"])
    async def test_no_account(self, api: Api, features: str) -> None:
        """Others are not told."""
        answer = await api.register(Lambda_Extension_Accept_Feature=features)
        assert (answer.status, "accountId" in json.loads(answer.body)) == (200, False)

    @pytest.mark.parametrize(
        "body",
        [
            None,
            b"",
            b"{}",
            b"null",
            b'{"events":[]}',
            b'{"events":null}',
            b'{"events":[],"configurationKeys":[]}',
            b'{"other":1}',
        ],
    )
    async def test_no_events(self, api: Api, body: Any) -> None:
        """An extension need not subscribe to anything."""
        assert (await api.register(body)).status == 200
        assert api.environment.extensions.named(EXTERNAL).events == ()

    async def test_event_twice(self, api: Api) -> None:
        """Subscribing to an event twice is subscribing to it."""
        assert (await api.register(b'{"events":["INVOKE","INVOKE"]}')).status == 200
        assert api.environment.extensions.named(EXTERNAL).events == ("INVOKE",)

    async def test_internal(self, api: Api) -> None:
        """A name that is no file's is an internal extension's."""
        assert (await api.register(b'{"events":["INVOKE"]}', name="inside")).status == 200
        assert not api.environment.extensions.named("inside").external

    async def test_no_name(self, api: Api) -> None:
        """An extension has a name."""
        expected = (403, "Extension.InvalidExtensionName", "Empty extension name")
        assert (await api.register(name="")).refusal() == expected
        assert (await api.call("POST", "/2020-01-01/extension/register", b"{")).refusal() == expected

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            (b"{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
            (b" ", "Expecting value: line 1 column 2 (char 1)"),
            (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
            (b"[]", "the body must be a JSON object"),
            (b'"INVOKE"', "the body must be a JSON object"),
            (b'{"events":"INVOKE"}', "events must be a list of strings"),
            (b'{"events":{"INVOKE":1}}', "events must be a list of strings"),
            (b'{"events":["INVOKE",[]]}', "events must be a list of strings"),
            (
                b'{"events":[],"configurationKeys":["a"]}',
                "configurationKeys are deprecated; use environment variables instead",
            ),
        ],
    )
    async def test_bad_body(self, api: Api, body: bytes, text: str) -> None:
        """A body that is not what it should be is refused, and nothing is registered."""
        assert (await api.register(body)).refusal() == (403, "InvalidRequestFormat", text)
        assert not api.environment.extensions.any_registered

    @pytest.mark.parametrize(
        "body",
        [
            b"[" * 100_000,
            b'{"events":' * 20_000,
            b'{"n":' + b"9" * 10_000 + b"}",
            b"\xff\xfe{\x00\x00",
            b"\x1f\x8b\x08\x00",
        ],
        ids=["lists", "objects", "number", "utf-16", "gzip"],
    )
    async def test_hostile_body(self, api: Api, body: bytes) -> None:
        """Documents made to break parsers are only bad ones."""
        status, error_type, _ = (await api.register(body)).refusal()
        assert (status, error_type) == (403, "InvalidRequestFormat")

    @pytest.mark.parametrize("event", ["invoke", "", "PAUSE", "\ud800", "Grüße"])
    async def test_unknown_event(self, api: Api, event: str) -> None:
        """There are two events."""
        answer = await api.register(json.dumps({"events": ["INVOKE", event]}).encode())
        assert answer.refusal() == (403, "Extension.InvalidEventType", f"{event}: ErrorInvalidEventType")
        assert not api.environment.extensions.any_registered

    async def test_shutdown_of_internal(self, api: Api) -> None:
        """An internal extension ends with its runtime: nobody could tell it."""
        answer = await api.register(b'{"events":["SHUTDOWN"]}', name="inside")
        status, error_type, message = answer.refusal()
        assert (status, error_type) == (403, "Extension.InvalidEventType")
        assert message.startswith("SHUTDOWN: ")

    async def test_closed(self, api: Api) -> None:
        """Internal extensions register before the runtime's first `next`."""
        api.environment.extensions.close_registration()
        expected = (403, "Extension.RegistrationClosed", "Extension registration closed already")
        assert (await api.register(name="inside")).refusal() == expected

    async def test_internal_twice(self, api: Api) -> None:
        """A name is one internal extension's."""
        await api.register(name="inside")
        expected = (403, "Extension.InvalidExtensionState", "Extension with this name already registered")
        assert (await api.register(name="inside")).refusal() == expected

    async def test_external_twice(self, api: Api) -> None:
        """An external extension registers once."""
        await api.register()
        text = (
            f"State transition from Registered to Registered failed for extension {EXTERNAL}. {NOT_ALLOWED}"
        )
        assert (await api.register()).refusal() == (403, "Extension.InvalidExtensionState", text)

    async def test_too_many(self, api: Api) -> None:
        """There is room for ten, those that have not registered yet included."""
        for number in range(MAX_EXTENSIONS - 1):
            assert (await api.register(name=f"inside{number}")).status == 200
        expected = (403, "Extension.TooManyExtensions", "Extension limit (10) reached")
        assert (await api.register(name="one more")).refusal() == expected
        assert (await api.register()).status == 200

    async def test_hostile_name(self, api: Api) -> None:
        """A name of bytes that are no text is a name all the same, and text from here on."""
        head = b"POST /2020-01-01/extension/register HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
        answer = await api.raw(head + b"Lambda-Extension-Name: a\xff\tb\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert api.environment.extensions.named("a\ufffd b").identifier


class TestNext:
    async def test_event(self, api: Api) -> None:
        """The event comes as the environment made it, under an identifier of its own."""
        identifier = await api.registered()
        poll = await api.poll(identifier)
        api.environment.polls[identifier].give(Notice("the event's", b'{"eventType":"INVOKE"}'))
        answer = await poll
        assert (answer.status, answer.body) == (200, b'{"eventType":"INVOKE"}')
        assert answer.headers["Lambda-Extension-Event-Identifier"] == "the event's"
        assert answer.headers["Content-Type"] == "application/json"

    async def test_upper_case(self, api: Api) -> None:
        """Identifiers are numbers: it does not matter how their digits are written."""
        identifier = await api.registered()
        api.environment.polls[identifier].give(Notice("e", b"{}"))
        assert (await api.next(Lambda_Extension_Identifier=identifier.upper())).status == 200

    async def test_two_at_a_time(self, api: Api) -> None:
        """A second `event/next` beside one that waits is out of order."""
        identifier = await api.registered()
        poll = await api.poll(identifier)
        text = f"State transition from Ready to Ready failed for extension {EXTERNAL}. {NOT_ALLOWED}"
        answer = await api.next(Lambda_Extension_Identifier=identifier)
        assert answer.refusal() == (403, "Extension.InvalidExtensionState", text)
        api.environment.polls[identifier].give(Notice("e", b"{}"))
        assert (await poll).body == b"{}"

    async def test_abandoned(self, api: Api) -> None:
        """The environment can tell that whoever asked has gone; the next one gets the event."""
        identifier = await api.registered()
        first = await api.poll(identifier)
        first.cancel()
        await asyncio.wait([first])
        await api.until(lambda: api.environment.polls[identifier].is_abandoned)
        second = await api.poll(identifier)
        api.environment.polls[identifier].give(Notice("e", b"1"))
        assert (await second).body == b"1"

    async def test_dropped(self, api: Api) -> None:
        """An `event/next` that the environment will not answer any more is hung up on."""
        identifier = await api.registered()
        poll = api.environment.polls[identifier]
        head = b"GET /2020-01-01/extension/event/next HTTP/1.1\r\nHost: x\r\n"
        head += b"Lambda-Extension-Identifier: " + identifier.encode()
        answer = asyncio.create_task(api.raw(head + b"\r\n\r\n"))
        await api.until(lambda: poll._future)
        poll.drop()
        assert await answer == b""

    async def test_unknown(self, api: Api) -> None:
        """An identifier that nobody was given."""
        answer = await api.next(Lambda_Extension_Identifier=NOBODY)
        assert answer.refusal() == (
            403,
            "Extension.UnknownExtensionIdentifier",
            f"Unknown extension {NOBODY}",
        )


CALLS = ["event/next", "init/error", "exit/error"]


class TestIdentifier:
    """The header that every call but the first carries."""

    async def call(self, api: Api, path: str, **headers: str) -> Answer:
        method = "GET" if path == "event/next" else "POST"
        return await api.call(method, f"/2020-01-01/extension/{path}", **headers)

    @pytest.mark.parametrize("path", CALLS)
    async def test_missing(self, api: Api, path: str) -> None:
        """It must be there, and not empty."""
        expected = (
            403,
            "Extension.MissingExtensionIdentifier",
            "Missing Lambda-Extension-Identifier header",
        )
        assert (await self.call(api, path)).refusal() == expected
        assert (await self.call(api, path, Lambda_Extension_Identifier="")).refusal() == expected

    @pytest.mark.parametrize("path", CALLS)
    @pytest.mark.parametrize("text", ["x", NOBODY + "0", NOBODY.replace("-", "_"), "0" * 100_000])
    async def test_invalid(self, api: Api, path: str, text: str) -> None:
        """It must be a UUID."""
        answer = await self.call(api, path, Lambda_Extension_Identifier=text)
        expected = (403, "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier")
        assert answer.refusal() == expected

    async def test_bytes(self, api: Api) -> None:
        """Bytes that are no text are no UUID either."""
        head = b"GET /2020-01-01/extension/event/next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        answer = await api.raw(head + b"Lambda-Extension-Identifier: \xff\xfe\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"Extension.InvalidExtensionIdentifier" in answer


PHASES = [("init", ExtensionCall.INIT_ERROR), ("exit", ExtensionCall.EXIT_ERROR)]
WHY = {"Lambda_Extension_Function_Error_Type": "Extension.NoConfig"}


class TestErrors:
    @pytest.mark.parametrize(("phase", "call"), PHASES)
    @pytest.mark.parametrize("body", [None, b'{"errorMessage":"m"}', b"not JSON \xff", b"[" * 100_000])
    async def test_accepted(self, api: Api, phase: str, call: ExtensionCall, body: Any) -> None:
        """The reason is in a header; what the body holds is the extension's own affair."""
        identifier = await api.registered()
        answer = await api.error(phase, body, Lambda_Extension_Identifier=identifier, **WHY)
        assert (answer.status, answer.body) == (202, b'{"status":"OK"}\n')
        assert answer.headers["Content-Type"] == "application/json"
        assert api.environment.gave_up == [(EXTERNAL, call, "Extension.NoConfig")]

    async def test_init_error_again(self, api: Api) -> None:
        """An init error may be told twice."""
        identifier = await api.registered()
        for _ in range(2):
            assert (await api.error("init", Lambda_Extension_Identifier=identifier, **WHY)).status == 202

    async def test_out_of_order(self, api: Api) -> None:
        """An extension that has come to an end cannot come to another."""
        identifier = await api.registered()
        await api.error("exit", Lambda_Extension_Identifier=identifier, **WHY)
        text = f"State transition from ExitError to InitError failed for extension {EXTERNAL}. {NOT_ALLOWED}"
        answer = await api.error("init", Lambda_Extension_Identifier=identifier, **WHY)
        assert answer.refusal() == (403, "Extension.InvalidExtensionState", text)

    @pytest.mark.parametrize(("phase", "_"), PHASES)
    async def test_no_type(self, api: Api, phase: str, _: Any) -> None:
        """An error has a type; without one, nothing has happened."""
        identifier = await api.registered()
        for headers in ({}, {"Lambda_Extension_Function_Error_Type": ""}):
            answer = await api.error(phase, Lambda_Extension_Identifier=identifier, **headers)
            expected = (403, "Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found")
            assert answer.refusal() == expected
        assert api.environment.extensions.named(EXTERNAL).state is ExtensionState.REGISTERED

    @pytest.mark.parametrize(("phase", "_"), PHASES)
    async def test_unknown(self, api: Api, phase: str, _: Any) -> None:
        """An identifier that nobody was given."""
        answer = await api.error(phase, Lambda_Extension_Identifier=NOBODY, **WHY)
        expected = (403, "Extension.UnknownExtensionIdentifier", "Unknown Lambda-Extension-Identifier")
        assert answer.refusal() == expected

    async def test_hostile_type(self, api: Api) -> None:
        """A type of bytes that are no text, or would move a terminal's cursor, is text from here on."""
        identifier = (await api.registered()).encode()
        head = b"POST /2020-01-01/extension/exit/error HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
        head += b"Lambda-Extension-Identifier: " + identifier + b"\r\nConnection: close\r\n"
        answer = await api.raw(head + b"Lambda-Extension-Function-Error-Type: a\xff\tb\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 202 ")
        assert api.environment.gave_up == [(EXTERNAL, ExtensionCall.EXIT_ERROR, "a\ufffd b")]


class TestBodies:
    """How much of the control plane an extension can hold."""

    async def post(self, api: Api, path: str, body: Any) -> Answer:
        headers = {"Lambda_Extension_Name": EXTERNAL, "Lambda_Extension_Identifier": NOBODY, **WHY}
        return await api.call("POST", f"/2020-01-01/extension/{path}", body, **headers)

    @pytest.mark.parametrize("path", ["register", "init/error", "exit/error"])
    @pytest.mark.parametrize("chunked", [False, True])
    async def test_too_long(self, api: Api, path: str, chunked: bool) -> None:
        """A body over the limit is refused, whether or not its length is told beforehand."""
        body = b" " * (MAX_EXTENSION_BODY + 1)

        async def pieces() -> AsyncIterator[bytes]:
            yield body

        answer = await self.post(api, path, pieces() if chunked else body)
        text = f"Exceeded maximum allowed payload size ({MAX_EXTENSION_BODY} bytes)."
        assert answer.refusal() == (413, "RequestEntityTooLarge", text)
        assert not api.environment.extensions.any_registered

    async def test_longest(self, api: Api) -> None:
        """A body at the limit is not."""
        assert (await api.register(b"{}".ljust(MAX_EXTENSION_BODY))).status == 200

    @pytest.mark.parametrize("path", ["register", "init/error", "exit/error"])
    async def test_headers_first(self, api: Api, path: str) -> None:
        """Who is refused by a header is refused before the body has come."""
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(b"POST /2020-01-01/extension/%b HTTP/1.1\r\nHost: x\r\n" % path.encode())
        writer.write(b"Content-Length: 10\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 403 ")
        writer.close()

    async def test_bad_chunks(self, api: Api) -> None:
        """A body that breaks off in the middle of its encoding registers nobody, and is no fault of ours."""
        head = b"POST /2020-01-01/extension/register HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        answer = await api.raw(
            head + b"Lambda-Extension-Name: agent.sh\r\n\r\n2\r\n{}\r\nzz\r\n", hang_up=True
        )
        assert not answer.startswith(b"HTTP/1.1 500 ")
        assert not api.environment.extensions.any_registered

    async def test_cut_off(self, api: Api, caplog: pytest.LogCaptureFixture) -> None:
        """Nor does one that just stops; nothing is logged that a function could fill the log with."""
        head = b"POST /2020-01-01/extension/register HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"
        answer = await api.raw(head + b"Lambda-Extension-Name: agent.sh\r\n\r\n{}", hang_up=True)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert not api.environment.extensions.any_registered
        assert caplog.records == []


async def test_fault(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours is a 500, and logged."""
    del api.environment.extensions
    expected = (500, "InternalServerError", "Internal Server Error")
    assert (await api.register()).refusal() == expected
    assert "POST /2020-01-01/extension/register" in caplog.text
