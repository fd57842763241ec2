"""The execution environments of a control plane: the shell around `runtime.core.pool`.

One task owns each environment from its launch to its end. Decisions are the pool's and are taken at once; this module
carries them out and tells the pool what came of them. It knows nothing of HTTP, qualifiers or containers.
"""

import asyncio
import logging
import time
from asyncio import Future
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, cast

from rapid.exchange import Ticket
from rapid.invocation import Invocation, Outcome
from rapid.records import Report
from rapid.streams import Stream
from runtime.core.actions import Action, Assign, Destroy, Fail, Hold, Launch, Refuse
from runtime.core.groups import Place
from runtime.core.pool import Pool
from runtime.core.room import Bounds, share
from runtime.directories import Directories, NoDirectory
from runtime.errors import LambdaError, PreparationFailed
from runtime.exposition import Census
from runtime.kept import Kept, KeptNews, Wishes, initialised
from runtime.keys import Key, Keys
from runtime.launcher import Hosted, Launcher
from runtime.model import FunctionVersion, Scope
from runtime.preparations import Preparations
from runtime.refusals import (
    InitialisationFailed,
    lost_again_and_again,
    never_run,
    no_environment,
    no_room,
    shutting_down,
    too_large,
    too_long,
)
from runtime.renewal import Renewals
from runtime.snapshot import describe
from runtime.spawners.base import SandboxLost, Spawner, SpawnerError
from runtime.store.catalog import Catalog
from runtime.stories import Stories, Story

__all__ = ["Fleet", "Kept", "KeptNews", "Key"]

logger = logging.getLogger(__name__)

WAIT_LIMIT = 300.0
"""Seconds that an invocation waits for an environment, the build of a runtime image included."""
END_LIMIT = 3.0
"""Seconds that an environment gets to end by itself before its sandbox is removed."""
MOST_RETURNS = 3
"""How many environments in a row may be lost before they begin an invocation."""
EXPIRY_INTERVAL = 1.0
"""Seconds between two looks for environments that have been idle too long."""


@dataclass(slots=True, eq=False)
class _Bid:
    """An invocation that wants an environment."""

    key: Key
    invocation: Invocation
    stream: Stream | None
    given_back: Ticket | None = None
    """That of one which another environment has given back."""
    since: float = field(init=False)
    """Where it has to wait,"""
    future: Future[Ticket] = field(init=False)
    """and what for."""


def _never(_: FunctionVersion) -> bool:
    return False


class Fleet:
    """See the module's text."""

    def __init__(
        self,
        *,
        launcher: Launcher,
        spawner: Spawner,
        catalog: Callable[[], Catalog],
        bounds: Bounds,
        room_wait: float,
        idle_timeout: float,
        directories: Directories | None = None,
        measures_memory: bool = False,
        may_warm: Callable[[FunctionVersion], bool] = _never,
    ) -> None:
        """`measures_memory` makes the budget a share of the memory of the machine that sandboxes turn out to run on.

        `may_warm` says of which versions an environment may be launched ahead of any invocation.
        """
        self._launcher = launcher
        self._spawner = spawner
        self._catalog = catalog
        self._directories = directories or Directories()
        self._keys = Keys(catalog, self._directories, launcher.copies)
        self._room_wait = room_wait
        self._idle_timeout = idle_timeout
        self._measures_memory = measures_memory
        self._may_warm = may_warm
        self._pool = Pool(
            bounds,
            weigh=lambda key: cast("Key", key).memory,
            family=lambda key: cast("Key", key).function,
            slots=lambda key: cast("Key", key).slots,
            room_wait=room_wait,
        )
        self._hosted: dict[int, Hosted] = {}
        self._wanted: dict[int, _Bid] = {}
        #: By ticket: who waits for an environment.
        self._graces: dict[int, asyncio.TimerHandle] = {}
        #: By ticket: the end of its grace.
        self._running: set[Future[Report]] = set()
        #: The ends of the invocations under way.
        self._preparations = Preparations(launcher)
        self._reruns: set[asyncio.Task[None]] = set()
        #: Invocations that environments gave back.
        self._last_ticket = 0
        self._lives: dict[int, asyncio.Task[None]] = {}
        #: The task that owns each environment.
        self._chores: list[asyncio.Task[None]] = []
        self._wishes = Wishes(
            make_ready=lambda key: self._preparations.of(key, WAIT_LIMIT),
            keeps=lambda key: bool(self._pool.kept(key)[0]),
            keep=self._keep,
        )
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._renewals = Renewals(
            self._directories,
            self._pool,
            warm=bounds.launches,
            is_current=self._keys.is_current,
            outdated=lambda key: self.retired(*key.function),
        )
        self.stories = Stories()
        self.on_kept: Callable[[KeptNews], None] = _ignore
        #: Hears of environments that are kept; by then the counts of `kept` are up to date.

    def __repr__(self) -> str:
        return f"<Fleet {self._pool!r}>"

    async def open(self) -> None:
        """Begin the chores; preparation goes on in the background, and whoever needs it waits for it."""
        self._chores = [
            asyncio.create_task(self._prepare_ahead(), name="prepare"),
            asyncio.create_task(self._watch_deaths(), name="deaths"),
            asyncio.create_task(self._expire(), name="expire"),
        ]

    async def close(self, patience: float) -> None:
        """End every environment and take no more work; invocations under way get `patience` seconds to finish."""
        self._closing = True
        self._renewals.close()
        if self._running and patience:
            logger.info("waiting up to %.0f s for %d invocations", patience, len(self._running))
            await asyncio.wait(self._running, timeout=patience)
        for number in list(self._wanted):
            self._refuse(number, shutting_down())
        self._wishes.cancel()
        self._preparations.cancel()
        self._act(self._pool.end_all(self._loop.time()))
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(
            *self._chores,
            *self._wishes.tasks,
            *self._preparations.tasks,
            *self._lives.values(),
            *self._reruns,
            return_exceptions=True,
        )

    # The invoker's side

    def run(
        self,
        version: FunctionVersion,
        invocation: Invocation,
        stream: Stream | None = None,
        *,
        provisioned: bool = False,
    ) -> Ticket | Future[Ticket]:
        """Hand the invocation to an environment of the version: now, or when there is one. Raises `LambdaError`.

        A streamed response goes to `stream`, if there is one. `provisioned` asks for one that is kept. Whoever does not
        want to wait any more cancels the future.
        """
        key = self._keys.of(version, provisioned=provisioned, tenant=invocation.tenant_id)
        return self._seek(_Bid(key, invocation, stream))

    def _begin(self, hosted: Hosted, bid: _Bid) -> Ticket:
        self._renewals.invoke(hosted)
        hosted.invocations += 1
        timeout, number = hosted.version.config.timeout, hosted.number
        ticket = hosted.environment.invoke(bid.invocation, timeout, bid.stream, bid.given_back)
        ticket.is_first = hosted.invocations == 1
        ticket.outcome.add_done_callback(lambda outcome: self._responded(number, outcome))
        if hosted.version.config.managed is not None:
            ticket.completed.add_done_callback(
                lambda _: self._act(self._pool.done(number, self._loop.time()))
            )
        if bid.given_back is None:
            self._running.add(ticket.completed)
            ticket.completed.add_done_callback(self._running.discard)
        return ticket

    def _given_back(self, hosted: Hosted, invocation: Invocation, ticket: Ticket) -> None:
        """An environment was lost before its runtime heard of the invocation: another one is to have it."""
        logger.info("%s was lost before it began %s", hosted.handle.sandbox_id, invocation.request_id)
        again = asyncio.create_task(self._run_again(self._key_of(hosted.number), invocation, ticket))
        self._reruns.add(again)
        again.add_done_callback(self._reruns.discard)

    async def _run_again(self, key: Key, invocation: Invocation, ticket: Ticket) -> None:
        try:
            if ticket.returns > MOST_RETURNS:
                raise lost_again_and_again()
            found = self._seek(_Bid(key, invocation, None, ticket))
            if isinstance(found, Future):
                await found
        except LambdaError as error:
            ticket.fail(error)
        except Exception as error:  # noqa: BLE001  whoever waits for the answer is told
            ticket.fail(no_environment(key.record, error))

    def _seek(self, bid: _Bid) -> Ticket | Future[Ticket]:
        """Find an environment for it: one that is idle, else the first that there will be."""
        hosted = self._idle_one(bid.key)
        if hosted is not None:
            return self._begin(hosted, bid)
        bid.key, bid.since = self._as_of_now(bid.key), self._loop.time()
        bid.future = self._loop.create_future()
        if self._pool.knows(bid.key):
            self._ask(bid)
        else:
            preparing = asyncio.create_task(self._prepare_and_ask(bid))
            self._reruns.add(preparing)
            preparing.add_done_callback(self._reruns.discard)
        return bid.future

    def _idle_one(self, key: Key) -> Hosted | None:
        """An environment that can have an invocation now, without anybody being asked."""
        if self._closing or key.directories:
            return None
        while (number := self._pool.take(key, self._loop.time())) is not None:
            hosted = self._hosted[number]
            if not hosted.environment.is_over:
                return hosted
        return None

    def _as_of_now(self, key: Key) -> Key:
        """The key with all that has happened to its directories by now."""
        if not key.directories:
            return key
        self._directories.refresh(key.directories)
        return self._keys.as_of_now(key)

    async def _prepare_and_ask(self, bid: _Bid) -> None:
        """What is built takes no launch from others, nor is it a wait for room."""
        try:
            await self._preparations.of(bid.key, WAIT_LIMIT)
            if not bid.future.done():
                self._ask(bid)
        except Exception as error:  # noqa: BLE001  whoever waits is told
            if not bid.future.done():
                bid.future.set_exception(error)

    def _ask(self, bid: _Bid) -> None:
        """Stand in line for an environment."""
        if self._closing:
            raise shutting_down()
        self._last_ticket = number = self._last_ticket + 1
        self._wanted[number] = bid
        try:
            if bid.key.directories:
                self._renewals.ask(number, bid.key)
            self._act(self._pool.ask(number, bid.key, self._loop.time()))
        except BaseException:
            self._forget(number)
            raise
        if not bid.future.done():
            bid.future.add_done_callback(lambda _: self._forget(number))

    def _forget(self, number: int) -> None:
        """A ticket is not wanted any more, if it still was."""
        if self._wanted.pop(number, None) is None:
            return
        self._pool.withdraw(number)
        self._renewals.withdraw(number)
        if grace := self._graces.pop(number, None):
            grace.cancel()

    def _assign(self, number: int, hosted: Hosted) -> None:
        """The ticket gets the environment, unless it has left in this moment."""
        bid = self._wanted[number]
        self._forget(number)
        if bid.future.done():
            self._unused(hosted)
        elif hosted.environment.is_over:
            self._ask(bid)
        else:
            try:
                bid.future.set_result(self._begin(hosted, bid))
            except Exception as error:  # noqa: BLE001  whoever waits is told
                bid.future.set_exception(error)

    def _refuse(self, number: int, reason: Exception) -> None:
        """The ticket gets none."""
        bid = self._wanted[number]
        self._forget(number)
        if bid.future.done():
            return
        if isinstance(reason, InitialisationFailed):
            ticket = bid.given_back or Ticket(bid.stream)
            bid.future.set_result(never_run(bid.invocation, reason.fault, bid.key.memory, ticket))
        else:
            bid.future.set_exception(reason)

    def _responded(self, number: int, outcome: Future[Outcome]) -> None:
        if not outcome.cancelled():  # that is a client that left: the function still works
            self._pool.responded(number, self._loop.time())

    # What is kept ready

    def keep(self, version: FunctionVersion, count: int) -> Key:
        """Have that many provisioned environments of the version from now on; 0 lets them go.

        What becomes of them is told to `on_kept`, by their key. Those of a version that is out of date go by themselves.
        """
        key = self._keys.of(version, provisioned=True)
        if not self._closing:
            self._wishes.wish(key, count)
        return key

    def _keep(self, key: Key, count: int) -> None:
        if self._keys.is_current(key):
            self._pool.restore(key)
        elif count:
            return
        self._act(self._pool.keep(key, count, self._loop.time()))
        if reason := self.lacks(key):
            self._loop.call_soon(self.on_kept, KeptNews(key, Kept.FAILED, reason))

    def lacks(self, key: Key) -> str | None:
        """Why there will not be all that are to be kept of the key, as long as nothing else is let go."""
        bound = self._pool.lacks(key)
        return None if bound is None else too_large(self._pool.bounds, bound).message

    def provisioned_key(self, version: FunctionVersion) -> Key:
        """What provisioned environments of the version are known by."""
        return self._keys.of(version, provisioned=True)

    def has_free(self, version: FunctionVersion, tenant: str | None) -> bool:
        """Whether an environment on demand is idle, or about to be, so that none need be added."""
        return self._pool.has_free(self._keys.of(version, tenant=tenant))

    def kept(self, version: FunctionVersion) -> tuple[int, int]:
        """How many environments of the version are to be kept, and how many of those are ready."""
        return self._pool.kept(self._keys.of(version, provisioned=True))

    # What the API is to call

    async def prepare(self, version: FunctionVersion) -> None:
        """Have at hand what the version needs. Raises `PreparationFailed`."""
        try:
            await self._launcher.check(version)
            await self._launcher.make_ready(version, logger.info)
        except (SpawnerError, NoDirectory) as error:
            raise PreparationFailed("InternalError", str(error)) from error

    def retired(self, scope: Scope, name: str) -> None:
        """The function, a version or an alias of it has been changed or deleted: environments of what was drain."""
        self._directories.retain(
            lambda: {path for each in self._catalog().all_functions() for path in each.directories}
        )
        for key in cast("list[Key]", self._pool.keys_of((scope, name))):
            if self._keys.is_current(key):
                self._pool.restore(key)
            else:
                self._act(self._pool.retire(key, self._loop.time()))

    def warm(self, version: FunctionVersion) -> None:
        """The version is new, or newly led to: launch an environment ahead, if there is room to spare."""
        key = self._keys.of(version)
        if not self._closing and self._may_warm(version) and self._keys.is_current(key):
            self._act(self._pool.warm(key, self._loop.time()))

    def room(self) -> int:
        """MB of the memory budget that no environment has taken."""
        return self._pool.room

    def snapshot(self) -> list[dict[str, Any]]:
        """The environments, for people and `berth ps`. Times in seconds, memory in bytes."""
        now, clock = time.time(), self._loop.time()
        return [describe(hosted, self._pool, now, clock) for hosted in self._hosted.values()]

    def census(self) -> list[Census]:
        """How many environments of each version are where in their use."""
        counted = cast("Mapping[tuple[Key, Place], int]", self._pool.census())
        return [
            Census(key.scope, key.name, key.version, place.value, count)
            for (key, place), count in counted.items()
        ]

    # Carrying out what the pool says

    def _act(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Assign(ticket, number):
                    self._assign(ticket, self._hosted[number])
                case Hold(ticket, until):
                    self._graces[ticket] = self._loop.call_at(until, self._grace_over, ticket)
                case Launch(number, key):
                    self._launch(number, cast("Key", key))
                case Destroy(number):
                    self._end(number)
                case Refuse(ticket, bound, for_good):
                    limits, seconds = self._pool.bounds, self._room_wait
                    refusal = too_large(limits, bound) if for_good else no_room(limits, bound, seconds)
                    self._refuse(ticket, refusal)
                case Fail():  # only from `failed`, whose caller knows the reason
                    raise AssertionError(action)

    def _grace_over(self, ticket: int) -> None:
        self._act(self._pool.grace_over(ticket, self._loop.time()))

    def _launch(self, number: int, key: Key) -> None:
        if not self._keys.is_current(key):  # asked for before a change
            self._act(self._pool.retire(key, self._loop.time()))
        self._lives[number] = task = asyncio.create_task(
            self._live(number, key), name=f"environment {number}"
        )
        task.add_done_callback(lambda _: self._lives.pop(number))

    def _end(self, number: int) -> None:
        hosted = self._hosted.get(number)
        if hosted is None:
            self._lives[number].cancel()
            return
        stubborn = self._loop.call_later(END_LIMIT, hosted.link.cut, "it did not end when told to")
        hosted.ended.add_done_callback(lambda _: stubborn.cancel())
        hosted.environment.shut_down()

    # One environment's life

    async def _live(self, number: int, key: Key) -> None:
        """Launch an environment, keep it until it ends, and clean up after it."""
        try:
            async with AsyncExitStack() as held:
                launched = self._launcher.launch(
                    number,
                    key.record,
                    key.initialization,
                    on_idle=self._idle,
                    on_room=self._room,
                    on_ended=self._ended,
                    on_given_back=self._given_back,
                )
                hosted = await held.enter_async_context(launched)
                await self._host(hosted, key)
        except Exception as error:  # noqa: BLE001  whoever waits for the environment is told
            chances = MOST_RETURNS if isinstance(error, SandboxLost) else 0
            self._launch_failed(number, key, error, chances=chances)
        finally:
            self._act(self._pool.gone(number, self._loop.time()))

    async def _host(self, hosted: Hosted, key: Key) -> None:
        self._hosted[hosted.number] = hosted
        self.stories.begin(
            Story(
                environment=hosted.handle.sandbox_id,
                function=hosted.version.name,
                version=hosted.version.version,
                tell=hosted.environment.story_lines,
            )
        )
        try:
            self._act(self._pool.launched(hosted.number, self._loop.time()))
            if key.directories:
                self._renewals.begin(hosted, key)
            hosted.environment.begin()
            await hosted.ended
        finally:
            self._renewals.end(hosted)
            self.stories.end(hosted.handle.sandbox_id)
            del self._hosted[hosted.number]

    def _idle(self, hosted: Hosted) -> None:
        number, pool = hosted.number, self._pool
        if self._renewals.holds(hosted):
            return
        if pool.place(number) is not Place.INITIALISING:
            self._act(pool.idle(number, self._loop.time()))
            return
        failure, is_kept = hosted.environment.init_failure, pool.is_kept(number)
        if failure is None:
            self._act(pool.idle(number, self._loop.time()))
        else:
            self._act(pool.spoiled(number, self._loop.time()))
        if is_kept:
            self.on_kept(initialised(self._key_of(number), failure))

    def _room(self, hosted: Hosted, change: int) -> None:
        """An environment of many invocations at once can take more of them, or fewer."""
        self._act(self._pool.slots_changed(hosted.number, change, self._loop.time()))

    def _unused(self, hosted: Hosted) -> None:
        """Whoever got it has left."""
        self._act(self._pool.unused(hosted.number, self._loop.time()))

    def _key_of(self, number: int) -> Key:
        return cast("Key", self._pool.key(number))

    def _ended(self, hosted: Hosted) -> None:
        number = hosted.number
        if not hosted.ended.done():
            hosted.ended.set_result(None)
        if self._pool.place(number) is Place.INITIALISING:  # launching another could go on for ever
            if (failure := hosted.environment.init_failure) is not None:  # the function's own matter
                self._refuse_launch(number, InitialisationFailed(failure), chances=0)
            else:
                error = SpawnerError(f"the sandbox ended while it initialised: {hosted.link.lost}")
                self._launch_failed(number, self._key_of(number), error, chances=MOST_RETURNS)
        kept = self._key_of(number) if self._pool.is_kept(number) else None
        self._act(self._pool.gone(number, self._loop.time()))
        if kept is not None:
            self.on_kept(KeptNews(kept, Kept.ENDED, hosted.link.lost or "it was ended"))

    def _launch_failed(self, number: int, key: Key, error: Exception, *, chances: int = 0) -> None:
        refusal = no_environment(key.record, error)
        is_kept = self._pool.is_kept(number)
        self._refuse_launch(number, refusal, chances)
        if is_kept:
            self.on_kept(KeptNews(key, Kept.FAILED, refusal.message))

    def _refuse_launch(self, number: int, refusal: Exception, chances: int) -> None:
        for action in self._pool.failed(number, self._loop.time(), chances=chances):
            if isinstance(action, Fail):
                self._refuse(action.ticket, refusal)
            else:
                self._act([action])

    # Chores

    async def _prepare_ahead(self) -> None:
        try:
            await self._launcher.prepare()
        except SpawnerError as error:
            logger.error("functions cannot run: %s", error)  # noqa: TRY400  the text says what to do

    async def _watch_deaths(self) -> None:
        await self._launcher.prepared.wait()  # by whoever succeeds with it
        facts = await self._launcher.prepare()
        if self._measures_memory and facts.memory:
            self._act(self._pool.resize(share(facts.memory), self._loop.time()))
        async for death in self._spawner.deaths():
            self._launcher.died(death)

    def _refuse_late(self, now: float) -> None:
        """The oldest tickets, if they have waited for too long."""
        while (number := next(iter(self._wanted), None)) is not None:
            if now - self._wanted[number].since < WAIT_LIMIT:
                break
            self._refuse(number, too_long(WAIT_LIMIT))

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRY_INTERVAL)
            now = self._loop.time()
            self._refuse_late(now)
            self._act(self._pool.expire(now - self._idle_timeout, now))
            self._act(self._pool.overdue(now))
            self._act(self._pool.relaunch(now))


def _ignore(_: KeptNews) -> None:
    """Nobody keeps anything."""
