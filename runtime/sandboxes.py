"""Sandboxes whose agent has dialled in: where the spawner's verbs and the link server meet.

A sandbox is started, is recognised when its agent dials, and is removed whatever happens to whoever asked for it.
What it is for, a function or to stand by, is others' business.
"""

import asyncio
import logging
import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from runtime.links import Link, LinkServer
from runtime.spawners.base import (
    ForeignImage,
    SandboxDeath,
    SandboxHandle,
    SandboxLost,
    SandboxSpec,
    Spawner,
    SpawnerError,
    SpawnerFacts,
)

logger = logging.getLogger(__name__)

DIAL_LIMIT = 30.0
"""Seconds in which the agent of a started sandbox must dial in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a sandbox is to be; the rest of its specification is found here."""

    runtime: str
    image: str
    memory_mb: int
    ephemeral_storage_mb: int
    task_root: Path | None = None
    opt: Path | None = None
    """Trees to show; None: the agent fills the place."""
    foreign: ForeignImage | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Sandbox:
    """A sandbox that lives, as far as anybody knows."""

    handle: SandboxHandle
    link: Link
    order: Order
    held: AsyncExitStack = field(repr=False)
    """What has to be let go of with it."""

    async def close(self) -> None:
        """Remove it. To be called once, by its owner."""
        await self.held.aclose()


class Sandboxes:
    """All sandboxes of a control plane, started by one spawner."""

    def __init__(self, spawner: Spawner) -> None:
        self._spawner = spawner
        self._links = LinkServer()
        self._dialled: dict[str, asyncio.Future[Link]] = {}
        #: By sandbox, from before its start to its end: its link, once its agent has dialled in.
        self._removals: set[asyncio.Task[None]] = set()
        #: Sandboxes being destroyed: whoever asked for it may be cancelled, that work not.
        self._facts: SpawnerFacts | None = None
        self.prepared = asyncio.Event()
        #: Set once preparation has succeeded.

    @property
    def the_facts(self) -> SpawnerFacts:
        """What preparation found out. Raises `SpawnerError` before that."""
        if self._facts is None:
            raise SpawnerError("the surroundings have not been looked at yet")
        return self._facts

    async def prepare(self) -> SpawnerFacts:
        """Find out about the surroundings and remove what an earlier control plane left. Raises `SpawnerError`."""
        facts = await self._spawner.prepare()
        leftovers = await self._spawner.list()
        if leftovers:
            logger.info("removing %d sandboxes that an earlier run left", len(leftovers))
        await asyncio.gather(*(self._destroy(handle) for handle in leftovers))
        try:
            await self._links.open(facts.link_host)
        except OSError as error:
            raise cannot_listen(facts.link_host, error) from error
        self._facts = facts
        self.prepared.set()
        return facts

    async def close(self) -> None:
        """Let go of what all share. The sandboxes are their owners' to close, before."""
        if self._removals:
            await asyncio.wait(self._removals)
        await self._links.close()
        await self._spawner.close()

    def died(self, death: SandboxDeath) -> None:
        """The spawner says that a sandbox is dead."""
        dialled = self._dialled.get(death.sandbox_id)
        if dialled is None or dialled.cancelled():
            return
        if not dialled.done():
            text = f"the sandbox ended before its agent dialled in: {death.reason}"
            dialled.set_exception(SandboxLost(text) if death.is_from_outside else SpawnerError(text))
        elif dialled.exception() is None:
            dialled.result().cut(death.reason, out_of_memory=death.out_of_memory)

    async def start(self, order: Order, sandbox_id: str | None = None, *, ahead: bool = False) -> Sandbox:
        """Start a sandbox and wait for its agent; one that fails or is cancelled leaves nothing behind.

        `ahead`: nobody else waits for it. Raises `SpawnerError`.
        """
        facts = self.the_facts
        spec = SandboxSpec(
            sandbox_id=sandbox_id or new_id(),
            runtime=order.runtime,
            image=order.image,
            memory_mb=order.memory_mb,
            ephemeral_storage_mb=order.ephemeral_storage_mb,
            task_root=order.task_root,
            opt=order.opt,
            foreign=order.foreign,
            link=f"{facts.dial_host}:{self._links.port}",
            token=secrets.token_urlsafe(24),
            ahead=ahead,
        )
        async with AsyncExitStack() as held:
            handle, link = await self._launch(spec, held)
            return Sandbox(handle=handle, link=link, order=order, held=held.pop_all())

    async def resize(self, sandbox: Sandbox, memory_mb: int) -> None:
        """Give a sandbox the limits of a function of that size. Raises `SpawnerError`."""
        await self._spawner.resize(sandbox.handle, memory_mb)

    async def _launch(self, spec: SandboxSpec, held: AsyncExitStack) -> tuple[SandboxHandle, Link]:
        dialled = self._dialled[spec.sandbox_id] = self._links.expect(spec.sandbox_id, spec.token)
        held.callback(self._forget, spec.sandbox_id)
        handle = await self._spawner.launch(spec)
        held.push_async_callback(self._remove, handle)
        try:
            async with asyncio.timeout(DIAL_LIMIT):  # not `wait_for`, which may swallow a cancellation
                link = await dialled
        except TimeoutError:
            raise SpawnerError(
                f"the sandbox's agent did not dial {spec.link} within {DIAL_LIMIT:.0f} s; "
                "check that containers can reach this address (`berth doctor`, setting link_host)"
            ) from None
        held.callback(link.cut, "the environment was ended")
        return handle, link

    def _forget(self, sandbox_id: str) -> None:
        """Wait for its agent no more; cut off one that has dialled in although its launch failed."""
        dialled = self._dialled.pop(sandbox_id)
        if not dialled.cancel() and not dialled.cancelled() and dialled.exception() is None:
            dialled.result().cut("the environment was ended")

    async def _remove(self, handle: SandboxHandle) -> None:
        """Destroy a sandbox, even if the caller is cancelled."""
        removal = asyncio.create_task(self._destroy(handle), name=f"removal of {handle.sandbox_id}")
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)
        await asyncio.shield(removal)

    async def _destroy(self, handle: SandboxHandle) -> None:
        try:
            await self._spawner.destroy(handle)
        except SpawnerError as error:
            logger.error("sandbox %s could not be removed: %s", handle.sandbox_id, error)  # noqa: TRY400


def new_id() -> str:
    """A name for a sandbox that no other has had."""
    return secrets.token_hex(8)


def cannot_listen(host: str, error: OSError) -> SpawnerError:
    return SpawnerError(f"cannot listen on {host} for sandboxes: {error} (setting link_host)")
