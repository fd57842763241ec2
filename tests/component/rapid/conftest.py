"""One environment behind a real listener, a supervisor that behaves, and a client that says what it likes."""

import asyncio
import io
from asyncio import Future
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from rapid.apis import Apis
from rapid.environment import Environment
from rapid.exchange import Function, Program, Ticket
from rapid.invocation import Invocation
from rapid.log_format import LogFormat
from rapid.platform_events import Identity
from rapid.server import Listener
from rapid.settings import Settings
from rapid.states import Phase
from rapid.streams import Stream
from rapid.supervisor import Observer, Tunnel, TunnelBroken

MB = 1024 * 1024
PROGRAM = Program(argv=["/bootstrap"], env={}, cwd="/")
FUNCTION = Function("fn", "$LATEST", "app.handler", "123456789012")
SETTINGS = Settings("$LATEST", 128, "python:3.11.v1", "arn:aws:lambda:us-east-1::runtime:0", init_limit=10.0)


@dataclass(frozen=True)
class Start:
    """A process that the environment wanted."""

    process: int
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    log_fd: int | None = None
    files: int | None = None


class FakeSupervisor:
    """Records what it is told, and answers at once unless it is held."""

    def __init__(self) -> None:
        self.observer: Observer | None = None
        self.calls: list[str] = []
        self.starts: list[Start] = []
        self.signals: list[tuple[int, int]] = []
        #: Process and signal.
        self.listed: list[str] = []
        self.names: dict[str, Sequence[str]] = {}
        #: What `list` gives for a path; nothing for others.
        self.list_failure: Exception | None = None
        self.hold = False
        self.held: list[Future[int]] = []
        self.start_failure: Exception | None = None
        self.start_failures: dict[str, Exception] = {}
        #: By program, for those that fail while others start.
        self.before_settled: list[bytes] = []
        #: The runtime's output that arrives before the answer to `settle`.

    @property
    def started(self) -> "list[int]":
        """The processes' numbers."""
        return [start.process for start in self.starts]

    def start(
        self,
        process: int,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        *,
        log_fd: int | None = None,
        log_desk: bool = False,
        files: int | None = None,
    ) -> Future[None]:
        self.calls.append("start")
        self.starts.append(Start(process, argv, env, cwd, log_fd, files))
        future: Future[None] = asyncio.get_running_loop().create_future()
        failure = self.start_failures.get(argv[0], self.start_failure)
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(None)
        return future

    def list(self, path: str) -> Future[Sequence[str]]:
        self.listed.append(path)
        future: Future[Sequence[str]] = asyncio.get_running_loop().create_future()
        if self.list_failure is not None:
            future.set_exception(self.list_failure)
        else:
            future.set_result(self.names.get(path, ()))
        return future

    def signal(self, process: int, number: int) -> None:
        self.calls.append("signal")
        self.signals.append((process, number))

    def connect(self, port: int) -> Future[Tunnel]:
        self.calls.append("connect")
        future: Future[Tunnel] = asyncio.get_running_loop().create_future()
        future.set_exception(TunnelBroken("connection refused"))
        return future

    def settle(self) -> Future[int]:
        assert self.observer is not None
        for data in self.before_settled:
            runtime = next(start for start in reversed(self.starts) if start.argv == PROGRAM.argv)
            self.observer.output(runtime.process, 1, data)
        return self._answer("settle", 30 * MB)

    def clear(self) -> Future[int]:
        return self._answer("clear", 31 * MB)

    def freeze(self) -> None:
        self.calls.append("freeze")

    def thaw(self) -> None:
        self.calls.append("thaw")

    def _answer(self, call: str, memory: int) -> Future[int]:
        self.calls.append(call)
        future: Future[int] = asyncio.get_running_loop().create_future()
        if self.hold:
            self.held.append(future)
        else:
            future.set_result(memory)
        return future


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class House:
    """Everything at hand. `lines` is the log."""

    supervisor: FakeSupervisor
    environment: Environment
    listener: Listener
    client: aiohttp.ClientSession
    lines: list[bytes] = field(default_factory=list)
    idle: int = 0
    ended: int = 0
    turned: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.port}/2018-06-01"

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, bytes) and len(body) > MB:
            body = io.BytesIO(body)  # the client warns of long ones
        async with self.client.request(method, self.url + path, data=body, headers=named) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def next(self) -> Answer:
        return await self.call("GET", "/runtime/invocation/next")

    async def respond(self, body: Any = b"{}", request_id: str = "r1", **headers: str) -> Answer:
        return await self.call("POST", f"/runtime/invocation/{request_id}/response", body, **headers)

    async def error(self, body: Any = b"{}", request_id: str = "r1", **headers: str) -> Answer:
        return await self.call("POST", f"/runtime/invocation/{request_id}/error", body, **headers)

    async def init_error(self, body: Any = b"{}", **headers: str) -> Answer:
        return await self.call("POST", "/runtime/init/error", body, **headers)

    def invoke(
        self,
        payload: bytes = b"{}",
        request_id: str = "r1",
        timeout: float = 60,
        stream: Stream | None = None,
        **members: Any,
    ) -> Ticket:
        invocation = Invocation(
            request_id=request_id,
            arn="arn:aws:lambda:us-east-1:123456789012:function:f:live",
            payload=payload,
            **{"trace_id": "Root=1-00000000-000000000000000000000000;Sampled=0"} | members,
        )
        return self.environment.invoke(invocation, timeout, stream)

    async def poll(self) -> "asyncio.Task[Answer]":
        """A `next` that has arrived and waits; what was written before it has arrived too, unless that is held."""
        before = self.environment._poll._future
        task = asyncio.create_task(self.next())
        await self.until(lambda: self.environment._poll._future not in (None, before))
        if not self.supervisor.hold:
            await self.until(lambda: self.environment.phase is not Phase.SETTLING)
        return task

    async def delivered(self, **members: Any) -> Ticket:
        """An invocation that the runtime has fetched."""
        poll = await self.poll()
        ticket = self.invoke(**members)
        await poll
        return ticket

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the loop turn until the condition holds; what it waits for comes over a socket of this process."""
        async with asyncio.timeout(3):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0)  # a turn of the loop, no time

    async def become_idle(self, times: int) -> None:
        """Wait for a runtime in another process."""
        while self.idle < times:
            self.turned.clear()
            await self.turned.wait()

    def log(self) -> str:
        return b"".join(self.lines).decode()


async def build(
    *,
    freeze: bool = True,
    peer: str = "127.0.0.1",
    settings: Settings = SETTINGS,
    program: Program = PROGRAM,
    json: bool = False,
) -> House:
    supervisor = FakeSupervisor()
    lines: list[bytes] = []

    def idle() -> None:
        made.idle += 1
        made.turned.set()

    def ended() -> None:
        made.ended += 1

    identity = Identity(function="fn", version="$LATEST", instance="stream", memory_size=128)
    environment = Environment(
        on_given_back=lambda invocation, ticket: None,
        settings=settings,
        program=program,
        function=FUNCTION,
        supervisor=supervisor,
        log=lines.append,
        log_format=LogFormat(identity, json=json),
        on_idle=idle,
        on_ended=ended,
        freeze=freeze,
    )
    listener = Listener("127.0.0.1", peer)
    await listener.open()
    listener.api = Apis(environment)
    client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5), auto_decompress=False)
    made = House(supervisor, environment, listener, client, lines)
    return made


@pytest.fixture
def settings() -> Settings:
    return SETTINGS


@pytest.fixture
async def make_house() -> AsyncIterator[Callable[..., Any]]:
    houses: list[House] = []

    async def make(**options: Any) -> House:
        houses.append(await build(**options))
        return houses[-1]

    yield make
    for house in houses:
        house.supervisor.hold = False
        house.environment.lost("the test is over")
        await house.client.close()
        await house.listener.close()


@pytest.fixture
async def house(make_house: Callable[..., Any]) -> House:
    """An environment whose runtime has been started."""
    house: House = await make_house()
    house.environment.begin()
    await house.until(lambda: house.supervisor.started)
    return house
