"""Standby sandboxes: started before any function needs them, their agents connected, with nothing to do.

How many there are is `core.standby`'s to say; this module starts and ends them. It does so in the background, one at a
time, and steps aside while anybody waits for a launch. Whoever claims a standby owns its sandbox from then on.

Engines that cannot change the limits of a running container cannot have standbys: that is found out with the first one.
"""

import asyncio
import logging
import time
from asyncio import Task
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from rapid.invocation import ExitStatus
from runtime.core.standby import Action, End, Start, Stock
from runtime.sandboxes import Order, Sandbox, Sandboxes, new_id
from runtime.spawners.base import Delivery, SpawnerError
from runtime.spawners.common import AGENT_MEMORY_MB
from runtime.store.catalog import Catalog

logger = logging.getLogger(__name__)

USUAL_MB = 128
"""What a standby is made for until a function of its runtime has been launched: Lambda's default."""
USUAL_STORAGE_MB = 512
"""Of a spawner that resizes, nothing depends on it."""
SETTLING = 0.25
"""Seconds after a launch in which its function initialises, and no standby starts."""
PATIENCE = 3.0
"""Seconds after which initialisations are no reason any more not to start one; launches always are."""


class Images(Protocol):
    """Where the image of a runtime is."""

    async def existing(self, runtime: str) -> str | None:
        """The reference of its image if the engine holds it. Builds nothing."""
        ...


class Places(Protocol):
    """Directories of single sandboxes, to be filled later."""

    async def make_place(self, sandbox_id: str) -> tuple[Path, Path]: ...
    async def remove_place(self, sandbox_id: str) -> None: ...


class Standby:
    """A sandbox that stands by, or is on its way to; also its link's observer, as long as nobody has claimed it."""

    def __init__(
        self, number: int, runtime: str, start: Task[Sandbox], on_lost: "Callable[[Standby], None]"
    ) -> None:
        self.number = number
        self.runtime = runtime
        self._began = time.time()
        self._start = start
        self._on_lost = on_lost

    def __repr__(self) -> str:
        return f"<Standby {self.number} of {self.runtime}>"

    @property
    def sandbox(self) -> Sandbox | None:
        """What stands by, once it does."""
        start = self._start
        return (
            start.result() if start.done() and not start.cancelled() and start.exception() is None else None
        )

    @property
    def failure(self) -> BaseException | None:
        """Why it does not."""
        start = self._start
        return start.exception() if start.done() and not start.cancelled() else None

    async def claimed(self) -> Sandbox:
        """The sandbox, for whoever has claimed it and closes it from now on. Raises `SpawnerError`."""
        sandbox = await asyncio.shield(self._start)
        sandbox.link.observer = None
        return sandbox

    async def close(self) -> None:
        """Remove the sandbox, or do not start it."""
        self._start.cancel()
        await asyncio.wait([self._start])
        if sandbox := self.sandbox:
            sandbox.link.observer = None
            await sandbox.close()

    def describe(self, now: float) -> dict[str, Any]:
        sandbox = self.sandbox
        return {
            "environment": sandbox.handle.sandbox_id if sandbox else None,
            "runtime": self.runtime,
            "state": "standby" if sandbox else "launching",
            "spawner": sandbox.handle.spawner if sandbox else None,
            "reference": sandbox.handle.reference if sandbox else None,
            "age": now - self._began,
        }

    def output(self, process: int, stream: int, data: bytes) -> None:
        """Nothing runs in it that could write."""

    def exited(self, process: int, status: ExitStatus) -> None:
        """Nothing runs in it that could end."""

    def lost(self, reason: str, *, out_of_memory: bool = False) -> None:  # noqa: ARG002  the observer's signature
        logger.info("%r has ended: %s", self, reason)
        self._on_lost(self)


class Standbys:
    """See the module's text."""

    def __init__(
        self,
        sandboxes: Sandboxes,
        *,
        images: Images,
        places: Places,
        catalog: Callable[[], Catalog],
        memory_mb: int,
        room: Callable[[], int] | None = None,
    ) -> None:
        """`memory_mb`: what they may take together. `room`: what environments leave of the machine's, in MB."""
        self._sandboxes = sandboxes
        self._images = images
        self._places = places
        self._runtimes = _Runtimes(catalog)
        self._memory_mb = memory_mb
        self._room = room
        self._stock = Stock(AGENT_MEMORY_MB)
        self._standbys: dict[int, Standby] = {}
        self._sizes: dict[str, int] = {}
        #: By runtime: the memory of the last function that was launched.
        self._waiting = 0
        #: Launches that somebody waits for.
        self._settling = 0
        #: Those that are done, their functions still initialising.
        self._last_start = 0.0
        self._failing: set[str] = set()
        #: Runtimes whose last start failed.
        self._missing: set[str] = set()
        #: Runtimes without an image yet.
        self._proven = False
        #: Whether limits of running sandboxes have been changed.
        self._off = False
        self._look = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._keeper: Task[None] | None = None
        self._ends: set[Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Standbys [{self._stock!r}{', off' if self._off else ''}]>"

    def open(self) -> None:
        """Begin to keep them, as soon as sandboxes can be started."""
        self._keeper = asyncio.create_task(self._keep(), name="standbys")

    async def close(self) -> None:
        """End all of them."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        self._turn_off()
        while self._ends:
            await asyncio.wait(self._ends)

    # The launcher's side

    def claim(self, runtime: str, memory_mb: int) -> Standby | None:
        """A standby for a function of this size, which is the caller's now. One that is starting is better than none."""
        self._sizes[runtime] = memory_mb
        number = self._stock.claim(runtime, self._loop.time())
        self._look.set()
        return None if number is None else self._standbys.pop(number)

    def discard(self, standby: Standby) -> None:
        """One that was claimed is of no use."""
        self._end(standby)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Around a launch: no standby is started meanwhile, nor while its function initialises."""
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            self._settling += 1
            self._loop.call_later(SETTLING, self._settled)

    def image_is_there(self, runtime: str) -> None:
        if runtime in self._missing:
            self._missing.discard(runtime)
            self._stock.forgive(runtime)
            self._look.set()

    # The fleet's side

    @property
    def memory_mb(self) -> int:
        """What they take."""
        return self._stock.memory_mb

    def release(self, memory_mb: int) -> int:
        """Give up so much memory if there is as much; how much it was, in MB."""
        before = self._stock.memory_mb
        self._act(self._stock.release(memory_mb, self._loop.time()))
        return before - self._stock.memory_mb

    def snapshot(self) -> list[dict[str, Any]]:
        """The standbys, for people and `berth ps`. Times in seconds."""
        now = time.time()
        return [standby.describe(now) for standby in self._standbys.values()]

    # Keeping them

    async def _keep(self) -> None:
        await self._sandboxes.prepared.wait()
        while self._sandboxes.the_facts.resizes and not self._off:
            self._look.clear()
            now = self._loop.time()
            self._stock.need(self._runtimes.needed())
            self._act(self._stock.plan(now, self._budget(), may_start=self._may_start(now)))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._stock.next_look(now) - now):
                    await self._look.wait()

    def _budget(self) -> int:
        return self._memory_mb if self._room is None else min(self._memory_mb, self._room())

    def _may_start(self, now: float) -> bool:
        """Not in the way of a launch. Initialisations are no reason any more where there is one after the other."""
        return not self._waiting and (not self._settling or now - self._last_start > PATIENCE)

    def _settled(self) -> None:
        self._settling -= 1
        self._look.set()

    def _act(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Start(number, kind):
                    self._begin(number, str(kind))
                case End(number):
                    self._end(self._standbys.pop(number))

    def _begin(self, number: int, runtime: str) -> None:
        self._last_start = self._loop.time()
        start = asyncio.create_task(self._start(runtime), name=f"standby {number} of {runtime}")
        standby = self._standbys[number] = Standby(number, runtime, start, self._lost)
        start.add_done_callback(lambda _: self._begun(standby))

    async def _start(self, runtime: str) -> Sandbox:
        image = await self._images.existing(runtime)
        if image is None:
            self._missing.add(runtime)
            raise SpawnerError(f"there is no image for {runtime} yet")
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
            sandbox = await self._sandboxes.start(order, sandbox_id)
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
                logger.warning(
                    "no sandboxes stand by, because limits of a running one cannot be changed: %s", error
                )
                self._turn_off()
            raise
        self._proven = True

    def _begun(self, standby: Standby) -> None:
        """Its start is over, one way or the other."""
        now = self._loop.time()
        self._look.set()
        sandbox = standby.sandbox
        if sandbox is None:
            self._stock.lost(standby.number, now)
            self._standbys.pop(standby.number, None)
            self._complain(standby)
            return
        self._failing.discard(standby.runtime)
        self._stock.ready(standby.number, now)
        if standby.number not in self._standbys:  # claimed or given up meanwhile
            return
        sandbox.link.observer = standby
        if sandbox.link.lost is not None:
            standby.lost(sandbox.link.lost)

    def _complain(self, standby: Standby) -> None:
        """Of the first failure in a row; whoever launches a function hears the others."""
        failure = standby.failure
        if failure is None or standby.runtime in self._missing or self._off:
            return
        known = isinstance(failure, (SpawnerError, OSError))
        level = logging.DEBUG if standby.runtime in self._failing else logging.WARNING
        self._failing.add(standby.runtime)
        logger.log(
            level, "%r could not be started: %s", standby, failure, exc_info=None if known else failure
        )

    def _lost(self, standby: Standby) -> None:
        """One that stood by is dead."""
        if self._standbys.pop(standby.number, None) is None:
            return
        self._stock.lost(standby.number, self._loop.time())
        self._end(standby)
        self._look.set()

    def _end(self, standby: Standby) -> None:
        end = asyncio.create_task(standby.close(), name=f"end of {standby!r}")
        self._ends.add(end)
        end.add_done_callback(self._ends.discard)

    def _turn_off(self) -> None:
        """Keep none any more."""
        self._off = True
        self._stock.need(())
        self._act(self._stock.plan(self._loop.time(), 0, may_start=False))


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
