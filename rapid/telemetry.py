"""The telemetry of one environment: what happens in it, told to the extensions that have subscribed.

An environment tells it everything while `listens` is true, which is so from the beginning of an initialisation, since
who subscribes late hears of what came before; and, where nobody has subscribed by the end of it, not any more.
It does not know what may be subscribed to when, nor what the records say.
"""

import asyncio
from collections.abc import Callable

from rapid.batches import NONE, Loss
from rapid.deliveries import delivery
from rapid.platform_events import Document
from rapid.subscribers import Subscriber
from rapid.subscriptions import Api, Subscription
from rapid.supervisor import Supervisor
from rapid.telemetry_events import Dialect, Happening, events
from rapid.thawed_time import ThawedTime, Timer

EARLY = 1 << 18
"""Bytes of what happened before somebody subscribed that are kept, roughly: the least that makes a batch."""
PATIENCE = 0.3
"""Seconds that the end of an extension waits for what it has not heard, of the two that it has in all."""


class Telemetry:
    """The subscribers of one generation of an environment's processes, and what the next one's are to hear."""

    def __init__(self, supervisor: Supervisor, *, json: bool) -> None:
        self._supervisor = supervisor
        self._json = json
        #: Whether the function logs in JSON.
        self._clock = ThawedTime()
        self._subscribers: dict[str, Subscriber] = {}
        #: By the extension's name.
        self._early = _Early()
        self._is_open = True
        self._ending: set[asyncio.Task[None]] = set()
        #: Deliveries that have been cancelled and are still about to end.
        self._waiting: list[Callable[[], None]] = []
        #: For everything to have been delivered.
        self._patience: Timer | None = None
        #: Runs while somebody does.
        self.listens = True
        #: Whether anybody hears of what happens, or may yet.

    def __repr__(self) -> str:
        return f"<Telemetry {self._subscribers}>"

    # What happens

    def platform(self, kind: str, document: Document, now: float) -> None:
        """A platform record, as the Telemetry API shows it. `now` in seconds of the Unix epoch."""
        self._happened(Happening(now, kind, document))

    def line(self, kind: str, line: bytes, now: float) -> None:
        """A line of a `function` or of an `extension`, its end included."""
        self._happened(Happening(now, kind, line))

    def _happened(self, happening: Happening) -> None:
        if self._is_open:
            self._early.add(happening)
        told: dict[Dialect, list[bytes]] = {}
        for subscriber in self._subscribers.values():
            self._tell(subscriber, happening, told)

    def _tell(self, subscriber: Subscriber, happening: Happening, told: dict[Dialect, list[bytes]]) -> None:
        """`told`: what has been written of it already; most subscribers speak the same dialect."""
        if happening.type not in subscriber.subscription.types:
            return
        words = told.get(subscriber.dialect)
        if words is None:
            words = told[subscriber.dialect] = events(happening, subscriber.dialect, json=self._json)
        for event in words:
            subscriber.add(event)

    # Who hears of it

    def api_of(self, name: str) -> Api | None:
        """The API by which an extension has subscribed."""
        subscriber = self._subscribers.get(name)
        return subscriber.subscription.api if subscriber else None

    def subscribe(self, name: str, subscription: Subscription) -> None:
        """Tell an extension from now on, and what has happened so far. The same once more changes nothing."""
        former = self._subscribers.get(name)
        if former is not None:
            if former.subscription == subscription:
                return
            self._close(former)
        subscriber = Subscriber(
            subscription, delivery(subscription, self._supervisor), self._clock, self._delivered
        )
        self._subscribers[name] = subscriber
        self.listens = True
        lost = sum((self._early.lost.get(each, NONE) for each in subscription.types), NONE)
        subscriber.lose(lost)
        for happening in self._early.kept:
            self._tell(subscriber, happening, {})

    def close_subscriptions(self) -> None:
        """Nobody can subscribe any more until the processes have been replaced."""
        self._is_open = False
        self._early = _Early()
        self.listens = bool(self._subscribers)

    # When they hear of it

    def pause(self) -> None:
        """The environment is frozen: listeners hear nothing."""
        self._clock.stop()

    def resume(self) -> None:
        """It is thawed."""
        if self._clock.stands_still:
            self._clock.go_on()
            for subscriber in self._subscribers.values():
                subscriber.look()

    def flush(self) -> None:
        """The processes are about to end: nothing is held back any more."""
        for subscriber in self._subscribers.values():
            subscriber.hurry()

    @property
    def is_delivered(self) -> bool:
        """Whether everybody has heard everything, or it has been given up."""
        return all(each.is_done for each in self._subscribers.values())

    def when_delivered(self, callback: Callable[[], None]) -> None:
        """Call back once everybody has heard everything, at once if so; after `PATIENCE` in any case."""
        if self.is_delivered:
            callback()
        else:
            self._waiting.append(callback)
            self._patience = self._patience or self._clock.call_at(self._clock.now() + PATIENCE, self._go_on)

    def _delivered(self) -> None:
        """A subscriber has nothing under way."""
        if self._waiting and self.is_delivered:
            self._go_on()

    def _go_on(self) -> None:
        waiting = self._stop_waiting()
        for callback in waiting:
            callback()

    def _stop_waiting(self) -> list[Callable[[], None]]:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        waiting, self._waiting = self._waiting, []
        return waiting

    def reset(self) -> None:
        """The processes are gone, and subscribers with them. What happens from now on is for those that come next."""
        self._end()
        self._is_open = self.listens = True

    def end(self) -> None:
        """Nobody hears of anything any more."""
        self._end()
        self._is_open = self.listens = False

    async def close(self) -> None:
        """End, and wait for what was under way to have been given up."""
        self.end()
        if self._ending:
            await asyncio.wait(self._ending)

    def _end(self) -> None:
        for subscriber in self._subscribers.values():
            self._close(subscriber)
        self._subscribers.clear()
        self._early = _Early()
        self._stop_waiting()

    def _close(self, subscriber: Subscriber) -> None:
        ending = subscriber.close()
        if ending is not None:
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)


class _Early:
    """What happens before somebody subscribes. Of too much, the end is lost."""

    def __init__(self) -> None:
        self.kept: list[Happening] = []
        self._size = 0
        self.lost: dict[str, Loss] = {}
        #: By type.

    def add(self, happening: Happening) -> None:
        size = happening.size
        if self._size + size <= EARLY:
            self._size += size
            self.kept.append(happening)
        else:
            self.lost[happening.type] = self.lost.get(happening.type, NONE) + Loss(1, size)
