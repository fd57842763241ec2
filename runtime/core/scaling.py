"""How fast environments on demand may be added: AWS's rule of today, and the one before it. Pure."""

from enum import StrEnum


class Scaling(StrEnum):
    """The two models."""

    CURRENT = "current"
    """Each function by itself: 1,000 environments in ten seconds."""
    BURST = "burst"
    """All functions of an account in a region together, as until November 2023: a first burst, then 500 a minute."""


CURRENT_SIZE = 1000
CURRENT_RATE = 100.0
"""A second."""
BURST_RATE = 500 / 60
_BURSTS = {
    **dict.fromkeys(("us-east-1", "us-west-2", "eu-west-1"), 3000),
    **dict.fromkeys(("ap-northeast-1", "eu-central-1", "us-east-2"), 1000),
}
_OTHER_BURST = 500


def burst_size(region: str) -> int:
    """How many environments the burst model adds at once."""
    return _BURSTS.get(region, _OTHER_BURST)
