"""Sandboxes as containers of a Docker engine.

Starts and destroys them; what happens inside goes over the link. What a container looks like is `container`'s, where
sandboxes meet the control plane `network`'s, how word of their end arrives `deaths`', and the SDK only `engine`'s.
"""

import asyncio
import io
import logging
import secrets
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.reserve import Courtesy
from runtime.spawners.base import Delivery, SandboxDeath, SandboxHandle, SandboxSpec, SpawnerFacts
from runtime.spawners.container import (
    CODE_PLACES,
    FOREIGN_PLACES,
    OPTIONS,
    OWNER,
    PAUSE,
    PROBE,
    PROCESS,
    SANDBOX,
    Option,
    Surroundings,
    bind,
    container,
    name_of,
    probe,
    size,
)
from runtime.spawners.deaths import Deaths
from runtime.spawners.engine import Engine, EngineError
from runtime.spawners.network import Network
from runtime.spawners.owners import gone, mark
from runtime.spawners.pauses import Pauses

log = logging.getLogger(__name__)

CLEANUP_LIMIT = 30.0
RETRIES = (0.1, 0.5, 2.0)
"""Pauses before another try to remove a container."""
PROBE_MEMORY_MB = 128
OTHER_PROCESSOR = "does not match the detected host platform"


class DockerSpawner:
    """One owner's sandboxes on one engine. The engine is the caller's to close."""

    name = "docker"

    def __init__(
        self,
        engine: Engine,
        *,
        owner: str,
        data_dir: Path,
        delivery: Delivery | None = None,
        link_host: str | None = None,
        spare_networks: int = 0,
        courtesy: Courtesy | None = None,
        keep_output: bool = False,
    ) -> None:
        """`delivery` and `link_host` are found out where they are None; `keep_output` is for debugging.

        `spare_networks`: how many may be made ahead, when `courtesy` allows it.
        """
        self._engine = engine
        self._owner = owner
        self._data_dir = data_dir
        self._delivery = delivery
        self._link_host = link_host
        process = mark()
        self._network = Network(engine, owner, process)
        self._around = Surroundings(owner, self._network.name, process, keep_output=keep_output)
        self._deaths = Deaths(engine, owner, keep_output=keep_output, on_other=self._other_died)
        self._pauses = Pauses(
            engine,
            # Podman was never measured to gain by it.
            most=0 if engine.facts.product == "Podman" else spare_networks,
            courtesy=courtesy or Courtesy(),
            remove=self._remove,
        )
        self._refusals = _Refusals(engine, owner)
        self._said: set[str] = set()
        self._cleanups: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<DockerSpawner [{self._owner} on {self._engine.facts.title} | {self._deaths!r}]>"

    async def prepare(self) -> SpawnerFacts:
        await self._sweep()
        meeting = await self._network.prepare(self._link_host)
        self._around = replace(self._around, extra_hosts=meeting.extra_hosts)
        delivery = self._delivery or await self._probe_delivery()
        description = f"{self._engine.facts.title}, {delivery.value} delivery"
        return SpawnerFacts(
            meeting.link_host,
            delivery,
            description,
            meeting.dial_host,
            resizes=True,
            memory=self._engine.facts.memory,
        )

    async def launch(self, spec: SandboxSpec) -> SandboxHandle:
        """Launching what is there already gives the same handle again."""
        with self._deaths.launching(spec.sandbox_id):
            start = asyncio.create_task(self._start(spec))
            try:
                reference = await asyncio.shield(start)
            except BaseException:
                await self._undo(start, spec.sandbox_id)
                raise
        return SandboxHandle(self.name, spec.sandbox_id, reference)

    async def resize(self, handle: SandboxHandle, memory_mb: int) -> None:
        """All that depends on memory. `EphemeralStorage` does not: `/tmp` has no limit of its own."""
        if limits := size(memory_mb, self._refusals.names):
            await self._engine.update(handle.reference, limits)

    async def destroy(self, handle: SandboxHandle) -> None:
        await self._remove(handle.reference)
        self._pauses.leave(handle.sandbox_id)
        self._deaths.report(SandboxDeath(handle.sandbox_id, "removed"))

    async def list(self) -> list[SandboxHandle]:
        found = await self._engine.containers(f"{OWNER}={self._owner}", SANDBOX)
        handles = [SandboxHandle(self.name, each["Labels"][SANDBOX], each["Id"]) for each in found]
        for handle in handles:
            self._deaths.found(handle.sandbox_id)
        return handles

    def deaths(self) -> AsyncIterator[SandboxDeath]:
        return self._deaths.all()

    async def close(self) -> None:
        await self._deaths.close()
        await self._pauses.close()
        if self._cleanups:
            await asyncio.wait(self._cleanups, timeout=CLEANUP_LIMIT)
        await self._network.close()

    # Launching

    async def _start(self, spec: SandboxSpec) -> str:
        """Start a container; where the engine refuses an option, without that option."""
        around = replace(self._around, left_out=self._refusals.names)
        if spec.foreign is None:  # an image of ours: nobody knows what others hold
            self._pauses.make_of(spec.image, around)
        if not spec.ahead and (joined := self._pauses.join(spec.sandbox_id)):
            try:
                return await self._create_and_start(spec, around, joined)
            except EngineError as error:
                log.info("network %s cannot be joined: %s", joined, error)
                self._pauses.leave(spec.sandbox_id)
        try:
            return await self._create_and_start(spec, around)
        except EngineError as error:
            if error.status not in (400, 500):
                raise
            if not await self._refusals.found(spec, around.left_out):
                raise _explained(error, spec) from error
        return await self._create_and_start(spec, replace(around, left_out=self._refusals.names))

    async def _create_and_start(
        self, spec: SandboxSpec, around: Surroundings, joined: str | None = None
    ) -> str:
        reference = await self._create(name_of(self._owner, spec.sandbox_id), container(spec, around, joined))
        try:
            await self._engine.start(reference)
        except EngineError:
            await self._remove(reference)
            raise
        return reference

    async def _create(self, name: str, document: dict[str, Any]) -> str:
        try:
            reference, warnings = await self._engine.create(name, document)
        except EngineError as error:
            if error.status != 409:
                raise
            return str((await self._engine.inspect(name))["Id"])
        self._warn(warnings)
        return reference

    def _warn(self, warnings: Iterable[str]) -> None:
        """The engine takes an option and says that it does nothing: once is enough."""
        for warning in set(warnings) - self._said:
            self._said.add(warning)
            # Whoever orders an image for another processor knows that: it has been made sure that it runs.
            level = logging.DEBUG if OTHER_PROCESSOR in warning else logging.WARNING
            log.log(level, "the engine says: %s", warning)

    # Removing

    async def _undo(self, start: asyncio.Task[str], sandbox_id: str) -> None:
        """Leave nothing of a launch that failed or is not wanted any more, and wait for that within limits."""
        cleanup = self._in_background(self._clean(start, sandbox_id))
        await asyncio.wait({cleanup}, timeout=CLEANUP_LIMIT)

    async def _clean(self, start: asyncio.Task[str], sandbox_id: str) -> None:
        # The engine cannot be stopped half-way: what it is about to make is removed when it is there.
        await asyncio.wait({start})
        name = name_of(self._owner, sandbox_id)
        if not start.cancelled() and start.exception() is None:
            name = start.result()
        try:
            await self._remove(name)
        except EngineError as error:
            log.warning("container %s stays behind until the next start: %s", name, error)
        self._pauses.leave(sandbox_id)

    def _other_died(self, container: str) -> None:
        """A container that is no sandbox has ended. One that has lost its network with it is of no more use."""
        if (sandbox_id := self._pauses.died(container)) is not None:
            log.warning("sandbox %s has lost its network: somebody ended container %s", sandbox_id, container)
            self._in_background(self._ended(sandbox_id))

    async def _ended(self, sandbox_id: str) -> None:
        """End a sandbox, whose owner hears of its death and destroys it."""
        try:
            await self._engine.kill(name_of(self._owner, sandbox_id))
        except EngineError as error:
            log.warning("sandbox %s could not be ended: %s", sandbox_id, error)

    def _in_background(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._cleanups.add(task)
        task.add_done_callback(self._cleanups.discard)
        return task

    async def _remove(self, reference: str) -> None:
        for pause in RETRIES:
            try:
                return await self._engine.remove(reference)
            except EngineError as error:
                log.info("removing container %s again in %g s: %s", reference, pause, error)
            await asyncio.sleep(pause)
        return await self._engine.remove(reference)

    async def _sweep(self) -> None:
        """Remove this owner's probes and pauses, and all that control planes left that will never come back.

        This owner's own sandboxes are the caller's, by `list`.
        """
        for each in await self._engine.containers(OWNER):
            labels = each["Labels"]
            mine = labels[OWNER] == self._owner and (PROBE in labels or PAUSE in labels)
            if mine or self._abandoned(labels):
                await self._swept(self._engine.remove, each["Id"])
        for network in await self._engine.networks(OWNER):
            if self._abandoned(network["Labels"]):
                await self._swept(self._engine.remove_network, network["Id"])

    def _abandoned(self, labels: Mapping[str, str]) -> bool:
        return labels[OWNER] != self._owner and gone(labels.get(PROCESS, ""))

    async def _swept(self, remove: Callable[[str], Awaitable[None]], reference: str) -> None:
        try:
            await remove(reference)
        except EngineError as error:  # others sweep too
            log.info("%s stays behind: %s", reference, error)

    # Probing

    async def _probe_delivery(self) -> Delivery:
        """Whether the engine sees a directory that was made just now: a container for it is created, never started.

        The image is an empty one of our own, so that nothing needs to be there yet.
        """
        image = f"berth/probe:{self._owner}"
        await self._engine.load_tree(_empty_tree(), image)
        place = self._data_dir / f"probe-{secrets.token_hex(8)}"
        place.mkdir(parents=True)
        try:
            seen = await _creates(self._engine, probe(image, self._owner, {"Mounts": [bind(place, "/seen")]}))
        finally:
            place.rmdir()
            await self._engine.remove_image(image)
        return Delivery.BIND if seen else Delivery.COPY


class _Refusals:
    """The hardening options that the engine refuses, found out the first time that it refuses something."""

    def __init__(self, engine: Engine, owner: str) -> None:
        self.names: frozenset[str] = frozenset()
        self._engine = engine
        self._owner = owner
        self._lock = asyncio.Lock()
        self._probed = False

    async def found(self, spec: SandboxSpec, assumed: frozenset[str]) -> bool:
        """Whether the engine refuses options beyond those assumed, so that another try is worth it."""
        async with self._lock:
            if not self._probed and await self._takes(spec, {}):
                self.names = frozenset(
                    [each.name for each in OPTIONS if not await self._takes_option(spec, each)]
                )
                self._probed = True
            return self.names != assumed

    async def _takes_option(self, spec: SandboxSpec, option: Option) -> bool:
        members = option.members(PROBE_MEMORY_MB)
        for _ in range(2):  # isolation is not given up for one bad moment of the engine's
            if await self._takes(spec, members):
                return True
        log.warning("the engine refuses the option %s: sandboxes %s", option.name, option.loss)
        return False

    async def _takes(self, spec: SandboxSpec, members: Mapping[str, Any]) -> bool:
        document = probe(spec.image, self._owner, members, spec.foreign)
        return await _creates(self._engine, document, start=True)


def _explained(error: EngineError, spec: SandboxSpec) -> EngineError:
    """What the engine says of a sandbox that it does not start."""
    if spec.foreign is None:
        return error
    places = FOREIGN_PLACES if spec.foreign.has_code else (*FOREIGN_PLACES, *CODE_PLACES)
    whose = "the function's image" if spec.foreign.has_code else f"the image {spec.image} for {spec.runtime}"
    return EngineError(
        f"no container of {whose} starts. Where Berth mounts ({' and '.join(places)}), the image "
        f"must have a directory or nothing. The engine says: {error}",
        error.status,
    )


async def _creates(engine: Engine, document: dict[str, Any], *, start: bool = False) -> bool:
    """Whether the engine makes a container of this, which is removed at once."""
    name = f"berth-probe-{secrets.token_hex(8)}"
    try:
        await engine.create(name, document)
        if start:
            await engine.start(name)
    except EngineError as error:
        if error.status is None:
            raise
        log.debug("the engine refuses a probe: %s", error)
        return False
    finally:
        await engine.remove(name)
    return True


def _empty_tree() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    return buffer.getvalue()
