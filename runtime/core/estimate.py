"""A running estimate of how long something takes. Pure."""


class Estimate:
    """Mean and mean deviation, the last values weighing most (an eighth and a quarter, as TCP weighs round trips)."""

    __slots__ = ("deviation", "mean")

    def __init__(self, first: float) -> None:
        self.mean = first
        self.deviation = first / 2

    def __repr__(self) -> str:
        return f"<Estimate {self.mean:.4f} ± {self.deviation:.4f}>"

    def add(self, value: float) -> None:
        """One more has taken so long."""
        self.deviation += (abs(value - self.mean) - self.deviation) / 4
        self.mean += (value - self.mean) / 8

    @property
    def most(self) -> float:
        """What few take longer than."""
        return self.mean + 2 * self.deviation


def learn(known: Estimate | None, value: float) -> Estimate:
    """The estimate with one more value."""
    if known is None:
        return Estimate(value)
    known.add(value)
    return known
