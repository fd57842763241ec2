"""What admission asks of the pool: whether an invocation would find an environment, and a fresh try at kept ones."""

from runtime.core.actions import Assign, Launch
from runtime.core.keeping import FIRST_PAUSE
from runtime.core.pool import Pool
from runtime.core.room import Bounds


def roomy() -> Pool:
    bounds = Bounds(memory=10_000, environments=10, launches=10)
    return Pool(bounds, weigh=lambda _: 128, family=str, room_wait=10.0)


def test_has_free() -> None:
    """One that is idle, or about to be and awaited by nobody; neither one that is launched nor one that is busy."""
    pool = roomy()
    assert not pool.has_free("a")
    assert pool.ask(1, "a", 0.0) == [Launch(1, "a")]
    assert not pool.has_free("a")
    assert pool.idle(1, 0.0) == [Assign(1, 1)]
    assert not pool.has_free("a")
    pool.responded(1, 0.0)
    assert pool.has_free("a")
    pool.ask(2, "a", 0.0)
    assert not pool.has_free("a")
    pool.withdraw(2)
    pool.idle(1, 0.0)
    assert pool.has_free("a")
    assert not pool.has_free("b")


def test_asked_for_again_after_failures() -> None:
    """Whoever keeps a key anew need not wait for the end of its pause."""
    pool = roomy()
    [launch] = pool.keep("a", 1, 0.0)
    assert isinstance(launch, Launch)
    assert pool.failed(launch.environment, 0.0) == []
    assert pool.relaunch(FIRST_PAUSE / 2) == []
    [again] = pool.keep("a", 1, FIRST_PAUSE / 2)
    assert isinstance(again, Launch)
    pool.check()
