"""Environments that serve many invocations at once: fleet, launcher, Runtime API together, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from rapid.concurrent_environment import ConcurrentEnvironment
from rapid.invocation import Invocation
from rapid.streams import Stream
from runtime.model import FunctionVersion, ManagedInstances
from runtime.soon import settled
from tests.helpers.fleet_world import Gate, Runtime, World, function

PROVIDER = "arn:aws:lambda:us-east-1:123456789012:capacity-provider:here"

Worker = Callable[[Runtime], Awaitable[int]]


def many(count: int, worker: Worker) -> Callable[[Runtime], Awaitable[int]]:
    """A runtime with so many workers, each with a `next` of its own; it ends when they all have."""

    async def run(runtime: Runtime) -> int:
        assert runtime.env["AWS_LAMBDA_MAX_CONCURRENCY"] == "3"
        assert runtime.env["AWS_LAMBDA_INITIALIZATION_TYPE"] == "lambda-managed-instances"
        workers = [Runtime(runtime.sandbox, runtime.env, runtime._session) for _ in range(count)]
        return max(await asyncio.gather(*map(worker, workers)))

    return run


@pytest.fixture
def managed(world: World) -> FunctionVersion:
    return world.put(function(managed=ManagedInstances(PROVIDER, 3), timeout=30))


async def test_one_environment_serves_many(world: World, managed: FunctionVersion) -> None:
    """Three invocations at once run in one environment, and each gets its own answer; a fourth needs another one."""
    gate = Gate()
    world.spawner.script = many(3, gate)
    calls = [asyncio.create_task(world.invoke_whole(managed, b"%d" % number)) for number in range(3)]
    await world.until(lambda: gate.arrived == 3)
    assert [each["state"] for each in world.fleet.snapshot()] == ["busy"]
    calls.append(asyncio.create_task(world.invoke_whole(managed, b"3")))
    await world.until(lambda: gate.arrived == 4)
    assert len(world.spawner.launched) == 2
    gate.open.set()
    assert await asyncio.gather(*calls) == [b"0", b"1", b"2", b"3"]
    await world.until(lambda: world.states() == ["idle", "idle"])


async def test_it_is_used_again(world: World, managed: FunctionVersion) -> None:
    """One after the other, and in bursts: the same environment as long as it has room."""
    gate = Gate()
    gate.open.set()
    world.spawner.script = many(3, gate)
    await world.invoke_whole(managed)
    for number in range(20):
        await asyncio.gather(*(world.invoke(managed, b"%d" % number) for _ in range(3)))
    assert len(world.spawner.launched) == 1
    await world.until(lambda: world.states() == ["idle"])
    assert world.fleet.snapshot()[0]["invocations"] == 61


async def test_it_is_never_frozen(world: World, managed: FunctionVersion) -> None:
    """Background work goes on."""
    gate = Gate()
    gate.open.set()
    world.spawner.script = many(3, gate)
    await world.invoke_whole(managed)
    await asyncio.sleep(0.02)  # longer than the delay before a freeze
    [hosted] = world.fleet._hosted.values()
    assert isinstance(hosted.environment, ConcurrentEnvironment)
    assert not hosted.environment._processes.is_frozen


async def test_fewer_workers_than_slots(world: World, managed: FunctionVersion) -> None:
    """A runtime that has one worker serves one at a time; what it has no room for gets another environment."""
    gate = Gate()
    world.spawner.script = many(1, gate)
    first = asyncio.create_task(world.invoke_whole(managed, b"1"))
    await world.until(lambda: gate.arrived == 1)
    second = asyncio.create_task(world.invoke_whole(managed, b"2"))
    await world.until(lambda: gate.arrived == 2)
    assert len(world.spawner.launched) == 2
    gate.open.set()
    assert (await first, await second) == (b"1", b"2")


async def test_failed_initialisation(world: World, managed: FunctionVersion) -> None:
    """Everybody that it was to serve is told why, and the next invocation gets a new environment."""

    async def broken(runtime: Runtime) -> int:
        assert await runtime.init_error(b'{"errorType":"Runtime.Bad"}') == 202
        return await asyncio.Event().wait() or 0

    world.spawner.script = many(1, broken)
    calls = [world.invoke_whole(managed) for _ in range(3)]
    assert await asyncio.gather(*calls) == [b'{"errorType":"Runtime.Bad"}'] * 3
    await world.until(lambda: not world.spawner.sandboxes)
    assert len(world.spawner.launched) == 1
    gate = Gate()
    gate.open.set()
    world.spawner.script = many(3, gate)
    assert await world.invoke_whole(managed, b"1") == b"1"


async def test_the_runtime_ends(world: World, managed: FunctionVersion) -> None:
    """Whoever it worked for hears of its exit; it is not started again, another environment is."""
    arrived: list[bytes] = []

    async def dying(runtime: Runtime) -> int:
        arrived.append(await runtime.next())
        while len(arrived) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
        return 3

    world.spawner.script = many(3, dying)
    answers = await asyncio.gather(*(world.invoke_whole(managed) for _ in range(3)))
    assert [json.loads(answer)["errorType"] for answer in answers] == ["Runtime.ExitError"] * 3
    await world.until(lambda: not world.spawner.sandboxes)
    gate = Gate()
    gate.open.set()
    world.spawner.script = many(3, gate)
    assert await world.invoke_whole(managed, b"1") == b"1"
    assert len(world.spawner.launched) == 2


async def test_a_timeout_is_one_invocations(world: World) -> None:
    """
    1. One of two invocations times out; its worker answers later.
    Result: only that one fails; the other goes on in the same environment, and the late answer is refused as such.
    """
    managed = world.put(function(managed=ManagedInstances(PROVIDER, 3), timeout=1))
    late, statuses = asyncio.Event(), list[int]()

    async def worker(runtime: Runtime) -> int:
        while True:
            payload = await runtime.next()
            if payload == b'"slow"':
                await late.wait()
            statuses.append(await runtime.respond(payload))

    world.spawner.script = many(2, worker)
    await world.invoke_whole(managed, b'"quick"')
    slow = json.loads(await world.invoke(managed, b'"slow"'))
    assert slow["errorType"] == "Sandbox.Timedout"
    assert slow["errorMessage"].endswith("Task timed out after 1.00 seconds")
    assert await world.invoke(managed, b'"quick"') == b'"quick"'
    late.set()
    await world.until(lambda: 410 in statuses)
    [hosted] = world.fleet._hosted.values()
    core: Any = hosted.environment._core
    await world.until(lambda: core._waiting_workers == 2)
    assert await asyncio.gather(*(world.invoke(managed, b"%d" % each) for each in range(2))) == [b"0", b"1"]
    assert len(world.spawner.launched) == 1


async def test_a_worker_that_is_gone(world: World, managed: FunctionVersion) -> None:
    """What it waited for goes to another one."""
    gone = asyncio.Event()

    async def run(runtime: Runtime) -> int:
        leaving = asyncio.create_task(runtime.next())
        other = Runtime(runtime.sandbox, runtime.env, runtime._session)
        await gone.wait()
        leaving.cancel()
        while True:
            await other.respond(await other.next())

    world.spawner.script = run
    world.spawner.may_launch.set()
    call = asyncio.create_task(world.invoke(managed, b"1"))
    await world.until(lambda: world.spawner.launched)
    gone.set()
    assert await world.invoke(managed, b"2") == b"2"
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def test_streams_do_not_mix(world: World, managed: FunctionVersion) -> None:
    """Two responses that are streamed at once, piece by piece in turn, each arrive whole and alone."""
    turns = [asyncio.Event() for _ in range(4)]

    async def worker(runtime: Runtime) -> int:
        name = await runtime.next()
        order = (0, 2) if name == b"a" else (1, 3)

        async def pieces() -> AsyncIterator[bytes]:
            for turn in order:
                await turns[turn].wait()
                yield name * 3

        headers = {"Lambda-Runtime-Function-Response-Mode": "streaming"}
        url = f"{runtime._base}/invocation/{runtime.request_id}/response"
        async with runtime._session.post(url, data=pieces(), headers=headers) as answer:
            assert answer.status == 202
        return await worker(runtime)

    world.spawner.script = many(2, worker)
    streams = {name: Stream() for name in (b"a", b"b")}
    tickets = []
    for name, stream in streams.items():
        invocation = Invocation(request_id=name.decode(), arn=managed.arn, payload=name, trace_id="")
        tickets.append(await settled(world.fleet.run(managed, invocation, stream)))
    for number, turn in enumerate(turns):
        turn.set()
        assert await streams[b"b" if number % 2 else b"a"].read() == (b"bbb" if number % 2 else b"aaa")
    assert [(await ticket.outcome).streamed for ticket in tickets] == [6, 6]
    assert len(world.spawner.launched) == 1


async def test_what_no_worker_has_taken_is_run_elsewhere(world: World, managed: FunctionVersion) -> None:
    """
    1. A worker ends in the moment in which its place is given away; then the sandbox is lost.
    Result: the invocation is run in another environment, and its caller hears nothing of it.
    """
    gate = Gate()
    gate.open.set()
    world.spawner.script = many(1, gate)
    await world.invoke_whole(managed)
    [hosted] = world.fleet._hosted.values()
    environment: Any = hosted.environment
    await world.until(lambda: environment._core._waiting_workers == 1)
    environment._polls[0]._is_alive = lambda: False
    call = asyncio.create_task(world.invoke(managed, b"1"))
    await world.until(lambda: environment._core._queue)
    [sandbox] = world.spawner.sandboxes.values()
    sandbox.vanish()
    assert await call == b"1"
    assert len(world.spawner.launched) == 2


async def test_random_walk(world: World, managed: FunctionVersion) -> None:
    """Under a mixed load at a small capacity everybody gets their own answer, and no environment has more than three."""
    await world.remake(capacity=3)
    at_once: dict[Any, int] = {}
    most: list[int] = []

    async def worker(runtime: Runtime) -> int:
        while True:
            payload = await runtime.next()
            at_once[runtime.sandbox] = at_once.get(runtime.sandbox, 0) + 1
            most.append(at_once[runtime.sandbox])
            await asyncio.sleep(0.001 * (int(payload) % 3))
            at_once[runtime.sandbox] -= 1
            await runtime.respond(payload)

    world.spawner.script = many(3, worker)
    doors = asyncio.Semaphore(12)

    async def invoke(number: int) -> None:
        async with doors:
            assert await world.invoke(managed, b"%d" % number) == b"%d" % number

    await asyncio.gather(*map(invoke, range(200)))
    assert max(most) == 3
    world.fleet._pool.check()
    await world.until(lambda: set(world.states()) == {"idle"})
    world.fleet._pool.check()
