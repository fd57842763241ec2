"""What comes late or out of place in the life of an environment, and every call of the runtime in every state."""

import pytest

from rapid.events import (
    Began,
    Cleared,
    Drain,
    Event,
    InitErrorPosted,
    InvokeArrived,
    NextCalled,
    ResponseBegan,
    ResponseBroke,
    ResponseEnded,
    RestoreErrorPosted,
    RestoreNextCalled,
    RuntimeExited,
    RuntimeNotStarted,
    SandboxLost,
    Settled,
    ShutdownAsked,
    Timer,
    TimerFired,
)
from rapid.lifecycle import Lifecycle, UnknownRequest
from rapid.states import RUNTIME_MOVES, IllegalTransition, Phase, RuntimeCall, RuntimeState
from tests.helpers.stages import (
    ANSWER,
    CRASH,
    MB,
    NOT_FOUND,
    ONE,
    STAGES,
    TIMEOUT,
    TWO,
    changes_nothing,
    cold,
    ended,
    erring,
    hand,
    ignores,
    init_failed,
    initialising_late,
    responded,
    responding,
    restore_failed,
    restoring,
    settling,
    snapshot_awaited,
    tell,
    working,
)


@pytest.fixture(params=STAGES)
def anywhere(request: pytest.FixtureRequest) -> Lifecycle:
    """An environment at every stage of its life, one after the other."""
    return STAGES[request.param]()


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
