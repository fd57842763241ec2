"""How events for one subscriber become batches, in bounded memory. Pure: `now` is passed in.

One batch at a time is on its way, one is filling up, and filled ones wait in between: in one invocation a function may
write more than a listener takes in that time. A batch is due when it has so many events, so many bytes, or an age; it
is never longer than `max_bytes` and one event. Where a filled one finds no room to wait, the subscriber is too slow and
the batch is dropped as a whole. What was dropped is counted, and the next batch tells of it.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from rapid.subscriptions import LIMITS, Buffering

ROOM = 2 * LIMITS["maxBytes"][1]
"""Bytes of filled batches that wait for one that is on its way: what the longest one may be."""
TOO_SLOW = "Consumer seems to have fallen behind as it has not acknowledged receipt of logs."
"""AWS's words for why events were dropped."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Events that the subscriber will not get."""

    records: int = 0
    size: int = 0

    def __add__(self, other: "Loss") -> "Loss":
        return Loss(self.records + other.records, self.size + other.size)


NONE = Loss()


@dataclass(frozen=True, slots=True)
class Batch:
    """Events to be delivered together. `loss` is what was dropped before them and has not been told."""

    events: Sequence[bytes]
    size: int
    loss: Loss = NONE


class Batches:
    """The events of one subscriber, in order."""

    def __init__(self, buffering: Buffering, room: int = ROOM) -> None:
        self._buffering = buffering
        self._room = room
        #: What is left of it.
        self._filled: deque[tuple[list[bytes], int]] = deque()
        #: Batches and their sizes.
        self._events: list[bytes] = []
        self._size = 0
        self._began = 0.0
        #: When the first of `_events` came.
        self._on_its_way: Batch | None = None
        self._loss = NONE

    def __repr__(self) -> str:
        way = len(self._on_its_way.events) if self._on_its_way else 0
        waiting = len(self._events) + sum(len(events) for events, _ in self._filled)
        return f"<Batches {waiting} waiting, {way} on their way, {self._loss.records} dropped>"

    def add(self, event: bytes, now: float) -> None:
        """An event happened."""
        if self.is_full:
            self._set_aside()
        if not self._events:
            self._began = now
        self._events.append(event)
        self._size += len(event)

    def lose(self, loss: Loss) -> None:
        """Events will never be given to the subscriber."""
        self._loss += loss

    def _set_aside(self) -> None:
        """A batch is filled: let it wait if it can."""
        if self._size <= self._room:
            self._room -= self._size
            self._filled.append((self._events, self._size))
        else:
            self.lose(Loss(len(self._events), self._size))
        self._clear()

    @property
    def is_full(self) -> bool:
        """Whether the batch that fills up may grow no more."""
        return len(self._events) >= self._buffering.max_items or self._size >= self._buffering.max_bytes

    @property
    def due(self) -> float | None:
        """From when on a batch can be taken; None where there is none, or the one before is on its way."""
        if not self._events or self._on_its_way is not None:
            return None
        is_due = self._filled or self.is_full
        return self._began if is_due else self._began + self._buffering.timeout

    def take(self) -> Batch | None:
        """The oldest batch, due or not; it is on its way from now on, until it has been delivered or has failed."""
        if self.due is None:
            return None
        if self._filled:
            events, size = self._filled.popleft()
            self._room += size
        else:
            events, size = self._events, self._size
            self._clear()
        self._on_its_way = batch = Batch(events, size, self._loss)
        self._loss = NONE
        return batch

    def delivered(self) -> None:
        """The batch that was on its way has arrived."""
        self._on_its_way = None

    def failed(self) -> None:
        """It never will."""
        batch, self._on_its_way = self._on_its_way, None
        if batch is not None:
            self.lose(Loss(len(batch.events), batch.size) + batch.loss)

    def _clear(self) -> None:
        self._events = []
        self._size = 0
