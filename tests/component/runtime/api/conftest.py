"""The REST door on a socket of this machine: the real store, and an invoker that behaves like one without sandboxes."""

import asyncio
import io
import random
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from email.message import Message
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeVar, cast

import boto3
import pytest
from aiohttp import web
from botocore.config import Config
from botocore.exceptions import ClientError

from rapid.exchange import Ticket
from rapid.invocation import Outcome
from rapid.records import Report
from rapid.streamed import Streamed
from rapid.streams import Stream
from runtime.admission import Admission
from runtime.api.live_code import LiveCode
from runtime.api.server import Api, build_api
from runtime.errors import PreparationFailed
from runtime.fleet import Fleet
from runtime.invoker import Invoker, InvokeRequest, InvokeResult, Told
from runtime.model import FunctionVersion, Scope
from runtime.store import Store
from tests.helpers.provisions import Provisions, concurrency

T = TypeVar("T")
ROLE = "arn:aws:iam::123456789012:role/lambda-role"
TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"


Script = Callable[[Stream, Ticket], Awaitable[Outcome]]


@dataclass
class EchoInvoker:
    """Knows functions from the store; an invocation returns its payload. `error` makes the function fail.

    `script` is what a function does instead that is invoked with a stream; its result is the outcome.
    """

    store: Store
    error: bool = False
    requests: list[InvokeRequest] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    finish: asyncio.Event = field(default_factory=asyncio.Event)
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    script: Script | None = None
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    calls: set["asyncio.Task[InvokeResult]"] = field(default_factory=set)
    started_short: int = 0
    """How many requests came the shorter way."""
    draw: Callable[[], float] = random.random
    """Decides for weighted aliases."""

    def __post_init__(self) -> None:
        self.finish.set()

    def check(self, request: InvokeRequest) -> FunctionVersion:
        nobody = cast("Fleet", None), cast("Admission", None)
        return Invoker(lambda: self.store.catalog, *nobody, draw=self.draw).check(request)

    async def invoke(self, request: InvokeRequest) -> InvokeResult:
        version = self.check(request)
        self.requests.append(request)
        self.started.set()
        await self.finish.wait()
        self.finished.set()
        return InvokeResult(
            payload=b'{"errorMessage":"no"}' if self.error else request.payload,
            executed_version=version.version,
            function_error="Unhandled" if self.error else None,
            log_tail=f"START RequestId: {request.request_id}\n".encode(),
            trace_id=request.trace_id or TRACE,
        )

    def start(self, request: InvokeRequest, told: Told) -> None:
        self.started_short += 1
        self.calls.add(task := asyncio.create_task(self.invoke(request)))
        task.add_done_callback(self.calls.discard)
        task.add_done_callback(lambda task: told(task.result))

    async def stream(self, request: InvokeRequest) -> Streamed:
        version = self.check(request)
        self.requests.append(request)
        stream = Stream()
        ticket = Ticket(stream)
        self.tasks.add(task := asyncio.create_task(self._play(request, stream, ticket)))
        task.add_done_callback(self.tasks.discard)
        trace_id = request.trace_id or TRACE
        return Streamed(ticket, stream, executed_version=version.version, trace_id=trace_id)

    async def _play(self, request: InvokeRequest, stream: Stream, ticket: Ticket) -> None:
        self.started.set()
        if self.script is not None:
            outcome = await self.script(stream, ticket)
        else:
            outcome = Outcome(b'{"errorMessage":"no"}' if self.error else request.payload, self.error)
        ticket.outcome.set_result(outcome)
        stream.close()
        ticket.tail.add(f"START RequestId: {request.request_id}\n".encode())
        ticket.completed.set_result(Report(request.request_id, 0.1, None, 128, 1))
        self.finished.set()


@dataclass
class Preparations:
    """A readiness that waits for `allowed` and then succeeds, or fails with `failure`."""

    allowed: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Exception | None = None
    seen: list[FunctionVersion] = field(default_factory=list)
    warmed: asyncio.Queue[FunctionVersion] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.allowed.set()

    def fail(self, code: str = "InvalidRuntime", reason: str = "no image") -> None:
        self.failure = PreparationFailed(code, reason)

    def warm(self, version: FunctionVersion) -> None:
        self.warmed.put_nowait(version)

    async def prepare(self, version: FunctionVersion) -> None:
        self.seen.append(version)
        await self.allowed.wait()
        if self.failure is not None:
            raise self.failure


@dataclass
class Door:
    """The door, what stands behind it, and ways to knock."""

    api: Api
    store: Store
    invoker: EchoInvoker
    readiness: Preparations
    retired: list[tuple[Scope, str]]
    provisions: Provisions
    url: str
    threads: ThreadPoolExecutor

    def client(self, service: str = "lambda", *, key: str = "test", region: str = "us-east-1") -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=key,
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
        )

    async def aside(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Blocking work of a client, in threads that the server does not use too."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, partial(work, *args, **kwargs))

    async def call(self, operation: str, /, **params: Any) -> Any:
        """One call of boto3, in a thread."""
        return await self.aside(getattr(self.client(), operation), **params)

    async def refused(self, operation: str, /, **params: Any) -> tuple[int, str, str]:
        """Status, code and text of a call that must fail."""
        with pytest.raises(ClientError) as error:
            await self.call(operation, **params)
        response = error.value.response
        status: int = response["ResponseMetadata"]["HTTPStatusCode"]
        return status, response["Error"]["Code"], response["Error"]["Message"]

    async def raw(
        self, method: str, path: str, body: bytes | Iterable[bytes] = b"", **headers: str
    ) -> tuple[int, Message, bytes]:
        """One request without an SDK; underscores in header names stand for dashes."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.aside(request_once, self.url, method, path, body, sent)

    async def create(self, name: str = "f", /, **params: Any) -> Any:
        defaults = {
            "Runtime": "python3.12",
            "Handler": "app.handler",
            "Role": ROLE,
            "Code": {"ZipFile": make_zip()},
        }
        return await self.call("create_function", FunctionName=name, **(defaults | params))

    async def wait(self, waiter: str, name: str = "f") -> None:
        config = {"Delay": 0.02, "MaxAttempts": 200}
        await self.aside(self.client().get_waiter(waiter).wait, FunctionName=name, WaiterConfig=config)

    async def created(self, name: str = "f", /, **params: Any) -> Any:
        """A function that is active."""
        await self.create(name, **params)
        await self.wait("function_active_v2", name)
        return await self.call("get_function_configuration", FunctionName=name)

    async def published(self, count: int = 1, /, name: str = "f") -> None:
        """A function that is active, with versions from 1 to `count`."""
        await self.created(name, Description="1", Publish=True)
        for number in range(2, count + 1):
            params = {"FunctionName": name, "Description": str(number)}
            await self.call("update_function_configuration", **params)
            await self.wait("function_updated_v2", name)
            await self.call("publish_version", FunctionName=name)

    async def alias(self, name: str = "live", version: str = "1", /, **params: Any) -> Any:
        """An alias of the function `f`."""
        return await self.call("create_alias", FunctionName="f", Name=name, FunctionVersion=version, **params)


def request_once(
    url: str, method: str, path: str, body: bytes | Iterable[bytes], headers: Mapping[str, str]
) -> tuple[int, Message, bytes]:
    connection = HTTPConnection(url.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path, body, dict(headers), encode_chunked=not isinstance(body, bytes))
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def make_zip(**files: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (files or {"app": "def handler(event, context): return event\n"}).items():
            info = zipfile.ZipInfo(f"{name}.py", (2024, 1, 1, 0, 0, 0))  # the same files give the same bytes
            info.external_attr = 0o100644 << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return target.getvalue()


@pytest.fixture
def zip_of() -> Callable[..., bytes]:
    return make_zip


@asynccontextmanager
async def serving(data_dir: Path, *, account_concurrency: int = 1000, **options: Any) -> AsyncIterator[Door]:
    """A store with a door on a free port; may be entered again on the same directory."""
    store = await Store.open(data_dir)
    invoker, readiness = EchoInvoker(store), Preparations()
    retired: list[tuple[Scope, str]] = []
    provisions = Provisions()
    api = build_api(
        store=store,
        invoker=invoker,
        readiness=readiness,
        retired=lambda scope, name: retired.append((scope, name)),
        **concurrency(store, account_concurrency, provisions),
        account_id="123456789012",
        region="us-east-1",
        extra={"/health": healthy, "/_berth/settings": settings_of(options.get("live") or LiveCode())},
        **options,
    )
    server = api.server()
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    threads = ThreadPoolExecutor(16)
    try:
        yield Door(api, store, invoker, readiness, retired, provisions, f"http://127.0.0.1:{port}", threads)
    finally:
        threads.shutdown(wait=False)
        listener.close()
        server.pre_shutdown()  # lets go of idle connections at once
        await server.shutdown(1)
        await api.close()
        await store.close()


def settings_of(live: LiveCode) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """Those that clients ask for."""
    roots = live.directories.roots if live.directories else ()
    known = {"hot_reload": ":".join(map(str, roots)), "hot_reload_bucket": live.bucket}

    async def answer(_request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(known)

    return answer


async def healthy(_request: web.BaseRequest) -> web.StreamResponse:
    return web.json_response({"status": "ok"})


@pytest.fixture
def serve() -> Callable[..., AbstractAsyncContextManager[Door]]:
    return serving


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with serving(tmp_path / "data") as door:
        yield door
