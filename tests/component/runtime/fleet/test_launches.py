"""Launches that fail, take long, or are not wanted any more."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime import fleet as fleet_module
from runtime import sandboxes as sandboxes_module
from runtime.errors import LambdaError, PreparationFailed
from runtime.model import FunctionVersion
from runtime.spawners.base import (
    SandboxDeath,
    SpawnerError,
)
from tests.helpers.fleet_world import Fleeting, Fragile, Gate, Sandbox, Silent, World, function


class TestLaunchFailures:
    @pytest.mark.parametrize(
        ("kind", "text"),
        [
            (Silent, "did not dial 127.0.0.1:"),
            (Fleeting, "sandbox ended"),
            (Fragile, "ended while it initialised"),
        ],
    )
    async def test_bad_sandbox(  # noqa: PLR0917  fixtures
        self,
        world: World,
        f: FunctionVersion,
        kind: type[Sandbox],
        text: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A sandbox that does not come up fails its invocation with a reason, and only that one."""
        monkeypatch.setattr(sandboxes_module, "DIAL_LIMIT", 0.05 if kind is Silent else 5.0)
        world.spawner.kinds = [kind] * (1 + (kind is not Silent) * fleet_module.MOST_RETURNS)
        with pytest.raises(LambdaError, match=text) as caught:
            await world.invoke(f)
        assert caught.value.code == "ServiceException"
        assert text in caplog.text
        await world.until(lambda: not world.spawner.sandboxes)
        assert await world.invoke(f, b"7") == b"7"

    async def test_refused(self, world: World, f: FunctionVersion) -> None:
        """The spawner's reason reaches the caller; other invocations are not touched."""
        world.spawner.may_launch.clear()
        calls = [asyncio.create_task(world.invoke(f)) for _ in range(3)]
        await world.until(lambda: world.spawner.under_way == 3)
        world.spawner.failures = [SpawnerError("no space left on the engine")]
        world.spawner.may_launch.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [str(each) for each in results if isinstance(each, Exception)] == [
            "ServiceException: The execution environment could not be launched: no space left on the engine"
        ]

    async def test_bug(self, world: World, f: FunctionVersion, caplog: pytest.LogCaptureFixture) -> None:
        """What nobody foresaw goes to the log whole, and to the caller as a hint."""
        world.spawner.failures = [ZeroDivisionError("oops")]
        with pytest.raises(LambdaError, match="see the server's log"):
            await world.invoke(f)
        assert "ZeroDivisionError: oops" in caplog.text

    async def test_death_before_the_dial(self, world: World, f: FunctionVersion) -> None:
        """The spawner's word that a sandbox is dead ends the wait for its agent."""
        world.spawner.kinds = [Silent]
        call = asyncio.create_task(world.invoke(f))
        await world.until(lambda: world.spawner.launched)
        [sandbox] = world.spawner.launched
        world.spawner.events.put_nowait(SandboxDeath(sandbox.spec.sandbox_id, "exit status 3"))
        with pytest.raises(LambdaError, match="before its agent dialled in: exit status 3"):
            await call

    async def test_killed_before_the_dial(self, world: World, f: FunctionVersion) -> None:
        """Who waits for a sandbox that somebody kills before its agent dials gets another one."""
        world.spawner.kinds = [Silent]
        call = asyncio.create_task(world.invoke(f, b"1"))
        await world.until(lambda: world.spawner.launched)
        [sandbox] = world.spawner.launched
        world.spawner.events.put_nowait(SandboxDeath(sandbox.spec.sandbox_id, "signal: killed"))
        assert await call == b"1"
        assert len(world.spawner.launched) == 2

    async def test_killed_before_the_dial_again_and_again(self, world: World, f: FunctionVersion) -> None:
        """Not for ever: in the end the client is told, and nothing more is launched for it."""
        world.spawner.kinds = [Silent] * 10
        call = asyncio.create_task(world.invoke(f))
        for number in range(1 + fleet_module.MOST_RETURNS):
            await world.until(lambda: len(world.spawner.launched) > number)  # noqa: B023  awaited here
            sandbox_id = world.spawner.launched[number].spec.sandbox_id
            world.spawner.events.put_nowait(SandboxDeath(sandbox_id, "signal: killed"))
        with pytest.raises(LambdaError, match="before its agent dialled in: signal: killed"):
            await call
        assert len(world.spawner.launched) == 1 + fleet_module.MOST_RETURNS

    async def test_death_during_a_failing_launch(
        self, world: World, f: FunctionVersion, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Both the death and the launch's own failure are told: one is enough, and nothing is left unseen."""
        world.spawner.may_launch.clear()
        call = asyncio.create_task(world.invoke(f))
        await world.until(lambda: world.spawner.under_way)
        [sandbox_id] = world.sandboxes._dialled
        world.spawner.failures = [SpawnerError("the engine says no")]
        world.spawner.events.put_nowait(SandboxDeath(sandbox_id, "ended"))
        await world.until(world.sandboxes._dialled[sandbox_id].done)
        world.spawner.may_launch.set()
        with pytest.raises(LambdaError, match="the engine says no"):
            await call
        assert "never retrieved" not in caplog.text

    async def test_unpreparable(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Where nothing can run, invocations and preparations say why; and work as soon as it can."""
        world = World(tmp_path)
        f = world.put(function())
        world.spawner.preparations = [SpawnerError("no engine") for _ in range(3)]
        await world.fleet.open()
        await world.until(lambda: "functions cannot run: no engine" in caplog.text)
        with pytest.raises(LambdaError, match="no engine"):
            await world.invoke(f)
        with pytest.raises(PreparationFailed, match="no engine"):
            await world.fleet.prepare(f)
        assert await world.invoke(f, b"8") == b"8"
        [sandbox] = world.spawner.launched
        world.spawner.events.put_nowait(SandboxDeath(sandbox.spec.sandbox_id, "out of memory"))
        await world.until(lambda: not world.spawner.sandboxes)
        await world.close()


class TestPreparation:
    """An image that is built, or files that are unpacked, before the first launch."""

    @pytest.fixture
    def gate(self, world: World, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
        """Nothing is at hand before it is set; `world.looks` tells how often somebody looked."""
        gate = asyncio.Event()
        make_ready = world.launcher.make_ready

        async def slowly(version: FunctionVersion, progress: Callable[[str], None]) -> None:
            world.looks += 1
            await gate.wait()
            await make_ready(version, progress)

        monkeypatch.setattr(world.launcher, "make_ready", slowly)
        return gate

    async def test_once_for_all(self, world: World, f: FunctionVersion, gate: asyncio.Event) -> None:
        """Who asks meanwhile waits for the same; it goes on when the first one leaves, and takes no launch."""
        calls = [asyncio.create_task(world.invoke(f, b"%d" % number)) for number in range(5)]
        await world.until(lambda: world.looks)
        calls[0].cancel()
        await asyncio.wait([calls[0]])
        assert world.fleet._pool.keys() == []
        gate.set()
        assert await asyncio.gather(*calls[1:]) == [b"1", b"2", b"3", b"4"]
        assert world.looks == 1

    async def test_at_the_end(self, world: World, f: FunctionVersion, gate: asyncio.Event) -> None:
        """Who waits for it when everything ends is told so."""
        call = asyncio.create_task(world.invoke(f))
        await world.until(lambda: world.looks)
        await world.fleet.close(0)
        with pytest.raises(LambdaError, match="shutting down"):
            await call

    async def test_too_long(
        self, world: World, f: FunctionVersion, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody waits without end."""
        monkeypatch.setattr(fleet_module, "WAIT_LIMIT", 0.01)
        with pytest.raises(LambdaError, match="No execution environment became free"):
            await world.invoke(f)
        gate.set()


class TestCancelledCallers:
    async def test_while_launching(self, world: World, f: FunctionVersion) -> None:
        """The launch goes on, and serves the next."""
        world.spawner.may_launch.clear()
        call = asyncio.create_task(world.invoke(f))
        await world.until(lambda: world.spawner.under_way)
        call.cancel()
        await asyncio.wait([call])
        world.spawner.may_launch.set()
        assert await world.invoke(f, b"1") == b"1"
        assert len(world.spawner.launched) == 1

    async def test_while_running(self, world: World, f: FunctionVersion) -> None:
        """The function goes on to its end, and its environment serves the next."""
        world.spawner.script = gate = Gate()
        call = asyncio.create_task(world.invoke(f))
        await world.until(lambda: gate.arrived)
        call.cancel()
        await asyncio.wait([call])
        assert world.states() == ["busy"]
        gate.open.set()
        await world.until(lambda: world.states() == ["idle"])
        assert any(line.startswith(b"REPORT") for line in world.logs.lines)
        await world.invoke(f)
        assert len(world.spawner.launched) == 1

    @pytest.mark.parametrize("first", ["cancel", "idle"])
    async def test_in_the_same_moment(
        self, world: World, f: FunctionVersion, first: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A caller is cancelled in the turn of the loop in which its environment comes: it goes back, or serves him."""
        world.spawner.script = gate = Gate()
        await world.start(f)
        call = asyncio.create_task(world.start(f))
        world.spawner.may_launch.clear()
        await world.until(lambda: world.fleet._wanted)
        [hosted] = world.fleet._hosted.values()
        steps: list[Callable[[], object]] = [call.cancel, hosted.environment._on_idle]
        if first == "idle":
            steps.reverse()

        def become_idle() -> None:
            for step in steps:
                step()

        monkeypatch.setattr(hosted.environment, "_on_idle", become_idle)
        gate.open.set()
        await asyncio.wait([call])
        world.spawner.may_launch.set()
        await world.until(lambda: world.states() and set(world.states()) == {"idle"})
        assert hosted.invocations == (2 if first == "idle" else 1)

    async def test_storm(self, world: World, f: FunctionVersion) -> None:
        """Callers that are cancelled at every possible moment leave a fleet that works."""
        await world.fleet.prepare(f)  # in threads: however long it takes, it would outlast all the callers
        for turns in range(60):
            call = asyncio.create_task(world.invoke(f))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
        await world.until(lambda: world.states() == ["idle"] * len(world.fleet._lives))
        assert world.spawner.launched
        assert await world.invoke(f, b"9") == b"9"
