"""An environment's life at every stage that tests begin from, and what they look at.

Times in the stories: initialisation begins at 0, whole seconds after it, so that durations can be read off.
"""

import copy
from dataclasses import replace
from typing import Any

import pytest

from rapid.events import (
    Began,
    Cleared,
    Complete,
    Do,
    Drain,
    Effect,
    Effects,
    Event,
    ExtensionRegistered,
    ExtensionsFound,
    InitErrorPosted,
    InvokeArrived,
    NextCalled,
    ResponseBegan,
    ResponseEnded,
    RestoreErrorPosted,
    RestoreNextCalled,
    RuntimeExited,
    Settle,
    Settled,
    ShutdownAsked,
    Write,
)
from rapid.invocation import ExitStatus, Fault, Invocation, Outcome
from rapid.lifecycle import Lifecycle
from rapid.records import InitReport, InitRuntimeDone, InitStart, Report, RuntimeDone, Start
from rapid.settings import Settings
from rapid.states import RuntimeCall

SETTINGS = Settings("$LATEST", 128, "python:3.11", "arn:aws:lambda:us-east-1::runtime:ab")
ONE = Invocation(request_id="one", arn="arn", payload=b"{}", trace_id="")
TWO = replace(ONE, request_id="two")
ANSWER = Outcome(b'"ok"')
TIMEOUT = 3.0
MB = 1024**2
CRASH = ExitStatus(1)
NOT_FOUND = Fault("Runtime.InvalidEntrypoint", "fork/exec /var/task/bootstrap: no such file or directory")
FAILURE = Fault("Sandbox.Failure", "The execution environment was shut down")

BEGINNING = InitStart("python:3.11", "arn:aws:lambda:us-east-1::runtime:ab")
INIT_START = Write(BEGINNING)
INIT_AGAIN = Write(replace(BEGINNING, phase="invoke"))
DRAIN = Settle(Drain.INVOCATION)
REPORT = Report("one", duration=1, init_duration=None, memory_size=128, memory_peak=30 * MB)


def started(invocation: Invocation = ONE) -> Write:
    return Write(Start(invocation.request_id, "$LATEST", invocation.arn))


def over(report: Report) -> Effects:
    """An invocation's end, as logged and as told."""
    return [Write(report), Complete(report)]


def initialised(duration: float = 1, phase: str = "init") -> Effects:
    """What is logged of an initialisation that succeeded, once its output is there."""
    return [Write(InitReport(duration, phase, "success")), Do.CLOSE_SUBSCRIPTIONS]


def hand(environment: Lifecycle, event: Event) -> Effects:
    """The effects of an event, but for what is told of the runtime's part in it: that has stories of its own."""
    effects = environment.handle(event)
    environment.check()
    return [each for each in effects if not isinstance(_record(each), InitRuntimeDone | RuntimeDone)]


def _record(effect: Effect) -> object:
    return effect.record if isinstance(effect, Write) else None


def cold() -> Lifecycle:
    return Lifecycle(SETTINGS)


def tell(environment: Lifecycle, *events: Event) -> Lifecycle:
    """Hand in events whose effects are not this story's matter."""
    for event in events:
        environment.handle(event)
        environment.check()
    return environment


def initialising() -> Lifecycle:
    return tell(cold(), Began(0), ExtensionsFound(0, 1, ()))


def draining() -> Lifecycle:
    """Initialised in one second; what was written meanwhile is on its way."""
    return tell(initialising(), NextCalled(1))


def idle() -> Lifecycle:
    return tell(draining(), Settled(1, Drain.INIT, MB))


def working() -> Lifecycle:
    """Took `ONE` at 2; its deadline is at 5."""
    return tell(idle(), InvokeArrived(2, ONE, TIMEOUT))


def responding() -> Lifecycle:
    return tell(working(), ResponseBegan(2, "one", RuntimeCall.RESPONSE))


def erring() -> Lifecycle:
    return tell(working(), ResponseBegan(2, "one", RuntimeCall.ERROR))


def responded() -> Lifecycle:
    return tell(responding(), ResponseEnded(2, "one", ANSWER))


def settling() -> Lifecycle:
    """Back at `next` at 3: one second for the invocation."""
    return tell(responded(), NextCalled(3))


def warm() -> Lifecycle:
    """Idle again after one invocation, whose report carried the initialisation."""
    return tell(settling(), Settled(3, Drain.INVOCATION, 30 * MB))


def init_failed() -> Lifecycle:
    return tell(initialising(), InitErrorPosted(1, "Runtime.ImportModuleError", b"{}"))


def failed() -> Lifecycle:
    """Cold again, after an initialisation that crashed."""
    return tell(initialising(), RuntimeExited(1, 1, CRASH), Cleared(1, MB))


def initialising_late() -> Lifecycle:
    """The second initialisation, inside the invocation that came at 2."""
    return tell(failed(), InvokeArrived(2, ONE, TIMEOUT), ExtensionsFound(2, 2, ()))


def clearing() -> Lifecycle:
    """`ONE` crashed at 3."""
    return tell(working(), RuntimeExited(3, 1, CRASH))


def with_snapshots() -> Lifecycle:
    """Initialising; the runtime is to ask for a snapshot."""
    settings = replace(SETTINGS, initialization_type="snap-start", init_limit=130)
    return tell(Lifecycle(settings), Began(0), ExtensionsFound(0, 1, ()))


def snapshot_awaited() -> Lifecycle:
    """The runtime has asked for it; an extension inside it is not ready."""
    environment = tell(with_snapshots(), ExtensionRegistered(0, "inside", (), "i"))
    return tell(environment, RestoreNextCalled(1))


def restoring() -> Lifecycle:
    """Initialised in one second, being restored since."""
    return tell(with_snapshots(), RestoreNextCalled(1))


def restore_failed() -> Lifecycle:
    return tell(restoring(), RestoreErrorPosted(2, "Runtime.AfterRestoreError", b"{}"))


def shutting_down() -> Lifecycle:
    return tell(idle(), ShutdownAsked(3))


def ended() -> Lifecycle:
    return tell(shutting_down(), Cleared(3, 0))


STAGES = {
    function.__name__: function
    for function in (
        cold, initialising, draining, idle, working, responding, erring, responded, settling, warm, init_failed, failed,
        initialising_late, clearing, snapshot_awaited, restoring, restore_failed, shutting_down, ended,
    )
}  # fmt: skip


def changes_nothing(
    environment: Lifecycle, event: Event, refusal: type[Exception]
) -> pytest.ExceptionInfo[Any]:
    before = picture(environment)
    with pytest.raises(refusal) as caught:
        environment.handle(event)
    assert picture(environment) == before
    return caught


def picture(environment: Lifecycle) -> dict[str, Any]:
    """All of its state; the story goes on also with what changes nothing."""
    return {name: copy.deepcopy(value) for name, value in vars(environment).items() if name != "story"}


def ignores(environment: Lifecycle, event: Event) -> bool:
    before = picture(environment)
    return environment.handle(event) == [] and picture(environment) == before
