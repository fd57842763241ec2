"""Makes execution environments: a sandbox, its link, the function's files in it, a Runtime API of its own.

Everything that takes time and can fail between "an environment is needed" and "it initialises". How many there are
and whom they serve is the fleet's business.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
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
from runtime.files import StorageFull
from runtime.grounds import Ground, Grounds
from runtime.image_facts import Image
from runtime.links import Link
from runtime.logs import LogStore
from runtime.model import FunctionVersion, Scope
from runtime.neighbours import Endpoints, function_variables
from runtime.reserve import Courtesy
from runtime.sandboxes import Order, Sandbox, Sandboxes, cannot_listen
from runtime.spawners.base import (
    Delivery,
    SandboxDeath,
    SandboxHandle,
    SandboxLost,
    SpawnerError,
    SpawnerFacts,
)
from runtime.standby import Standbys
from runtime.variables import Credentials, log_group

logger = logging.getLogger(__name__)

COPY_LIMIT = 120.0
"""Seconds in which a function's files must have been copied into its sandbox."""
ANSWER_LIMIT = 2.0
"""Seconds in which the agent of a sandbox that stood by must answer: its link may have been silent for days."""
MOST_LINKED = 8000
"""Files of a function up to which a standby serves it: with more, linking them takes longer than a new sandbox."""


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


@dataclass(frozen=True, slots=True)
class _Stage:
    """Everything that an environment needs around it."""

    sandbox: Sandbox
    listener: Listener
    outside: Outside
    image: Image | None
    """The function's own, where it has one."""


class Launcher:
    """See the module's text. Shares what the spawner prepared among all environments."""

    def __init__(
        self,
        *,
        sandboxes: Sandboxes,
        standbys: Standbys,
        courtesy: Courtesy,
        grounds: Grounds,
        bundles: Bundles,
        logs: LogStore,
        calls: Calls,
        endpoints: Endpoints | None = None,
        freeze: bool,
        timeouts: bool = True,
    ) -> None:
        self._sandboxes = sandboxes
        self._standbys = standbys
        self._courtesy = courtesy
        self._grounds = grounds
        self._bundles = bundles
        self._logs = logs
        self._freeze = freeze
        self._timeouts = timeouts
        self._calls = calls
        self._endpoints = endpoints
        self._prepared: asyncio.Task[SpawnerFacts] | None = None
        self.prepared = asyncio.Event()
        #: Set once preparation has succeeded.

    async def prepare(self) -> SpawnerFacts:
        """Find out about the surroundings, once; remove what an earlier control plane left. Raises `SpawnerError`."""
        if self._prepared is None or (self._prepared.done() and self._prepared.exception() is not None):
            self._prepared = asyncio.create_task(self._prepare())
        return await asyncio.shield(self._prepared)

    async def _prepare(self) -> SpawnerFacts:
        facts = await self._sandboxes.prepare()
        try:
            await self._calls.open(facts.link_host)
        except OSError as error:
            raise cannot_listen(facts.link_host, error) from error
        self.prepared.set()
        self._standbys.open()
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
        await self._sandboxes.close()
        await self._calls.close()

    async def make_ready(self, version: FunctionVersion, progress: Callable[[str], None]) -> None:
        """Have the image and the files of a version at hand, so that its first invocation need not wait for them."""
        facts = await self.prepare()
        ground = await self._grounds.of(version, facts.delivery, progress)
        self._standbys.image_is_there(version.config.runtime or "")
        if facts.delivery is Delivery.COPY:
            for tree in filter(self._bundles.has, ground.trees or ()):
                await self._bundles.archive(tree)

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
        self._sandboxes.died(death)

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
        async with AsyncExitStack() as held:
            with self._courtesy.launch():
                try:
                    stage = await self._stage(version, held)
                except SpawnerError:
                    self._grounds.doubt(version)
                    raise
            hosted = self._hosted(
                number,
                version,
                kind,
                stage,
                on_idle=on_idle,
                on_room=on_room,
                on_ended=on_ended,
                on_given_back=on_given_back,
            )
            held.push_async_callback(hosted.environment.close)
            stage.listener.api = Apis(hosted.environment)
            yield hosted

    async def _stage(self, version: FunctionVersion, held: AsyncExitStack) -> _Stage:
        facts = await self.prepare()
        ground = await self._grounds.of(version, facts.delivery, logger.info, launches=True)
        if ground.trees is not None and is_composed(version.layers):
            opt = await held.enter_async_context(self._bundles.composed(version.layers))
            ground = replace(ground, trees=(ground.trees[0], opt))
        sandbox = await self._sandbox(version, ground, held)
        link = sandbox.link
        if facts.delivery is Delivery.COPY and ground.trees is not None:
            task_root, layers = ground.trees
            await self._copy(sandbox, task_root, layers if version.config.layers else None)
        listener = Listener(facts.link_host, link.peer)
        await listener.open()
        held.push_async_callback(listener.close)
        if link.lost is not None:  # before there was an environment to be told
            raise SandboxLost(f"the sandbox ended before its environment could initialise: {link.lost}")
        outside = Outside(
            api=f"{facts.dial_host}:{listener.port}",
            credentials=self._calls.begin(sandbox.handle.sandbox_id, version.scope, link.peer),
            endpoints=function_variables(self._endpoints, facts.dial_host, self._calls.url(facts.dial_host)),
        )
        return _Stage(sandbox, listener, outside, ground.own)

    async def _sandbox(self, version: FunctionVersion, ground: Ground, held: AsyncExitStack) -> Sandbox:
        """One that stands by, else a new one; as good as each other for the function."""
        binds = self._sandboxes.the_facts.delivery is Delivery.BIND
        task_root, opt = (ground.trees if binds else None) or (None, None)
        order = Order(
            runtime=version.config.runtime or "",
            image=ground.image,
            memory_mb=version.config.memory_size,
            ephemeral_storage_mb=version.config.ephemeral_storage,
            task_root=task_root,
            opt=opt,
            foreign=ground.foreign,
        )
        sandbox = await self._claimed(order) or await self._sandboxes.start(order)
        held.callback(self._calls.end, sandbox.handle.sandbox_id)  # when the sandbox is gone for good
        held.push_async_callback(sandbox.close)
        return sandbox

    async def _claimed(self, order: Order) -> Sandbox | None:
        """A sandbox that stood by and has become what is ordered; None where none does."""
        if order.foreign is not None or not await self._can_be_linked(order):
            return None
        standby = self._standbys.claim(order.runtime, order.memory_mb)
        if standby is None:
            return None
        try:
            with ExitStack() as held:
                held.callback(self._standbys.discard, standby)
                sandbox = await self._standbys.claimed(standby)
                await self._fit(sandbox, order)
                held.pop_all()
        except (SpawnerError, OSError, StorageFull) as error:
            logger.info("a sandbox that stood by was of no use: %s", error)
            return None
        return sandbox

    async def _can_be_linked(self, order: Order) -> bool:
        """Not a directory of the host's, which is shown as it is, nor very many files."""
        trees = [tree for tree in (order.task_root, order.opt) if tree is not None]
        if not all(self._bundles.has(tree) for tree in trees):
            return False
        return sum([await self._bundles.count(tree) for tree in trees]) <= MOST_LINKED

    async def _fit(self, sandbox: Sandbox, order: Order) -> None:
        """Make of a sandbox that stood by what is ordered. Raises what makes it useless."""
        stood = sandbox.order
        if stood.image != order.image:
            raise SpawnerError("the image has been made anew since it was started")
        work: list[Coroutine[None, None, None]] = [_answers(sandbox.link)]
        if stood.memory_mb != order.memory_mb:
            work.append(self._sandboxes.resize(sandbox, order.memory_mb))
        if stood.task_root and stood.opt and order.task_root and order.opt:
            shown = {stood.task_root: order.task_root, stood.opt: order.opt}
            work.append(self._bundles.fill(sandbox.handle.sandbox_id, shown))
        for done in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(done, BaseException):
                raise done
        sandbox.order = order
        if sandbox.link.lost is not None:
            raise SpawnerError(f"it has ended: {sandbox.link.lost}")

    async def _copy(self, sandbox: Sandbox, task_root: Path, opt: Path | None) -> None:
        link, layout = sandbox.link, sandbox.handle.layout
        try:
            async with asyncio.timeout(COPY_LIMIT):
                async with self._bundles.archived(task_root) as archive:
                    await link.deliver(layout.task_root, archive)
                if opt is not None:
                    async with self._bundles.archived(opt) as archive:
                        await link.deliver(layout.opt, archive)
        except SupervisorLost as error:
            raise SandboxLost(f"the sandbox ended while its files were copied: {error}") from error
        except TimeoutError:
            raise SpawnerError(
                f"the function's files were not copied into the sandbox within {COPY_LIMIT:.0f} s"
            ) from None

    def _hosted(
        self,
        number: int,
        version: FunctionVersion,
        kind: str,
        stage: _Stage,
        *,
        on_idle: Callable[[Hosted], None],
        on_room: Callable[[Hosted, int], None],
        on_ended: Callable[[Hosted], None],
        on_given_back: Callable[[Hosted, Invocation, Ticket], None],
    ) -> Hosted:
        handle, link, outside = stage.sandbox.handle, stage.sandbox.link, stage.outside
        stream = log_stream(version, datetime.now(UTC))
        writer = self._logs.writer(version.scope, log_group(version), stream)
        link.has_enough = lambda: writer.is_ahead
        make: Callable[..., Environment] = Environment
        if version.config.managed is not None:
            make = partial(ConcurrentEnvironment, on_room=lambda change: on_room(hosted, change))
        environment = make(
            settings=lifecycle_settings(version, kind, timeouts=self._timeouts),
            program=program(version, handle.layout, stream, outside, kind, image=stage.image),
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


async def _answers(link: Link) -> None:
    """Something on the way may have dropped a silent connection without telling either end."""
    try:
        async with asyncio.timeout(ANSWER_LIMIT):
            await link.settle()
    except (TimeoutError, SupervisorLost) as error:
        raise SpawnerError(f"its agent does not answer: {error or 'it is silent'}") from error
