"""Guests: processes on this machine that somebody else starts, and that serve a function as its runtime.

For debuggers: whatever runs in an IDE asks a Runtime API of its own for events, and as long as it is attached the
invocations of its version go there, one at a time, instead of into sandboxes. Nothing times out. A guest that ends and
comes back gets the event again that it had not answered. What it writes is its own terminal's matter; its log has the
platform's lines.
"""

import asyncio
import time
from asyncio import Future
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rapid.apis import Apis
from rapid.crew import Closed, Crew
from rapid.environment import Environment
from rapid.exchange import Function, Program, Ticket
from rapid.invocation import Invocation
from rapid.records import ON_DEMAND
from rapid.server import Listener
from rapid.streams import Stream
from rapid.supervisor import Observer, Tunnel, TunnelBroken
from runtime.briefing import lifecycle_settings, log_format, log_stream
from runtime.errors import LambdaError
from runtime.logs import LogStore
from runtime.model import FunctionVersion, Scope
from runtime.spawners.base import Layout
from runtime.variables import Credentials, log_group, runtime_variables

HOST = "127.0.0.1"
NOT_TOLD = frozenset(
    {
        *("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "NODE_PATH", "TZ", "LANG", "LC_CTYPE", "PWD"),
        *("LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR", "_LAMBDA_TELEMETRY_LOG_FD"),
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("AWS_XRAY_DAEMON_ADDRESS", "_AWS_XRAY_DAEMON_ADDRESS", "_AWS_XRAY_DAEMON_PORT"),
    }
)
"""Variables of a sandbox that would be wrong here: where its files are, and who it is."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a process needs to know in order to be the runtime of a version."""

    version: FunctionVersion
    variables: Mapping[str, str]


class Guests:
    """The guests of one control plane."""

    def __init__(self, logs: LogStore) -> None:
        self._logs = logs
        self._crews: dict[tuple[Scope, str, str], Crew] = {}

    def __repr__(self) -> str:
        return f"<Guests [{', '.join(':'.join(key[1:]) for key in self._crews)}]>"

    @asynccontextmanager
    async def attach(self, version: FunctionVersion, port: int = 0) -> AsyncIterator[Invitation]:
        """Let a process be the version's runtime, as long as the context lasts. Raises `LambdaError`."""
        key = (version.scope, version.name, version.version)
        if key in self._crews:
            raise LambdaError(
                "ResourceConflictException", f"{version.name}:{version.version} has a guest already."
            )
        listener = Listener(HOST, HOST)
        try:
            await listener.open(port)
        except OSError as error:
            text = f"cannot listen on port {port}: {error.strerror or error}"
            raise LambdaError("InvalidParameterValueException", text) from error
        stream = log_stream(version, datetime.now(UTC))
        environment = self._environment(version, stream, lambda: crew.idle(1), lambda: crew.ended(1))
        listener.api = Apis(environment)

        async def begun(_: int) -> Environment:
            environment.begin()
            return environment

        crew = self._crews[key] = Crew(begun, most=1, room=lambda: True)
        crew.launch()
        try:
            yield Invitation(version, _variables(version, stream, f"{HOST}:{listener.port}"))
        finally:
            del self._crews[key]
            await crew.close()
            await environment.close()
            await listener.close()

    def serve(self, version: FunctionVersion) -> bool:
        """Whether the version has a guest."""
        return bool(self._crews) and (version.scope, version.name, version.version) in self._crews

    async def run(
        self, version: FunctionVersion, invocation: Invocation, stream: Stream | None
    ) -> Ticket | None:
        """Hand the invocation to the version's guest; None where there is none any more."""
        crew = self._crews.get((version.scope, version.name, version.version))
        if crew is None:
            return None
        try:
            return await crew.run(invocation, version.config.timeout, stream)
        except Closed:
            return None

    def _environment(
        self, version: FunctionVersion, stream: str, on_idle: Callable[[], None], on_ended: Callable[[], None]
    ) -> Environment:
        writer = self._logs.writer(version.scope, log_group(version), stream)
        return Environment(
            settings=lifecycle_settings(version, ON_DEMAND, timeouts=False),
            program=Program(argv=[""], env={}, cwd=""),
            function=Function(
                version.name, version.version, version.config.handler or "", version.scope.account
            ),
            supervisor=Onlooker(),
            log=lambda event: writer.write(int(time.time() * 1000), event),
            log_format=log_format(version, stream),
            on_idle=on_idle,
            on_ended=on_ended,
            freeze=False,
        )


class Onlooker:
    """The supervisor of processes that are not ours: it can neither start nor stop nor hear them."""

    def __init__(self) -> None:
        self.observer: Observer | None = None

    def start(
        self,
        process: int,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        *,
        log_fd: int | None = None,
        log_desk: bool = False,
        files: int | None = None,
    ) -> Future[None]:
        """Whoever attaches starts it; that it has come is seen by its first `next`."""
        return _done(None)

    def list(self, path: str) -> Future[Sequence[str]]:
        """A guest has no extensions."""
        return _done(())

    def signal(self, process: int, number: int) -> None:
        """It is its user's to end."""

    def connect(self, port: int) -> Future[Tunnel]:
        future: Future[Tunnel] = asyncio.get_running_loop().create_future()
        future.set_exception(TunnelBroken("a guest has no listeners"))
        return future

    def settle(self) -> Future[int]:
        """What it writes does not come here, nor how much memory it takes."""
        return _done(0)

    def clear(self) -> Future[int]:
        return _done(0)

    def freeze(self) -> None:
        """It is never frozen."""

    def thaw(self) -> None:
        """As above."""


def _done(value: Any) -> Future[Any]:
    future: Future[Any] = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future


def _variables(version: FunctionVersion, stream: str, api: str) -> dict[str, str]:
    whole = runtime_variables(
        version, layout=Layout(), runtime_api=api, log_stream=stream, credentials=Credentials("", "", "")
    )
    return {name: value for name, value in whole.items() if name not in NOT_TOLD}
