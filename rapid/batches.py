"""How events for one subscriber become batches, in bounded memory. Pure: `now` is passed in.

Two batches exist at a time: one on its way, and one that is filling up. A batch is due when it has so many events, so
many bytes, or an age; where one fills up while the one before is still on its way, the subscriber is too slow and the
filled one is dropped as a whole. So memory is bounded by twice what a batch may be, and a batch is never longer than
`max_bytes` and one event. What was dropped is counted, and the next batch tells of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rapid.subscriptions import Buffering

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

    def __init__(self, buffering: Buffering) -> None:
        self._buffering = buffering
        self._events: list[bytes] = []
        self._size = 0
        self._began = 0.0
        #: When the first of `_events` came.
        self._on_its_way: Batch | None = None
        self._loss = NONE

    def __repr__(self) -> str:
        way = len(self._on_its_way.events) if self._on_its_way else 0
        return f"<Batches {len(self._events)} waiting, {way} on their way, {self._loss.records} dropped>"

    def add(self, event: bytes, now: float) -> None:
        """An event happened."""
        if self.is_full:
            self.lose(Loss(len(self._events), self._size))
            self._clear()
        if not self._events:
            self._began = now
        self._events.append(event)
        self._size += len(event)

    def lose(self, loss: Loss) -> None:
        """Events will never be given to the subscriber."""
        self._loss += loss

    @property
    def is_full(self) -> bool:
        """Whether the waiting batch may grow no more."""
        return len(self._events) >= self._buffering.max_items or self._size >= self._buffering.max_bytes

    @property
    def due(self) -> float | None:
        """From when on a batch can be taken; None where there is none, or the one before is on its way."""
        if not self._events or self._on_its_way is not None:
            return None
        return self._began if self.is_full else self._began + self._buffering.timeout

    def take(self) -> Batch | None:
        """The waiting batch, due or not; it is on its way from now on, until it has been delivered or has failed."""
        if self.due is None:
            return None
        self._on_its_way = batch = Batch(self._events, self._size, self._loss)
        self._clear()
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
