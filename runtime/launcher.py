"""Makes execution environments: a sandbox, its link, the function's files in it, a Runtime API of its own.

Everything that takes time and can fail between "an environment is needed" and "it initialises". How many there are
and whom they serve is the fleet's business.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from rapid.apis import Apis
from rapid.concurrent_environment import ConcurrentEnvironment
from rapid.environment import Environment
from rapid.exchange import Function, Ticket
from rapid.invocation import Invocation
from rapid.server import Listener
from rapid.supervisor import SupervisorLost
from runtime.briefing import (
    Outside,
    fetched_credentials,
    lifecycle_settings,
    log_format,
    log_stream,
    program,
)
from runtime.bundles import Bundles, is_composed
from runtime.grounds import Ground, Grounds
from runtime.image_facts import Image
from runtime.links import Link, LinkServer
from runtime.logs import LogStore
from runtime.model import FunctionVersion, Scope
from runtime.neighbours import Endpoints, function_variables
from runtime.spawners.base import (
    Delivery,
    SandboxDeath,
    SandboxHandle,
    SandboxSpec,
    Spawner,
    SpawnerError,
    SpawnerFacts,
)
from runtime.variables import Credentials, log_group

logger = logging.getLogger(__name__)

DIAL_LIMIT = 30.0
"""Seconds in which the agent of a started sandbox must dial in."""
COPY_LIMIT = 120.0
"""Seconds in which a function's files must have been copied into its sandbox."""


class Calls(Protocol):
    """How functions call Berth: who they are, and the door for them, which opens where sandboxes can reach it."""

    async def open(self, host: str) -> None: ...
    def url(self, host: str) -> str | None: ...
    def begin(self, sandbox_id: str, scope: Scope, peer: str) -> Credentials: ...
    def end(self, sandbox_id: str) -> None: ...
    async def close(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class Hosted:
    """An execution environment and the sandbox it lives in."""

    number: int
    version: FunctionVersion
    handle: SandboxHandle
    link: Link
    environment: Environment
    log_stream: str
    ended: asyncio.Future[None]
    """Done when the environment is over and the sandbox can go."""
    launched: float = field(default_factory=time.time)
    """Seconds of the Unix epoch."""
    invocations: int = 0


class Launcher:
    """See the module's text. Shares one link server and what the spawner prepared among all environments."""

    def __init__(
        self,
        *,
        spawner: Spawner,
        grounds: Grounds,
        bundles: Bundles,
        logs: LogStore,
        calls: Calls,
        endpoints: Endpoints | None = None,
        freeze: bool,
        timeouts: bool = True,
    ) -> None:
        self._spawner = spawner
        self._grounds = grounds
        self._bundles = bundles
        self._logs = logs
        self._freeze = freeze
        self._timeouts = timeouts
        self._links = LinkServer()
        self._calls = calls
        self._endpoints = endpoints
        self._dialled: dict[str, asyncio.Future[Link]] = {}
        #: By sandbox, from before its start to its end: its link, once its agent has dialled in.
        self._removals: set[asyncio.Task[None]] = set()
        #: Sandboxes being destroyed: whoever asked for it may be cancelled, that work not.
        self._prepared: asyncio.Task[SpawnerFacts] | None = None
        self.prepared = asyncio.Event()
        #: Set once preparation has succeeded.

    async def prepare(self) -> SpawnerFacts:
        """Find out about the surroundings, once; remove what an earlier control plane left. Raises `SpawnerError`."""
        if self._prepared is None or (self._prepared.done() and self._prepared.exception() is not None):
            self._prepared = asyncio.create_task(self._prepare())
        return await asyncio.shield(self._prepared)

    async def _prepare(self) -> SpawnerFacts:
        facts = await self._spawner.prepare()
        leftovers = await self._spawner.list()
        if leftovers:
            logger.info("removing %d sandboxes that an earlier run left", len(leftovers))
        await asyncio.gather(*(self._destroy(handle) for handle in leftovers))
        try:
            await self._links.open(facts.link_host)
            await self._calls.open(facts.link_host)
        except OSError as error:
            raise SpawnerError(
                f"cannot listen on {facts.link_host} for sandboxes: {error} (setting link_host)"
            ) from error
        self.prepared.set()
        logger.info("sandboxes: %s", facts.description)
        return facts

    def about(self) -> dict[str, str]:
        """What is known of the surroundings by now; `function_host` is this machine as functions see it."""
        prepared = self._prepared
        if prepared is None or not prepared.done():
            return {"spawner": "preparing"}
        if prepared.cancelled() or prepared.exception() is not None:
            return {"spawner": "unavailable"}
        facts = prepared.result()
        return {"spawner": facts.description, "function_host": facts.dial_host}

    async def close(self) -> None:
        """Let go of what all environments share. The environments are the caller's to end, before."""
        if self._prepared is not None:
            self._prepared.cancel()
            await asyncio.wait([self._prepared])
        if self._removals:
            await asyncio.wait(self._removals)
        await self._links.close()
        await self._calls.close()
        await self._spawner.close()

    async def make_ready(self, version: FunctionVersion, progress: Callable[[str], None]) -> None:
        """Have the image and the files of a version at hand, so that its first invocation need not wait for them."""
        facts = await self.prepare()
        await self._grounds.of(version, facts.delivery, progress)

    async def check(self, version: FunctionVersion) -> None:
        """Raise `PreparationFailed` where the version's code can never run."""
        await self._grounds.check(version)

    def copies(self, version: FunctionVersion) -> bool:
        """Whether its sandboxes have copies of directories of the host, and not the directories themselves."""
        prepared = self._prepared
        if prepared is not None and prepared.done() and not prepared.cancelled() and not prepared.exception():
            return prepared.result().delivery is Delivery.COPY or is_composed(version.layers)
        return is_composed(version.layers)

    def died(self, death: SandboxDeath) -> None:
        """The spawner says that a sandbox is dead."""
        dialled = self._dialled.get(death.sandbox_id)
        if dialled is None or dialled.cancelled():
            return
        if not dialled.done():
            text = f"the sandbox ended before its agent dialled in: {death.reason}"
            dialled.set_exception(SpawnerError(text))
        elif dialled.exception() is None:
            dialled.result().cut(death.reason, out_of_memory=death.out_of_memory)

    @asynccontextmanager
    async def launch(
        self,
        number: int,
        version: FunctionVersion,
        kind: str,
        *,
        on_idle: Callable[[Hosted], None],
        on_room: Callable[[Hosted, int], None],
        on_ended: Callable[[Hosted], None],
        on_given_back: Callable[[Hosted, Invocation, Ticket], None],
    ) -> AsyncIterator[Hosted]:
        """An environment for the version, not yet begun; what it holds is released when the context ends.

        `kind` is its initialization type.
        Raises `SpawnerError` when the sandbox does not come up; nothing is left behind then.
        """
        facts = await self.prepare()
        ground = await self._grounds.of(version, facts.delivery, logger.info)
        async with AsyncExitStack() as held:
            if ground.trees is not None and is_composed(version.layers):
                opt = await held.enter_async_context(self._bundles.composed(version.layers))
                ground = replace(ground, trees=(ground.trees[0], opt))
            spec = self._spec(version, ground, facts)
            held.callback(self._calls.end, spec.sandbox_id)  # when the sandbox is gone for good
            handle, link = await self._start(spec, held)
            if facts.delivery is Delivery.COPY and ground.trees is not None:
                task_root, opt = ground.trees
                await self._copy(link, handle, task_root, opt if version.config.layers else None)
            listener = Listener(facts.link_host, link.peer)
            await listener.open()
            held.push_async_callback(listener.close)
            if link.lost is not None:  # before there was an environment to be told
                raise SpawnerError(f"the sandbox ended before its environment could initialise: {link.lost}")
            outside = Outside(
                api=f"{facts.dial_host}:{listener.port}",
                credentials=self._calls.begin(handle.sandbox_id, version.scope, link.peer),
                endpoints=function_variables(
                    self._endpoints, facts.dial_host, self._calls.url(facts.dial_host)
                ),
            )
            hosted = self._hosted(
                number,
                version,
                kind,
                handle=handle,
                link=link,
                outside=outside,
                image=ground.own,
                on_idle=on_idle,
                on_room=on_room,
                on_ended=on_ended,
                on_given_back=on_given_back,
            )
            held.push_async_callback(hosted.environment.close)
            listener.api = Apis(hosted.environment)
            yield hosted

    def _spec(self, version: FunctionVersion, ground: Ground, facts: SpawnerFacts) -> SandboxSpec:
        bound = ground.trees if facts.delivery is Delivery.BIND else None
        task_root, opt = bound or (None, None)
        return SandboxSpec(
            sandbox_id=secrets.token_hex(8),
            runtime=version.config.runtime or "",
            image=ground.image,
            memory_mb=version.config.memory_size,
            ephemeral_storage_mb=version.config.ephemeral_storage,
            task_root=task_root,
            opt=opt,
            foreign=ground.foreign,
            link=f"{facts.dial_host}:{self._links.port}",
            token=secrets.token_urlsafe(24),
        )

    async def _start(self, spec: SandboxSpec, held: AsyncExitStack) -> tuple[SandboxHandle, Link]:
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

    async def _copy(self, link: Link, handle: SandboxHandle, task_root: Path, opt: Path | None) -> None:
        try:
            async with asyncio.timeout(COPY_LIMIT):
                async with self._bundles.archived(task_root) as archive:
                    await link.deliver(handle.layout.task_root, archive)
                if opt is not None:
                    async with self._bundles.archived(opt) as archive:
                        await link.deliver(handle.layout.opt, archive)
        except SupervisorLost as error:
            raise SpawnerError(f"the sandbox ended while its files were copied: {error}") from error
        except TimeoutError:
            raise SpawnerError(
                f"the function's files were not copied into the sandbox within {COPY_LIMIT:.0f} s"
            ) from None

    def _hosted(
        self,
        number: int,
        version: FunctionVersion,
        kind: str,
        *,
        handle: SandboxHandle,
        link: Link,
        outside: Outside,
        image: Image | None,
        on_idle: Callable[[Hosted], None],
        on_room: Callable[[Hosted, int], None],
        on_ended: Callable[[Hosted], None],
        on_given_back: Callable[[Hosted, Invocation, Ticket], None],
    ) -> Hosted:
        stream = log_stream(version, datetime.now(UTC))
        writer = self._logs.writer(version.scope, log_group(version), stream)
        link.has_enough = lambda: writer.is_ahead
        make: Callable[..., Environment] = Environment
        if version.config.managed is not None:
            make = partial(ConcurrentEnvironment, on_room=lambda change: on_room(hosted, change))
        environment = make(
            settings=lifecycle_settings(version, kind, timeouts=self._timeouts),
            program=program(version, handle.layout, stream, outside, kind, image=image),
            function=Function(
                version.name, version.version, version.config.handler or "", version.scope.account
            ),
            supervisor=link,
            log=lambda event: writer.write(int(time.time() * 1000), event),
            log_format=log_format(version, stream),
            on_idle=lambda: on_idle(hosted),
            on_ended=lambda: on_ended(hosted),
            on_given_back=lambda invocation, ticket: on_given_back(hosted, invocation, ticket),
            freeze=self._freeze,
            credentials=fetched_credentials(version, outside.credentials),
        )
        hosted: Hosted = Hosted(
            number=number,
            version=version,
            handle=handle,
            link=link,
            environment=environment,
            log_stream=stream,
            ended=asyncio.get_running_loop().create_future(),
        )
        return hosted
