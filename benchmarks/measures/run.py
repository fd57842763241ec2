"""One run: how much is measured, what of it, and where what came out goes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.figures import Findings
from benchmarks.programs import Failed
from runtime.spawners.engine import EngineError

KNOWN = (Failed, EngineError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured. `seconds` of load per peer and round."""

    rounds: int
    seconds: float
    crowds: Sequence[int]
    cold: int
    starts: int
    functions: int
    """Registered beside the one whose latency is measured."""
    burst: int
    """Cold starts at once."""

    @property
    def some(self) -> int:
        """Rounds of what has no target."""
        return max(1, self.rounds * 2 // 3)

    @property
    def few(self) -> int:
        """Rounds of what takes long, or differs little from round to round."""
        return max(1, self.rounds // 3)


FULL = Extent(rounds=9, seconds=1.5, crowds=(8, 32), cold=9, starts=5, functions=10_000, burst=100)
QUICK = Extent(rounds=3, seconds=1.0, crowds=(8,), cold=3, starts=1, functions=2_000, burst=24)


def go_on(error: Exception) -> None:
    """After an error; unless it came up while all was being given up: Ctrl-C ends more than the part at hand."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


@dataclass(slots=True)
class Run:
    """One run of the benchmark."""

    bench: Bench
    findings: Findings
    extent: Extent
    command: Sequence[str]
    rie: bool
    """Whether RIE's binary is there."""
    parts: Sequence[str]
    """The names of those to measure."""
    say: Callable[[str], None]
    doing: str = ""
    """What is measured now."""

    async def measure(self, part: str, what: str, measurement: Callable[[], Awaitable[None]]) -> None:
        """Take a measurement if it is wanted; one that fails is reported and the others go on."""
        if part not in self.parts:
            return
        self.say(what)
        self.doing = what
        try:
            await measurement()
        except Exception as error:  # noqa: BLE001  whatever it is, it is told with the figures
            go_on(error)
            self.fail("", error)
        finally:
            self.doing = ""

    def fail(self, who: str, error: BaseException, times: int = 1) -> None:
        """Report that somebody failed in what is measured now, or all of that."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        what = ", ".join(each for each in (self.doing, who) if each)
        self.findings.fail(what, f"{type(error).__name__}: {error}", times)
