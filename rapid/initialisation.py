"""The course of one initialisation, and of the restoration that may follow it: what happened when, and its records. Pure.

What may happen is `rapid.lifecycle`'s to say; here is only the bookkeeping.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rapid.invocation import Fault
from rapid.records import (
    ON_DEMAND,
    InitReport,
    InitRuntimeDone,
    InitStart,
    Record,
    RestoreReport,
    RestoreRuntimeDone,
    RestoreStart,
    ending,
)
from rapid.settings import Settings


@dataclass(slots=True)
class Initialisation:
    """One start of all parties; `ahead` of any invocation, or inside one. Times on the clock of events."""

    settings: Settings
    began: float
    ahead: bool
    ended: float | None = None
    #: Every party was ready.
    restore_began: float | None = None
    restore_ended: float | None = None
    is_told: bool = False
    #: That the runtime is done has been told; of the restoration, once it has begun.

    @property
    def is_restoring(self) -> bool:
        """Whether a restoration has begun."""
        return self.restore_began is not None

    @property
    def is_over(self) -> bool:
        """Whether every party is ready; after a restoration, if there is one."""
        return (self.restore_ended if self.is_restoring else self.ended) is not None

    @property
    def duration(self) -> float | None:
        """What the next REPORT says of it: inside an invocation, and where it was done on request, nothing."""
        if self.ended is None or not self.ahead or self.settings.initialization_type != ON_DEMAND:
            return None
        return self.ended - self.began

    @property
    def restore_duration(self) -> float | None:
        if self.restore_began is None or self.restore_ended is None:
            return None
        return self.restore_ended - self.restore_began

    def start(self) -> InitStart:
        settings = self.settings
        return InitStart(
            settings.runtime_version, settings.runtime_version_arn, settings.initialization_type, self._phase
        )

    def runtime_done(self, fault: Fault | None = None) -> list[Record]:
        """The runtime has asked for its first event, or will never; told once."""
        if self.is_told:
            return []
        self.is_told = True
        status, error_type = ending(fault)
        if self.is_restoring:
            return [RestoreRuntimeDone(status, error_type)]
        return [InitRuntimeDone(self._phase, status, error_type, self.settings.initialization_type)]

    def parties_ready(self, now: float) -> None:
        """Every party has asked for its next event."""
        if self.is_restoring:
            self.restore_ended = now
        else:
            self.ended = now

    def restore(self, now: float) -> RestoreStart:
        """Every party is ready for a snapshot; from now on it is a restoration."""
        self.ended = self.restore_began = now
        self.is_told = False
        return RestoreStart(self.settings.runtime_version, self.settings.runtime_version_arn)

    def report(self, now: float, fault: Fault | None = None) -> InitReport | RestoreReport:
        """Of the restoration if that has begun. Durations end when all parties were ready, or now."""
        status, error_type = ending(fault)
        if self.restore_began is not None:
            duration = (self.restore_ended or now) - self.restore_began
            return RestoreReport(duration, status, error_type)
        duration = (self.ended or now) - self.began
        return InitReport(duration, self._phase, status, error_type, self.settings.initialization_type)

    def failed(self, now: float, fault: Fault) -> Sequence[Record]:
        """Its report. A fault that comes when all parties were ready does not spoil it."""
        return [self.report(now, None if self.is_over else fault)]

    @property
    def _phase(self) -> str:
        return "init" if self.ahead else "invoke"
