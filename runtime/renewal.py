"""Keeps environments from serving code that has changed on disk since they loaded it.

Only those of functions with directories (`FunctionVersion.directories`). An environment has **loaded** a generation of
its directories: the one that was known when its runtime was started, or an earlier one. A ticket **needs** the generation
that was known when it was asked for, everything included that had happened by then. Nobody gets an environment that has
loaded less than he needs:

* Before a ticket is asked for, idle environments that are out of date are renewed (`Environment.renew`): in the pool
  they are as if they were being launched, so the ticket waits for one of them.
* An environment that becomes idle and is out of date is renewed, unless the first in line needs no more than it has
  loaded: a directory that changes all the time keeps nobody waiting for ever.
* Notices that nobody has asked for renew idle environments once it has been quiet for a moment.

Knows nothing of how changes are noticed, nor of what a renewal does inside an environment.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from rapid.states import Phase
from runtime.core.groups import Place
from runtime.core.pool import Pool
from runtime.directories import Directories
from runtime.keys import Key
from runtime.launcher import Hosted

logger = logging.getLogger(__name__)

QUIET = 0.03
"""Seconds without a further change after which idle environments are renewed ahead of any invocation,"""
LONGEST = 0.5
"""and seconds after the first change, if it never is quiet."""


@dataclass(slots=True)
class _Member:
    hosted: Hosted
    key: Key
    loaded: int


@dataclass(slots=True)
class _Family:
    """The environments of one key."""

    members: dict[int, _Member] = field(default_factory=dict)
    renewed: int = 0
    #: The generation that all of them had been compared with.


class Renewals:
    """See the module's text. `is_current` tells whether a key is still that of a function; `warm` is how many idle
    environments of a function are initialised at once, while the others do so when they are needed.
    """

    def __init__(
        self,
        directories: Directories,
        pool: Pool,
        *,
        warm: int,
        is_current: Callable[[Key], bool],
        outdated: Callable[[Key], None],
    ) -> None:
        self._directories = directories
        self._pool = pool
        self._warm = warm
        self._is_current = is_current
        self._outdated = outdated
        #: Told of keys that are of an earlier life of their directories.
        self._families: dict[Key, _Family] = {}
        self._members: dict[int, _Member] = {}
        self._needs: dict[int, int] = {}
        #: By ticket: a generation.
        self._changed: set[str] = set()
        #: Directories with changes that have not been acted upon.
        self._timer: asyncio.TimerHandle | None = None
        self._latest = 0.0
        self._loop = asyncio.get_running_loop()
        directories.on_change = self._hear

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._directories.close()

    # Tickets

    def ask(self, ticket: int, key: Key) -> None:
        """A ticket of the key is going to be asked for, and what has happened by now has been heard of."""
        self._needs[ticket] = self._directories.generation(key.directories)
        self._renew(key)

    def withdraw(self, ticket: int) -> None:
        self._needs.pop(ticket, None)

    # Environments

    def begin(self, hosted: Hosted, key: Key) -> None:
        """Its first runtime is about to be started."""
        self._directories.refresh(key.directories)
        member = _Member(hosted, key, self._directories.generation(key.directories))
        self._members[hosted.number] = member
        self._families.setdefault(key, _Family()).members[hosted.number] = member

    def end(self, hosted: Hosted) -> None:
        """It is gone."""
        member = self._members.pop(hosted.number, None)
        if member is not None:
            family = self._families[member.key]
            del family.members[hosted.number]
            if not family.members:
                del self._families[member.key]

    def invoke(self, hosted: Hosted) -> None:
        """An invocation is about to be handed in; without a runtime it starts one."""
        member = self._members.get(hosted.number)
        if member is not None and _has_no_runtime(hosted):
            member.loaded = self._directories.generation(member.key.directories)

    def holds(self, hosted: Hosted) -> bool:
        """Whether an environment that has become idle is renewed instead, and not to be used yet."""
        member = self._members.get(hosted.number)
        if member is None or member.loaded >= self._directories.generation(member.key.directories):
            return False
        first = self._pool.first_waiting(hosted.number)
        if first is None:
            wanted = self._is_current(member.key)
        else:
            wanted = not _has_no_runtime(hosted) and self._needs.get(first, 0) > member.loaded
        if wanted:
            self._renew_one(member, ahead=True)
        return wanted

    # Changes

    def _hear(self, paths: Collection[str]) -> None:
        self._changed.update(paths)
        now = self._loop.time()
        if self._timer is None:
            self._latest = now + LONGEST
        else:
            self._timer.cancel()
        self._timer = self._loop.call_at(min(now + QUIET, self._latest), self._act)

    def _act(self) -> None:
        changed, self._changed, self._timer = self._changed, set(), None
        for family in list(self._families.values()):
            key = next(iter(family.members.values())).key
            if changed.isdisjoint(key.directories):
                continue
            if self._is_current(key):
                self._renew(key)
            else:
                self._outdated(key)

    def _renew(self, key: Key) -> None:
        """Environments of the key that are out of date and that nobody uses."""
        family = self._families.get(key)
        generation = self._directories.generation(key.directories)
        if family is None or family.renewed == generation:
            return
        family.renewed = generation
        stale = [each for each in family.members.values() if each.loaded < generation]
        free = [each for each in stale if self._is_free(each.hosted.number)]
        free.sort(key=lambda each: -self._pool.since(each.hosted.number))
        if free:
            logger.info("the code of %s has changed; renewing %d environments", key.name, len(free))
        for count, member in enumerate(free):
            self._renew_one(member, ahead=count < self._warm)

    def _is_free(self, number: int) -> bool:
        """Nobody uses it, or will without this module being asked again."""
        place = self._pool.place(number)
        initialises = place is Place.INITIALISING and self._pool.first_waiting(number) is None
        return place is Place.IDLE or initialises

    def _renew_one(self, member: _Member, *, ahead: bool) -> None:
        """From now on a runtime that is started loads what is there now, or later."""
        member.loaded = self._directories.generation(member.key.directories)
        number = member.hosted.number
        if ahead:
            self._pool.renew(number, self._loop.time())
        member.hosted.environment.renew(ahead=ahead or self._pool.place(number) is Place.INITIALISING)


def _has_no_runtime(hosted: Hosted) -> bool:
    """A runtime is started for the next invocation, if not before."""
    return hosted.environment.phase in (Phase.COLD, Phase.STOPPING, Phase.CLEARING)
