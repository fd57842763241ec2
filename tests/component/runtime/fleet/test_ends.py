"""How environments and fleets end, and what becomes of invocations then."""

import asyncio
import random
import re
from collections import Counter

import pytest

from rapid.wire import Kind
from runtime import fleet as fleet_module
from runtime.core.groups import Place
from runtime.errors import LambdaError
from runtime.model import FunctionVersion
from runtime.spawners.base import (
    SandboxDeath,
    SandboxHandle,
    SpawnerError,
)
from tests.helpers.fleet_world import Fragile, Gate, Runtime, Stubborn, World, echo, function


class TestDeaths:
    async def test_while_idle(self, world: World, f: FunctionVersion) -> None:
        """The next invocation gets another environment."""
        await world.invoke_whole(f)
        world.spawner.launched[0].vanish()
        await world.until(lambda: not world.spawner.sandboxes)
        assert await world.invoke(f, b"2") == b"2"

    async def test_in_flight(self, world: World, f: FunctionVersion) -> None:
        """The invocation fails with a function error that says so."""
        world.spawner.script = gate = Gate()
        ticket = await world.start(f)
        await world.until(lambda: gate.arrived)
        world.spawner.launched[0].vanish()
        outcome = await ticket.outcome
        assert outcome.function_error
        assert b"Sandbox.Failure" in outcome.payload
        await ticket.completed

    async def test_out_of_memory(self, world: World, f: FunctionVersion) -> None:
        """The spawner knows that it was for memory: the client sees a killed runtime, the log says why."""
        world.spawner.script = gate = Gate()
        ticket = await world.start(f)
        await world.until(lambda: gate.arrived)
        [sandbox] = world.spawner.launched
        world.spawner.events.put_nowait(
            SandboxDeath(sandbox.spec.sandbox_id, "out of memory", out_of_memory=True)
        )
        assert b"signal: killed" in (await ticket.outcome).payload
        assert (await ticket.completed).error_type == "Runtime.OutOfMemory"

    async def test_between_claim_and_use(self, world: World, f: FunctionVersion) -> None:
        """An environment that ends before its claimer's turn comes is replaced."""
        world.spawner.script = gate = Gate()
        first = await world.start(f)
        call = asyncio.create_task(world.invoke(f, b"2"))
        world.spawner.may_launch.clear()
        await world.until(lambda: world.fleet._wanted)
        [hosted] = world.fleet._hosted.values()
        gate.open.set()
        await first.completed
        if world.fleet._pool.place(hosted.number) is Place.BUSY:  # the call has been promised it just now
            hosted.environment.lost("gone")
        world.spawner.may_launch.set()
        assert b"2" in await call

    async def test_runtime_exits_while_idle(self, world: World, f: FunctionVersion) -> None:
        """The environment stays; the next invocation starts the runtime anew, in the same sandbox."""
        leave = asyncio.Event()

        async def script(runtime: Runtime) -> int:
            await runtime.respond(await runtime.next())
            poll = asyncio.ensure_future(runtime.next())
            left = asyncio.ensure_future(leave.wait())
            await asyncio.wait([poll, left], return_when=asyncio.FIRST_COMPLETED)
            left.cancel()
            if poll.done():
                await runtime.respond(poll.result())
                return await echo(runtime)
            poll.cancel()
            await asyncio.wait([poll])
            return 3

        world.spawner.script = script
        await world.invoke_whole(f)
        leave.set()
        await world.until(lambda: world.spawner.launched[0].heard.count(Kind.CLEAR) == 1)
        leave.clear()
        assert await world.invoke(f, b"2") == b"2"
        assert len(world.spawner.launched) == 1


class TestEnds:
    async def test_refuses_to_end(
        self, world: World, f: FunctionVersion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An agent that does not kill what it should is cut off; its sandbox is destroyed."""
        monkeypatch.setattr(fleet_module, "END_LIMIT", 0.01)
        world.spawner.kinds = [Stubborn]
        await world.invoke_whole(f)
        await world.fleet.close(0)
        assert not world.spawner.sandboxes

    async def test_half_a_response(
        self, world: World, f: FunctionVersion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A runtime that hangs in the middle of a call does not keep its sandbox from being destroyed."""
        monkeypatch.setattr(fleet_module, "END_LIMIT", 0.01)
        posting = asyncio.Event()

        async def script(runtime: Runtime) -> int:
            await runtime.next()
            host, _, port = runtime.env["AWS_LAMBDA_RUNTIME_API"].rpartition(":")
            _, writer = await asyncio.open_connection(host, int(port))
            path = f"/2018-06-01/runtime/invocation/{runtime.request_id}/response"
            writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf".encode())
            await writer.drain()
            posting.set()
            try:
                await asyncio.Event().wait()
            finally:
                writer.close()
            return 0

        world.spawner.kinds = [Stubborn]
        world.spawner.script = script
        ticket = await world.start(f)
        await posting.wait()
        async with asyncio.timeout(5):
            await world.fleet.close(0)
        assert ticket.outcome.result().function_error

    async def test_close_with_work_under_way(self, world: World, f: FunctionVersion) -> None:
        """Invocations under way may finish; those that wait are refused, and later ones too."""
        await world.remake(capacity=1)
        world.spawner.script = gate = Gate()
        running = await world.start(f, b"1")
        waiting = asyncio.create_task(world.invoke(f))
        await world.until(lambda: gate.arrived == 1 and world.fleet._wanted)
        closing = asyncio.create_task(world.fleet.close(30))
        await asyncio.sleep(0)
        with pytest.raises(LambdaError, match="shutting down"):
            await world.invoke(f)
        assert not closing.done()
        waiting.cancel()
        gate.open.set()
        await closing
        assert (await running.outcome).payload == b"1"

    async def test_close_without_patience(self, world: World, f: FunctionVersion) -> None:
        """What runs is killed, what waits or launches is refused."""
        world.spawner.script = gate = Gate()
        running = await world.start(f)
        await world.until(lambda: gate.arrived)
        world.spawner.may_launch.clear()
        waiting = asyncio.create_task(world.invoke(f))
        await world.until(lambda: world.spawner.under_way)
        await world.fleet.close(0)
        assert b"shut down" in running.outcome.result().payload
        with pytest.raises(LambdaError, match="shutting down"):
            await waiting

    async def test_cancelled_cleanup(self, world: World, f: FunctionVersion) -> None:
        """Even when whoever cleans up is cancelled, the sandbox is destroyed."""
        await world.invoke_whole(f)
        [life] = world.fleet._lives.values()
        life.cancel()
        await world.until(lambda: world.sandboxes._removals)
        life.cancel()
        await asyncio.wait([life])
        await world.launcher.close()
        assert not world.spawner.sandboxes

    async def test_failing_destruction(
        self, world: World, f: FunctionVersion, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A sandbox that cannot be removed is logged, and fails nothing else."""

        async def refuse(handle: SandboxHandle) -> None:
            await world.spawner.sandboxes.pop(handle.sandbox_id).end()
            raise SpawnerError("device or resource busy")

        await world.invoke_whole(f)
        world.spawner.destroy = refuse  # type: ignore[method-assign]
        world.put(function(code="b"))
        await world.until(lambda: "could not be removed: device or resource busy" in caplog.text)
        assert "no environment" not in caplog.text


async def persist(world: World, version: FunctionVersion, payload: bytes, begun: Counter[bytes]) -> bytes:
    """The answer, by a client that asks again where too many sandboxes were lost in a row before it began."""
    while True:
        [got] = await asyncio.gather(world.invoke(version, payload), return_exceptions=True)
        if isinstance(got, bytes):
            return got
        assert re.search("the sandbox ended|was lost before the function began", str(got))
        assert not begun[payload]


class TestGivenBack:
    """A dead sandbox costs nobody an invocation of which its runtime has heard nothing."""

    async def test_lost_before_the_event_was_written(self, world: World, f: FunctionVersion) -> None:
        """
        1. An environment gets an invocation; before the loop turns, its sandbox is lost.
        Result: another one answers, and the first one's log is whole.
        """
        await world.invoke_whole(f)
        ticket = await world.start(f, b"2")
        [hosted] = world.fleet._hosted.values()
        hosted.link.cut("gone")
        assert (await ticket.outcome).payload == b"2"
        await ticket.completed
        assert ticket.tail.content().startswith(b"START RequestId: r2")
        assert len(world.spawner.launched) == 2
        lines = [line for line in b"".join(world.logs.lines).decode().splitlines() if "r2" in line]
        assert [line.partition(" ")[0] for line in lines] == ["START", "END", "REPORT"] * 2
        assert "Sandbox.Failure" in lines[2]

    async def test_lost_after_it(self, world: World, f: FunctionVersion) -> None:
        """What the runtime may have begun is not done twice."""
        world.spawner.script = gate = Gate()
        ticket = await world.start(f)
        await world.until(lambda: gate.arrived)
        world.spawner.launched[0].vanish()
        assert b"Sandbox.Failure" in (await ticket.outcome).payload
        assert len(world.spawner.launched) == 1

    async def test_lost_while_the_runtime_starts_anew(self, world: World, f: FunctionVersion) -> None:
        """A runtime that is started inside the invocation has heard nothing of it until it asks."""
        starts = 0

        async def script(runtime: Runtime) -> int:
            nonlocal starts
            starts += 1
            if starts == 1:
                await runtime.init_error(b"{}")
                return 1
            if starts == 2:
                runtime.sandbox.vanish()
                return 1
            return await echo(runtime)

        world.spawner.script = script
        assert await world.invoke(f, b"1") == b"1"
        assert (starts, len(world.spawner.launched)) == (3, 2)

    async def test_again_and_again(self, world: World, f: FunctionVersion) -> None:
        """Where one environment after the other is lost, the client is told in the end."""

        async def script(runtime: Runtime) -> int:
            if runtime.sandbox.heard.count(Kind.START) == 1:
                await runtime.init_error(b"{}")
            else:
                runtime.sandbox.vanish()
            return 1

        world.spawner.script = script
        with pytest.raises(LambdaError, match="lost before the function began"):
            await world.invoke(f)
        assert len(world.spawner.launched) == 1 + fleet_module.MOST_RETURNS

    async def test_at_the_end(self, world: World, f: FunctionVersion) -> None:
        """One that is given back while everything ends is refused."""
        await world.invoke_whole(f)
        ticket = await world.start(f, b"2")
        [hosted] = world.fleet._hosted.values()
        world.spawner.may_launch.clear()
        hosted.link.cut("gone")
        await world.fleet.close(0)
        with pytest.raises(LambdaError, match="shutting down"):
            await ticket.outcome
        assert ticket.completed.cancelled()

    async def test_lost_while_it_initialises(self, world: World, f: FunctionVersion) -> None:
        """Who waits for an environment that is lost before it is ready gets another one."""
        world.spawner.kinds = [Fragile]
        assert await world.invoke(f, b"1") == b"1"
        assert len(world.spawner.launched) == 2

    async def test_under_load(self, world: World, f: FunctionVersion) -> None:
        """
        1. Eight clients invoke in tight loops; a sandbox is lost at random every few turns of the loop.
        Result: every invocation is answered, rightly or, where its runtime had heard of it, as lost; none twice.
        One that loses too many environments in a row before it begins is refused, and may be asked for again.
        """
        draw = random.Random(7)  # noqa: S311  a test must be repeatable
        begun: Counter[bytes] = Counter()

        async def script(runtime: Runtime) -> int:
            while True:
                payload = await runtime.next()
                begun[payload] += 1
                await runtime.respond(payload)

        world.spawner.script = script
        lost = 0

        async def client(number: int) -> None:
            nonlocal lost
            for turn in range(40):
                payload = b'"%d.%d"' % (number, turn)
                answer = await persist(world, f, payload, begun)
                assert begun[payload] <= 1
                if answer != payload:
                    assert b"Sandbox.Failure" in answer
                    lost += 1

        async def death() -> None:
            while True:
                for _ in range(draw.randrange(200)):
                    await asyncio.sleep(0)
                if alive := [each for each in world.spawner.sandboxes.values() if each.heard]:
                    draw.choice(alive).vanish()

        reaper = asyncio.create_task(death())
        await asyncio.gather(*(client(number) for number in range(8)))
        reaper.cancel()
        assert lost < 320
        assert len(world.spawner.launched) > 8
