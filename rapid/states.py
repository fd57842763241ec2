"""What may follow what in an execution environment: the tables. Pure, and nothing but tables.

Three kinds of things have a state. The **runtime** and each **extension** are parties: they call, and the platform does
something about them (`RUNTIME_MOVES`, `EXTENSION_MOVES`). The **environment** has a phase, which says what the platform
is doing with the sandbox (`TURNS`). A move or turn that a table does not have is illegal where it is a call, and
impossible where it is the platform's own.

`rapid.lifecycle` is driven by these tables, refusals on the wire print their names, and the diagrams in
`docs/lifecycle.md` are drawn from them (`make docs`).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar


class IllegalTransition(Exception):
    """The state does not allow the call. Nothing has changed."""

    def __init__(self, current: str, target: str) -> None:
        super().__init__(f"{current} to {target}")
        self.current = current
        self.target = target


# The runtime


class RuntimeState(StrEnum):
    """The runtime's states; values are the names that AWS prints in refusals."""

    ABSENT = "Absent"
    STARTED = "Started"
    RESTORE_READY = "RestoreReady"
    RESTORING = "Restoring"
    READY = "Ready"
    RUNNING = "Running"
    RESPONDING = "InvocationResponse"
    ERRING = "InvocationErrorResponse"
    RESPONSE_SENT = "RuntimeResponseSentState"
    INIT_ERROR = "InitError"
    RESTORE_ERROR = "RuntimeRestoreErrorState"


class RuntimeCall(StrEnum):
    """What a runtime may ask of the Runtime API; the value is the state that AWS names as the call's target."""

    NEXT = "Ready"
    RESPONSE = "InvocationResponse"
    ERROR = "InvocationErrorResponse"
    INIT_ERROR = "InitError"
    RESTORE_NEXT = "RestoreReady"
    RESTORE_ERROR = "RuntimeRestoreErrorState"

    @property
    def shown_target(self) -> str:
        """As refusals name it: both kinds of `next` lead to `Ready`."""
        return RuntimeCall.NEXT.value if self is RuntimeCall.RESTORE_NEXT else self.value


class RuntimeMove(StrEnum):
    """What the platform does with the runtime, or sees of it."""

    STARTED = "started"
    RESTORED = "restored"
    DELIVERED = "event delivered"
    RESPONSE_ENDED = "response ended"
    RESPONSE_BROKE = "response broke off"


RUNTIME_MOVES: Mapping[RuntimeState, Mapping[RuntimeCall | RuntimeMove, RuntimeState]] = {
    RuntimeState.ABSENT: {RuntimeMove.STARTED: RuntimeState.STARTED},
    RuntimeState.STARTED: {
        RuntimeCall.NEXT: RuntimeState.READY,
        RuntimeCall.INIT_ERROR: RuntimeState.INIT_ERROR,
        RuntimeCall.RESTORE_NEXT: RuntimeState.RESTORE_READY,
    },
    RuntimeState.RESTORE_READY: {RuntimeMove.RESTORED: RuntimeState.RESTORING},
    RuntimeState.RESTORING: {
        RuntimeCall.NEXT: RuntimeState.READY,
        RuntimeCall.RESTORE_ERROR: RuntimeState.RESTORE_ERROR,
        RuntimeCall.INIT_ERROR: RuntimeState.RESTORE_ERROR,
    },
    RuntimeState.READY: {RuntimeMove.DELIVERED: RuntimeState.RUNNING},
    RuntimeState.RUNNING: {
        RuntimeCall.NEXT: RuntimeState.RUNNING,  # the same event once more
        RuntimeCall.RESPONSE: RuntimeState.RESPONDING,
        RuntimeCall.ERROR: RuntimeState.ERRING,
    },
    RuntimeState.RESPONDING: {
        RuntimeMove.RESPONSE_ENDED: RuntimeState.RESPONSE_SENT,
        RuntimeMove.RESPONSE_BROKE: RuntimeState.RUNNING,
    },
    RuntimeState.ERRING: {
        RuntimeMove.RESPONSE_ENDED: RuntimeState.RESPONSE_SENT,
        RuntimeMove.RESPONSE_BROKE: RuntimeState.RUNNING,
    },
    RuntimeState.RESPONSE_SENT: {RuntimeCall.NEXT: RuntimeState.READY},
    RuntimeState.INIT_ERROR: {},
    RuntimeState.RESTORE_ERROR: {},
}
"""Not in the table: every state becomes `ABSENT` when the processes have been cleared away."""


# Extensions


class ExtensionState(StrEnum):
    """An extension's states; values are the names that refusals print."""

    STARTED = "Started"
    REGISTERED = "Registered"
    READY = "Ready"
    RUNNING = "Running"
    LAUNCH_ERROR = "LaunchError"
    INIT_ERROR = "InitError"
    EXIT_ERROR = "ExitError"
    EXITED = "Exited"


class ExtensionCall(StrEnum):
    """What an extension may ask of the Extensions API; the value is the state that refusals name as its target."""

    REGISTER = "Registered"
    NEXT = "Ready"
    INIT_ERROR = "InitError"
    EXIT_ERROR = "ExitError"


class ExtensionMove(StrEnum):
    """What the platform does with an extension, or sees of it."""

    DELIVERED = "event delivered"
    NOT_STARTED = "not started"
    EXITED = "exited"


_ENDS: Mapping[ExtensionCall | ExtensionMove, ExtensionState] = {ExtensionMove.EXITED: ExtensionState.EXITED}

EXTENSION_MOVES: Mapping[ExtensionState, Mapping[ExtensionCall | ExtensionMove, ExtensionState]] = {
    ExtensionState.STARTED: {
        ExtensionCall.REGISTER: ExtensionState.REGISTERED,
        ExtensionMove.NOT_STARTED: ExtensionState.LAUNCH_ERROR,
        **_ENDS,
    },
    ExtensionState.REGISTERED: {
        ExtensionCall.NEXT: ExtensionState.READY,
        ExtensionCall.INIT_ERROR: ExtensionState.INIT_ERROR,
        ExtensionCall.EXIT_ERROR: ExtensionState.EXIT_ERROR,
        **_ENDS,
    },
    ExtensionState.READY: {
        ExtensionMove.DELIVERED: ExtensionState.RUNNING,
        ExtensionCall.EXIT_ERROR: ExtensionState.EXIT_ERROR,
        **_ENDS,
    },
    ExtensionState.RUNNING: {
        ExtensionCall.NEXT: ExtensionState.READY,
        ExtensionCall.EXIT_ERROR: ExtensionState.EXIT_ERROR,
        **_ENDS,
    },
    ExtensionState.LAUNCH_ERROR: {},
    ExtensionState.INIT_ERROR: {
        ExtensionCall.INIT_ERROR: ExtensionState.INIT_ERROR,  # again: nothing new
        **_ENDS,
    },
    ExtensionState.EXIT_ERROR: _ENDS,
    ExtensionState.EXITED: {},
}


# The environment


class Phase(StrEnum):
    """What the platform is doing with the sandbox."""

    COLD = "cold"
    INIT = "init"
    RESTORE = "restore"
    IDLE = "idle"
    INVOKE = "invoke"
    SETTLING = "settling"
    SERVING = "serving"
    """Of an environment of many invocations at once: from its initialisation to its end."""
    STOPPING = "stopping"
    CLEARING = "clearing"
    ENDED = "ended"


class Turn(StrEnum):
    """What leads from one phase to another."""

    BEGAN = "begun"
    INVOKED = "invocation"
    SNAPSHOT = "every party ready for a snapshot"
    PARTIES_READY = "every party at next"
    DRAINED = "output drained"
    OPENED = "output drained, many at once"
    FAILED = "fault"
    OUTDATED = "code changed"
    END_ASKED = "shutdown asked"
    FAREWELL_OVER = "farewell over"
    CLEARED = "cleared"
    CLEARED_FOR_GOOD = "cleared, shutdown asked"
    LOST = "sandbox lost"


_ENDABLE: Mapping[Turn, Phase] = {Turn.END_ASKED: Phase.STOPPING, Turn.LOST: Phase.ENDED}
_FALLIBLE: Mapping[Turn, Phase] = {Turn.FAILED: Phase.STOPPING, **_ENDABLE}
_AGEING: Mapping[Turn, Phase] = {Turn.OUTDATED: Phase.STOPPING}

TURNS: Mapping[Phase, Mapping[Turn, Phase]] = {
    Phase.COLD: {Turn.BEGAN: Phase.INIT, Turn.INVOKED: Phase.INVOKE, **_ENDABLE},
    Phase.INIT: {Turn.PARTIES_READY: Phase.SETTLING, Turn.SNAPSHOT: Phase.RESTORE, **_FALLIBLE, **_AGEING},
    Phase.RESTORE: {Turn.PARTIES_READY: Phase.SETTLING, **_FALLIBLE, **_AGEING},
    Phase.IDLE: {Turn.INVOKED: Phase.INVOKE, **_FALLIBLE, **_AGEING},
    Phase.INVOKE: {Turn.PARTIES_READY: Phase.SETTLING, **_FALLIBLE},
    Phase.SETTLING: {Turn.DRAINED: Phase.IDLE, Turn.OPENED: Phase.SERVING, **_FALLIBLE, **_AGEING},
    Phase.SERVING: _FALLIBLE,
    Phase.STOPPING: {Turn.FAREWELL_OVER: Phase.CLEARING, **_ENDABLE},
    Phase.CLEARING: {
        Turn.CLEARED: Phase.COLD,
        Turn.CLEARED_FOR_GOOD: Phase.ENDED,
        Turn.END_ASKED: Phase.CLEARING,
        Turn.LOST: Phase.ENDED,
    },
    Phase.ENDED: {},
}

_State = TypeVar("_State", bound=StrEnum)
_Move = TypeVar("_Move", bound=StrEnum)


def target(table: Mapping[_State, Mapping[_Move, _State]], current: _State, move: _Move) -> _State:
    """Where a move leads. Raises `IllegalTransition` where the table does not have it."""
    found = table[current].get(move)
    if found is None:
        raise IllegalTransition(current, move)
    return found
