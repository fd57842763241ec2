"""Things that take long to make, made ahead: the shell around `runtime.core.standby`.

One is made at a time, in the background, and never while somebody waits for a launch: launches come first. What has been
made belongs to the reserve until it is claimed; then it is the claimer's. It knows nothing of what the things are.
"""

import asyncio
import logging
import time
from asyncio import Task
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

from runtime.core.standby import Action, End, Start, Stock
from runtime.spawners.base import SpawnerError

logger = logging.getLogger(__name__)

T = TypeVar("T")

SETTLING = 0.25
"""Seconds after a launch in which its function initialises, and nothing is made ahead."""
PATIENCE = 3.0
"""Seconds after which initialisations are no reason any more not to make something; launches always are."""


class Courtesy:
    """Who comes first: launches that somebody waits for, before what is done ahead."""

    def __init__(self) -> None:
        self._waiting = 0
        #: Launches that somebody waits for.
        self._settling = 0
        #: Those that are done, their functions still initialising.
        self._begun = 0.0
        #: When something was last made ahead.
        self._listeners: list[Callable[[], None]] = []

    @contextmanager
    def launch(self) -> Iterator[None]:
        """Around a launch: nothing is begun meanwhile, nor while its function initialises."""
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            self._settling += 1
            asyncio.get_running_loop().call_later(SETTLING, self._settled)

    def allows(self, now: float) -> bool:
        """Whether something may be begun. Where there is one launch after the other, between two of them."""
        return not self._waiting and (not self._settling or now - self._begun > PATIENCE)

    def begun(self, now: float) -> None:
        self._begun = now

    def tell(self, listener: Callable[[], None]) -> None:
        """Call it whenever more may be allowed than before."""
        self._listeners.append(listener)

    def _settled(self) -> None:
        self._settling -= 1
        for listener in self._listeners:
            listener()


class Item(Generic[T]):
    """One thing, made or on its way to be."""

    def __init__(self, number: int, kind: str, making: Task[T]) -> None:
        self.number = number
        self.kind = kind
        self.since = time.time()
        self._making = making

    def __repr__(self) -> str:
        return f"<{self.kind} {self.number}>"

    @property
    def thing(self) -> T | None:
        """It, once it has been made."""
        made = self._making
        return made.result() if made.done() and not made.cancelled() and made.exception() is None else None

    @property
    def failure(self) -> BaseException | None:
        """Why it was not."""
        made = self._making
        return made.exception() if made.done() and not made.cancelled() else None

    async def made(self) -> T:
        """It, when it has been made; raises what prevented that. It goes on being made when the caller leaves."""
        return await asyncio.shield(self._making)

    async def given_up(self) -> T | None:
        """Make it no more. What has been made all the same is the caller's to remove."""
        self._making.cancel()
        await asyncio.wait([self._making])
        return self.thing


class Reserve(Generic[T]):
    """Things of several kinds. `what` they are is for the log."""

    def __init__(
        self,
        what: str,
        stock: Stock,
        *,
        make: Callable[[str], Coroutine[None, None, T]],
        remove: Callable[[T], Coroutine[None, None, None]],
        needed: Callable[[], Collection[str]],
        room: Callable[[], int],
        courtesy: Courtesy,
        on_made: Callable[[Item[T]], None] = lambda _: None,
    ) -> None:
        """`needed`: the kinds that are of use now. `room`: MB for all. `on_made` hears of what is made and unclaimed."""
        self._what = what
        self._stock = stock
        self._make = make
        self._remove = remove
        self._needed = needed
        self._room = room
        self._courtesy = courtesy
        self._on_made = on_made
        self._items: dict[int, Item[T]] = {}
        self._failing: set[str] = set()
        #: Kinds whose last making failed, and was complained of.
        self._is_open = True
        self._look = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._keeper: Task[None] | None = None
        self._removals: set[Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Reserve of {self._what} [{self._stock!r}]>"

    @property
    def items(self) -> Collection[Item[T]]:
        """Those that nobody has claimed."""
        return self._items.values()

    def open(self) -> None:
        """Begin to make them."""
        if self._is_open and self._keeper is None:
            self._courtesy.tell(self._look.set)
            self._keeper = asyncio.create_task(self._keep(), name=f"reserve: {self._what}")
            self._keeper.add_done_callback(self._ended)

    def turn_off(self) -> None:
        """Make none any more, and remove what there is."""
        self._is_open = False
        self._look.set()
        self._stock.need(())
        self._act(self._stock.plan(self._loop.time(), 0, may_start=False))

    async def close(self) -> None:
        """The same, and wait until it is done."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        self.turn_off()
        while self._removals:
            await asyncio.wait(self._removals)

    def claim(self, kind: str, *, unfinished: bool = True) -> Item[T] | None:
        """One for the caller, if need be one that is still being made."""
        number = self._stock.claim(kind, self._loop.time(), unfinished=unfinished)
        self._look.set()
        return None if number is None else self._items.pop(number)

    def discard(self, item: Item[T]) -> None:
        """One that was claimed is of no use: remove it."""
        removal = asyncio.create_task(self._end(item), name=f"removal of {item!r}")
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    def lost(self, item: Item[T]) -> None:
        """One that nobody has claimed is broken."""
        if self._items.pop(item.number, None) is not None:
            self._stock.lost(item.number, self._loop.time())
            self.discard(item)
            self._look.set()

    def forgive(self, kind: str) -> None:
        """Whatever its making failed for has changed."""
        self._stock.forgive(kind)
        self._look.set()

    # Keeping them

    async def _keep(self) -> None:
        while self._is_open:
            self._look.clear()
            now = self._loop.time()
            self._stock.need(self._needed())
            self._act(self._stock.plan(now, self._room(), may_start=self._courtesy.allows(now)))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._stock.next_look(now) - now):
                    await self._look.wait()

    def _ended(self, keeper: Task[None]) -> None:
        """Launches go on without."""
        if not keeper.cancelled() and (error := keeper.exception()):
            logger.error("nothing is made ahead any more: %s", error, exc_info=error)

    def _act(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Start(number, kind):
                    self._begin(number, str(kind))
                case End(number):
                    self.discard(self._items.pop(number))

    def _begin(self, number: int, kind: str) -> None:
        self._courtesy.begun(self._loop.time())
        making = asyncio.create_task(self._make(kind), name=f"{self._what}: {kind} {number}")
        item = self._items[number] = Item(number, kind, making)
        making.add_done_callback(lambda _: self._made(item))

    def _made(self, item: Item[T]) -> None:
        """It has been made, or not; claimed and given up ones included."""
        self._look.set()
        if item.thing is None:
            self._stock.lost(item.number, self._loop.time())
            self._items.pop(item.number, None)
            self._complain(item)
            return
        self._failing.discard(item.kind)
        self._stock.ready(item.number, self._loop.time())
        if item.number in self._items:
            self._on_made(item)

    def _complain(self, item: Item[T]) -> None:
        """Of the first failure in a row; whoever launches a function hears of the others."""
        failure = item.failure
        if failure is None or isinstance(failure, NotYet) or not self._is_open:
            return
        known = isinstance(failure, (SpawnerError, OSError))
        level = logging.DEBUG if item.kind in self._failing else logging.WARNING
        self._failing.add(item.kind)
        text = "no %s for %s: %s"
        logger.log(level, text, self._what, item.kind, failure, exc_info=None if known else failure)

    async def _end(self, item: Item[T]) -> None:
        thing = await item.given_up()
        if thing is not None:
            await self._remove(thing)


class NotYet(SpawnerError):
    """Something is missing that will come by itself: no reason to complain."""
