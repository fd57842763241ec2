"""The life of an environment as conversations: an event goes in, these effects come out.

What times there are in the stories, `tests.helpers.stages` says.
"""

from dataclasses import replace

import pytest

from rapid.events import (
    Arm,
    Began,
    Cleared,
    CodeChanged,
    Deliver,
    Do,
    Drain,
    Event,
    ExtensionsFound,
    FindExtensions,
    InitErrorPosted,
    InvokeArrived,
    NextCalled,
    Respond,
    ResponseBegan,
    ResponseBroke,
    ResponseEnded,
    RestoreErrorPosted,
    RestoreNextCalled,
    RuntimeExited,
    SandboxLost,
    Settle,
    Settled,
    ShutdownAsked,
    StartRuntime,
    Timer,
    TimerFired,
    Write,
)
from rapid.invocation import Outcome
from rapid.lifecycle import Lifecycle
from rapid.records import (
    InitReport,
    InitRuntimeDone,
    Report,
    RestoreReport,
    RestoreRuntimeDone,
    RestoreStart,
    RuntimeDone,
    Span,
)
from rapid.settings import init_limit
from rapid.states import Phase, RuntimeCall, RuntimeState
from tests.helpers.stages import (
    ANSWER,
    CRASH,
    DRAIN,
    INIT_AGAIN,
    INIT_START,
    MB,
    ONE,
    REPORT,
    SETTINGS,
    STAGES,
    TIMEOUT,
    TWO,
    cold,
    draining,
    erring,
    failed,
    hand,
    ignores,
    init_failed,
    initialised,
    initialising,
    initialising_late,
    over,
    responded,
    responding,
    restore_failed,
    restoring,
    started,
    tell,
    warm,
    with_snapshots,
    working,
)

# A life without faults


def test_cold_success() -> None:
    """An initialisation ahead, an invocation, its report with the init duration, idle again."""
    environment = cold()
    assert hand(environment, Began(0)) == [INIT_START, FindExtensions(1), Arm(Timer.INIT, 10, 1)]
    assert hand(environment, ExtensionsFound(0, 1, ())) == [StartRuntime(1)]
    assert hand(environment, NextCalled(1)) == [Do.DISARM, Settle(Drain.INIT)]
    assert hand(environment, Settled(1.1, Drain.INIT, MB)) == [*initialised(), Do.FREEZE, Do.IDLE]
    assert hand(environment, InvokeArrived(2, ONE, TIMEOUT)) == [
        Do.THAW,
        started(),
        Deliver(ONE, 5),
        Arm(Timer.INVOKE, 5, 1),
    ]
    assert hand(environment, ResponseBegan(2.5, "one", RuntimeCall.RESPONSE)) == []
    assert hand(environment, ResponseEnded(2.6, "one", ANSWER)) == [Respond(ANSWER), DRAIN]
    assert hand(environment, NextCalled(3)) == [Do.DISARM]
    report = replace(REPORT, init_duration=1)
    assert hand(environment, Settled(3.1, Drain.INVOCATION, 30 * MB)) == [*over(report), Do.FREEZE, Do.IDLE]
    assert environment.phase is Phase.IDLE


def test_warm_success() -> None:
    """A second invocation's report has no init duration; nothing is started."""
    environment = warm()
    assert hand(environment, InvokeArrived(10, TWO, 60)) == [
        Do.THAW,
        started(TWO),
        Deliver(TWO, 70),
        Arm(Timer.INVOKE, 70, 1),
    ]
    tell(
        environment,
        ResponseBegan(11, "two", RuntimeCall.RESPONSE),
        ResponseEnded(11, "two", ANSWER),
        NextCalled(12),
    )
    report = replace(REPORT, request_id="two", duration=2, memory_peak=31 * MB)
    assert hand(environment, Settled(12, Drain.INVOCATION, 31 * MB)) == [*over(report), Do.FREEZE, Do.IDLE]


def test_output_that_has_arrived_before_next() -> None:
    """Usually the output is there before the runtime is back at `next`, and the environment is idle at once."""
    environment = responded()
    assert hand(environment, Settled(2.5, Drain.INVOCATION, 30 * MB)) == []
    report = replace(REPORT, init_duration=1)
    assert hand(environment, NextCalled(3)) == [Do.DISARM, *over(report), Do.FREEZE, Do.IDLE]
    assert environment.phase is Phase.IDLE


def test_error_posted_by_the_runtime() -> None:
    """An error that the function raised is its answer; the environment lives on and the report says failure, which its text leaves out."""
    environment = erring()
    raised = Outcome(b'{"errorType":"ValueError"}', function_error=True)
    assert hand(environment, ResponseEnded(2, "one", raised)) == [Respond(raised), DRAIN]
    tell(environment, NextCalled(3))
    report = replace(REPORT, init_duration=1, status="failure")
    assert hand(environment, Settled(3, Drain.INVOCATION, 30 * MB)) == [*over(report), Do.FREEZE, Do.IDLE]


def test_next_while_running() -> None:
    """A runtime that asks again before it answered gets the same event again, with the same deadline."""
    assert hand(working(), NextCalled(2.5)) == [Deliver(ONE, 5)]


def test_response_cut_off() -> None:
    """A response that broke off may be posted again, or be followed by an error."""
    environment = responding()
    assert hand(environment, ResponseBroke(2, "one")) == []
    assert environment.runtime is RuntimeState.RUNNING
    tell(environment, ResponseBegan(2, "one", RuntimeCall.ERROR))
    assert hand(environment, ResponseEnded(2, "one", ANSWER)) == [Respond(ANSWER), DRAIN]


def test_memory_peak_never_falls() -> None:
    """The reported peak is that of the environment's whole life."""
    environment = tell(warm(), InvokeArrived(4, TWO, TIMEOUT), ResponseBegan(4, "two", RuntimeCall.RESPONSE))
    tell(environment, ResponseEnded(4, "two", ANSWER), NextCalled(5))
    report = replace(REPORT, request_id="two")
    assert hand(environment, Settled(5, Drain.INVOCATION, 20 * MB))[:2] == over(report)


# Code that changes


def test_code_changes_while_idle() -> None:
    """What has loaded it is killed, and a new runtime initialises at once, as the first one did."""
    environment = warm()
    assert hand(environment, CodeChanged(5, ahead=True)) == [Do.DISARM, Do.CLEAR]
    limit = Arm(Timer.INIT, 6 + SETTINGS.init_limit, 2)
    assert hand(environment, Cleared(6, 0)) == [INIT_START, FindExtensions(2), limit]
    assert hand(environment, ExtensionsFound(6, 2, ())) == [StartRuntime(2)]
    tell(environment, NextCalled(7))
    assert hand(environment, Settled(7, Drain.INIT, 0)) == [*initialised(), Do.FREEZE, Do.IDLE]


def test_code_changes_and_nothing_is_begun() -> None:
    """The next invocation starts the new runtime inside its own time."""
    environment = warm()
    assert hand(environment, CodeChanged(5, ahead=False)) == [Do.DISARM, Do.CLEAR]
    assert hand(environment, Cleared(6, 0)) == [Do.IDLE]
    assert environment.phase is Phase.COLD
    assert INIT_AGAIN in hand(environment, InvokeArrived(7, TWO, TIMEOUT))


@pytest.mark.parametrize("stage", ["initialising", "draining", "restoring", "snapshot_awaited"])
def test_code_changes_during_an_initialisation(stage: str) -> None:
    """It is given up without a word, and what comes late of it is not heard."""
    environment = STAGES[stage]()
    effects = hand(environment, CodeChanged(2, ahead=True))
    assert effects[0] is Do.DISARM
    assert not any(isinstance(each, Write) for each in effects)
    if environment.phase is Phase.STOPPING:  # an extension gets its time
        tell(environment, TimerFired(3, Timer.STOP, 1))
    assert environment.phase is Phase.CLEARING
    assert ignores(environment, RuntimeExited(3, 1, CRASH))
    assert ignores(environment, Settled(3, Drain.INIT, MB))
    assert environment.phase is Phase.CLEARING
    assert FindExtensions(2) in hand(environment, Cleared(4, MB))


def test_code_changes_while_cold() -> None:
    """There is nothing to end: it initialises now, or later."""
    environment = failed()
    assert ignores(environment, CodeChanged(5, ahead=False))
    assert hand(environment, CodeChanged(5, ahead=True))[:1] == [INIT_START]
    assert environment.phase is Phase.INIT


def test_code_changes_while_a_failed_initialisation_is_cleared() -> None:
    """What is to be logged of it is logged, then the next one begins."""
    environment = init_failed()
    assert hand(environment, CodeChanged(2, ahead=True)) == []
    [report, start, *_] = hand(environment, Cleared(3, MB))
    assert report == Write(InitReport(1, "init", "error", "Runtime.ImportModuleError"))
    assert start == INIT_START


def test_invocation_that_comes_while_old_code_is_cleared() -> None:
    """It waits, and then initialises in its own time."""
    environment = tell(warm(), CodeChanged(5, ahead=True))
    assert hand(environment, InvokeArrived(5.5, TWO, TIMEOUT)) == []
    effects = hand(environment, Cleared(6, 0))
    assert effects == [INIT_AGAIN, FindExtensions(2), Arm(Timer.INVOKE, 6 + TIMEOUT, 2)]


@pytest.mark.parametrize(
    "stage",
    [
        "working",
        "responding",
        "erring",
        "responded",
        "settling",
        "initialising_late",
        "clearing",
        "shutting_down",
        "ended",
    ],
)
def test_code_changes_out_of_place(stage: str) -> None:
    """An invocation is served by what it began with, and an end is an end."""
    assert ignores(STAGES[stage](), CodeChanged(9, ahead=True))


def test_shutdown_after_the_code_has_changed() -> None:
    """Nothing begins any more."""
    environment = tell(warm(), CodeChanged(5, ahead=True), ShutdownAsked(5))
    assert hand(environment, Cleared(6, 0)) == [Do.ENDED]


# Restoration

RESTORE_START = Write(RestoreStart("python:3.11", "arn:aws:lambda:us-east-1::runtime:ab"))


def test_restoration() -> None:
    """A runtime that asks for a snapshot is restored at once; its first report carries that, and no initialisation."""
    environment = with_snapshots()
    assert environment.handle(RestoreNextCalled(1)) == [
        Write(InitRuntimeDone("init", "success", None, "snap-start")),
        Write(InitReport(1, "init", "success", None, "snap-start")),
        Do.CLOSE_SUBSCRIPTIONS,
        RESTORE_START,
        Do.RESTORE,
        Arm(Timer.RESTORE, 11, 1),
    ]
    assert environment.phase is Phase.RESTORE
    assert environment.handle(NextCalled(3)) == [Do.DISARM, Settle(Drain.INIT)]
    assert environment.handle(Settled(3, Drain.INIT, MB)) == [
        Write(RestoreRuntimeDone("success")),
        Write(RestoreReport(2, "success")),
        Do.FREEZE,
        Do.IDLE,
    ]
    tell(environment, InvokeArrived(4, ONE, TIMEOUT), ResponseBegan(4, "one", RuntimeCall.RESPONSE))
    tell(environment, ResponseEnded(4, "one", ANSWER), NextCalled(5))
    report = replace(REPORT, restore_duration=2)
    assert hand(environment, Settled(5, Drain.INVOCATION, 30 * MB))[:2] == over(report)


RESTORE_FAULTS: dict[str, tuple[Event, str, str]] = {
    "restore/error": (
        RestoreErrorPosted(3, "Runtime.AfterRestoreError", b"{}"),
        "error",
        "Runtime.AfterRestoreError",
    ),
    "init/error": (InitErrorPosted(3, "Runtime.Unknown", b"{}"), "error", "Runtime.Unknown"),
    "exit": (RuntimeExited(3, 1, CRASH), "error", "Runtime.ExitError"),
    "timeout": (TimerFired(3, Timer.RESTORE, 1), "timeout", "Sandbox.Timedout"),
}


@pytest.mark.parametrize("kind", RESTORE_FAULTS)
def test_failed_restoration(kind: str) -> None:
    """A restoration that fails is reported as such; the next invocation begins with a runtime of its own."""
    event, status, error_type = RESTORE_FAULTS[kind]
    environment = restoring()
    told = Write(RestoreRuntimeDone(status, error_type))
    assert environment.handle(event) == [Do.DISARM, told, Do.CLEAR]
    report = Write(RestoreReport(2, status, error_type))
    assert environment.handle(Cleared(3, MB)) == [report, Do.IDLE]
    assert environment.phase is Phase.COLD


def test_restoration_inside_an_invocation() -> None:
    """There it is one initialisation, hooks and all."""
    environment = tell(restore_failed(), Cleared(3, MB), InvokeArrived(4, ONE, TIMEOUT))
    tell(environment, ExtensionsFound(4, 2, ()))
    assert environment.handle(RestoreNextCalled(5)) == [Do.RESTORE]
    assert environment.handle(NextCalled(6)) == [Settle(Drain.INIT)]
    effects = environment.handle(Settled(6, Drain.INIT, MB))
    assert effects[0] == Write(InitRuntimeDone("invoke", "success", None, "snap-start"))
    assert effects[-2:] == [started(), Deliver(ONE, 7)]


# What is told of the runtime's part


def test_the_runtimes_part_of_an_initialisation() -> None:
    """It is told when all that it wrote has arrived, or at once when the runtime has failed."""
    success = Write(InitRuntimeDone("init", "success"))
    assert draining().handle(Settled(1, Drain.INIT, MB))[0] == success
    failure = Write(InitRuntimeDone("init", "error", "Runtime.ExitError"))
    assert initialising().handle(RuntimeExited(1, 1, CRASH)) == [Do.DISARM, failure, Do.CLEAR]
    late = Write(InitRuntimeDone("invoke", "timeout", "Sandbox.Timedout"))
    assert late in initialising_late().handle(TimerFired(5, Timer.INVOKE, 2))


def test_an_initialisation_that_ends_while_it_drains() -> None:
    """All parties were ready: it is reported as the success that it was."""
    environment = draining()
    told = Write(InitRuntimeDone("init", "success"))
    assert environment.handle(RuntimeExited(2, 1, CRASH)) == [Do.DISARM, told, Do.CLEAR]
    assert environment.handle(Cleared(2, MB)) == [Write(InitReport(1, "init", "success")), Do.IDLE]


def test_the_runtimes_part_of_an_invocation() -> None:
    """Its duration, what it produced, and where the time went; before the report."""
    environment = tell(working(), ResponseBegan(3, "one", RuntimeCall.RESPONSE))
    tell(environment, ResponseEnded(4, "one", ANSWER), NextCalled(4.5))
    spans = (
        Span("responseLatency", 2, 1),
        Span("responseDuration", 3, 1),
        Span("runtimeOverhead", 4, 0.5),
    )
    done = RuntimeDone("one", "success", None, 2.5, produced=4, spans=spans)
    assert environment.handle(Settled(5, Drain.INVOCATION, MB))[0] == Write(done)


@pytest.mark.parametrize(
    ("event", "status", "error_type"),
    [
        (RuntimeExited(4, 1, CRASH), "error", "Runtime.ExitError"),
        (TimerFired(4, Timer.INVOKE, 1), "timeout", "Sandbox.Timedout"),
        (ShutdownAsked(4), "error", "Sandbox.Failure"),
        (SandboxLost(4, "removed"), "error", "Sandbox.Failure"),
    ],
)
def test_the_runtimes_part_of_a_failed_invocation(event: Event, status: str, error_type: str) -> None:
    """It is told at once, for extensions may wait for it; without an answer nothing was produced."""
    told = Write(RuntimeDone("one", status, error_type, 2))
    assert told in working().handle(event)


def test_an_invocation_that_never_met_a_runtime() -> None:
    """START comes first, then what is told of the runtime, then the report."""
    environment = tell(initialising_late(), RuntimeExited(3, 2, CRASH))
    [*_, start, done, report, _, _] = environment.handle(Cleared(3, MB))
    assert start == started()
    assert done == Write(RuntimeDone("one", "error", "Runtime.ExitError", 1))
    assert isinstance(report, Write)
    assert isinstance(report.record, Report)


# Without timeouts


def test_no_timeouts() -> None:
    """For debuggers: no limit is armed, and the runtime is told its deadline all the same."""
    environment = Lifecycle(replace(SETTINGS, timeouts=False))
    assert environment.handle(Began(0)) == [INIT_START, FindExtensions(1)]
    tell(environment, ExtensionsFound(0, 1, ()), NextCalled(100), Settled(100, Drain.INIT, MB))
    effects = environment.handle(InvokeArrived(200, ONE, TIMEOUT))
    assert effects == [Do.THAW, started(), Deliver(ONE, 203)]


@pytest.mark.parametrize(
    ("kind", "timeout", "limit"),
    [
        ("on-demand", 900, 10),
        ("provisioned-concurrency", 3, 130),
        ("snap-start", 131, 131),
        ("provisioned-concurrency", 900, 900),
    ],
)
def test_limits_of_initialisations(kind: str, timeout: float, limit: float) -> None:
    """Ten seconds on demand; otherwise 130 seconds or the function's timeout, whichever is more."""
    assert init_limit(kind, timeout) == limit
