"""The emulator: one function in its own container, invoked over HTTP, as AWS's Runtime Interface Emulator has it.

The same environments as the control plane's, but that their processes are this process's children
(`rapid.local_processes`) and that their Runtime API is on the loopback interface. Here is only how the parts are put
together, and what happens from the start to the end.
"""

import asyncio
import logging
import os
import signal
import socket
from asyncio import Transport
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from rapid.agent import names_in
from rapid.concurrent_crew import ConcurrentCrew, InitialisationFailed
from rapid.concurrent_environment import ConcurrentEnvironment
from rapid.crew import Closed, Crew, Overloaded
from rapid.emulator_log import EmulatorFormat, log_to_stderr, write
from rapid.emulator_options import BACKLOG, Options, cannot_listen, variables
from rapid.environment import Environment
from rapid.exchange import Function, Program, Ticket
from rapid.extension_variables import extension_variables
from rapid.invocation import Fault, Invocation
from rapid.invoke_calls import ACCOUNT, InvokeCalls, InvokeShortcut, Refused
from rapid.local_api import LocalApi
from rapid.local_processes import LocalSupervisor, Reaper
from rapid.platform_events import Identity
from rapid.porch import Entrance
from rapid.records import MANAGED, ON_DEMAND
from rapid.settings import LONGEST, Settings
from rapid.states import Phase
from rapid.streams import Stream
from rapid.subscriptions import HOSTS

if TYPE_CHECKING:
    from rapid.invoke_server import InvokeServer

logger = logging.getLogger("rapid")

CONNECTIONS = 8192
"""To the door, at a time; so many may be plain ones, and so many the HTTP server's."""
KEEP_ALIVE = 300.0
PER_PROCESSOR = 8
"""Environments at a time for each processor, unless it is said how many."""
SPARE = 64 << 20
"""Bytes of memory that stay free when another environment is launched."""
FIRST_GUESS = 64 << 20
"""Bytes that an environment takes, as long as none has told."""
SETTLE_LIMIT = 1.0
"""Seconds that the end waits for invocations that have been answered to be over."""
OPT = "/opt"
HOSTS_FILE = "/etc/hosts"


class Emulator:
    """From `open` to `close`."""

    def __init__(self, options: Options, environ: Mapping[str, str]) -> None:
        self._options = options
        self._variables = variables(options, environ)
        self._reaper = Reaper()
        processors = len(os.sched_getaffinity(0))
        most = options.most or max(2, PER_PROCESSOR * processors)
        bounds: dict[str, Any] = {"most": most, "room": self._has_room, "at_once": processors}
        slots = options.concurrency
        self._many = ConcurrentCrew(self._launch, slots=slots, **bounds) if slots else None
        #: The crew, if its environments serve many invocations at once.
        self._crew = self._many or Crew(self._launch, **bounds)
        self._calls = InvokeCalls(
            self,
            name=options.name,
            version=options.version,
            region=self._variables["AWS_REGION"],
            cors=options.cors,
        )
        self._door = Entrance(
            InvokeShortcut(self._calls).take, self._long_way, admit=self._admit, keep_alive=KEEP_ALIVE
        )
        self._web: InvokeServer | None = None
        #: The HTTP server, once something has needed it.
        self._server: asyncio.Server | None = None
        self._host = options.api[0]
        everywhere = self._host in ("0.0.0.0", "localhost")
        self._peer_host = "127.0.0.1" if everywhere else self._host
        #: Where the runtime finds its API, and comes from.
        self._first = LocalApi(self._host, self._peer_host)
        #: Has its port from the start on, so that nobody else takes it.
        self._running: set[Ticket] = set()
        self._peak = 0
        #: The most that one environment has taken.

    async def open(self, door: socket.socket) -> None:
        """Take invocations that come to a socket that listens. Raises `Misused`."""
        loop = asyncio.get_running_loop()
        self._reaper.open()
        try:
            await self._first.open(self._options.api[1])
            self._server = await loop.create_server(self._door, sock=door, backlog=BACKLOG)
        except OSError as error:
            raise cannot_listen(self._options.api, error) from error
        logger.debug("taking invocations at %s:%d", *door.getsockname()[:2])
        command = " ".join(self._options.argv)
        logger.info("exec '%s' (cwd=%s, handler=%s)", command, self._options.cwd, self._options.handler)

    async def close(self) -> None:
        """Take no more, and end what runs: extensions get the time that they have on Lambda."""
        if self._server is not None:
            self._server.close()
        if self._web is not None:
            await self._web.forget_events()
        if answered := [ticket.completed for ticket in self._running if ticket.outcome.done()]:
            await asyncio.wait(answered, timeout=SETTLE_LIMIT)  # their log is not whole yet
        await self._crew.close()
        self._door.close()
        if self._web is not None:
            await self._web.close()
        await self._first.close()
        self._reaper.close()

    async def run(self, invocation: Invocation, stream: Stream | None = None) -> Ticket:
        try:
            ticket = await self._crew.run(invocation, self._options.timeout, stream)
        except InitialisationFailed as failure:
            return _failed(invocation, stream, failure.fault)
        except Overloaded:
            raise Refused(429, "TooManyRequestsException", "Rate Exceeded.") from None
        except Closed:
            raise Refused(503, "ServiceUnavailableException", "The emulator is about to end.") from None
        self._running.add(ticket)
        ticket.completed.add_done_callback(lambda _: self._running.discard(ticket))
        return ticket

    async def _launch(self, number: int) -> "Cabin":
        listener = self._first
        if number > 1:
            listener = LocalApi(self._host, self._peer_host)
            await listener.open()
        cabin = Cabin(listener, kept=number == 1, gone=partial(self._gone, number))
        supervisor = LocalSupervisor(self._reaper, f"{self._peer_host}:{listener.port}")
        cabin.board(self._environment(number, supervisor, cabin), supervisor)
        return cabin

    def _gone(self, number: int, init_failure: Fault | None) -> None:
        if self._many is None:
            self._crew.ended(number)
        else:
            self._many.ended(number, init_failure)

    def _environment(self, number: int, supervisor: LocalSupervisor, cabin: "Cabin") -> Environment:
        options, many = self._options, self._many
        own = {**self._variables, "AWS_LAMBDA_RUNTIME_API": supervisor.runtime_api}

        def measure() -> None:
            self._peak = max(self._peak, environment.memory_peak)

        def on_idle() -> None:
            measure()
            self._crew.idle(number)

        def on_room(change: int) -> None:
            measure()
            if many is not None:
                many.offer(number, change)

        identity = Identity(
            function=options.name,
            version=options.version,
            instance=own["AWS_LAMBDA_LOG_STREAM_NAME"],
            memory_size=options.memory_size,
        )
        make = partial(ConcurrentEnvironment, on_room=on_room) if many else Environment
        environment: Environment = make(
            settings=self._settings(),
            program=Program(
                options.argv, own, options.cwd, OPT, extension_variables(own), log_desk=many is not None
            ),
            function=Function(options.name, options.version, options.handler, ACCOUNT),
            supervisor=supervisor,
            log=write,
            log_format=EmulatorFormat(identity, json=options.json_logs),
            on_idle=on_idle,
            on_ended=cabin.leave,
            freeze=False,
        )
        return environment

    def _settings(self) -> Settings:
        """As with AWS's emulator an initialisation has no limit of its own."""
        options = self._options
        return Settings(
            options.version,
            options.memory_size,
            "",
            "",
            init_limit=LONGEST,
            initialization_type=MANAGED if options.concurrency else ON_DEMAND,
            max_concurrency=options.concurrency or 1,
        )

    def _has_room(self) -> bool:
        from rapid.memory import free_memory  # noqa: PLC0415  only where there is more than one

        return free_memory() > (self._peak or FIRST_GUESS) + SPARE

    def _long_way(self) -> asyncio.Protocol:
        from rapid.invoke_server import InvokeServer  # noqa: PLC0415  see `rapid.porch`

        if self._web is None:
            self._web = InvokeServer(self._calls, self._admit, KEEP_ALIVE)
        return self._web.protocol()

    def _admit(self, _: Transport, others: int) -> bool:
        return others < CONNECTIONS


def _failed(invocation: Invocation, stream: Stream | None, fault: Fault) -> Ticket:
    """The answer to an invocation that no environment has heard of."""
    ticket = Ticket(stream)
    ticket.respond(fault.outcome(invocation.request_id))
    ticket.completed.cancel()
    return ticket


class Cabin:
    """One environment with what belongs to it. The first one's listener is `kept` open for the next."""

    def __init__(self, listener: LocalApi, *, kept: bool, gone: Callable[[Fault | None], None]) -> None:
        self._listener = listener
        self._kept = kept
        self._gone = gone
        self._environment: Environment | None = None
        self._supervisor: LocalSupervisor | None = None
        self._leaving: asyncio.Task[None] | None = None

    def board(self, environment: Environment, supervisor: LocalSupervisor) -> None:
        """Begin the environment's life."""
        self._environment, self._supervisor = environment, supervisor
        self._listener.serve(environment)
        environment.begin()

    @property
    def is_open(self) -> bool:
        """Whether an environment for many invocations at once takes any."""
        return self._aboard().phase is Phase.SERVING

    def invoke(self, invocation: Invocation, limit: float, stream: Stream | None) -> Ticket:
        return self._aboard().invoke(invocation, limit, stream)

    def shut_down(self) -> None:
        if not self._aboard().is_over:
            self._aboard().shut_down()

    def leave(self) -> None:
        """The environment has ended."""
        self._leaving = asyncio.get_running_loop().create_task(self._leave())

    async def _leave(self) -> None:
        self._listener.serve(None)
        await self._aboard().close()
        if self._supervisor is not None:
            self._supervisor.close()
        if not self._kept:
            await self._listener.close()
        self._gone(self._aboard().init_failure)

    def _aboard(self) -> Environment:
        if self._environment is None:
            raise RuntimeError("there is no environment yet")
        return self._environment


def serve(options: Options, environ: Mapping[str, str], door: socket.socket) -> int:
    """Run until told to stop; the exit status. Raises `Misused`."""
    log_to_stderr(options.log_level)
    asyncio.run(_serve(options, environ, door))
    return 0


async def _serve(options: Options, environ: Mapping[str, str], door: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    name_ourselves()
    emulator = Emulator(options, environ)
    try:
        await emulator.open(door)
        await stop.wait()
        logger.info("Shutdown initiated: %s", "spindown")
    finally:
        await emulator.close()


def name_ourselves(hosts: str = HOSTS_FILE) -> None:
    """Let listeners of telemetry know where they are, as far as we may: they listen on a name that only Lambda has."""
    if not names_in(f"{OPT}/extensions"):
        return
    try:
        with open(hosts, "r+") as file:  # noqa: PTH123  pathlib would take its time
            if HOSTS[0] not in file.read():
                file.write("".join(f"127.0.0.1\t{name}\n" for name in HOSTS))
    except OSError as error:
        logger.debug("%s does not resolve for extensions: %s", HOSTS[0], error)
