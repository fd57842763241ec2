"""Random walks over the real fleet, with environments that only pretend: updates, deaths, clients that leave.

Whatever comes in whatever order, nobody meets code that was out of date when they asked, everybody is answered once,
what is out of date drains, and no more is held at any time than there may be.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from rapid.exchange import Ticket
from rapid.invocation import Invocation, Outcome
from rapid.records import Report
from rapid.states import Phase
from rapid.streams import Stream
from runtime import fleet as fleet_module
from runtime.core.groups import Place
from runtime.core.room import Bounds
from runtime.errors import LambdaError
from runtime.fleet import Fleet
from runtime.keys import Key
from runtime.launcher import Hosted
from runtime.model import LATEST, Alias, Code, FunctionConfig, FunctionVersion, Scope, State
from runtime.soon import settled
from runtime.spawners.base import SandboxHandle, SpawnerError, SpawnerFacts

SCOPE = Scope("123456789012", "us-east-1")
NAMES = ("f", "g", "h")
CLIENTS = 12
TURNS = 30


class Environment:
    """Answers with the code that it was launched with, some turns of the loop later; may be lost at any time."""

    phase = Phase.IDLE
    memory_peak = 0

    def __init__(self, walk: "Walk", hosted: Callable[[], Hosted], code: str, calls: dict[str, Any]) -> None:
        self.walk = walk
        self.hosted = hosted
        self.code = code
        self.calls = calls
        self.is_over = False
        self.init_failure = None
        self.current: tuple[Invocation, Ticket] | None = None
        self.has_begun = False

    def story_lines(self) -> list[str]:
        return []

    def begin(self) -> None:
        self.walk.later(self.ready)

    def ready(self) -> None:
        if not self.is_over:
            self.calls["on_idle"](self.hosted())

    def invoke(
        self, invocation: Invocation, timeout: float, stream: Stream | None, ticket: Ticket | None
    ) -> Ticket:
        assert self.current is None, "two at a time"
        assert not self.is_over
        ticket = ticket or Ticket(stream)
        self.current, self.has_begun = (invocation, ticket), False
        self.walk.later(self.work)
        return ticket

    def work(self) -> None:
        if self.is_over or self.current is None:
            return
        self.has_begun = True
        self.walk.executed[self.current[0].request_id] += 1
        self.walk.later(self.answer)

    def answer(self) -> None:
        if self.is_over or self.current is None:
            return
        self.current[1].respond(Outcome(self.code.encode()))
        self.walk.later(self.finish)

    def finish(self) -> None:
        if self.is_over or self.current is None:
            return
        (invocation, ticket), self.current = self.current, None
        ticket.complete(Report(invocation.request_id, 0.1, None, 128, 1))
        self.calls["on_idle"](self.hosted())

    def shut_down(self) -> None:
        self.walk.later(lambda: self.lose("it was told to end"))

    def lose(self, reason: str) -> None:
        if self.is_over:
            return
        self.is_over = True
        self.walk.let_go(self.hosted().number)
        current, self.current = self.current, None
        if current is not None:
            invocation, ticket = current
            if self.has_begun or reason == "it was told to end":
                ticket.respond(Outcome(b"lost", function_error=True))
                ticket.complete(Report(invocation.request_id, 0.1, None, 128, 1))
            else:
                ticket.give_back()
                self.calls["on_given_back"](self.hosted(), invocation, ticket)
        self.calls["on_ended"](self.hosted())


class Link:
    lost = "gone"

    def cut(self, reason: str) -> None:
        """It ends by itself."""


class Walk:
    """A launcher, a catalog, and a world in which anything may follow."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)  # noqa: S311  a walk must be repeatable
        self.loop = asyncio.get_running_loop()
        self.functions: dict[tuple[str, str], FunctionVersion] = {}
        self.known_aliases: list[Alias] = []
        self.prepared = asyncio.Event()
        self.alive: list[Environment] = []
        self.executed: Counter[str] = Counter()
        self.held: dict[int, int] = {}
        """MB of each environment from its launch until it is over."""
        self.most = self.most_memory = 0
        self.asked = 0
        self.revision = 0
        self.outcomes: Counter[str] = Counter()
        draw = self.draw
        self.fleet = Fleet(
            launcher=cast("Any", self),
            spawner=cast("Any", self),
            catalog=lambda: cast("Any", self),
            bounds=Bounds(
                memory=draw.choice((256, 640, 10_000)),
                environments=draw.choice((2, 5, 100)),
                launches=draw.choice((1, 2, 8)),
            ),
            room_wait=1000.0,
            idle_timeout=1000.0,
            may_warm=lambda version: True,
        )
        for name in NAMES:
            self.update(name)

    def later(self, what: Callable[[], None]) -> None:
        """In some turns of the loop; hardly ever at once."""
        turns = self.draw.choice((0, 1, 2, 5, 20))
        self.loop.call_soon(self.later_still, turns, what)

    def later_still(self, turns: int, what: Callable[[], None]) -> None:
        if turns:
            self.loop.call_soon(self.later_still, turns - 1, what)
        else:
            what()

    async def turns(self, most: int) -> None:
        for _ in range(self.draw.randrange(most)):
            await asyncio.sleep(0)

    # The catalog

    def function(self, scope: Scope, name: str, version: str = LATEST) -> FunctionVersion | None:
        return self.functions.get((name, version))

    def aliases(self, scope: Scope, function: str) -> list[Alias]:
        return []

    def update(self, name: str) -> None:
        """Other code, memory or variables; when this returns, the update has been answered."""
        self.revision += 1
        config = FunctionConfig(
            role="r",
            runtime="python3.11",
            handler="app.handler",
            memory_size=self.draw.choice((128, 256)),
            environment={"N": str(self.draw.randrange(3))},
        )
        self.functions[name, LATEST] = version = FunctionVersion(
            scope=SCOPE,
            name=name,
            config=config,
            code=Code(f"{name}{self.draw.randrange(4)}", 1, 1),
            revision_id=f"r{self.revision}",
            last_modified="",
            state=State.ACTIVE,
        )
        self.fleet.retired(SCOPE, name)
        if self.draw.random() < 0.5:
            self.fleet.warm(version)

    # The launcher and the spawner

    async def prepare(self) -> SpawnerFacts:
        self.prepared.set()
        return SpawnerFacts("127.0.0.1", cast("Any", None), "walk")

    def copies(self, version: FunctionVersion) -> bool:
        return False

    async def make_ready(self, version: FunctionVersion, progress: Callable[[str], None]) -> None:
        await self.turns(4)

    async def deaths(self) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield None

    @asynccontextmanager
    async def launch(
        self, number: int, version: FunctionVersion, kind: str, **calls: Any
    ) -> AsyncIterator[Hosted]:
        self.take(number, version.config.memory_size)
        await self.turns(10)
        if self.draw.random() < 0.05:
            self.let_go(number)
            raise SpawnerError("no")
        environment = Environment(self, lambda: hosted, code_of(version), calls)
        hosted = Hosted(
            number=number,
            version=version,
            handle=SandboxHandle("walk", f"s{number}", f"s{number}"),
            link=cast("Any", Link()),
            environment=cast("Any", environment),
            log_stream="",
            ended=self.loop.create_future(),
        )
        self.alive.append(environment)
        try:
            yield hosted
        finally:
            self.alive.remove(environment)
            await self.turns(10)

    def take(self, number: int, memory: int) -> None:
        self.held[number] = memory
        self.most = max(self.most, len(self.held))
        self.most_memory = max(self.most_memory, sum(self.held.values()))

    def let_go(self, number: int) -> None:
        del self.held[number]

    # Those who act

    async def client(self) -> None:
        for _ in range(TURNS):
            await self.turns(20)
            version = self.functions[self.draw.choice(NAMES), LATEST]
            self.asked += 1
            request = f"i{self.asked}"
            call = asyncio.create_task(self.call(version, request))
            if self.draw.random() < 0.1:
                await self.turns(10)
                call.cancel()
            await asyncio.wait([call])
            self.note(call, version, request)

    async def call(self, version: FunctionVersion, request: str) -> Outcome:
        invocation = Invocation(request_id=request, arn=version.arn, payload=b"", trace_id="")
        return await (await settled(self.fleet.run(version, invocation))).outcome

    def note(self, call: "asyncio.Task[Outcome]", version: FunctionVersion, request: str) -> None:
        assert self.executed[request] <= 1, "done twice"
        if call.cancelled():
            self.outcomes["left"] += 1
        elif (error := call.exception()) is not None:
            assert isinstance(error, LambdaError), error
            assert not self.executed[request], "refused, and done all the same"
            self.outcomes["refused"] += 1
        elif call.result().function_error:
            assert self.executed[request], "lost before it had begun"
            self.outcomes["lost"] += 1
        else:
            assert call.result().payload.decode() == code_of(version), "code that it did not ask for"
            self.outcomes["answered"] += 1

    async def updates(self) -> None:
        while True:
            await self.turns(60)
            self.update(self.draw.choice(NAMES))

    async def deaths_of_sandboxes(self) -> None:
        while True:
            await self.turns(150)
            if self.alive:
                self.draw.choice(self.alive).lose("gone")

    async def provisions(self) -> None:
        """Some are kept, and let go; whose function changes, are gone by themselves."""
        while True:
            await self.turns(200)
            self.fleet.keep(self.functions[self.draw.choice(NAMES), LATEST], self.draw.randrange(3))

    async def checks(self) -> None:
        while True:
            self.check()
            await self.turns(30)

    def check(self) -> None:
        """The books are right, nothing was ever too much, and nothing that is idle is out of date."""
        pool = self.fleet._pool
        pool.check()
        assert self.most <= pool.bounds.environments
        assert self.most_memory <= pool.bounds.memory
        for number in self.fleet._hosted:
            if pool.place(number) is Place.IDLE:
                assert self.fleet._keys.is_current(cast("Key", pool.key(number)))


def code_of(version: FunctionVersion) -> str:
    return f"{version.code.digest} {version.config.memory_size} {version.config.environment}"


@pytest.mark.parametrize("seed", range(12))
async def test_walk(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """See the module's text."""
    monkeypatch.setattr(fleet_module, "EXPIRY_INTERVAL", 0.0005)
    walk = Walk(seed)
    await walk.fleet.open()
    world = [
        asyncio.create_task(each)
        for each in (walk.updates(), walk.deaths_of_sandboxes(), walk.provisions(), walk.checks())
    ]
    async with asyncio.timeout(60):
        await asyncio.gather(*(walk.client() for _ in range(CLIENTS)))
    assert [each for each in world if each.done()] == []
    for each in world:
        each.cancel()
    walk.check()
    for name in NAMES:
        walk.fleet.keep(walk.functions[name, LATEST], 0)
        version = walk.functions[name, LATEST]
        walk.functions[name, LATEST] = replace(version, code=Code("last", 1, 1), revision_id=f"last {name}")
        walk.fleet.retired(SCOPE, name)
    async with asyncio.timeout(60):
        while walk.fleet._lives:  # noqa: ASYNC110  what is busy finishes, the rest is out of date or expires
            await asyncio.sleep(0)
    assert walk.fleet._pool.keys() == []
    await walk.fleet.close(0)
    assert walk.outcomes.total() == CLIENTS * TURNS
    assert walk.outcomes["answered"] > CLIENTS * TURNS / 2


async def test_walks_go_everywhere() -> None:
    """The walks above see every kind of outcome."""
    outcomes: Counter[str] = Counter()
    for seed in range(4):
        walk = Walk(seed)
        await walk.fleet.open()
        world = [asyncio.create_task(each) for each in (walk.updates(), walk.deaths_of_sandboxes())]
        await asyncio.gather(*(walk.client() for _ in range(CLIENTS)))
        for each in world:
            each.cancel()
        await walk.fleet.close(0)
        outcomes += walk.outcomes
    assert set(outcomes) == {"answered", "left", "refused", "lost"}
