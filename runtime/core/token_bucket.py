"""A token bucket: how long to hold something back so that it keeps to a rate. The clock is the caller's."""

BURST = 6 * 1024 * 1024
"""Bytes of a streamed response that are never held back (Lambda quotas)."""


class TokenBucket:
    """`rate` tokens a second, at most `burst` of them saved up; full at first.

    More than there is may be taken: then it takes so much longer until there is anything again.
    """

    __slots__ = ("_burst", "_filled", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._filled = now

    def take(self, amount: float, now: float) -> float:
        """Take tokens; the seconds until they would all have been there."""
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate) - amount
        self._filled = now
        return max(0.0, -self._tokens / self._rate)
