"""Spawners for tests of those who use spawners: one that behaves, and a small zoo of those that do not.

Their sandboxes live in this process: an agent is a task that dials the link and speaks the wire, and what it "starts"
is whatever the test's `program` does with the environment it is given (say, play the runtime against the Runtime API).
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from rapid.wire import OUTPUT_HEADER, SETTLED_PAYLOAD, TOKEN, Frames, Kind, fields, frame, message
from runtime.spawners.base import (
    Delivery,
    SandboxDeath,
    SandboxHandle,
    SandboxSpec,
    SpawnerError,
    SpawnerFacts,
)

Program = Callable[[Mapping[str, str]], Awaitable[int]]
"""What a function's process does with its environment; gives its exit code. Cancelled when it is killed or signalled."""
Names = Mapping[str, Sequence[str]]
"""What a directory of a sandbox holds, by its path; nothing in those that are not told."""


async def sleeps_forever(_: Mapping[str, str]) -> int:
    await asyncio.Event().wait()
    return 0


class FakeAgent:
    """The agent of one sandbox."""

    def __init__(self, spec: SandboxSpec, program: Program, names: Names) -> None:
        self._spec = spec
        self._program = program
        self._names = names
        self._deadly: dict[int, int] = {}
        #: Process → the signal that it dies of, if it is not the usual one.
        self._processes: dict[int, asyncio.Task[int]] = {}
        self.starts = 0
        self.is_frozen = False

    async def live(self) -> None:
        """Dial in and serve until the link ends."""
        host, _, port = self._spec.link.rpartition(":")
        reader, self._writer = await asyncio.open_connection(host, int(port))
        frames = Frames()
        self._send(message(Kind.HELLO, sandbox=self._spec.sandbox_id, token=self._spec.token))
        try:
            while data := await reader.read(1 << 16):
                for kind, payload in frames.feed(data):
                    await self._obey(kind, payload)
        except ConnectionError:
            return
        finally:
            self._kill()
            self._writer.close()
            with suppress(ConnectionError):
                await self._writer.wait_closed()

    async def _obey(self, kind: Kind, payload: bytes) -> None:
        if kind is Kind.START:
            self._start(fields(payload))
        elif kind is Kind.SETTLE:
            self._send(frame(Kind.SETTLED, SETTLED_PAYLOAD.pack(*TOKEN.unpack(payload), 1 << 20)))
        elif kind is Kind.CLEAR:
            self._kill()
            self._send(frame(Kind.CLEARED, SETTLED_PAYLOAD.pack(*TOKEN.unpack(payload), 1 << 20)))
        elif kind in (Kind.FREEZE, Kind.THAW):
            self.is_frozen = kind is Kind.FREEZE
        elif kind is Kind.SIGNAL:
            self._signal(**fields(payload))
        elif kind is Kind.LIST:
            path = fields(payload)["path"]
            self._send(message(Kind.LISTED, path=path, names=[*self._names.get(path, ())]))
        elif kind is Kind.TREE:
            self._send(message(Kind.TREE_DONE, path=fields(payload)["path"], error=None))

    def _start(self, said: dict[str, Any]) -> None:
        number = said["process"]
        self.starts += 1
        self._processes[number] = task = asyncio.ensure_future(self._run(number, said["env"]))
        task.add_done_callback(lambda _: self._processes.pop(number, None))
        self._send(message(Kind.STARTED, process=number, pid=1000 + number))

    async def _run(self, number: int, env: Mapping[str, str]) -> int:
        status = None
        try:
            status = await self._program(env)
        except Exception as error:  # noqa: BLE001  a program that fails does what an interpreter does
            self._send(frame(Kind.OUTPUT, OUTPUT_HEADER.pack(number, 2) + repr(error).encode() + b"\n"))
            status = 1
        finally:
            if status is None:
                status = -self._deadly.pop(number, signal.SIGKILL)
            self._send(message(Kind.EXITED, process=number, status=status, out_of_memory=False))
        return status

    def _signal(self, process: int, number: int) -> None:
        if task := self._processes.get(process):
            self._deadly[process] = number
            task.cancel()

    def _kill(self) -> None:
        for task in list(self._processes.values()):
            task.cancel()

    def _send(self, data: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(data)


class FakeSpawner:
    """Behaves. Counts what it was asked for, for tests to look at."""

    name = "fake"

    def __init__(self, program: Program = sleeps_forever, *, delivery: Delivery = Delivery.BIND) -> None:
        self.program = program
        self.delivery = delivery
        self.launched: list[SandboxSpec] = []
        self.destroyed: list[str] = []
        self.agents: dict[str, FakeAgent] = {}
        self.names: dict[str, Sequence[str]] = {}
        """What sandboxes say when they are asked for what a directory holds."""
        self.leftovers: list[SandboxHandle] = []
        """What an earlier control plane left: the first listing shows it."""
        self.resizes = False
        self.sizes: dict[str, int] = {}
        """Memory that sandboxes were given after their start."""
        self.is_closed = False
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._told: asyncio.Queue[SandboxDeath | None] = asyncio.Queue()

    async def prepare(self) -> SpawnerFacts:
        return SpawnerFacts("127.0.0.1", self.delivery, "a fake", resizes=self.resizes)

    async def launch(self, spec: SandboxSpec) -> SandboxHandle:
        self.launched.append(spec)
        self.agents[spec.sandbox_id] = agent = FakeAgent(spec, self.program, self.names)
        self._tasks[spec.sandbox_id] = asyncio.create_task(self._live(spec.sandbox_id, agent))
        return SandboxHandle(self.name, spec.sandbox_id, spec.sandbox_id)

    async def resize(self, handle: SandboxHandle, memory_mb: int) -> None:
        self.sizes[handle.sandbox_id] = memory_mb

    async def destroy(self, handle: SandboxHandle) -> None:
        self.destroyed.append(handle.sandbox_id)
        self.leftovers = [each for each in self.leftovers if each.sandbox_id != handle.sandbox_id]
        if task := self._tasks.get(handle.sandbox_id):
            task.cancel()
            await asyncio.wait([task])

    async def list(self) -> list[SandboxHandle]:
        alive = [SandboxHandle(self.name, name, name) for name in self._tasks]
        return [*self.leftovers, *alive]

    async def deaths(self) -> AsyncIterator[SandboxDeath]:
        while (death := await self._told.get()) is not None:
            yield death
        self._told.put_nowait(None)

    async def close(self) -> None:
        self.is_closed = True
        self._told.put_nowait(None)

    def vanish(self, sandbox_id: str, *, out_of_memory: bool = False) -> None:
        """Somebody kills it from outside."""
        self._tasks.pop(sandbox_id).cancel()
        self.tell(SandboxDeath(sandbox_id, "signal: killed", out_of_memory))

    def tell(self, death: SandboxDeath) -> None:
        self._told.put_nowait(death)

    async def _live(self, sandbox_id: str, agent: FakeAgent) -> None:
        reason = "removed"
        try:
            await agent.live()
            reason = "exit status 0"
        except OSError:
            reason = "exit status 1"
        finally:
            if self._tasks.pop(sandbox_id, None):  # else its death has been told
                self.tell(SandboxDeath(sandbox_id, reason))


class RefusingSpawner(FakeSpawner):
    """Launches nothing. `refusals` counts down; None: never ends."""

    def __init__(self, program: Program = sleeps_forever, *, refusals: int | None = None) -> None:
        super().__init__(program)
        self.refusals = refusals

    async def launch(self, spec: SandboxSpec) -> SandboxHandle:
        if self.refusals == 0:
            return await super().launch(spec)
        if self.refusals is not None:
            self.refusals -= 1
        self.launched.append(spec)
        raise SpawnerError("there is no room on this machine")


class NeverSpawner(FakeSpawner):
    """A launch does not return; `is_launching` tells that somebody waits for it."""

    def __init__(self, program: Program = sleeps_forever) -> None:
        super().__init__(program)
        self.is_launching = asyncio.Event()
        self.cancelled = 0

    async def launch(self, spec: SandboxSpec) -> SandboxHandle:
        self.launched.append(spec)
        self.is_launching.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        raise AssertionError("nobody sets that event")


class SilentSpawner(FakeSpawner):
    """Sandboxes start and live, but their agents never dial in."""

    async def launch(self, spec: SandboxSpec) -> SandboxHandle:
        self.launched.append(spec)
        self._tasks[spec.sandbox_id] = asyncio.create_task(self._say_nothing(spec.sandbox_id))
        return SandboxHandle(self.name, spec.sandbox_id, spec.sandbox_id)

    async def _say_nothing(self, sandbox_id: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            del self._tasks[sandbox_id]
            self.tell(SandboxDeath(sandbox_id, "removed"))


class DyingSpawner(FakeSpawner):
    """Sandboxes die at once, before their agents can dial in."""

    async def launch(self, spec: SandboxSpec) -> SandboxHandle:
        self.launched.append(spec)
        self.tell(SandboxDeath(spec.sandbox_id, "exit status 1: it cannot run here"))
        return SandboxHandle(self.name, spec.sandbox_id, spec.sandbox_id)


class VanishingSpawner(FakeSpawner):
    """Sandboxes vanish as soon as something is started in them."""

    async def launch(self, spec: SandboxSpec) -> SandboxHandle:
        async def vanishes(_: Mapping[str, str]) -> int:
            self.vanish(spec.sandbox_id)
            return 0

        self.program = vanishes
        return await super().launch(spec)


class StubbornSpawner(FakeSpawner):
    """Sandboxes do not go: a destruction waits until the test calls `let_go`, and fails until then if it is told to."""

    def __init__(self, program: Program = sleeps_forever, *, failures: int = 0) -> None:
        super().__init__(program)
        self.failures = failures
        self._may_go = asyncio.Event()

    def let_go(self) -> None:
        self._may_go.set()

    async def destroy(self, handle: SandboxHandle) -> None:
        if self.failures:
            self.failures -= 1
            raise SpawnerError(f"{handle.sandbox_id} does not go")
        await self._may_go.wait()
        await super().destroy(handle)
