"""The life of an environment as conversations: an event goes in, these effects come out.

Times in the stories: initialisation begins at 0, whole seconds after it, so that durations can be read off.
"""

import copy
from dataclasses import replace
from typing import Any

import pytest

from rapid.events import (
    Arm,
    Began,
    Cleared,
    CodeChanged,
    Complete,
    Deliver,
    Do,
    Drain,
    Effect,
    Effects,
    Event,
    ExtensionRegistered,
    ExtensionsFound,
    FindExtensions,
    GiveBack,
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
    RuntimeNotStarted,
    SandboxLost,
    Settle,
    Settled,
    ShutdownAsked,
    StartRuntime,
    Timer,
    TimerFired,
    Write,
)
from rapid.invocation import ExitStatus, Fault, Invocation, Outcome, exited, timed_out
from rapid.lifecycle import Lifecycle, UnknownRequest
from rapid.records import (
    InitReport,
    InitRuntimeDone,
    InitStart,
    Report,
    RestoreReport,
    RestoreRuntimeDone,
    RestoreStart,
    RuntimeDone,
    Span,
    Start,
)
from rapid.settings import Settings, init_limit
from rapid.states import (
    RUNTIME_MOVES,
    IllegalTransition,
    Phase,
    RuntimeCall,
    RuntimeState,
)

SETTINGS = Settings("$LATEST", 128, "python:3.11", "arn:aws:lambda:us-east-1::runtime:ab")
ONE = Invocation(request_id="one", arn="arn", payload=b"{}", trace_id="")
TWO = replace(ONE, request_id="two")
ANSWER = Outcome(b'"ok"')
TIMEOUT = 3.0
MB = 1024**2
CRASH = ExitStatus(1)
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


@pytest.fixture(params=STAGES)
def anywhere(request: pytest.FixtureRequest) -> Lifecycle:
    """An environment at every stage of its life, one after the other."""
    return STAGES[request.param]()


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


# Initialisations that fail

NOT_FOUND = Fault("Runtime.InvalidEntrypoint", "fork/exec /var/task/bootstrap: no such file or directory")
FAILED_INITS: dict[str, tuple[Event, str, str]] = {
    "crash": (RuntimeExited(2, 1, CRASH), "error", "Runtime.ExitError"),
    "exit status 0": (RuntimeExited(2, 1, ExitStatus(0)), "error", "Runtime.ExitError"),
    "out of memory": (
        RuntimeExited(2, 1, ExitStatus(-9, out_of_memory=True)),
        "error",
        "Runtime.OutOfMemory",
    ),
    "init/error": (
        InitErrorPosted(2, "Runtime.ImportModuleError", b"{}"),
        "error",
        "Runtime.ImportModuleError",
    ),
    "exec failure": (RuntimeNotStarted(2, 1, NOT_FOUND), "error", "Runtime.InvalidEntrypoint"),
    "timeout": (TimerFired(2, Timer.INIT, 1), "timeout", "Sandbox.Timedout"),
}


@pytest.mark.parametrize("kind", FAILED_INITS)
def test_failed_init(kind: str) -> None:
    """A failed initialisation is cleared away, then logged (after its output), and the environment can be used."""
    event, status, error_type = FAILED_INITS[kind]
    environment = initialising()
    assert hand(environment, event) == [Do.DISARM, Do.CLEAR]
    report = InitReport(2, "init", status, error_type)
    assert hand(environment, Cleared(3, MB)) == [Write(report), Do.IDLE]
    assert environment.phase is Phase.COLD


@pytest.mark.parametrize("kind", FAILED_INITS)
def test_suppressed_init(kind: str) -> None:
    """After a failed initialisation, the next one runs inside the invocation: no Init Duration, its own timeout."""
    environment = tell(initialising(), FAILED_INITS[kind][0], Cleared(3, MB))
    assert hand(environment, InvokeArrived(4, ONE, TIMEOUT)) == [
        INIT_AGAIN,
        FindExtensions(2),
        Arm(Timer.INVOKE, 7, 2),
    ]
    assert hand(environment, ExtensionsFound(4, 2, ())) == [StartRuntime(2)]
    assert hand(environment, NextCalled(5)) == [Settle(Drain.INIT)]
    late = initialised(phase="invoke")
    assert hand(environment, Settled(5, Drain.INIT, MB)) == [*late, started(), Deliver(ONE, 7)]
    tell(
        environment,
        ResponseBegan(5, "one", RuntimeCall.RESPONSE),
        ResponseEnded(5, "one", ANSWER),
        NextCalled(6),
    )
    report = replace(REPORT, duration=2)
    assert hand(environment, Settled(6, Drain.INVOCATION, 30 * MB)) == [*over(report), Do.FREEZE, Do.IDLE]


FAILED_LATE_INITS: dict[str, tuple[Event, Fault]] = {
    "crash": (RuntimeExited(3, 2, CRASH), exited(CRASH)),
    "init/error": (
        InitErrorPosted(3, "Runtime.ImportModuleError", b'{"errorType":"X"}'),
        Fault("Runtime.ImportModuleError", "", payload=b'{"errorType":"X"}'),
    ),
    "exec failure": (RuntimeNotStarted(3, 2, NOT_FOUND), NOT_FOUND),
    "timeout": (TimerFired(3, Timer.INVOKE, 2), timed_out(TIMEOUT)),
}


@pytest.mark.parametrize("kind", FAILED_LATE_INITS)
def test_suppressed_init_fails(kind: str) -> None:
    """An initialisation that fails inside an invocation is its answer; INIT_REPORT, START, END, REPORT in order."""
    event, fault = FAILED_LATE_INITS[kind]
    environment = initialising_late()
    assert hand(environment, event) == [Do.DISARM, Respond(fault.outcome("one")), Do.CLEAR]
    report = replace(REPORT, status=fault.status, error_type=fault.error_type)
    assert hand(environment, Cleared(3, 30 * MB)) == [
        Write(InitReport(1, "invoke", fault.status, fault.error_type)),
        started(),
        *over(report),
        Do.IDLE,
    ]
    assert environment.phase is Phase.COLD


def test_exit_after_init_error() -> None:
    """The exit that follows a posted init error is no second fault."""
    environment = init_failed()
    assert ignores(environment, RuntimeExited(1, 1, CRASH))
    assert hand(environment, Cleared(2, MB)) == [
        Write(InitReport(1, "init", "error", "Runtime.ImportModuleError")),
        Do.IDLE,
    ]


# Invocations that fail


def test_crash() -> None:
    """A runtime that ends without an answer: the client hears at once, the logs are written when all is cleared."""
    environment = working()
    fault = exited(CRASH)
    assert hand(environment, RuntimeExited(3, 1, CRASH)) == [
        Do.DISARM,
        Respond(fault.outcome("one")),
        Do.CLEAR,
    ]
    report = replace(REPORT, init_duration=1, status="error", error_type="Runtime.ExitError")
    assert hand(environment, Cleared(4, 30 * MB)) == [*over(report), Do.IDLE]


def test_next_invocation_after_a_crash() -> None:
    """The next invocation begins with a runtime of its own; the second generation's exit counts again."""
    environment = tell(clearing(), Cleared(4, MB))
    assert hand(environment, InvokeArrived(5, TWO, TIMEOUT)) == [
        INIT_AGAIN,
        FindExtensions(2),
        Arm(Timer.INVOKE, 8, 2),
    ]
    assert hand(environment, RuntimeExited(6, 2, CRASH))[-1] is Do.CLEAR


def test_out_of_memory() -> None:
    """A kill for memory: the client sees the signal, the report names the cause."""
    environment = working()
    status = ExitStatus(-9, out_of_memory=True)
    assert Respond(exited(status).outcome("one")) in hand(environment, RuntimeExited(3, 1, status))
    report = hand(environment, Cleared(3, 128 * MB))[-2]
    assert isinstance(report, Complete)
    assert (report.report.status, report.report.error_type) == ("error", "Runtime.OutOfMemory")


@pytest.mark.parametrize("stage", [working, responding, erring])
def test_timeout_before_the_response(stage: Any) -> None:
    """A deadline that passes before the whole response has come is the client's answer."""
    environment = stage()
    answer = Respond(timed_out(TIMEOUT).outcome("one"))
    assert hand(environment, TimerFired(5, Timer.INVOKE, 1)) == [Do.DISARM, answer, Do.CLEAR]
    assert ignores(environment, ResponseEnded(5, "one", ANSWER))
    assert ignores(environment, ResponseBroke(5, "one"))
    report = replace(REPORT, duration=3, init_duration=1, status="timeout", error_type="Sandbox.Timedout")
    assert hand(environment, Cleared(6, 30 * MB)) == [*over(report), Do.IDLE]


@pytest.mark.parametrize(
    ("event", "status"), [(TimerFired(5, Timer.INVOKE, 1), "timeout"), (RuntimeExited(5, 1, CRASH), "error")]
)
def test_fault_after_the_response(event: Event, status: str) -> None:
    """The client keeps the answer it has; the report tells the fault, the processes are cleared."""
    environment = responded()
    assert hand(environment, event) == [Do.DISARM, Do.CLEAR]
    [*_, told, idle_again] = hand(environment, Cleared(6, MB))
    assert isinstance(told, Complete)
    assert (told.report.status, told.report.duration) == (status, 3)
    assert idle_again is Do.IDLE


@pytest.mark.parametrize("stage", [idle, warm])
def test_exit_while_idle(stage: Any) -> None:
    """A runtime that ends between invocations leaves a cold environment, and nothing in the log."""
    environment = stage()
    assert hand(environment, RuntimeExited(4, 1, CRASH)) == [Do.DISARM, Do.CLEAR]
    assert hand(environment, Cleared(4, MB)) == [Do.IDLE]
    assert environment.phase is Phase.COLD


def waiting() -> Lifecycle:
    """The idle runtime died at 3; `TWO` came before its leftovers were gone."""
    return tell(warm(), RuntimeExited(3, 1, CRASH), InvokeArrived(3, TWO, TIMEOUT))


def test_invocation_while_clearing() -> None:
    """An invocation that meets the leftovers of an idle runtime waits for their end; then its time begins."""
    environment = waiting()
    assert hand(environment, Cleared(4, MB)) == [INIT_AGAIN, FindExtensions(2), Arm(Timer.INVOKE, 7, 2)]
    assert hand(environment, ExtensionsFound(4, 2, ())) == [StartRuntime(2)]
    assert hand(environment, NextCalled(5)) == [Settle(Drain.INIT)]
    assert hand(environment, Settled(5, Drain.INIT, MB))[-2:] == [started(TWO), Deliver(TWO, 7)]


@pytest.mark.parametrize("end", [ShutdownAsked(4), SandboxLost(4, "out of memory", out_of_memory=True)])
def test_end_while_an_invocation_waits(end: Event) -> None:
    """An invocation that waited in vain is answered and logged like any other."""
    environment = waiting()
    effects = [*hand(environment, end), *hand(environment, Cleared(5, MB))]
    [answer] = [effect for effect in effects if isinstance(effect, Respond)]
    assert b"RequestId: two Error: " in answer.outcome.payload
    assert effects.index(answer) <= 1
    [start, report, told, ended] = effects[-4:]
    assert isinstance(told, Complete)
    assert [start, ended] == [started(TWO), Do.ENDED]
    assert report == Write(told.report)
    assert (told.report.request_id, told.report.duration) == ("two", 0)


def test_exit_while_settling() -> None:
    """A runtime that ends while its output drains does not spoil the invocation that it had finished."""
    environment = settling()
    assert hand(environment, RuntimeExited(3, 1, CRASH)) == [Do.DISARM, Do.CLEAR]
    assert ignores(environment, Settled(3, Drain.INVOCATION, MB))
    report = replace(REPORT, init_duration=1)
    assert hand(environment, Cleared(4, 30 * MB)) == [*over(report), Do.IDLE]


# Ends


@pytest.mark.parametrize("stage", ["cold", "initialising", "idle", "warm", "failed"])
def test_shutdown_without_an_invocation(stage: str) -> None:
    """A shutdown clears the sandbox and then ends."""
    environment = STAGES[stage]()
    assert hand(environment, ShutdownAsked(9)) == [Do.DISARM, Do.CLEAR]
    assert hand(environment, Cleared(9, MB)) == [Do.ENDED]
    assert environment.phase is Phase.ENDED


@pytest.mark.parametrize("stage", ["working", "responding", "erring", "initialising_late"])
def test_shutdown_before_the_response(stage: str) -> None:
    """Whoever waits for an answer gets one, and the log is whole."""
    environment = STAGES[stage]()
    assert hand(environment, ShutdownAsked(3)) == [Do.DISARM, Respond(FAILURE.outcome("one")), Do.CLEAR]
    [*logged, report, told, end] = hand(environment, Cleared(4, 30 * MB))
    assert isinstance(told, Complete)
    assert (report, end) == (Write(told.report), Do.ENDED)
    assert (told.report.status, told.report.error_type, told.report.duration) == (
        "error",
        "Sandbox.Failure",
        1,
    )
    assert logged == ([started()] if stage == "initialising_late" else [])


@pytest.mark.parametrize("stage", ["responded", "settling"])
def test_shutdown_after_the_response(stage: str) -> None:
    """An answer that was given stands."""
    environment = STAGES[stage]()
    assert hand(environment, ShutdownAsked(3)) == [Do.DISARM, Do.CLEAR]
    assert hand(environment, Cleared(4, MB))[1:] == [Complete(_last_report(environment, stage)), Do.ENDED]


def _last_report(environment: Lifecycle, stage: str) -> Report:
    report = replace(REPORT, init_duration=1, memory_peak=MB)
    return report if stage == "settling" else replace(report, status="error", error_type="Sandbox.Failure")


def test_shutdown_while_clearing() -> None:
    """A clearing that is under way serves the shutdown too; it is not asked for twice."""
    environment = clearing()
    assert hand(environment, ShutdownAsked(3)) == []
    [_, told, end] = hand(environment, Cleared(4, MB))
    assert isinstance(told, Complete)
    assert told.report.error_type == "Runtime.ExitError"
    assert end is Do.ENDED


def test_shutdown_while_a_failed_init_is_cleared() -> None:
    """A failed initialisation is logged also when the environment then ends."""
    environment = tell(initialising(), RuntimeExited(1, 1, CRASH), ShutdownAsked(2))
    assert hand(environment, Cleared(4, MB)) == [
        Write(InitReport(1, "init", "error", "Runtime.ExitError")),
        Do.ENDED,
    ]


@pytest.mark.parametrize("stage", ["shutting_down", "ended"])
def test_second_shutdown(stage: str) -> None:
    """A shutdown asked twice happens once."""
    assert ignores(STAGES[stage](), ShutdownAsked(9))


@pytest.mark.parametrize("stage", ["cold", "initialising", "idle", "warm", "failed", "shutting_down"])
def test_sandbox_lost_without_an_invocation(stage: str) -> None:
    """A sandbox that is gone ends the environment at once."""
    environment = STAGES[stage]()
    assert hand(environment, SandboxLost(9, "removed")) == [Do.DISARM, Do.ENDED]
    assert environment.phase is Phase.ENDED


def test_given_back_while_it_waits() -> None:
    """A sandbox that is lost while an invocation waits for its runtime's leftovers to go gives it back."""
    assert hand(waiting(), SandboxLost(4, "removed")) == [Do.DISARM, GiveBack(TWO), Do.ENDED]


def test_given_back_while_it_is_initialised_for() -> None:
    """A runtime that has not come up for an invocation knows nothing of it."""
    effects = hand(initialising_late(), SandboxLost(3, "removed"))
    assert effects == [Do.DISARM, GiveBack(ONE), Do.ENDED]


def test_given_back_unsent() -> None:
    """An event that was not written yet is given back; what the log says of it comes to an end."""
    [disarm, back, report, told, end] = hand(working(), SandboxLost(3, "removed", unsent=True))
    assert (disarm, back, end) == (Do.DISARM, GiveBack(ONE), Do.ENDED)
    assert isinstance(told, Complete)
    assert report == Write(told.report)
    assert (told.report.status, told.report.error_type) == ("error", "Sandbox.Failure")


@pytest.mark.parametrize("stage", ["responding", "erring"])
def test_not_given_back(stage: str) -> None:
    """A runtime that answers has heard of it, whatever is said."""
    assert isinstance(hand(STAGES[stage](), SandboxLost(3, "removed", unsent=True))[1], Respond)


@pytest.mark.parametrize("stage", ["working", "responding", "erring"])
def test_sandbox_lost_before_the_response(stage: str) -> None:
    """The client is told that the environment was lost; the log is whole."""
    environment = STAGES[stage]()
    fault = Fault("Sandbox.Failure", "The execution environment was lost: removed")
    [disarm, answer, report, told, end] = hand(environment, SandboxLost(3, "removed"))
    assert (disarm, answer, end) == (Do.DISARM, Respond(fault.outcome("one")), Do.ENDED)
    assert isinstance(told, Complete)
    assert report == Write(told.report)
    assert (told.report.status, told.report.error_type) == ("error", "Sandbox.Failure")


def test_sandbox_lost_while_settling() -> None:
    """The invocation was over; its report tells the peak that was known."""
    report = replace(REPORT, init_duration=1, memory_peak=MB)
    assert hand(settling(), SandboxLost(4, "removed")) == [Do.DISARM, *over(report), Do.ENDED]


def test_sandbox_lost_while_clearing() -> None:
    """The fault that came first is the one that is told."""
    [disarm, report, told, end] = hand(clearing(), SandboxLost(4, "removed"))
    assert (disarm, end) == (Do.DISARM, Do.ENDED)
    assert isinstance(told, Complete)
    assert report == Write(told.report)
    assert told.report.error_type == "Runtime.ExitError"


def test_sandbox_lost_for_memory() -> None:
    """Where the whole sandbox is killed for memory, the client sees the runtime's death and the log its cause."""
    effects = hand(working(), SandboxLost(3, "out of memory", out_of_memory=True))
    assert effects[1] == Respond(exited(ExitStatus(-9)).outcome("one"))
    told = effects[-2]
    assert isinstance(told, Complete)
    assert (told.report.error_type, told.report.memory_used) == ("Runtime.OutOfMemory", 128)


def test_memory_peak_of_a_lost_sandbox() -> None:
    """A lost sandbox measures nothing any more; the report tells the peak of earlier invocations."""
    environment = tell(warm(), InvokeArrived(4, TWO, TIMEOUT))
    told = hand(environment, SandboxLost(5, "removed"))[-2]
    assert isinstance(told, Complete)
    assert told.report.memory_peak == 30 * MB


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


# Late and misplaced events


@pytest.mark.parametrize(
    "event",
    [
        RuntimeExited(9, 1, CRASH),
        RuntimeNotStarted(9, 1, NOT_FOUND),
        TimerFired(9, Timer.INIT, 1),
        TimerFired(9, Timer.INVOKE, 1),
    ],
)
def test_events_of_an_earlier_generation(event: Event) -> None:
    """What is told about a runtime that has been replaced does not concern its successor."""
    assert ignores(initialising_late(), event)
    assert ignores(tell(initialising_late(), NextCalled(3)), event)


@pytest.mark.parametrize("timer", Timer)
@pytest.mark.parametrize(
    "stage", ["cold", "idle", "warm", "settling", "failed", "clearing", "shutting_down", "ended"]
)
def test_late_timer(stage: str, timer: Timer) -> None:
    """A timer that fires after what it guarded is over does nothing."""
    assert ignores(STAGES[stage](), TimerFired(9, timer, 1))


@pytest.mark.parametrize(
    "event", [Settled(9, Drain.INVOCATION, MB), ResponseEnded(9, "zero", ANSWER), ResponseBroke(9, "zero")]
)
def test_answers_nobody_waits_for(anywhere: Lifecycle, event: Event) -> None:
    """Answers to what is no longer asked, and the ends of other requests' responses, change nothing."""
    draining = anywhere.phase is Phase.SETTLING or anywhere.runtime is RuntimeState.RESPONSE_SENT
    if not (draining and isinstance(event, Settled)):
        assert ignores(anywhere, event)


def test_cleared_without_being_asked(anywhere: Lifecycle) -> None:
    """Only an environment that is clearing hears that it is cleared."""
    if anywhere.phase is not Phase.CLEARING:
        assert ignores(anywhere, Cleared(9, MB))


@pytest.mark.parametrize(
    "event",
    [
        RuntimeExited(9, 1, CRASH),
        ShutdownAsked(9),
        SandboxLost(9, "twice"),
        Cleared(9, 1),
        Settled(9, Drain.INVOCATION, 1),
    ],
)
def test_nothing_after_the_end(event: Event) -> None:
    """An environment that has ended does nothing more."""
    assert ignores(ended(), event)


def test_invocation_out_of_place(anywhere: Lifecycle) -> None:
    """An invocation is accepted where the environment is idle, cold or about to be, and nowhere else."""
    if anywhere.phase in (Phase.IDLE, Phase.COLD):
        hand(anywhere, InvokeArrived(9, TWO, TIMEOUT))
        assert anywhere.invocation == TWO
    elif anywhere.phase is Phase.CLEARING and anywhere.invocation is None and not anywhere.is_over:
        assert hand(anywhere, InvokeArrived(9, TWO, TIMEOUT)) == []
        changes_nothing(anywhere, InvokeArrived(9, ONE, TIMEOUT), IllegalTransition)
    else:
        changes_nothing(anywhere, InvokeArrived(9, TWO, TIMEOUT), IllegalTransition)


def test_beginning_out_of_place(anywhere: Lifecycle) -> None:
    """An environment begins when cold, and nowhere else."""
    if anywhere.phase is not Phase.COLD:
        changes_nothing(anywhere, Began(9), IllegalTransition)


# Calls of the runtime

CALLS: dict[RuntimeCall, Event] = {
    RuntimeCall.NEXT: NextCalled(3),
    RuntimeCall.RESPONSE: ResponseBegan(3, "one", RuntimeCall.RESPONSE),
    RuntimeCall.ERROR: ResponseBegan(3, "one", RuntimeCall.ERROR),
    RuntimeCall.INIT_ERROR: InitErrorPosted(3, "Runtime.Unknown", b""),
    RuntimeCall.RESTORE_NEXT: RestoreNextCalled(3),
    RuntimeCall.RESTORE_ERROR: RestoreErrorPosted(3, "Runtime.AfterRestoreError", b""),
}
IN_STATE = {
    RuntimeState.ABSENT: cold,
    RuntimeState.STARTED: initialising_late,
    RuntimeState.RESTORE_READY: snapshot_awaited,
    RuntimeState.RESTORING: restoring,
    RuntimeState.RESTORE_ERROR: restore_failed,
    RuntimeState.READY: settling,
    RuntimeState.RUNNING: working,
    RuntimeState.RESPONDING: responding,
    RuntimeState.ERRING: erring,
    RuntimeState.RESPONSE_SENT: responded,
    RuntimeState.INIT_ERROR: init_failed,
}
AWS_NAMES = {
    RuntimeState.STARTED: "Started",
    RuntimeState.READY: "Ready",
    RuntimeState.RUNNING: "Running",
    RuntimeState.RESPONDING: "InvocationResponse",
    RuntimeState.ERRING: "InvocationErrorResponse",
    RuntimeState.RESPONSE_SENT: "RuntimeResponseSentState",
    RuntimeState.INIT_ERROR: "InitError",
    RuntimeState.RESTORE_READY: "RestoreReady",
    RuntimeState.RESTORING: "Restoring",
    RuntimeState.RESTORE_ERROR: "RuntimeRestoreErrorState",
}


@pytest.mark.parametrize("state", RuntimeState)
def test_every_state_has_a_story(state: RuntimeState) -> None:
    """The table names every state, and the stories here reach it."""
    assert state in RUNTIME_MOVES
    assert IN_STATE[state]().runtime is state


@pytest.mark.parametrize("state", RuntimeState)
@pytest.mark.parametrize("call", RuntimeCall)
def test_call(state: RuntimeState, call: RuntimeCall) -> None:
    """Each call is legal where the table says so; elsewhere it is refused in AWS's names and changes nothing."""
    environment = IN_STATE[state]()
    if call in RUNTIME_MOVES[state]:
        hand(environment, CALLS[call])
        environment.check()
        after = {RUNTIME_MOVES[state][call]}
        after |= set(RUNTIME_MOVES[RUNTIME_MOVES[state][call]].values())  # what the platform does at once
        assert environment.runtime in after
    elif environment.invocation is None and call in (RuntimeCall.RESPONSE, RuntimeCall.ERROR):
        changes_nothing(environment, CALLS[call], UnknownRequest)
    else:
        refusal = changes_nothing(environment, CALLS[call], IllegalTransition).value
        assert refusal.current == AWS_NAMES.get(state, "Absent")
        assert refusal.target == ("Ready" if call is RuntimeCall.RESTORE_NEXT else call.value)


def test_targets_in_aws_names() -> None:
    """The targets of refused calls are the names that AWS prints."""
    assert {call.name: call.value for call in RuntimeCall} == {
        "NEXT": "Ready",
        "RESPONSE": "InvocationResponse",
        "ERROR": "InvocationErrorResponse",
        "INIT_ERROR": "InitError",
        "RESTORE_NEXT": "RestoreReady",
        "RESTORE_ERROR": "RuntimeRestoreErrorState",
    }


@pytest.mark.parametrize("call", [RuntimeCall.RESPONSE, RuntimeCall.ERROR])
def test_request_id_is_checked_first(anywhere: Lifecycle, call: RuntimeCall) -> None:
    """An answer to another request is told so, whatever the state."""
    changes_nothing(anywhere, ResponseBegan(9, "zero", call), UnknownRequest)


@pytest.mark.parametrize("stage", ["clearing", "shutting_down"])
@pytest.mark.parametrize("call", RuntimeCall)
def test_calls_of_the_doomed(stage: str, call: RuntimeCall) -> None:
    """A runtime that is being killed is refused whatever it asks."""
    changes_nothing(STAGES[stage](), CALLS[call], (IllegalTransition, UnknownRequest))  # type: ignore[arg-type]


def test_repr() -> None:
    """What a log shows of an environment names phase, runtime, generation and request."""
    assert repr(working()) == "<Lifecycle invoke runtime=Running generation=1 one>"
    assert repr(cold()) == "<Lifecycle cold runtime=Absent generation=0>"
