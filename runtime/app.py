"""The composition root: makes every part of the control plane, in order, and stops them in reverse.

Nothing else constructs parts of each other. The ladder down: stop accepting, let requests finish, end environments,
let go of the engine, write out logs, close the store; each step has a limit.
"""

import asyncio
import logging
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TypeAlias

import uvloop
from aiohttp import web

from runtime.admin import handlers
from runtime.admission import Admission
from runtime.agent_bundle import EngineBundle, NoBundle
from runtime.api.function_door import FunctionDoor
from runtime.api.live_code import LiveCode
from runtime.api.server import IMPLEMENTED, INVOCATIONS, Api, build_api
from runtime.bundles import Bundles
from runtime.core.admission import Ledger
from runtime.core.limits import LimitsReader
from runtime.core.room import Bounds, share
from runtime.core.scaling import Scaling
from runtime.directories import Directories
from runtime.fleet import Fleet
from runtime.function_images import FunctionImages, NoFunctionImages
from runtime.grounds import AgentBundle, Grounds
from runtime.guests import Guests
from runtime.images import RuntimeImages
from runtime.instance import Instance, acquire
from runtime.invoker import Invoker
from runtime.launcher import Launcher
from runtime.logs import LogStore
from runtime.metrics import Metrics
from runtime.model import FunctionVersion, ReservedConcurrency, Scope
from runtime.objects import Objects
from runtime.processors import Emulation, NoEmulation
from runtime.provisioning import Provisioner
from runtime.reserve import Courtesy
from runtime.sandboxes import Sandboxes
from runtime.served_runtimes import ServedRuntimes
from runtime.sessions import Sessions
from runtime.settings import Settings
from runtime.spawners.base import Delivery, Spawner
from runtime.spawners.docker import DockerSpawner
from runtime.spawners.engine import Engine, NoEngine
from runtime.spawners.local_runtime import NoImages
from runtime.spawners.process import ProcessSpawner
from runtime.standby import Standbys
from runtime.store import Store
from runtime.store.catalog import Catalog
from runtime.store.garbage import live_images

logger = logging.getLogger(__name__)

SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread must let another one run: launches and unpacking work in threads, and each time that the
event loop comes back from the kernel it would wait for them ten times as long (Python's default)."""
DESCRIPTORS = 65_536
"""Open files that are enough for as many environments as there may be."""
PATIENCE = 10.0
"""Seconds that work under way gets to finish when Berth stops: requests and invocations together."""


Ground: TypeAlias = tuple[
    Spawner,
    ServedRuntimes | NoImages,
    FunctionImages | NoFunctionImages,
    AgentBundle,
    Emulation | NoEmulation,
]
"""What functions stand on."""


class _Patience:
    """What is left of `PATIENCE`; it runs from the first question on."""

    def __init__(self) -> None:
        self._end: float | None = None

    def left(self) -> float:
        now = asyncio.get_running_loop().time()
        if self._end is None:
            self._end = now + PATIENCE
        return max(0.0, self._end - now)


def run(settings: Settings, *, ready: Callable[[str], None] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. `ready` is called with the URL once it answers.

    Raises `AlreadyRunning`, `StoreError`, `SpawnerError`, or OSError where the address cannot be bound.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    _allow_descriptors()
    with acquire(settings.data_dir) as instance, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, instance, ready))
    return 0


def _allow_descriptors() -> None:
    """An environment takes four of them, and the usual limit is one for interactive use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _serve(settings: Settings, instance: Instance, ready: Callable[[str], None] | None) -> None:
    stopped = _stop_event()
    async with AsyncExitStack() as parts:
        url = await _start(settings, instance, parts)
        instance.write_state(url)
        if ready is not None:
            ready(url)
        await stopped.wait()
        logger.info("stopping; what is under way gets %g s, a second signal ends it at once", PATIENCE)


def _stop_event() -> asyncio.Event:
    """Set by the first signal to stop; a second one ends the process at once."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()

    def stop(number: int) -> None:
        if event.is_set():
            os._exit(128 + number)
        event.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return event


async def _start(settings: Settings, instance: Instance, parts: AsyncExitStack) -> str:
    """Start everything; what `parts` holds stops it in reverse. The URL of the REST API."""
    store = await Store.open(settings.data_dir, settings.key_file)
    parts.push_async_callback(store.close)
    logs = LogStore(settings.data_dir)
    parts.push_async_callback(logs.close)
    directories = Directories(settings.hot_reload or ())
    bundles = Bundles(settings.data_dir, store.blobs, directories)
    parts.push_async_callback(bundles.close)
    courtesy = Courtesy()
    spawner, images, function_images, agent_bundle, emulation = await parts.enter_async_context(
        _spawner(settings, instance, courtesy)
    )
    sessions = Sessions()
    calls = FunctionDoor(sessions, listens=settings.functions_may_call != "nothing")
    sandboxes = Sandboxes(spawner)
    standbys = Standbys(
        sandboxes,
        images=images,
        places=bundles,
        catalog=lambda: store.catalog,
        courtesy=courtesy,
        memory_mb=settings.standby_memory if settings.standby else 0,
        room=lambda: fleet.room(),  # noqa: PLW0108  it is made later
    )
    launcher = Launcher(
        sandboxes=sandboxes,
        standbys=standbys,
        courtesy=courtesy,
        grounds=Grounds(
            images=images,
            function_images=function_images,
            agent_bundle=agent_bundle,
            bundles=bundles,
            emulation=emulation,
        ),
        bundles=bundles,
        logs=logs,
        calls=calls,
        endpoints=settings.aws_endpoint_url,
        freeze=settings.freeze,
        timeouts=not settings.suspend_timeouts,
    )
    parts.push_async_callback(launcher.close)
    fleet = Fleet(
        launcher=launcher,
        spawner=spawner,
        catalog=lambda: store.catalog,
        bounds=Bounds(
            memory=settings.memory_budget or share(_machine_memory()),
            environments=settings.max_environments,
            launches=settings.launch_parallelism or os.cpu_count() or 1,
        ),
        measures_memory=settings.memory_budget is None,
        room_wait=settings.room_wait,
        idle_timeout=settings.idle_timeout,
        may_warm=lambda version: settings.warm_ahead and _may_warm(store.catalog, version),
        directories=directories,
    )
    patience = _Patience()
    parts.push_async_callback(_end, fleet, patience)
    await fleet.open()
    parts.push_async_callback(standbys.close)
    function_images.open(lambda: live_images(store.catalog))
    admission = Admission(
        lambda: store.catalog,
        Ledger(Scaling(settings.scaling_model), limits_requests=settings.limit_request_rate),
        LimitsReader(settings.account_concurrency),
    )
    provisioner = Provisioner(lambda: store.catalog, fleet, admission)

    def changed(scope: Scope, function: str) -> None:
        fleet.retired(scope, function)
        provisioner.changed(scope, function)
        if store.catalog.function(scope, function) is None:
            admission.ledger.forget(scope, function)
        function_images.changed()

    endpoints = settings.aws_endpoint_url
    objects = Objects(endpoints.of("s3") if endpoints else None, settings.region)
    metrics = Metrics(lambda: store.catalog, lambda record: provisioner.progress(record).ready)
    guests = Guests(logs)
    api = build_api(
        store=store,
        invoker=Invoker(
            lambda: store.catalog,
            fleet,
            admission,
            settings.response_stream_rate,
            metrics=metrics,
            guests=guests,
        ),
        readiness=fleet,
        retired=changed,
        limits=admission.limits,
        provisioning=provisioner,
        account_id=settings.account_id,
        region=settings.region,
        lenient_routing=settings.lenient_routing,
        extra=handlers(
            settings=settings,
            instance=instance.id,
            fleet=fleet,
            standbys=standbys.snapshot,
            catalog=lambda: store.catalog,
            logs=logs,
            stories=fleet.stories,
            metrics=metrics,
            guests=guests,
            about=launcher.about,
        ),
        sessions=sessions,
        objects=objects,
        images=function_images,
        live=LiveCode(directories, settings.hot_reload_bucket),
    )
    calls.api = api.for_functions(IMPLEMENTED if settings.functions_may_call == "all" else INVOCATIONS)
    parts.push_async_callback(api.close)
    address = await _listen(api, settings, patience, parts)
    parts.callback(logs.end_followers)
    await api.resume_pending()
    provisioner.open()
    return address


def _machine_memory() -> int:
    """MB of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20


def _may_warm(catalog: Catalog, version: FunctionVersion) -> bool:
    """Whether it is known for whom an environment ahead would be, and it may run at all."""
    reserved = catalog.attachment(ReservedConcurrency, version.scope, version.name)
    return (reserved is None or reserved.executions > 0) and not version.config.isolates_tenants


@asynccontextmanager
async def _spawner(settings: Settings, instance: Instance, courtesy: Courtesy) -> AsyncIterator[Ground]:
    """What the settings and the surroundings give to run functions with. Raises `SpawnerError`."""
    if settings.spawner != "process":
        try:
            engine = await Engine.connect(settings.docker_host)
        except NoEngine as error:
            if settings.spawner == "docker":
                raise
            logger.warning("functions run as local processes, weakly isolated, because %s", error)
        else:
            async with _engine_spawner(engine, settings, instance, courtesy) as found:
                yield found
            return
    yield (
        ProcessSpawner(instance.id, settings.data_dir),
        NoImages(),
        NoFunctionImages(),
        NoBundle(),
        NoEmulation(),
    )


@asynccontextmanager
async def _engine_spawner(
    engine: Engine, settings: Settings, instance: Instance, courtesy: Courtesy
) -> AsyncIterator[Ground]:
    images = RuntimeImages(engine, base_image=settings.base_image, build_ca=settings.build_ca)
    function_images = FunctionImages(engine, instance.id)
    try:
        yield (
            DockerSpawner(
                engine,
                owner=instance.id,
                data_dir=settings.data_dir,
                delivery=None if settings.delivery == "auto" else Delivery(settings.delivery),
                link_host=settings.link_host,
                spare_networks=settings.spare_networks,
                courtesy=courtesy,
                keep_output=settings.log_level == "debug",
            ),
            ServedRuntimes(engine, images, settings.runtime_images, nearest=settings.nearest_runtime),
            function_images,
            EngineBundle(engine, images, settings.data_dir),
            Emulation(images.processors, settings.emulation),
        )
    finally:
        await function_images.close()
        await images.close()
        await engine.close()


async def _listen(api: Api, settings: Settings, patience: _Patience, parts: AsyncExitStack) -> str:
    server = api.server()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(server, settings.host, settings.port, backlog=1024)
    port = listener.sockets[0].getsockname()[1]
    parts.push_async_callback(_drain, server, patience)
    parts.callback(listener.close)
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _drain(server: web.Server, patience: _Patience) -> None:
    """Let requests under way finish; connections that carry none go at once."""
    server.pre_shutdown()
    half = patience.left() / 2  # it waits so long twice: for the answer, and then for the handler
    with suppress(TimeoutError):
        await server.shutdown(half)


async def _end(fleet: Fleet, patience: _Patience) -> None:
    await fleet.close(patience.left())
