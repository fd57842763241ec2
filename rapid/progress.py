"""The course of one invocation: what has happened when, and the records made of it. Pure.

What may happen is `rapid.lifecycle`'s to say; here is only the bookkeeping that would otherwise be spread over it.
"""

from dataclasses import dataclass

from rapid.invocation import Fault, Invocation, Outcome
from rapid.records import FAILURE, SUCCESS, Report, RuntimeDone, Span, ending


@dataclass(slots=True)
class Progress:
    """The invocation being worked on. Times on the clock of events; None: not yet."""

    invocation: Invocation
    began: float
    timeout: float
    """Seconds."""
    delivered: float | None = None
    #: The event went out to the parties. START has been logged then, and not before.
    answer_began: float | None = None
    answer_ended: float | None = None
    #: Of the runtime's response or error, as far as it was received.
    outcome: Outcome | None = None
    #: What the client got, whether from the runtime or by a fault.
    runtime_back: float | None = None
    #: The runtime called `next` again.
    is_told: bool = False
    #: RUNTIME_DONE has been written.
    memory_peak: int | None = None
    #: In bytes, once all output of the invocation has arrived.
    ended: float | None = None
    #: Every party is back, or a fault came first.
    fault: Fault | None = None

    @property
    def deadline(self) -> float:
        return self.began + self.timeout

    @property
    def status(self) -> tuple[str, str | None]:
        """Status and error type, as records have them."""
        if self.fault is not None:
            return ending(self.fault)
        outcome = self.outcome
        return (FAILURE, outcome.error_type) if outcome and outcome.function_error else (SUCCESS, None)

    def runtime_done(self, now: float) -> RuntimeDone:
        """Of a runtime that is back, or that will not come back."""
        self.is_told = True
        until = next(at for at in (self.runtime_back, self.ended, now) if at is not None)
        status, error_type = self.status
        produced = self.outcome.size if self.outcome and self.answer_ended is not None else None
        return RuntimeDone(
            self.invocation.request_id,
            status,
            error_type,
            until - self.began,
            produced,
            self._runtime_spans(),
            self.invocation.trace_id,
        )

    def report(
        self, memory_size: int, memory_peak: int, init_duration: float | None, restore_duration: float | None
    ) -> Report:
        """Of an invocation that has ended."""
        assert self.ended is not None
        status, error_type = self.status
        return Report(
            self.invocation.request_id,
            self.ended - self.began,
            init_duration,
            memory_size,
            memory_peak,
            status,
            error_type,
            restore_duration,
            self._overhead(),
            self.invocation.trace_id,
            self.invocation.tenant_id,
        )

    def _runtime_spans(self) -> tuple[Span, ...]:
        delivered, began, ended, back = (
            self.delivered,
            self.answer_began,
            self.answer_ended,
            self.runtime_back,
        )
        if delivered is None or began is None:
            return ()
        latency = Span("responseLatency", delivered, began - delivered)
        if ended is None:
            return (latency,)
        duration = Span("responseDuration", began, ended - began)
        return (
            (latency, duration)
            if back is None
            else (latency, duration, Span("runtimeOverhead", ended, back - ended))
        )

    def _overhead(self) -> tuple[Span, ...]:
        """What extensions took after the runtime was done."""
        if self.runtime_back is None or self.ended is None or self.ended <= self.runtime_back:
            return ()
        return (Span("extensionOverhead", self.runtime_back, self.ended - self.runtime_back),)
