"""The last things that happened to an environment, for whoever asks what became of it. Pure.

Kept as small tuples in a ring: an event may carry megabytes of payload, and a story is written for every invocation and
read for hardly any.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from rapid.events import (
    CodeChanged,
    Event,
    ExtensionErrorPosted,
    ExtensionExited,
    ExtensionNextCalled,
    ExtensionNotStarted,
    ExtensionRegistered,
    ExtensionsFound,
    InitErrorPosted,
    InvocationSettled,
    InvokeArrived,
    LimitPassed,
    ResponseBegan,
    ResponseBroke,
    ResponseEnded,
    RestoreErrorPosted,
    RuntimeExited,
    RuntimeNotStarted,
    SandboxLost,
    Settled,
    TelemetrySubscribed,
    TimerFired,
)
from rapid.plain_text import plain
from rapid.platform_events import timestamp
from rapid.states import Phase, RuntimeState

LENGTH = 200
"""Events that are kept."""
DETAIL = 200
"""Characters of what is said about one: names and reasons may come from functions."""

_DETAILS: Mapping[type, Callable[[Any], str]] = {
    InvokeArrived: lambda event: event.invocation.request_id,
    ResponseBegan: lambda event: f"{event.request_id} {event.call}",
    ResponseEnded: lambda event: f"{event.request_id}{' function error' * event.outcome.function_error}",
    ResponseBroke: lambda event: event.request_id,
    InitErrorPosted: lambda event: event.error_type,
    RestoreErrorPosted: lambda event: event.error_type,
    RuntimeNotStarted: lambda event: event.fault.message,
    RuntimeExited: lambda event: event.status.text(),
    ExtensionsFound: lambda event: ", ".join(event.names) or "none",
    ExtensionRegistered: lambda event: f"{event.name} as {event.identifier}",
    ExtensionNextCalled: lambda event: event.identifier,
    ExtensionErrorPosted: lambda event: f"{event.identifier} {event.call.value} {event.error_type}",
    ExtensionNotStarted: lambda event: f"{event.name}: {event.text}",
    ExtensionExited: lambda event: f"{event.name}: {event.status.text()}",
    TelemetrySubscribed: lambda event: f"{event.identifier} {','.join(event.types)}",
    TimerFired: lambda event: event.timer.value,
    Settled: lambda event: event.drain,
    LimitPassed: lambda event: event.request_id,
    InvocationSettled: lambda event: event.request_id,
    CodeChanged: lambda event: "" if event.ahead else "initialises with the next invocation",
    SandboxLost: lambda event: event.reason,
}


_Entry = tuple[float, type, str, Phase, RuntimeState]
"""When, what, about whom, and the states that it led to."""


class Story:
    """What happened, oldest first."""

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque(maxlen=LENGTH)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, event: Event, phase: Phase, runtime: RuntimeState, refused: str = "") -> None:
        """An event, and the states that it led to; `refused` says why it led nowhere."""
        kind = type(event)
        tell = _DETAILS.get(kind)
        detail = tell(event)[:DETAIL] if tell is not None else ""
        if refused:
            detail = f"{detail} REFUSED: {refused}".lstrip()[:DETAIL]
        self._entries.append((event.now, kind, detail, phase, runtime))

    def lines(self, offset: float) -> list[str]:
        """One line an event: time, phase and runtime's state after it, its name, what it was about.

        `offset` is what the clock of events lacks to the Unix epoch, in seconds.
        """
        return [
            f"{timestamp(now + offset)}  {phase:<8}  {runtime:<24}  {kind.__name__} {plain(detail)}".rstrip()
            for now, kind, detail, phase, runtime in self._entries
        ]
