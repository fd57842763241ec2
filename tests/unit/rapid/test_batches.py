"""Batches: when they are due, what a slow subscriber costs, and that every event is told or counted as dropped."""

import random
from dataclasses import dataclass, field

import pytest

from rapid.batches import NONE, Batch, Batches, Loss
from rapid.subscriptions import Buffering

SMALL = Buffering(max_items=3, max_bytes=10, timeout=1.0)


@pytest.fixture
def batches() -> Batches:
    return Batches(SMALL)


class TestWhenBatchesAreDue:
    def test_by_time(self, batches: Batches) -> None:
        """So long after the first event, whatever comes after it."""
        assert batches.due is None
        batches.add(b"a", 5.0)
        batches.add(b"b", 5.9)
        assert batches.due == 6.0
        assert batches.take() == Batch([b"a", b"b"], 2)
        assert batches.due is None

    def test_by_number(self, batches: Batches) -> None:
        """With its last event, as of now."""
        batches.add(b"a", 5.0)
        batches.add(b"b", 5.1)
        assert (batches.due, batches.is_full) == (6.0, False)
        batches.add(b"c", 5.2)
        assert (batches.due, batches.is_full) == (5.0, True)

    def test_by_size(self, batches: Batches) -> None:
        """With the byte that reaches the limit."""
        batches.add(bytes(9), 5.0)
        assert (batches.due, batches.is_full) == (6.0, False)
        batches.add(b"a", 5.1)
        assert (batches.due, batches.is_full) == (5.0, True)

    def test_one_at_a_time(self, batches: Batches) -> None:
        """While a batch is on its way none is due; then the next is as old as its first event."""
        batches.add(b"a", 5.0)
        assert batches.take()
        batches.add(b"b", 5.5)
        assert batches.due is None
        assert batches.take() is None
        batches.delivered()
        assert batches.due == 6.5
        assert batches.take() == Batch([b"b"], 1)

    def test_nothing(self, batches: Batches) -> None:
        """There is no empty batch."""
        assert batches.take() is None
        batches.delivered()
        batches.failed()
        batches.lose(Loss(1, 1))
        assert (batches.take(), batches.due) == (None, None)


class TestSlowSubscribers:
    def test_filled_batches_wait(self) -> None:
        """So long as there is room for them; then each is due when the one before has arrived."""
        batches = Batches(SMALL, room=6)
        batches.add(b"1", 0)
        batches.take()
        for event in (b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h", b"i"):
            batches.add(event, 1)
        assert repr(batches) == "<Batches 9 waiting, 1 on their way, 0 dropped>"
        batches.add(b"j", 2)
        assert repr(batches) == "<Batches 7 waiting, 1 on their way, 3 dropped>"
        batches.delivered()
        assert batches.due == 2
        assert batches.take() == Batch([b"a", b"b", b"c"], 3, Loss(3, 3))
        batches.delivered()
        assert batches.take() == Batch([b"d", b"e", b"f"], 3)
        batches.delivered()
        assert batches.due == 3
        assert batches.take() == Batch([b"j"], 1)

    def test_the_room_is_for_the_longest(self) -> None:
        """Whatever a batch may be, one can wait."""
        batches = Batches(Buffering(max_bytes=1_048_576))
        batches.add(b"1", 0)
        batches.take()
        for _ in range(3):
            batches.add(bytes(1_048_575), 1)
        assert batches._loss == NONE

    def test_no_room(self) -> None:
        """A filled batch is dropped as a whole when there is more, and told of by the next."""
        batches = Batches(SMALL, room=2)
        batches.add(b"1", 0)
        batches.take()
        for event in (b"a", b"b", b"c"):
            batches.add(event, 1)
        assert repr(batches) == "<Batches 3 waiting, 1 on their way, 0 dropped>"
        batches.add(b"d", 2)
        assert repr(batches) == "<Batches 1 waiting, 1 on their way, 3 dropped>"
        batches.delivered()
        assert batches.take() == Batch([b"d"], 1, Loss(3, 3))
        batches.add(b"e", 3)
        batches.delivered()
        assert batches.take() == Batch([b"e"], 1, NONE)

    def test_a_batch_that_fails(self, batches: Batches) -> None:
        """Its events count as dropped, those that it was to tell of too."""
        batches.lose(Loss(2, 20))
        batches.add(b"abc", 0)
        assert batches.take() == Batch([b"abc"], 3, Loss(2, 20))
        batches.failed()
        batches.add(b"d", 1)
        assert batches.take() == Batch([b"d"], 1, Loss(3, 23))


@dataclass
class Subscriber:
    """What one has been given and told, beside the true story."""

    batches: Batches
    buffering: Buffering
    room: int
    heard: list[int] = field(default_factory=list)
    told: Loss = NONE
    on_its_way: Batch | None = None
    added: int = 0

    def add(self, size: int, now: float) -> None:
        self.batches.add(self.added.to_bytes(4, "big") + bytes(size), now)
        self.added += 1

    def take(self) -> None:
        batch = self.batches.take()
        if batch is None:
            return
        self.on_its_way = batch
        assert len(batch.events) <= self.buffering.max_items
        assert batch.size == sum(map(len, batch.events))
        assert batch.size < self.buffering.max_bytes + 40

    def end(self, *, well: bool) -> None:
        batch, self.on_its_way = self.on_its_way, None
        if batch is None:
            return
        if not well:
            self.batches.failed()
            return
        self.batches.delivered()
        self.heard += [int.from_bytes(event[:4], "big") for event in batch.events]
        self.told += batch.loss

    def check(self) -> None:
        assert self.heard == sorted(set(self.heard))
        waiting = sum(size for _, size in self.batches._filled)
        assert (waiting + self.batches._room, self.batches._room >= 0) == (self.room, True)
        held = self.batches._events
        assert len(held) <= self.buffering.max_items
        assert self.batches._size < self.buffering.max_bytes + 40
        assert (self.batches.due is None) or not self.on_its_way


@pytest.mark.parametrize("seed", range(200))
def test_any_story(seed: int) -> None:
    """No event is lost without being counted, none comes twice or out of order, and the bounds hold."""
    chance = random.Random(seed)  # noqa: S311  a walk, to be had again
    buffering = Buffering(chance.randint(1, 6), chance.randint(1, 80), 1.0)
    room = chance.randint(0, 300)
    subscriber = Subscriber(Batches(buffering, room), buffering, room)
    now = 0.0
    for _ in range(300):
        now += chance.random() / 4
        step = chance.random()
        if step < 0.6:
            subscriber.add(chance.randint(0, 36), now)
        elif step < 0.8:
            due = subscriber.batches.due
            if due is not None and due <= now:
                subscriber.take()
        else:
            subscriber.end(well=chance.random() < 0.8)
        subscriber.check()
    subscriber.end(well=True)
    subscriber.add(0, now)
    while subscriber.batches.due is not None:
        subscriber.take()
        subscriber.end(well=True)
    subscriber.add(0, now)
    subscriber.take()
    subscriber.end(well=True)
    assert len(subscriber.heard) + subscriber.told.records == subscriber.added
