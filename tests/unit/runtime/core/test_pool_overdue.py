"""What is kept gets a launch though there is always somebody who waits for one."""

from runtime.core.actions import Launch
from runtime.core.keeping import OVERDUE
from runtime.core.pool import Pool
from runtime.core.room import Bounds


def test_kept_ones_come_through_a_storm() -> None:
    """Two launches at a time, both always taken by invocations of other functions; then one is taken for what is kept."""
    pool = Pool(
        Bounds(memory=100_000, environments=1000, launches=2), weigh=lambda _: 128, family=str, room_wait=1e9
    )
    coming = [launch for ticket in range(2) for launch in pool.ask(ticket, f"f{ticket}", 0.0)]
    assert pool.keep("kept", 2, 0.0) == []
    launched: list[tuple[float, object]] = []
    for turn in range(2, 80):
        now = turn / 10
        pool.ask(turn, f"f{turn}", now)
        environment = next(action.environment for action in coming if isinstance(action, Launch))
        coming = [action for action in coming if getattr(action, "environment", None) != environment]
        begun = [action for action in pool.idle(environment, now) if isinstance(action, Launch)]
        launched += [(now, action.key) for action in begun]
        coming += begun
        pool.check()
    times = [now for now, key in launched if key == "kept"]
    assert times == [OVERDUE, 2 * OVERDUE]
    assert len(launched) > 70
