"""One subscriber to telemetry: its batches, one of them on its way at a time, tried again where it fails.

The shell around `rapid.batches`. Everything here happens in thawed time: listeners sleep when the environment does.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from rapid.batches import TOO_SLOW, Batch, Batches, Loss
from rapid.deliveries import FAILURES, Delivery
from rapid.subscriptions import Subscription
from rapid.telemetry_events import PLATFORM, Dialect, dropped, events
from rapid.thawed_time import ThawedTime, Timer

logger = logging.getLogger(__name__)

TRIES = 7
"""Attempts to deliver one batch."""
FIRST_PAUSE = 0.1
"""Seconds after the first attempt; each further pause is twice as long: 6.3 in all."""
TRY_LIMIT = 10.0
"""Seconds for one attempt."""


class Subscriber:
    """See the module's text. Whoever makes one closes it."""

    def __init__(
        self, subscription: Subscription, delivery: Delivery, clock: ThawedTime, on_done: Callable[[], None]
    ) -> None:
        self.subscription = subscription
        self.dialect = Dialect.of(subscription)
        self._delivery = delivery
        self._clock = clock
        self._on_done = on_done
        #: Called when nothing is under way any more.
        self._batches = Batches(subscription.buffering)
        self._timer: Timer | None = None
        self._sending: asyncio.Task[None] | None = None
        self._hurries = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<Subscriber to {self.subscription.destination} {self._batches!r}>"

    def add(self, event: bytes) -> None:
        """An event of a type that it subscribed to."""
        self._batches.add(event, self._clock.now())
        if self._timer is None or self._batches.is_full:
            self.look()

    def lose(self, loss: Loss) -> None:
        """Events came before it did, and were too many to be kept."""
        self._batches.lose(loss)

    def look(self) -> None:
        """Hand out a batch if one is due, or see to it that we look again when it is."""
        due = self._batches.due
        if due is None or self._closed or self._clock.stands_still:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._hurries or due <= self._clock.now():
            self._send()
        else:
            self._timer = self._clock.call_at(due, self._fired)

    def hurry(self) -> None:
        """Hand out everything at once, now and from now on: the end is near."""
        self._hurries = True
        self.look()

    def close(self) -> "asyncio.Task[None] | None":
        """Drop everything. The task that is being cancelled for it, if there is one."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._sending is not None:
            self._sending.cancel()
        self._delivery.close()
        return self._sending

    @property
    def is_done(self) -> bool:
        """Whether everything that happened has been delivered, or given up."""
        return self._sending is None and self._batches.due is None

    def _fired(self) -> None:
        self._timer = None
        self.look()

    def _send(self) -> None:
        batch = self._batches.take()
        if batch is not None:
            self._sending = asyncio.create_task(self._deliver(batch), name="telemetry")
            self._sending.add_done_callback(self._sent)

    def _sent(self, task: "asyncio.Task[None]") -> None:
        self._sending = None
        if task.cancelled() or (error := task.exception()) is None:
            self._batches.delivered()
        else:
            if not isinstance(error, FAILURES):
                logger.error("%r failed", self, exc_info=error)
            self._batches.failed()
        self.look()
        if self.is_done and not self._closed:
            self._on_done()

    async def _deliver(self, batch: Batch) -> None:
        """Raises what the last attempt raised."""
        told = [*self._notice(batch), *batch.events]
        pause = FIRST_PAUSE
        for _ in range(TRIES - 1):
            try:
                await self._try(told)
            except FAILURES as error:
                logger.debug("%r: %s", self, error)
            else:
                return
            await self._clock.sleep(pause)
            pause *= 2
        await self._try(told)

    async def _try(self, told: Sequence[bytes]) -> None:
        async with self._clock.limit(TRY_LIMIT):
            await self._delivery.send(told)

    def _notice(self, batch: Batch) -> list[bytes]:
        if not batch.loss.records or PLATFORM not in self.subscription.types:
            return []
        happening = dropped(time.time(), batch.loss.records, batch.loss.size, TOO_SLOW)
        return events(happening, self.dialect, json=False)
