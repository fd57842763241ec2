"""The two calls that every invocation consists of, `next` and `response`, as they concern an environment.

Shared by the Runtime API (`rapid.runtime_api`) and the shorter way past it (`rapid.shortcut`). It knows nothing of HTTP
beyond the names of headers.
"""

from asyncio import Future
from collections.abc import Callable

from rapid.environment import Environment
from rapid.exchange import Delivery
from rapid.invocation import Outcome, truncated
from rapid.partings import Receiver
from rapid.plain_text import plain
from rapid.states import RuntimeCall
from rapid.streams import Stream

PREFIX = "/2018-06-01"
INVOCATION = f"{PREFIX}/runtime/invocation/"


class RuntimeCalls:
    """Of one environment."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self.broken: tuple[str, Stream] | None = None
        """A streamed response that broke off a moment ago, and its invocation."""

    def ask_next(self, is_alive: Callable[[], bool]) -> Future[Delivery]:
        """The runtime asks for its next event, and waits as long as `is_alive` says so."""
        if self.broken is not None:  # it has not ended, for here it is
            self.cut_off(*self.broken)
        return self._environment.next(is_alive)

    def written(self, delivery: Delivery, receiver: Receiver) -> None:
        """The event is being written to the runtime's connection."""
        self._environment.written(delivery.invocation.request_id, receiver)

    def take_response(self, request_id: str, body: bytes, content_type: str | None) -> None:
        """A response that is there all at once, and no longer than it may be."""
        self._environment.begin_response(request_id, RuntimeCall.RESPONSE)
        outcome = Outcome(body, content_type=content_type or "application/json")
        self._environment.end_response(request_id, outcome)

    def cut_off(self, request_id: str, stream: Stream) -> None:
        """A streamed response ends before it is whole. It may be posted again if nothing of it has gone out."""
        if stream.size:
            self._environment.end_response(request_id, truncated(request_id, stream.size))
        else:
            self._environment.break_response(request_id)


def next_headers(delivery: Delivery) -> dict[str, str]:
    """What a runtime is told about an event beside it."""
    invocation = delivery.invocation
    headers = {
        "Content-Type": invocation.content_type,
        "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
        "Lambda-Runtime-Deadline-Ms": str(delivery.deadline_ms),
        "Lambda-Runtime-Invoked-Function-Arn": invocation.arn,
    }
    if invocation.trace_id:
        headers["Lambda-Runtime-Trace-Id"] = invocation.trace_id
    if invocation.client_context:  # JSON may have line ends between its parts, which a header cannot
        headers["Lambda-Runtime-Client-Context"] = plain(invocation.client_context)
    if invocation.cognito_identity:
        headers["Lambda-Runtime-Cognito-Identity"] = plain(invocation.cognito_identity)
    if invocation.tenant_id:
        headers["Lambda-Runtime-Aws-Tenant-Id"] = invocation.tenant_id
    return headers
