"""The shell around `runtime.core.admission`: leases for invocations, waited for where that is worth it.

It brings the clock, the limits as the catalog has them now, and futures for those on hold; every decision is the ledger's.
"""

import asyncio
from asyncio import Future, TimerHandle
from collections.abc import Callable, Hashable

from runtime.core.admission import Hold, Ledger, Refusal, Settled
from runtime.core.leases import Lease
from runtime.core.limits import Limits, LimitsReader
from runtime.errors import LambdaError
from runtime.model import Scope
from runtime.soon import Soon
from runtime.store.catalog import Catalog


class Admission:
    """See the module's text. `limits` is shared with whoever shows them or checks new ones against them."""

    def __init__(self, catalog: Callable[[], Catalog], ledger: Ledger, limits: LimitsReader) -> None:
        self._catalog = catalog
        self._limits = limits
        self._holds: dict[Lease, tuple[Future[Refusal | None], TimerHandle]] = {}
        #: Who waits, and until when.
        self._loop = asyncio.get_running_loop()
        self.ledger = ledger

    def limits(self, scope: Scope) -> Limits:
        """As of now."""
        return self._limits.of(self._catalog(), scope)

    def take(self, lease: Lease, limits: Limits) -> Soon[None]:
        """Get the lease, which the caller then must `end`. Raises `LambdaError` where there is none to be had."""
        verdict = self.ledger.ask(lease, limits, self._loop.time())
        if isinstance(verdict, Hold):
            future: Future[Refusal | None] = self._loop.create_future()
            self._hold(lease, future, verdict)
            return self._wait(lease, future)
        if verdict is not None:
            raise _throttled(verdict)
        return None

    async def _wait(self, lease: Lease, future: Future[Refusal | None]) -> None:
        try:
            verdict = await future
        except asyncio.CancelledError:
            self.end(lease)  # whether it is on hold or was admitted in this moment
            raise
        finally:
            if held := self._holds.pop(lease, None):
                held[1].cancel()
        if verdict is not None:
            raise _throttled(verdict)

    def _hold(self, lease: Lease, future: Future[Refusal | None], hold: Hold) -> None:
        timer = self._loop.call_at(hold.until, self._patience_over, lease)
        self._holds[lease] = (future, timer)

    def _patience_over(self, lease: Lease) -> None:
        future, _ = self._holds.pop(lease)
        verdict = self.ledger.patience_over(lease, self._loop.time())
        if isinstance(verdict, Hold):
            self._hold(lease, future, verdict)
        else:
            _tell(future, verdict)

    def added_none(self, lease: Lease) -> None:
        """No environment has been added for it."""
        self.ledger.added_none(lease)

    def responded(self, lease: Lease, *, lingers: bool = False) -> None:
        """Its client has the answer; extensions may work on where it `lingers`."""
        self.ledger.responded(lease, lingers=lingers)

    def end(self, lease: Lease) -> None:
        """Its environment is free again, or it never got one."""
        if settled := self.ledger.end(lease, self._loop.time()):
            self._settle(settled)

    def allot(self, scope: Scope, key: Hashable, ready: int) -> None:
        """So many environments of provisioned concurrency are initialised for the key now."""
        self._settle(self.ledger.allot(scope, key, ready, self.limits(scope), self._loop.time()))

    def _settle(self, settled: Settled) -> None:
        for lease, verdict in settled:
            future, timer = self._holds.pop(lease)
            timer.cancel()
            _tell(future, verdict)


def _tell(future: Future[Refusal | None], verdict: Refusal | None) -> None:
    if not future.done():  # else cancelled in this moment: whoever waited gives the lease back
        future.set_result(verdict)


def _throttled(refusal: Refusal) -> LambdaError:
    return LambdaError(
        "TooManyRequestsException",
        "Rate Exceeded.",
        reason=refusal.reason,
        retry_after=refusal.retry_after,
    )
