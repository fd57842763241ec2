"""Networks made ahead: containers that do nothing but hold one, for a sandbox to join.

Of all that an engine does to start a container, its network takes longest: on Engine 20.10, which starts a helper of its
own for it, twice as long as everything else. A sandbox that joins the network of a container that is there already
starts without. Each such **pause** serves one sandbox, whose address is the pause's; it is removed after its sandbox and
never used again, so an address does not pass on while anything still trusts it.

Kept as `reserve` keeps things. Where there is none, a sandbox gets a network of its own, as without this module.
"""

import logging
import secrets
from collections.abc import Callable, Coroutine

from runtime.core.standby import Stock
from runtime.reserve import Courtesy, Item, NotYet, Reserve
from runtime.spawners.container import Surroundings, name_of, pause
from runtime.spawners.engine import Engine, EngineError

log = logging.getLogger(__name__)

KIND = "sandboxes"


class Pauses:
    """One owner's pauses. At most `most` wait for a sandbox at a time."""

    def __init__(
        self,
        engine: Engine,
        *,
        most: int,
        courtesy: Courtesy,
        remove: Callable[[str], Coroutine[None, None, None]],
    ) -> None:
        """`remove` removes a container, and tries again where it has to."""
        self._engine = engine
        self._remove = remove
        self._most = most
        self._made_of: tuple[str, Surroundings] | None = None
        #: An image that has a shell's usual programs, and what its containers share.
        self._joined: dict[str, Item[str]] = {}
        #: Sandbox → its pause.
        self._reserve = Reserve(
            "network is ready",
            Stock(1),
            make=self._make,
            remove=self._end,
            needed=lambda: (KIND,),
            room=lambda: most,
            courtesy=courtesy,
        )

    def __repr__(self) -> str:
        return f"<Pauses [{len(self._reserve.items)} wait, {len(self._joined)} in use]>"

    def make_of(self, image: str, around: Surroundings) -> None:
        """What pauses can be made of. From the first time on there are some."""
        self._made_of = (image, around)
        if self._most:
            self._reserve.open()

    def join(self, sandbox_id: str) -> str | None:
        """The container whose network a sandbox is to join, until it leaves; None where none waits."""
        item = self._joined.get(sandbox_id) or self._reserve.claim(KIND, unfinished=False)
        if item is None:
            return None
        self._joined[sandbox_id] = item
        return item.thing

    def leave(self, sandbox_id: str) -> None:
        """A sandbox is gone: its pause goes too, in the background."""
        if item := self._joined.pop(sandbox_id, None):
            self._reserve.discard(item)

    def died(self, container: str) -> str | None:
        """A container that is no sandbox has ended. The sandbox that has no network any more, if there is one."""
        for item in list(self._reserve.items):
            if item.thing == container:
                self._reserve.lost(item)
        return next((name for name, item in self._joined.items() if item.thing == container), None)

    async def close(self) -> None:
        """Remove them all. Sandboxes are others' to destroy, before."""
        for sandbox_id in list(self._joined):
            self.leave(sandbox_id)
        await self._reserve.close()

    async def _make(self, _: str) -> str:
        if self._made_of is None:
            raise NotYet("no image is known yet")
        image, around = self._made_of
        identity = secrets.token_hex(8)
        name = name_of(around.owner, f"pause-{identity}")
        try:
            reference, _warnings = await self._engine.create(name, pause(identity, image, around))
            await self._engine.start(reference)
        except BaseException:
            await self._end(name)
            raise
        return reference

    async def _end(self, container: str) -> None:
        try:
            await self._remove(container)
        except EngineError as error:
            log.warning("container %s stays behind until the next start: %s", container, error)
