"""The one way to run a function: every door (REST, later queues, URLs, schedules) hands its requests in here.

Decides which version a request means, gets a lease for it and an environment from the fleet, and reports what the
runtime answered. Knows nothing of HTTP, containers or the life inside an environment.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Protocol

from rapid.exchange import Ticket
from rapid.invocation import Invocation
from rapid.streamed import Streamed
from rapid.streams import Stream
from rapid.traces import trace_header
from rapid.values import value
from runtime.admission import Admission
from runtime.core.leases import Lease
from runtime.core.routing import as_run_by, choose
from runtime.core.token_bucket import BURST, TokenBucket
from runtime.errors import LambdaError, unfit_state
from runtime.fleet import Fleet
from runtime.metrics import Metrics, ran, refused
from runtime.model import LATEST, FunctionVersion, Scope, State
from runtime.names import function_arn, function_missing, names_alias
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
        version = self.check(request)
        invocation = _invocation(request)
        ticket, lease = await self._run(request, version, invocation)
        outcome = await ticket.outcome
        self._admission.responded(lease, lingers=ticket.lingers)
        return InvokeResult(
            payload=outcome.payload,
            executed_version=version.version,
            function_error="Unhandled" if outcome.function_error else None,
            log_tail=await _log_tail(ticket) if request.tail else b"",
            trace_id=invocation.trace_id,
        )

    async def stream(self, request: InvokeRequest) -> Streamed:
        """Run the function; the answer is to be taken as it comes. Raises `LambdaError`."""
        version = self.check(request)
        invocation = _invocation(request)
        stream = Stream()
        ticket, lease = await self._run(request, version, invocation, stream)
        ticket.outcome.add_done_callback(lambda _: self._admission.responded(lease, lingers=ticket.lingers))
        rate = self._stream_rate
        return Streamed(
            ticket,
            stream,
            executed_version=version.version,
            trace_id=invocation.trace_id,
            bucket=TokenBucket(rate, BURST, time.monotonic()) if rate else None,
        )

    async def _run(
        self,
        request: InvokeRequest,
        version: FunctionVersion,
        invocation: Invocation,
        stream: Stream | None = None,
    ) -> tuple[Ticket, Lease]:
        """Have it run, and counted, in an environment of the kind that its lease is for."""
        lease = await self._lease(version, request)
        tally = self._metrics.admitted(version, request.qualifier)
        try:
            ticket = None
            if self._guests.serve(version):
                ticket = await self._guests.run(version, invocation, stream)
            if ticket is None:
                ticket = await self._fleet.run(version, invocation, stream, provisioned=lease.is_provisioned)
        except BaseException as reason:
            self._admission.added_none(lease)
            self._admission.end(lease)
            refused(tally, reason)
            raise
        if not ticket.is_first:
            self._admission.added_none(lease)
        ticket.completed.add_done_callback(lambda _: self._admission.end(lease))
        ran(tally, ticket, lease.use)
        return ticket, lease

    async def _lease(self, version: FunctionVersion, request: InvokeRequest) -> Lease:
        """The right to run the version now. It ends when an environment is free again, or there was none."""
        limits = self._admission.limits(version.scope)
        provisioned = version.name in limits.provisioned and version.version != LATEST
        lease = Lease(
            version.scope,
            version.name,
            version.version,
            provisioned=self._fleet.provisioned_key(version) if provisioned else None,
            grows=not self._fleet.has_free(version, request.tenant_id),
            is_awaited=request.is_awaited,
        )
        try:
            await self._admission.take(lease, limits)
        except LambdaError as error:
            self._metrics.throttled(version, request.qualifier, error)
            raise
        return lease


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


async def _log_tail(ticket: Ticket) -> bytes:
    await asyncio.wait([ticket.completed])
    return ticket.tail.content()
