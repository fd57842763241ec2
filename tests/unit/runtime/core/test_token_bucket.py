"""The token bucket: bursts, debts and the rate in the long run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.token_bucket import TokenBucket


def test_burst_is_free() -> None:
    """What has been saved up costs no time, all at once or in pieces."""
    bucket = TokenBucket(10, 100, now=0)
    assert [bucket.take(60, 0), bucket.take(40, 0)] == [0, 0]


def test_debt_takes_time() -> None:
    """Beyond that it takes what is missing over the rate, and time that passes pays it."""
    bucket = TokenBucket(10, 100, now=5)
    assert bucket.take(120, 5) == pytest.approx(2)
    assert bucket.take(10, 5) == pytest.approx(3)
    assert bucket.take(0, 7) == pytest.approx(1)
    assert bucket.take(0, 8) == pytest.approx(0)


def test_no_more_is_saved_than_the_burst() -> None:
    bucket = TokenBucket(10, 100, now=0)
    assert bucket.take(200, 1000) == pytest.approx(10)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=50))
def test_rate_in_the_long_run(amounts: list[int]) -> None:
    """Who always waits as long as told has never had more than the burst and the rate allow."""
    bucket, now, taken = TokenBucket(50, 200, now=0), 0.0, 0
    for amount in amounts:
        now += bucket.take(amount, now)
        taken += amount
        assert taken <= 200 + 50 * now + 1e-6
    assert now == pytest.approx(max(0, (taken - 200) / 50))
