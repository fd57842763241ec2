"""The grace at work: clients in tight loops, with virtual time."""

import heapq
from collections.abc import Callable
from itertools import count

import pytest

from runtime.core.actions import Actions, Assign, Hold, Launch
from runtime.core.pool import Pool
from runtime.core.room import Bounds

LAUNCH, WORK = 0.35, 0.05
SWIFT, SLOW = 0.002, 0.15
"""Seconds from an answer to the end of its log; the second where a machine is busy elsewhere."""


class Loops:
    """So many clients who ask again as soon as they are answered. Every twentieth log is slow to end."""

    def __init__(self, clients: int) -> None:
        bounds = Bounds(memory=10**6, environments=1000, launches=2)
        self.pool = Pool(bounds, weigh=lambda _: 128, family=str, room_wait=10.0)
        self.now = 0.0
        self.launched = 0
        self.answers = 0
        self.tickets = count(1)
        self.order = count()
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        for _ in range(clients):
            self.ask()

    def run(self, seconds: float) -> None:
        while self.events[0][0] < seconds:
            self.now, _, what = heapq.heappop(self.events)
            what()
        self.pool.check()

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.order), what))

    def ask(self) -> None:
        self.act(self.pool.ask(next(self.tickets), "f", self.now))

    def act(self, actions: Actions) -> None:
        for action in actions:
            match action:
                case Assign(_, environment):
                    self.after(WORK, lambda environment=environment: self.answer(environment))  # type: ignore[misc]
                case Launch(environment):
                    self.launched += 1
                    self.after(LAUNCH, lambda environment=environment: self.come_up(environment))  # type: ignore[misc]
                case Hold(ticket, until):
                    self.after(until - self.now, lambda ticket=ticket: self.grace_over(ticket))  # type: ignore[misc]

    def come_up(self, environment: int) -> None:
        self.act(self.pool.launched(environment, self.now))
        self.become_idle(environment)

    def become_idle(self, environment: int) -> None:
        self.act(self.pool.idle(environment, self.now))

    def grace_over(self, ticket: int) -> None:
        self.act(self.pool.grace_over(ticket, self.now))

    def answer(self, environment: int) -> None:
        self.answers += 1
        self.pool.responded(environment, self.now)
        self.after(SWIFT if self.answers % 20 else SLOW, lambda: self.become_idle(environment))
        self.ask()


@pytest.mark.parametrize("clients", [1, 8, 32])
def test_an_environment_for_each_client(clients: int) -> None:
    """As many environments as clients, however often a log ends slowly; but for one that was starting anyway."""
    loops = Loops(clients)
    loops.run(60.0)
    assert clients <= loops.launched <= clients + 1
    assert loops.answers > 0.8 * clients * 60 / (WORK + SLOW)
