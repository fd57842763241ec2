"""Random walks over the stock of standbys: whatever happens in whatever order, its counts add up and its bounds hold."""

import random

import pytest

from runtime.core.standby import End, Start, Stock

COST = 16
KINDS = ("python3.11", "nodejs22.x", "provided.al2023", "python3.13")
STEPS = 600


class Walk:
    """One walk. What a shell would know: what is starting, what is alive."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311
        self.stock = Stock(COST)
        self.now = 0.0
        self.needed: set[str] = set()
        self.starting: dict[int, str] = {}
        """Begun and not yet over, claimed and given up ones included."""
        self.mine: dict[int, str] = {}
        """Neither claimed nor given up."""
        self.ready: set[int] = set()

    def step(self) -> None:
        self.now += self.chance.expovariate(1)
        what = self.chance.choice(
            [
                self.plan,
                self.plan,
                self.claim,
                self.end_start,
                self.end_start,
                self.die,
                self.need,
            ]
        )
        what()
        self.stock.check()
        assert self.stock.memory_mb == COST * len(self.mine)
        assert len(self.starting) <= 1
        assert self.stock.next_look(self.now) > self.now

    def plan(self) -> None:
        room = self.chance.choice([0, COST, 5 * COST, 20 * COST])
        may_start = self.chance.random() < 0.7
        actions = self.stock.plan(self.now, room, may_start=may_start)
        assert may_start or not any(isinstance(each, Start) for each in actions)
        self.carry_out(actions)
        assert len(self.mine) * COST <= room
        assert set(self.mine.values()) <= self.needed
        assert not [each for each in self.again(room) if isinstance(each, End)], "given up in two goes"

    def again(self, room: int) -> list[Start | End]:
        return self.stock.plan(self.now, room, may_start=False)

    def carry_out(self, actions: list[Start | End]) -> None:
        for action in actions:
            if isinstance(action, Start):
                assert action.standby not in self.mine
                self.starting[action.standby] = self.mine[action.standby] = str(action.kind)
            else:
                del self.mine[action.standby]
                self.ready.discard(action.standby)

    def claim(self) -> None:
        kind = self.chance.choice(KINDS)
        claimed = self.stock.claim(kind, self.now)
        of_kind = {number for number, each in self.mine.items() if each == kind}
        if claimed is None:
            assert not of_kind
            return
        assert claimed in (of_kind & self.ready or of_kind)
        del self.mine[claimed]
        self.ready.discard(claimed)

    def end_start(self) -> None:
        for standby in list(self.starting):
            del self.starting[standby]
            if self.chance.random() < 0.7:
                self.stock.ready(standby, self.now)
                self.ready |= {standby} & set(self.mine)
            else:
                self.lose(standby)

    def die(self) -> None:
        if self.ready:
            self.lose(self.chance.choice(sorted(self.ready)))

    def lose(self, standby: int) -> None:
        self.stock.lost(standby, self.now)
        self.mine.pop(standby, None)
        self.ready.discard(standby)

    def need(self) -> None:
        self.needed = set(self.chance.sample(KINDS, self.chance.randrange(len(KINDS) + 1)))
        self.stock.need(self.needed)


@pytest.mark.parametrize("seed", range(40))
def test_walk(seed: int) -> None:
    """Counts, bounds, one start at a time, the ready ones first; and in the end everything can be given up."""
    walk = Walk(seed)
    for _ in range(STEPS):
        walk.step()
    walk.end_start()
    walk.carry_out(walk.stock.plan(walk.now, 0, may_start=False))
    assert walk.mine == {}
    walk.stock.need(())
    walk.now += 3600
    walk.stock.plan(walk.now, 0, may_start=False)
    assert repr(walk.stock) == "<Stock [0 standbys of 0 kinds]>"
