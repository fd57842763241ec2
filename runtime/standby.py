"""Standby sandboxes: started before any function needs them, their agents connected, with nothing to do.

What is made and when is `reserve`'s; this module knows what a standby is, and how one dies. Whoever claims one owns its
sandbox from then on, and makes it what a function needs.

Engines that cannot change the limits of a running container cannot have standbys: that is found out with the first one.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

from rapid.invocation import ExitStatus
from runtime.core.standby import Stock
from runtime.reserve import Courtesy, Item, NotYet, Reserve
from runtime.sandboxes import Order, Sandbox, Sandboxes, new_id
from runtime.spawners.base import Delivery, SpawnerError
from runtime.spawners.common import AGENT_MEMORY_MB
from runtime.store.catalog import Catalog

logger = logging.getLogger(__name__)

USUAL_MB = 128
"""What a standby is made for until a function of its runtime has been launched: Lambda's default."""
USUAL_STORAGE_MB = 512
"""Of a spawner that resizes, nothing depends on it."""

Standby = Item[Sandbox]


class Images(Protocol):
    """Where the image of a runtime is."""

    async def existing(self, runtime: str) -> str | None:
        """The reference of its image if the engine holds it. Builds nothing."""
        ...


class Places(Protocol):
    """Directories of single sandboxes, to be filled later."""

    async def make_place(self, sandbox_id: str) -> tuple[Path, Path]: ...
    async def remove_place(self, sandbox_id: str) -> None: ...


class Standbys:
    """The standbys of one control plane, by runtime."""

    def __init__(
        self,
        sandboxes: Sandboxes,
        *,
        images: Images,
        places: Places,
        catalog: Callable[[], Catalog],
        courtesy: Courtesy,
        memory_mb: int,
        room: Callable[[], int],
    ) -> None:
        """`memory_mb`: what they may take together. `room`: what environments leave of the budget, in MB."""
        self._sandboxes = sandboxes
        self._images = images
        self._places = places
        self._memory_mb = memory_mb
        self._sizes: dict[str, int] = {}
        #: By runtime: the memory of the last function that was launched.
        self._missing: set[str] = set()
        #: Runtimes that have no image yet.
        self._proven = False
        #: Whether limits of a running sandbox have been changed.
        self._reserve = Reserve(
            "sandbox stands by",
            Stock(AGENT_MEMORY_MB),
            make=self._start,
            remove=_remove,
            needed=_Runtimes(catalog).needed,
            # Each launch makes the reserve look again: what environments take, standbys give up at once.
            room=lambda: min(memory_mb, room()),
            courtesy=courtesy,
            on_made=self._watch,
        )

    def __repr__(self) -> str:
        return f"<Standbys [{self._reserve!r}]>"

    def open(self) -> None:
        """Begin to keep them. Sandboxes can be started by now."""
        if self._memory_mb and self._sandboxes.the_facts.resizes:
            self._reserve.open()

    async def close(self) -> None:
        """End all of them."""
        await self._reserve.close()

    # The launcher's side

    def claim(self, runtime: str, memory_mb: int) -> Standby | None:
        """A standby for a function of this size. One that is starting is sooner there than a new one would be."""
        self._sizes[runtime] = memory_mb
        return self._reserve.claim(runtime)

    async def claimed(self, standby: Standby) -> Sandbox:
        """Its sandbox, the claimer's to close from now on. Raises `SpawnerError`."""
        sandbox = await standby.made()
        sandbox.link.observer = None
        return sandbox

    def discard(self, standby: Standby) -> None:
        """One that was claimed is of no use: remove it."""
        self._reserve.discard(standby)

    def image_is_there(self, runtime: str) -> None:
        """It may not have been before."""
        if runtime in self._missing:
            self._missing.discard(runtime)
            self._reserve.forgive(runtime)

    def snapshot(self) -> list[dict[str, Any]]:
        """The standbys, for people and `berth ps`. Times in seconds."""
        now = time.time()
        return [_describe(standby, now) for standby in self._reserve.items]

    # Making them

    async def _start(self, runtime: str) -> Sandbox:
        image = await self._images.existing(runtime)
        if image is None:
            self._missing.add(runtime)
            raise NotYet(f"there is no image for {runtime} yet")
        sandbox_id = new_id()
        async with AsyncExitStack() as held:
            task_root = opt = None
            if self._sandboxes.the_facts.delivery is Delivery.BIND:
                held.push_async_callback(self._places.remove_place, sandbox_id)
                task_root, opt = await self._places.make_place(sandbox_id)
            order = Order(
                runtime=runtime,
                image=image,
                memory_mb=self._sizes.get(runtime, USUAL_MB),
                ephemeral_storage_mb=USUAL_STORAGE_MB,
                task_root=task_root,
                opt=opt,
            )
            sandbox = await self._sandboxes.start(order, sandbox_id, ahead=True)
            held.push_async_exit(sandbox.held)
            await self._prove(sandbox)
            sandbox.held = held.pop_all()
        return sandbox

    async def _prove(self, sandbox: Sandbox) -> None:
        """With the first one: can it get other limits?"""
        if self._proven:
            return
        try:
            await self._sandboxes.resize(sandbox, sandbox.order.memory_mb)
        except SpawnerError as error:
            if sandbox.link.lost is None:
                text = "no sandboxes stand by, because limits of a running one cannot be changed: %s"
                logger.warning(text, error)
                self._reserve.turn_off()
            raise
        self._proven = True

    def _watch(self, standby: Standby) -> None:
        """Hear of its end while it stands by."""
        if (sandbox := standby.thing) is not None:
            sandbox.link.observer = watch = _Watch(standby, self._reserve.lost)
            if sandbox.link.lost is not None:
                watch.lost(sandbox.link.lost)


class _Watch:
    """The observer of a link whose sandbox runs nothing."""

    def __init__(self, standby: Standby, on_lost: Callable[[Standby], None]) -> None:
        self._standby = standby
        self._on_lost = on_lost

    def output(self, process: int, stream: int, data: bytes) -> None:
        """Nobody could write."""

    def exited(self, process: int, status: ExitStatus) -> None:
        """Nobody could end."""

    def lost(self, reason: str, *, out_of_memory: bool = False) -> None:  # noqa: ARG002  the observer's signature
        logger.info("a sandbox for %s that stood by has ended: %s", self._standby.kind, reason)
        self._on_lost(self._standby)


class _Runtimes:
    """The runtimes that functions exist for; counted again when the catalog is another."""

    def __init__(self, catalog: Callable[[], Catalog]) -> None:
        self._catalog = catalog
        self._counted: Catalog | None = None
        self._needed: frozenset[str] = frozenset()

    def needed(self) -> frozenset[str]:
        catalog = self._catalog()
        if catalog is not self._counted:
            self._counted = catalog
            self._needed = frozenset(
                each.config.runtime for each in catalog.all_functions() if each.config.runtime is not None
            )
        return self._needed


async def _remove(sandbox: Sandbox) -> None:
    sandbox.link.observer = None
    await sandbox.close()


def _describe(standby: Standby, now: float) -> dict[str, Any]:
    sandbox = standby.thing
    return {
        "environment": sandbox.handle.sandbox_id if sandbox else None,
        "runtime": standby.kind,
        "state": "standby" if sandbox else "launching",
        "spawner": sandbox.handle.spawner if sandbox else None,
        "reference": sandbox.handle.reference if sandbox else None,
        "age": now - standby.since,
    }
