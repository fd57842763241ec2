"""One execution environment at work: its doors for who owns it, for the runtime and for extensions.

What is called here becomes an event for the core, `rapid.lifecycle`; what follows is carried out by the shell that this
refines, `rapid.shell`. It does not know who sends it invocations.
"""

import time
from asyncio import Future
from collections.abc import Callable, Sequence

from rapid import errors
from rapid.events import (
    Began,
    CodeChanged,
    ExtensionErrorPosted,
    ExtensionNextCalled,
    ExtensionRegistered,
    InitErrorPosted,
    InvokeArrived,
    NextCalled,
    ResponseBegan,
    ResponseBroke,
    ResponseEnded,
    RestoreErrorPosted,
    RestoreNextCalled,
    ShutdownAsked,
    TelemetrySubscribed,
)
from rapid.exchange import Delivery, Notice, Registered, Ticket
from rapid.extensions import Extension, ExtensionRefused
from rapid.identifiers import new_uuid
from rapid.invocation import Fault, Invocation, Outcome
from rapid.partings import Receiver
from rapid.polls import Poll
from rapid.shell import Shell
from rapid.states import ExtensionCall, ExtensionState, Phase, RuntimeCall, RuntimeState
from rapid.streams import Stream
from rapid.subscriptions import Api, Subscription


class Environment(Shell):
    """See the module's text. What is called at the end of any call here, `rapid.shell` says."""

    @property
    def phase(self) -> Phase:
        return self._core.phase

    @property
    def is_over(self) -> bool:
        """Whether it takes no invocation any more."""
        return self._core.is_over

    @property
    def init_failure(self) -> Fault | None:
        """What its last initialisation failed of; None where that was successful, or is not over."""
        return self._core.init_failure

    @property
    def has_extensions(self) -> bool:
        """Whether extensions are switched on."""
        return not self._processes.are_extensions_off

    # The owner's side

    def begin(self) -> None:
        """Initialise ahead of any invocation; `on_idle` tells the end of it, successful or not."""
        self._handle(Began(time.monotonic()))

    def invoke(
        self,
        invocation: Invocation,
        timeout: float,
        stream: Stream | None = None,
        ticket: Ticket | None = None,
    ) -> Ticket:
        """Hand in an invocation; only while idle. `timeout` in seconds; `stream` gets a streamed response.

        `ticket` is that of an invocation that another environment gave back.
        """
        self._ticket = ticket = ticket or Ticket(stream)
        self._journal.tail = ticket.tail
        self._handle(InvokeArrived(time.monotonic(), invocation, timeout))
        return ticket

    def renew(self, *, ahead: bool) -> None:
        """Its code has changed: end what has loaded it, and initialise again, at once or when it is invoked.

        Not during an invocation. `on_idle` tells the end of it.
        """
        self._handle(CodeChanged(time.monotonic(), ahead))

    def shut_down(self) -> None:
        """Kill everything; `on_ended` tells the end of it."""
        self._handle(ShutdownAsked(time.monotonic()))

    async def close(self) -> None:
        """Let go of what it holds, once it has ended."""
        await self._telemetry.close()

    # The runtime's side. These raise `IllegalTransition` and `UnknownRequest`.

    def next(self, is_alive: Callable[[], bool]) -> Future[Delivery]:
        """The runtime asks for its next event. `is_alive` tells whether it still waits for the answer."""
        if not (self._poll.is_abandoned and self._core.runtime is RuntimeState.READY):
            self._handle(NextCalled(time.monotonic()))
        return self._poll.ask(is_alive)

    def written(self, request_id: str, receiver: Receiver) -> None:
        """The answer to its `next` is being written to its connection."""
        self._handovers.written(request_id, receiver)

    def begin_response(self, request_id: str, call: RuntimeCall) -> Stream | None:
        """A result or an error comes in. The stream that wants its bytes, if one does."""
        self._handle(ResponseBegan(time.monotonic(), request_id, call))
        self._handovers.read(request_id)
        return self._ticket.stream if self._ticket else None

    def end_response(self, request_id: str, outcome: Outcome) -> None:
        self._handle(ResponseEnded(time.monotonic(), request_id, outcome))

    def break_response(self, request_id: str) -> None:
        self._handle(ResponseBroke(time.monotonic(), request_id))

    def init_error(self, error_type: str, payload: bytes) -> None:
        self._handle(InitErrorPosted(time.monotonic(), error_type, payload))

    def restore_next(self, is_alive: Callable[[], bool]) -> Future[bool]:
        """The runtime is ready for a snapshot, and asks to be told when it has been restored from it."""
        self._handle(RestoreNextCalled(time.monotonic()))
        return self._restore_poll.ask(is_alive)

    def restore_error(self, error_type: str, payload: bytes) -> None:
        self._handle(RestoreErrorPosted(time.monotonic(), error_type, payload))

    # The extensions' side. These raise `ExtensionRefused`.

    def register_extension(self, name: str, events: Sequence[str]) -> Registered:
        """An extension makes itself known."""
        identifier = new_uuid()
        self._extension_polls[identifier] = Poll()
        try:
            self._handle(ExtensionRegistered(time.monotonic(), name, tuple(events), identifier))
        except ExtensionRefused:
            del self._extension_polls[identifier]
            raise
        return Registered(identifier, self._function)

    def extension_next(self, identifier: str, is_alive: Callable[[], bool]) -> Future[Notice]:
        """An extension asks for its next event. `is_alive` tells whether it still waits for the answer."""
        extension = self._core.extensions.find(identifier)
        waits = extension is not None and extension.state is ExtensionState.READY
        poll = self._extension_polls.setdefault(identifier, Poll()) if extension else Poll()
        if not (waits and poll.is_abandoned):
            self._handle(ExtensionNextCalled(time.monotonic(), identifier))
        return poll.ask(is_alive)

    def extension_error(self, identifier: str, call: ExtensionCall, error_type: str) -> None:
        """An extension gives up, `INIT_ERROR` or `EXIT_ERROR`."""
        self._handle(ExtensionErrorPosted(time.monotonic(), identifier, call, error_type))

    def check_extension(self, identifier: str) -> None:
        """Raise where nobody has registered under the identifier."""
        self._extension(identifier)

    def subscribe(self, identifier: str, subscription: Subscription) -> None:
        """An extension subscribes to telemetry."""
        name, api = self._extension(identifier).name, subscription.api
        former = self._telemetry.api_of(name)
        if former not in (None, api):
            raise ExtensionRefused(errors.subscribed_elsewhere(name, api.value))
        is_logs = api is Api.LOGS
        self._handle(TelemetrySubscribed(time.monotonic(), identifier, subscription.types, is_logs))
        self._telemetry.subscribe(name, subscription)

    def _extension(self, identifier: str) -> Extension:
        extension = self._core.extensions.find(identifier)
        if extension is None:
            raise ExtensionRefused(errors.unknown_extension(identifier))
        return extension
