"""How many may pass in a time: a bucket that fills again by itself. The clock, the rate and the size are the caller's.

Unlike `token_bucket` it refuses instead of holding back, and it takes rate and size anew each time, because they are
settings that may have changed since.
"""

import math

_ROUNDING = 1e-6
"""What sums of times may be wrong by."""


class Allowance:
    """Full at first. It remembers what has been taken, not what is left, so that another size counts at once."""

    __slots__ = ("_at", "_taken")

    def __init__(self) -> None:
        self._taken = 0.0
        self._at = -math.inf

    def has(self, size: float, rate: float, now: float) -> bool:
        """Whether one may pass now; `rate` of them come back each second, `size` at the most are there."""
        taken = self._taken
        if taken:
            taken = self._taken = max(0.0, taken - (now - self._at) * rate)
        self._at = now
        return taken + 1.0 <= size + _ROUNDING

    def take(self) -> None:
        """One passes, after `has` has allowed it."""
        self._taken += 1.0

    def give_back(self) -> None:
        """One has not passed after all."""
        self._taken = max(0.0, self._taken - 1.0)

    def wait(self, size: float, rate: float) -> float:
        """Seconds from the last `has` until one may pass; endless where none ever will."""
        missing = self._taken + 1.0 - size
        if missing <= 0.0:
            return 0.0
        return missing / rate if rate and size >= 1.0 else math.inf
