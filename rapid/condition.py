"""The condition an execution environment is in: its phase, its parties and its invocation. Pure.

What leads from one condition to the next is `rapid.lifecycle`'s to say, and what leads to an end `rapid.endings`'s. Here
is what both work on, the moves that the tables of `rapid.states` have, and what must hold at any time (`check`).
"""

from collections.abc import Iterable

from rapid.events import Arm, Effects, InvokeArrived, Timer, Write
from rapid.extensions import Extension, Extensions
from rapid.farewell import Farewell
from rapid.initialisation import Initialisation
from rapid.invocation import Fault, Invocation
from rapid.progress import Progress
from rapid.records import ExtensionStatus, Record
from rapid.settings import Settings
from rapid.states import (
    RUNTIME_MOVES,
    TURNS,
    IllegalTransition,
    Phase,
    RuntimeCall,
    RuntimeMove,
    RuntimeState,
    Turn,
    target,
)
from rapid.story import Story

RUNTIME_READY = (RuntimeState.READY, RuntimeState.RESTORE_READY)
"""While an initialisation lasts: the runtime has done its part of it."""


class Condition:
    """Of one environment. See the module's text."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.phase = Phase.COLD
        self.runtime = RuntimeState.ABSENT
        self.extensions = Extensions()
        #: Of the current generation.
        self.generation = 0
        self.story = Story()
        self.init_failure: Fault | None = None
        #: What the last initialisation failed of, if it did.
        self._init: Initialisation | None = None
        #: Until it is over, the restoration included.
        self._prepared: Initialisation | None = None
        #: The one that is over, until a report has carried it.
        self._current: Progress | None = None
        self._waiting: InvokeArrived | None = None
        #: An invocation that came while a dead runtime's leftovers were being cleared away.
        self._announced: str | None = None
        #: The current invocation, if it began anew: its START has been written.
        self._farewell: Farewell | None = None
        #: While STOPPING.
        self._is_ending = False
        #: A shutdown was asked for: what is being cleared is cleared for good.
        self._begins_again = False
        #: What is being cleared has old code: to be initialised when it is gone.
        self._failed: list[Record] = []
        #: About an initialisation that failed, until its output has arrived.
        self._memory_peak = 0
        #: The greatest reported so far, in bytes; a sandbox that is lost reports none.

    def __repr__(self) -> str:
        current = f" {self._current.invocation.request_id}" if self._current else ""
        return f"<Lifecycle {self.phase} runtime={self.runtime} generation={self.generation}{current}>"

    @property
    def invocation(self) -> Invocation | None:
        """The current invocation."""
        return self._current.invocation if self._current else None

    @property
    def is_over(self) -> bool:
        """Whether it takes no invocation any more."""
        return self._is_ending or self.phase is Phase.ENDED

    def check(self) -> None:
        """Raise AssertionError where the state contradicts itself (tests keep this on)."""
        ending = {Phase.STOPPING, Phase.CLEARING}
        assert (self._current is not None) or self.phase is not Phase.INVOKE, self
        assert (self._current is None) or self.phase in {Phase.INVOKE, Phase.SETTLING} | ending, self
        assert (self._farewell is not None) == (self.phase is Phase.STOPPING), self
        assert (self.runtime is RuntimeState.ABSENT) or self.phase not in {Phase.COLD, Phase.ENDED}, self
        assert (self.runtime is RuntimeState.READY) or self.phase not in {Phase.IDLE, Phase.SETTLING}, self
        running = {RuntimeState.RUNNING, RuntimeState.RESPONDING, RuntimeState.ERRING}
        assert (self.phase in {Phase.INVOKE} | ending) or self.runtime not in running, self
        assert self.extensions.all_ready or self.phase not in {Phase.IDLE, Phase.SETTLING}, self
        initialising = {Phase.INIT, Phase.RESTORE}
        assert (self._init is not None) or self.phase not in initialising, self
        assert (self._init is None) or self.phase in initialising | {Phase.INVOKE, Phase.SETTLING}, self
        assert not (self._is_ending and Turn.FAILED in TURNS[self.phase]), self

    # Moves

    def _turn(self, turn: Turn) -> None:
        self.phase = target(TURNS, self.phase, turn)

    def _allows(self, turn: Turn) -> bool:
        return turn in TURNS[self.phase]

    def _is_live(self, generation: int) -> bool:
        """Whether a fault of this generation's processes counts."""
        return generation == self.generation and self._allows(Turn.FAILED)

    def _arm(self, timer: Timer, at: float) -> Effects:
        return [Arm(timer, at, self.generation)] if self._settings.timeouts else []

    def _call(self, call: RuntimeCall) -> RuntimeState:
        """The runtime calls; the state it was in. Raises `IllegalTransition`."""
        before = self.runtime
        after = RUNTIME_MOVES[before].get(call)
        if after is None or self.phase in (Phase.STOPPING, Phase.CLEARING):
            raise IllegalTransition(before, call.shown_target)
        self.runtime = after
        return before

    def _move(self, move: RuntimeMove) -> None:
        self.runtime = target(RUNTIME_MOVES, self.runtime, move)


def written(records: Iterable[Record]) -> Effects:
    return [Write(record) for record in records]


def status_of(extension: Extension) -> ExtensionStatus:
    return ExtensionStatus(extension.name, extension.state, extension.events, extension.fault)
