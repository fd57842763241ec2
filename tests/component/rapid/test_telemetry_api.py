"""The Telemetry API and the Logs API over real sockets: statuses, bodies and refusals as AWS's."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from rapid import errors
from rapid.apis import Apis
from rapid.errors import MAX_EXTENSION_BODY
from rapid.extensions import ExtensionRefused
from rapid.server import Listener
from rapid.subscriptions import Api, Subscription

SOMEBODY = "11111111-0000-4000-8000-000000000001"
NOBODY = "00000000-0000-4000-8000-000000000000"
TELEMETRY, LOGS = "/2022-07-01/telemetry", "/2020-08-15/logs"
DESTINATION = {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8080"}
GOOD: dict[str, Any] = {"types": ["platform"], "destination": DESTINATION}
VERSIONS = {TELEMETRY: "2022-07-01", LOGS: "2020-08-15"}
ERROR_TYPES = {TELEMETRY: "ValidationError", LOGS: "Logs.ValidationError"}
both = pytest.mark.parametrize("path", [TELEMETRY, LOGS])


@dataclass
class FakeEnvironment:
    """Knows one extension."""

    subscriptions: list[Subscription] = field(default_factory=list)
    failure: Exception | None = None

    def check_extension(self, identifier: str) -> None:
        if identifier != SOMEBODY:
            raise ExtensionRefused(errors.unknown_extension(identifier))

    def subscribe(self, identifier: str, subscription: Subscription) -> None:
        assert identifier == SOMEBODY
        if self.failure is not None:
            raise self.failure
        self.subscriptions.append(subscription)


@dataclass
class House:
    environment: FakeEnvironment
    client: aiohttp.ClientSession
    port: int

    async def call(
        self, path: str, body: Any = None, *, method: str = "PUT", identifier: str | None = SOMEBODY
    ) -> tuple[int, str | None, bytes]:
        """Status, content type and body."""
        headers = {} if identifier is None else {"Lambda-Extension-Identifier": identifier}
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.client.request(method, url, data=body, headers=headers) as answer:
            return answer.status, answer.headers.get("Content-Type"), await answer.read()

    async def subscribe(self, path: str, **members: Any) -> tuple[int, str | None, bytes]:
        return await self.call(path, json.dumps({"schemaVersion": VERSIONS[path], **GOOD, **members}))

    async def refusal(self, *arguments: Any, **options: Any) -> tuple[int, str, str]:
        status, kind, body = await self.call(*arguments, **options)
        document = json.loads(body)
        assert (kind, list(document)) == ("application/json", ["errorMessage", "errorType"])
        return status, document["errorType"], document["errorMessage"]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    listener = Listener("127.0.0.1", "127.0.0.1")
    await listener.open()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5)) as client:
        made = House(FakeEnvironment(), client, listener.port)
        listener.api = Apis(made.environment)  # type: ignore[arg-type]
        yield made
    await listener.close()


@both
async def test_success(house: House, path: str) -> None:
    """The answer is a word in quotes."""
    assert await house.subscribe(path) == (200, "application/json", b'"OK"')
    [given] = house.environment.subscriptions
    assert (given.api, given.types) == (Api.LOGS if path == LOGS else Api.TELEMETRY, ("platform",))


async def test_the_path_of_the_reference(house: House) -> None:
    """AWS's reference ends it with a slash."""
    body = json.dumps({"schemaVersion": "2022-07-01", **GOOD})
    assert await house.call("/2022-07-01/telemetry/", body) == (200, "application/json", b'"OK"')


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", TELEMETRY),
        ("GET", TELEMETRY),
        ("DELETE", LOGS),
        ("PUT", "/2020-08-15/telemetry"),
        ("PUT", "/2022-07-01/logs"),
        ("PUT", "/2022-07-01/telemetry/more"),
        ("PUT", "/2022-07-01/"),
    ],
)
async def test_no_route(house: House, method: str, path: str) -> None:
    """Nothing else is there."""
    status, _, body = await house.call(path, b"{}", method=method)
    assert (status, body) == (404, b"404 page not found\n")


@both
async def test_who_calls(house: House, path: str) -> None:
    """It is looked at who calls before what is asked for."""
    assert await house.refusal(path, b"{", identifier=None) == (
        403, "Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header"
    )  # fmt: skip
    assert await house.refusal(path, b"{", identifier="me") == (
        403, "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier"
    )  # fmt: skip
    assert await house.refusal(path, b"{", identifier=NOBODY) == (
        403, "Extension.UnknownExtensionIdentifier", f"Unknown extension {NOBODY}"
    )  # fmt: skip


@both
@pytest.mark.parametrize(("name", "value"), [("maxItems", 999), ("timeoutMs", 24)])
async def test_beyond_the_limits(house: House, path: str, name: str, value: int) -> None:
    """Less than the least is 400."""
    status, _, body = await house.subscribe(path, buffering={name: value})
    assert (status, json.loads(body)["errorType"]) == (400, ERROR_TYPES[path])
    assert json.loads(body)["errorMessage"].startswith(f"{name} should be between ")
    assert house.environment.subscriptions == []


@both
async def test_invalid(house: House, path: str) -> None:
    """All that is wrong, in one text."""
    destination = {"protocol": "HTTP", "URI": "http://sandbox.localdomain"}
    body = json.dumps({"schemaVersion": VERSIONS[path], "destination": destination, "types": []})
    text = "URI port is not provided; types should not be empty"
    assert await house.refusal(path, body) == (400, ERROR_TYPES[path], text)
    assert (await house.refusal(path, b"no json"))[:2] == (400, ERROR_TYPES[path])


@both
async def test_the_environment_s_refusal(house: House, path: str) -> None:
    """It is passed on."""
    house.environment.failure = ExtensionRefused(errors.REGISTRATION_CLOSED)
    status, _, body = await house.subscribe(path)
    assert (status, json.loads(body)["errorType"]) == (403, "Extension.RegistrationClosed")


async def test_too_long(house: House) -> None:
    """A body has its limit."""
    status, error_type, _ = await house.refusal(TELEMETRY, b" " * (MAX_EXTENSION_BODY + 1))
    assert (status, error_type) == (413, "RequestEntityTooLarge")


async def test_a_failure_of_ours(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the extension is told."""
    house.environment.failure = RuntimeError("a mistake")
    status, _, body = await house.subscribe(TELEMETRY)
    assert (status, json.loads(body)["errorType"]) == (500, "InternalServerError")
    assert "a mistake" in caplog.text
