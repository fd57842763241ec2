"""How an environment fails and how it ends, as conversations: an event goes in, these effects come out.

What times there are in the stories, `tests.helpers.stages` says.
"""

from dataclasses import replace
from typing import Any

import pytest

from rapid.events import (
    Arm,
    Cleared,
    Complete,
    Deliver,
    Do,
    Drain,
    Effects,
    Event,
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
from rapid.invocation import ExitStatus, Fault, exited, timed_out
from rapid.lifecycle import Lifecycle
from rapid.records import InitReport, Report
from rapid.states import Phase, RuntimeCall
from tests.helpers.stages import (
    ANSWER,
    CRASH,
    FAILURE,
    INIT_AGAIN,
    MB,
    NOT_FOUND,
    ONE,
    REPORT,
    STAGES,
    TIMEOUT,
    TWO,
    clearing,
    erring,
    hand,
    idle,
    ignores,
    init_failed,
    initialised,
    initialising,
    initialising_late,
    over,
    responded,
    responding,
    settling,
    started,
    tell,
    warm,
    working,
)

# Initialisations that fail

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


UNREAD = RuntimeExited(3, 1, CRASH, unread=frozenset({"two"}))


def test_exit_before_the_event_is_read() -> None:
    """A runtime that ends before it has heard of an invocation costs that nothing but a start; START is written once."""
    environment = tell(warm(), InvokeArrived(2, TWO, TIMEOUT))
    assert hand(environment, UNREAD) == [Do.DISARM, Do.CLEAR]
    assert hand(environment, Cleared(4, MB)) == [INIT_AGAIN, FindExtensions(2), Arm(Timer.INVOKE, 7, 2)]
    assert hand(environment, ExtensionsFound(4, 2, ())) == [StartRuntime(2)]
    assert hand(environment, NextCalled(5)) == [Settle(Drain.INIT)]
    assert hand(environment, Settled(5, Drain.INIT, MB))[-1] == Deliver(TWO, 7)
    assert not [each for each in tell_all(environment) if each == started(TWO)]


def tell_all(environment: Lifecycle) -> Effects:
    """The rest of an invocation's life."""
    return [
        *hand(environment, ResponseBegan(6, "two", RuntimeCall.RESPONSE)),
        *hand(environment, ResponseEnded(6, "two", ANSWER)),
        *hand(environment, NextCalled(6)),
        *hand(environment, Settled(6, Drain.INVOCATION, MB)),
    ]


def test_exit_again_before_the_event_is_read() -> None:
    """That happens once for an invocation: the second time the client is told."""
    environment = tell(warm(), InvokeArrived(2, TWO, TIMEOUT), UNREAD, Cleared(4, MB))
    tell(environment, ExtensionsFound(4, 2, ()), NextCalled(5), Settled(5, Drain.INIT, MB))
    [_, answer, _] = hand(environment, replace(UNREAD, now=6, generation=2))
    assert isinstance(answer, Respond)
    assert answer.outcome.error_type == "Runtime.ExitError"


def test_exit_and_no_initialisation_after_it() -> None:
    """Where the new runtime does not come up, the log has one START all the same."""
    environment = tell(
        warm(), InvokeArrived(2, TWO, TIMEOUT), UNREAD, Cleared(4, MB), ExtensionsFound(4, 2, ())
    )
    effects = [*hand(environment, RuntimeExited(5, 2, CRASH)), *hand(environment, Cleared(6, MB))]
    assert not [each for each in effects if each == started(TWO)]
    assert [each for each in effects if isinstance(each, Complete)]


@pytest.mark.parametrize("later", [(), (Cleared(4, MB),), (Cleared(4, MB), ExtensionsFound(4, 2, ()))])
def test_lost_after_the_exit(later: tuple[Event, ...]) -> None:
    """Where the sandbox goes too, another is to have the invocation, and the START in this one's log gets its END."""
    environment = tell(warm(), InvokeArrived(2, TWO, TIMEOUT), UNREAD, *later)
    effects = hand(environment, SandboxLost(5, "gone"))
    assert [each for each in effects if isinstance(each, GiveBack | Respond)] == [GiveBack(TWO)]
    [told] = [each for each in effects if isinstance(each, Complete)]
    assert Write(told.report) in effects
    assert started(TWO) not in effects


def test_exit_of_a_runtime_that_answers() -> None:
    """It has heard of the invocation, whatever is said."""
    environment = tell(warm(), InvokeArrived(2, TWO, TIMEOUT), ResponseBegan(3, "two", RuntimeCall.RESPONSE))
    assert [each for each in hand(environment, UNREAD) if isinstance(each, Respond)]


def test_the_next_invocation_is_announced() -> None:
    """What began anew is over; what comes next has its START."""
    environment = tell(
        warm(), InvokeArrived(2, TWO, TIMEOUT), UNREAD, Cleared(4, MB), ExtensionsFound(4, 2, ())
    )
    tell(environment, NextCalled(5), Settled(5, Drain.INIT, MB))
    tell_all(environment)
    assert hand(environment, InvokeArrived(9, TWO, TIMEOUT))[1] == started(TWO)


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


def test_given_back_unread() -> None:
    """An event that the runtime has not read is given back; what the log says of it comes to an end."""
    [disarm, back, report, told, end] = hand(working(), SandboxLost(3, "removed", unread=frozenset({"one"})))
    assert (disarm, back, end) == (Do.DISARM, GiveBack(ONE), Do.ENDED)
    assert isinstance(told, Complete)
    assert report == Write(told.report)
    assert (told.report.status, told.report.error_type) == ("error", "Sandbox.Failure")


@pytest.mark.parametrize("stage", ["responding", "erring"])
def test_not_given_back(stage: str) -> None:
    """A runtime that answers has heard of it, whatever is said."""
    assert isinstance(hand(STAGES[stage](), SandboxLost(3, "removed", unread=frozenset({"one"})))[1], Respond)


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


def test_lost_for_memory_unread() -> None:
    """What the sandbox died of had nothing to do with an invocation that it never heard of."""
    lost = SandboxLost(3, "out of memory", out_of_memory=True, unread=frozenset({"one"}))
    assert hand(working(), lost)[:2] == [Do.DISARM, GiveBack(ONE)]


def test_lost_for_memory_before_the_delivery() -> None:
    """An environment that takes too much memory to come up would elsewhere too: that is not tried again."""
    lost = SandboxLost(5, "out of memory", out_of_memory=True)
    assert isinstance(hand(initialising_late(), lost)[1], Respond)


def test_another_one_unread() -> None:
    """What is said of other invocations is none of this one's."""
    assert isinstance(hand(working(), SandboxLost(3, "gone", unread=frozenset({"two"})))[1], Respond)


def test_memory_peak_of_a_lost_sandbox() -> None:
    """A lost sandbox measures nothing any more; the report tells the peak of earlier invocations."""
    environment = tell(warm(), InvokeArrived(4, TWO, TIMEOUT))
    told = hand(environment, SandboxLost(5, "removed"))[-2]
    assert isinstance(told, Complete)
    assert told.report.memory_peak == 30 * MB
