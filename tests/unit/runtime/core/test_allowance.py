"""A bucket that refuses."""

import math

from runtime.core.allowance import Allowance


def test_fills_again() -> None:
    """Full at first; what was taken comes back with time, and no more than fits."""
    allowance = Allowance()
    for now in (0.0, 0.0, 1.0, 2.0, 100.0, 100.0):
        assert allowance.has(2, 1, now)
        allowance.take()
    assert not allowance.has(2, 1, 100.0)
    assert allowance.wait(2, 1) == 1.0
    assert not allowance.has(2, 1, 100.5)
    assert allowance.wait(2, 1) == 0.5
    assert allowance.has(2, 1, 101.0)
    assert allowance.wait(2, 1) == 0.0


def test_another_size() -> None:
    """A changed setting counts at once: what has been taken stays taken."""
    allowance = Allowance()
    for _ in range(10):
        assert allowance.has(10, 10, 5.0)
        allowance.take()
    assert not allowance.has(10, 10, 5.0)
    assert allowance.has(20, 20, 5.0)
    assert not allowance.has(5, 5, 6.0)
    assert allowance.has(5, 5, 6.2)


def test_never() -> None:
    """Nothing passes a bucket of no size, ever."""
    allowance = Allowance()
    assert not allowance.has(0, 0, 1.0)
    assert allowance.wait(0, 0) == math.inf


def test_rounding() -> None:
    """Times that do not add up exactly cost nothing."""
    allowance = Allowance()
    now, passed = 100.0, 0
    for _ in range(1000):
        if allowance.has(10, 10, now):
            allowance.take()
            passed += 1
        now += 0.1
    assert passed == 1000
