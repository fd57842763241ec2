"""The end of an environment's processes, while those that may say goodbye are waited for. Pure.

Who gets time depends on who has registered:

    nobody              everything is killed at once
    internal ones only  at a normal end, SIGTERM to the runtime and `INTERNAL_BUDGET` to act on it
    an external one     at a normal end, SIGTERM to the runtime and `RUNTIME_GRACE`; then it is killed, and the SHUTDOWN
                        event goes to the extensions that subscribed; `EXTERNAL_BUDGET` for all of it

After a fault the runtime gets no time. When nobody is left who was told, nothing is waited for (`is_over`). Whatever
still runs then is for the caller to clear away.
"""

from dataclasses import dataclass
from signal import SIGKILL, SIGTERM

from rapid.events import Arm, Do, Effects, Notify, ShutdownNotice, SignalRuntime, Timer
from rapid.extensions import Extensions

RUNTIME_GRACE = 0.3
"""Seconds between SIGTERM and SIGKILL for the runtime, where an external extension is registered."""
INTERNAL_BUDGET = 0.5
"""The same where all registered extensions are internal."""
EXTERNAL_BUDGET = 2.0
"""Seconds for the whole of a shutdown with external extensions."""

SPINDOWN, TIMEOUT, FAILURE = "spindown", "timeout", "failure"
"""Reasons, as extensions hear them."""


@dataclass(slots=True, repr=False)
class Farewell:
    """One end. Each method returns what is to be done; ask `is_over` after each."""

    reason: str
    extensions: Extensions
    generation: int
    began: float
    is_over: bool = False
    dismissed: bool = False
    #: The runtime's time is over, the extensions have been told.

    def __repr__(self) -> str:
        stage = "over" if self.is_over else "extensions" if self.dismissed else "runtime"
        return f"<Farewell {self.reason} {stage}>"

    @property
    def deadline(self) -> float:
        """When all of it has to be over."""
        return self.began + (EXTERNAL_BUDGET if self.extensions.any_external else INTERNAL_BUDGET)

    def begin(self, *, runtime_runs: bool) -> Effects:
        """Ask the runtime to end, where it gets the time; else tell the extensions."""
        if not self.extensions.any_registered:
            self.is_over = True
            return []
        awake: Effects = [Do.THAW, Do.FLUSH]
        if self.reason != SPINDOWN or not runtime_runs:
            return [*awake, *self.runtime_gone()]
        patience = self.began + (RUNTIME_GRACE if self.extensions.any_external else INTERNAL_BUDGET)
        return [
            *awake,
            SignalRuntime(self.generation, SIGTERM),
            Arm(Timer.STOP, patience, self.generation),
        ]

    def runtime_gone(self) -> Effects:
        """The runtime has ended, or its time has: tell the extensions, once."""
        if self.dismissed:
            return []
        self.dismissed = True
        hearing = self.extensions.begin_farewell()
        if not hearing:
            self.is_over = True
            return []
        notice = ShutdownNotice(self.reason, self.deadline)
        told: Effects = [Notify(each.identifier, notice) for each in hearing]
        return [
            SignalRuntime(self.generation, SIGKILL),
            *told,
            Arm(Timer.STOP, self.deadline, self.generation),
        ]

    def extension_gone(self) -> None:
        """An extension has ended. When the last one of those that were told has, nothing is waited for."""
        self.is_over = self.is_over or (self.dismissed and not self.extensions.hearing_shutdown)

    def time_over(self) -> Effects:
        """The armed time has passed: the runtime's, or everybody's."""
        if not self.dismissed:
            return self.runtime_gone()
        self.is_over = True
        return []
