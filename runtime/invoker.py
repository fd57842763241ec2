"""The one way to run a function: every door (REST, later queues, URLs, schedules) hands its requests in here.

Decides which version a request means, gets a lease for it and an environment from the fleet, and reports what the
runtime answered. Knows nothing of HTTP, containers or the life inside an environment.
"""

import asyncio
import random
import time
from asyncio import Future
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NoReturn, Protocol

from rapid.exchange import Ticket
from rapid.invocation import Invocation
from rapid.records import Report
from rapid.streamed import Streamed
from rapid.streams import Stream
from rapid.traces import trace_header
from rapid.values import value
from runtime.admission import Admission
from runtime.core.leases import Lease
from runtime.core.routing import as_run_by, choose
from runtime.core.tallies import Tally
from runtime.core.token_bucket import BURST, TokenBucket
from runtime.errors import LambdaError, unfit_state
from runtime.fleet import Fleet
from runtime.metrics import Metrics, ran, refused
from runtime.model import LATEST, FunctionVersion, Scope, State
from runtime.names import function_arn, function_missing, names_alias
from runtime.soon import Soon, settled
from runtime.store.catalog import Catalog
from runtime.tenancy import check_tenant


@value(frozen=True, slots=True, kw_only=True)
class InvokeRequest:
    """What a door knows about an invocation. `payload` is checked JSON; `client_context` decoded JSON text."""

    scope: Scope
    function: str
    qualifier: str | None
    payload: bytes
    request_id: str
    content_type: str | None = None
    client_context: str | None = None
    trace_id: str | None = None
    """The `X-Amzn-Trace-Id` that came with the request."""
    tenant_id: str | None = None
    """Whom the invocation is for, where the function isolates tenants."""
    tail: bool = False
    """Wait for the end of the invocation's log and give its last 4 KB."""
    is_awaited: bool = True
    """Whether a client waits for the answer. Where none does there is no limit to the rate of requests."""


@value(frozen=True, slots=True, kw_only=True)
class InvokeResult:
    payload: bytes
    executed_version: str
    function_error: str | None
    """`Unhandled` when the payload is an error of the function or its environment."""
    log_tail: bytes
    trace_id: str


Told = Callable[[Callable[[], InvokeResult]], None]
"""Is told of a result by what gives it, or raises."""


@dataclass(slots=True, eq=False)
class Run:
    """An invocation on its way into an environment, and then in one."""

    request: InvokeRequest
    version: FunctionVersion
    invocation: Invocation
    stream: Stream | None = None
    lease: Lease = field(init=False)
    tally: Tally = field(init=False)
    coming: Future[Ticket] | None = None
    """What it has to wait for."""
    ticket: Ticket = field(init=False)
    """When that is over."""
    told: Told | None = None
    """Who is to know of the result."""


class Guests(Protocol):
    """Processes outside of sandboxes that serve versions."""

    def serve(self, version: FunctionVersion) -> bool: ...

    async def run(
        self, version: FunctionVersion, invocation: Invocation, stream: Stream | None
    ) -> Ticket | None:
        """None where the version has no guest any more."""
        ...


class NoGuests:
    """Nobody."""

    def serve(self, version: FunctionVersion) -> bool:  # noqa: ARG002
        return False

    async def run(self, version: FunctionVersion, invocation: Invocation, stream: Stream | None) -> None:
        """Not asked: nobody serves."""


class Invoker:
    """See the module's text."""

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        fleet: Fleet,
        admission: Admission,
        stream_rate: int = 0,
        *,
        metrics: Metrics | None = None,
        guests: Guests | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._catalog = catalog
        self._fleet = fleet
        self._admission = admission
        self._stream_rate = stream_rate
        #: Bytes a second of one streamed response, 0 for no limit.
        self._metrics = metrics or Metrics(catalog)
        self._guests = guests or NoGuests()
        self._draw = draw
        #: Decides for weighted aliases: a number from 0 up to 1, anew for each invocation.
        self._tasks: set[asyncio.Task[InvokeResult]] = set()
        #: Of those who do not wait themselves.

    def check(self, request: InvokeRequest) -> FunctionVersion:
        """The version that the request means, as it is to be run.

        Raises `LambdaError` when it does not exist or cannot run now.
        """
        version = self._find(request.scope, request.function, request.qualifier or LATEST)
        if version is None:
            raise function_missing(request.scope, request.function, request.qualifier)
        if version.state is not State.ACTIVE:
            raise unfit_state(version.state)
        check_tenant(version.config, request.tenant_id)
        return version

    def _find(self, scope: Scope, function: str, qualifier: str) -> FunctionVersion | None:
        catalog = self._catalog()
        if not names_alias(qualifier):
            return catalog.function(scope, function, qualifier)
        alias = catalog.alias(scope, function, qualifier)
        if alias is None:
            return None
        number = choose(alias, self._draw()) if alias.weights else alias.version
        version = catalog.function(scope, function, number)
        return None if version is None else as_run_by(alias, version)

    async def invoke(self, request: InvokeRequest) -> InvokeResult:
        """Run the function and wait for its answer. Raises `LambdaError`.

        A caller that is cancelled does not stop the function.
        """
        return await self._result(self._begin(request))

    def start(self, request: InvokeRequest, told: Told) -> None:
        """The same for who does not wait: `told` is called once, with what gives the result or raises.

        What can be done at once has been, or has raised `LambdaError`; there is a task only where more than the
        outcome is waited for.
        """
        begun = self._begin(request)
        if isinstance(begun, Run) and not request.tail:
            begun.told = told
            if begun.coming is None:
                self._tell(begun)
            return
        task = asyncio.get_running_loop().create_task(self._result(begun))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda task: told(task.result))

    async def stream(self, request: InvokeRequest) -> Streamed:
        """Run the function; the answer is to be taken as it comes. Raises `LambdaError`."""
        stream = Stream()
        run = await self._there(self._begin(request, stream))
        ticket, lease = run.ticket, run.lease
        ticket.outcome.add_done_callback(lambda _: self._admission.responded(lease, lingers=ticket.lingers))
        rate = self._stream_rate
        return Streamed(
            ticket,
            stream,
            executed_version=run.version.version,
            trace_id=run.invocation.trace_id,
            bucket=TokenBucket(rate, BURST, time.monotonic()) if rate else None,
        )

    def _begin(self, request: InvokeRequest, stream: Stream | None = None) -> Soon[Run]:
        """Have it run, and counted, in an environment of the kind that its lease is for. Raises `LambdaError`."""
        run = Run(request, self.check(request), _invocation(request), stream)
        admission = self._lease(run)
        return self._admitted(run) if admission is None else self._when_admitted(run, admission)

    async def _result(self, begun: Soon[Run]) -> InvokeResult:
        run = await self._there(begun)
        await run.ticket.outcome
        result = self._answered(run)
        return replace(result, log_tail=await _log_tail(run.ticket)) if run.request.tail else result

    def _answered(self, run: Run) -> InvokeResult:
        """The result without a log, once the outcome is there."""
        ticket = run.ticket
        outcome = ticket.outcome.result()
        self._admission.responded(run.lease, lingers=ticket.lingers)
        return InvokeResult(
            payload=outcome.payload,
            executed_version=run.version.version,
            function_error="Unhandled" if outcome.function_error else None,
            log_tail=b"",
            trace_id=run.invocation.trace_id,
        )

    async def _when_admitted(self, run: Run, admission: Awaitable[None]) -> Run:
        try:
            await admission
        except LambdaError as error:
            self._metrics.throttled(run.version, run.request.qualifier, error)
            raise
        return await settled(self._admitted(run))

    def _admitted(self, run: Run) -> Soon[Run]:
        run.tally = self._metrics.admitted(run.version, run.request.qualifier)
        if self._guests.serve(run.version):
            return self._by_guest(run)
        self._in_environment(run)
        return run

    async def _by_guest(self, run: Run) -> Run:
        try:
            ticket = await self._guests.run(run.version, run.invocation, run.stream)
        except BaseException as reason:
            self._not_run(run, reason)
            raise
        if ticket is None:
            self._in_environment(run)
        else:
            self._ran(run, ticket)
        return run

    def _in_environment(self, run: Run) -> None:
        try:
            provisioned = run.lease.is_provisioned
            found = self._fleet.run(run.version, run.invocation, run.stream, provisioned=provisioned)
        except BaseException as reason:
            self._not_run(run, reason)
            raise
        if isinstance(found, Ticket):
            self._ran(run, found)
        else:
            run.coming = found
            found.add_done_callback(lambda _: self._came(run, found))

    def _came(self, run: Run, found: Future[Ticket]) -> None:
        """What the run had to wait for is there, or will not be. Told of it twice, nothing happens."""
        if run.coming is None:
            return
        run.coming = None
        try:
            ticket = found.result()
        except BaseException as reason:  # noqa: BLE001  whoever waits for it gets the same
            self._not_run(run, reason)
            if run.told is not None:
                run.told(partial(_raise, reason))
        else:
            self._ran(run, ticket)
            if run.told is not None:
                self._tell(run)

    async def _there(self, begun: Soon[Run]) -> Run:
        """A run that is in its environment."""
        run = await settled(begun)
        coming = run.coming
        if coming is not None:
            try:
                await coming
            finally:
                self._came(run, coming)  # who waits may be woken before who was to be told first
        return run

    def _tell(self, run: Run) -> None:
        """Have `told` know when the outcome is there."""
        run.ticket.outcome.add_done_callback(lambda _: run.told and run.told(partial(self._answered, run)))

    def _not_run(self, run: Run, reason: BaseException) -> None:
        self._admission.added_none(run.lease)
        self._admission.end(run.lease)
        refused(run.tally, reason)

    def _ran(self, run: Run, ticket: Ticket) -> None:
        run.ticket, lease = ticket, run.lease
        if not ticket.is_first:
            self._admission.added_none(lease)
        counted = ran(run.tally, lease.use)

        def over(completed: Future[Report]) -> None:
            self._admission.end(lease)
            counted(completed)

        ticket.completed.add_done_callback(over)

    def _lease(self, run: Run) -> Awaitable[None] | None:
        """The right to run the version now. It ends when an environment is free again, or there was none."""
        version, request = run.version, run.request
        limits = self._admission.limits(version.scope)
        provisioned = version.name in limits.provisioned and version.version != LATEST
        run.lease = Lease(
            version.scope,
            version.name,
            version.version,
            provisioned=self._fleet.provisioned_key(version) if provisioned else None,
            grows=not self._fleet.has_free(version, request.tenant_id),
            is_awaited=request.is_awaited,
        )
        try:
            return self._admission.take(run.lease, limits)
        except LambdaError as error:
            self._metrics.throttled(version, request.qualifier, error)
            raise


def _invocation(request: InvokeRequest) -> Invocation:
    return Invocation(
        request_id=request.request_id,
        arn=function_arn(request.scope, request.function, request.qualifier),
        payload=request.payload,
        trace_id=trace_header(request.trace_id),
        content_type=request.content_type or "application/json",
        client_context=request.client_context,
        tenant_id=request.tenant_id,
    )


def _raise(reason: BaseException) -> NoReturn:
    raise reason


async def _log_tail(ticket: Ticket) -> bytes:
    await asyncio.wait([ticket.completed])
    return ticket.tail.content()
