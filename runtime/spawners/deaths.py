"""The deaths of an engine's sandboxes: each told once, whether the engine's events, a listing or a removal shows it.

Events arrive while the engine lives; what was missed meanwhile is found by listing after each connection. A sandbox
that dies while it is being launched is held back until its launch is over: a failed launch has no death.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from runtime.spawners.base import SandboxDeath
from runtime.spawners.container import OWNER, SANDBOX
from runtime.spawners.engine import Engine, EngineError

log = logging.getLogger(__name__)

RECONNECT = 1.0
LAST_WORDS = 10
"""Lines of an agent's output that its death repeats, where they are kept."""
KILLED = "137"


class Deaths:
    """Which sandboxes live, and word of those that no longer do."""

    def __init__(
        self,
        engine: Engine,
        owner: str,
        *,
        keep_output: bool,
        on_other: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`on_other` hears of containers that are no sandboxes."""
        self._on_other = on_other
        self._engine = engine
        self._owner = owner
        self._keep_output = keep_output
        self._alive: set[str] = set()
        self._launching: dict[str, SandboxDeath | None] = {}
        """Sandbox → its death, if it died already."""
        self._out_of_memory: set[str] = set()
        self._told: asyncio.Queue[SandboxDeath | None] = asyncio.Queue()
        self._listener: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Deaths [{len(self._alive)} alive, {len(self._launching)} launching]>"

    @contextmanager
    def launching(self, sandbox_id: str) -> Iterator[None]:
        """Around a launch: its sandbox counts once the launch has succeeded."""
        self._launching[sandbox_id] = None
        try:
            yield
        except BaseException:
            del self._launching[sandbox_id]
            raise
        death = self._launching.pop(sandbox_id)
        self._alive.add(sandbox_id)
        if death is not None:
            self.report(death)

    def found(self, sandbox_id: str) -> None:
        """A listing shows it: its death will be told too."""
        if sandbox_id not in self._launching:
            self._alive.add(sandbox_id)

    def report(self, death: SandboxDeath) -> None:
        """It is dead; only the first report counts."""
        self._out_of_memory.discard(death.sandbox_id)
        if death.sandbox_id in self._launching:
            self._launching[death.sandbox_id] = death
        elif death.sandbox_id in self._alive:
            self._alive.remove(death.sandbox_id)
            self._told.put_nowait(death)

    def all(self) -> AsyncIterator[SandboxDeath]:
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen())
        return self._tell()

    async def close(self) -> None:
        self._told.put_nowait(None)
        if self._listener:
            self._listener.cancel()
            await asyncio.wait({self._listener})

    async def _tell(self) -> AsyncIterator[SandboxDeath]:
        while (death := await self._told.get()) is not None:
            yield death
        self._told.put_nowait(None)  # for whoever asks again

    async def _listen(self) -> None:
        while True:
            try:
                async with self._engine.watch(f"{OWNER}={self._owner}", events=("die", "oom")) as events:
                    await self._reconcile()
                    async for event in events:
                        await self._hear(event)
            except EngineError as error:
                log.warning("the engine's events broke off: %s", error)
            await asyncio.sleep(RECONNECT)

    async def _reconcile(self) -> None:
        """Report what died unheard. What lived before the listing and does not run in it is dead."""
        before = set(self._alive)
        found = await self._engine.containers(f"{OWNER}={self._owner}", SANDBOX)
        states = {each["Labels"][SANDBOX]: each for each in found}
        for sandbox_id in before:
            container = states.get(sandbox_id)
            if container is None:
                self.report(SandboxDeath(sandbox_id, "gone"))
            elif container["State"] not in ("running", "paused"):
                await self._post_mortem(sandbox_id, container["Id"])

    async def _post_mortem(self, sandbox_id: str, container: str) -> None:
        try:
            state = (await self._engine.inspect(container))["State"]
        except EngineError:  # removed meanwhile
            self.report(SandboxDeath(sandbox_id, "gone"))
        else:
            await self._dead(sandbox_id, container, str(state["ExitCode"]), oom=bool(state["OOMKilled"]))

    async def _hear(self, event: Mapping[str, Any]) -> None:
        attributes = event["Actor"]["Attributes"]
        sandbox_id = attributes.get(SANDBOX)
        if sandbox_id is None:
            if event["Action"] == "die":
                self._on_other(event["Actor"]["ID"])
            return
        if event["Action"] == "oom":  # its victim may be one process of many: the container may live on
            self._out_of_memory.add(sandbox_id)
            return
        oom = sandbox_id in self._out_of_memory
        await self._dead(sandbox_id, event["Actor"]["ID"], str(attributes.get("exitCode", "")), oom=oom)

    async def _dead(self, sandbox_id: str, container: str, status: str, *, oom: bool) -> None:
        """Report a death by its exit status. Only a process that was killed died for lack of memory."""
        out_of_memory = oom and status == KILLED
        reason = reason_of(status, out_of_memory=out_of_memory) + await self._last_words(container)
        self.report(SandboxDeath(sandbox_id, reason, out_of_memory))

    async def _last_words(self, container: str) -> str:
        if not self._keep_output:
            return ""
        try:
            text = (await self._engine.output(container, LAST_WORDS)).strip()
        except EngineError:  # removed already
            return ""
        return f": {text}" if text else ""


def reason_of(status: str, *, out_of_memory: bool) -> str:
    """A container's exit status for people."""
    if out_of_memory:
        return "out of memory"
    if not status.isdigit():
        return "ended"
    number = int(status) - 128
    if number in signal.valid_signals():  # shells and engines alike say it so
        return f"signal: {(signal.strsignal(number) or str(number)).lower()}"
    return f"exit status {status}"
