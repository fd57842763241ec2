"""The one thread that writes.

Writes queue up; all that wait while a transaction commits share the next one, so the cost of reaching the disk is
divided among them (group commit). Each has a savepoint of its own: one that is refused takes nothing of its neighbours
with it. Whoever awaits a write learns its outcome only after the commit, and after the next catalog is in place.

A caller that is cancelled stops waiting; its write, once queued, is carried out all the same.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread

from runtime.store.catalog import Change
from runtime.store.database import translating_errors
from runtime.store.errors import StorageFull, StoreClosed, StoreError

Work = Callable[[sqlite3.Connection], Change]
"""What a write does to the database; returns what that means for the catalog, or raises StoreError."""

_QUEUE_LIMIT = 1024
_BATCH_LIMIT = 128
"""Bounds how long a first write waits for the commit that it shares with others."""


@dataclass(frozen=True, slots=True)
class _Write:
    work: Work
    outcome: asyncio.Future[Change]


class Writer:
    """Owns the connection from its start to its end; `on_commit` is called in its thread, after each commit."""

    def __init__(self, connection: sqlite3.Connection, on_commit: Callable[[Sequence[Change]], None]) -> None:
        self._connection = connection
        self._on_commit = on_commit
        self._queue: SimpleQueue[_Write | None] = SimpleQueue()
        self._room = asyncio.Semaphore(_QUEUE_LIMIT)
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._thread = Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    async def write(self, work: Work) -> Change:
        await self._room.acquire()
        if self._closed:
            self._room.release()
            raise StoreClosed("The store is closed")
        outcome: asyncio.Future[Change] = self._loop.create_future()
        self._queue.put(_Write(work, outcome))
        return await outcome

    async def close(self) -> None:
        """Carry out what is queued, then end the thread and close the connection."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        for batch in self._batches():
            outcomes = self._carry_out(batch)
            self._loop.call_soon_threadsafe(self._deliver, batch, outcomes)
        self._connection.close()

    def _batches(self) -> Iterator[list[_Write]]:
        while (first := self._queue.get()) is not None:
            batch = [first]
            while len(batch) < _BATCH_LIMIT and not self._queue.empty():
                write = self._queue.get()
                if write is None:
                    yield batch
                    return
                batch.append(write)
            yield batch

    def _carry_out(self, batch: Sequence[_Write]) -> Sequence[Change | Exception]:
        """One transaction for the batch. If it does not commit, every write in it has failed."""
        try:
            with translating_errors():
                outcomes = self._transact(batch)
            self._on_commit([outcome for outcome in outcomes if not isinstance(outcome, Exception)])
        except Exception as error:  # noqa: BLE001 - belongs to the callers, and the thread must live on
            return [error] * len(batch)
        return outcomes

    def _transact(self, batch: Sequence[_Write]) -> Sequence[Change | Exception]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [self._attempt(write.work) for write in batch]
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return outcomes

    def _attempt(self, work: Work) -> Change | Exception:
        """One write under its savepoint. Errors of SQLite itself fail the batch: they may have ended it already."""
        self._connection.execute("SAVEPOINT attempt")
        try:
            change = work(self._connection)
        except sqlite3.Error:
            raise
        except Exception as refusal:  # noqa: BLE001 - handed to the caller of this write alone
            self._connection.execute("ROLLBACK TO attempt")
            return refusal
        finally:
            if self._connection.in_transaction:
                self._connection.execute("RELEASE attempt")
        return change

    def _deliver(self, batch: Sequence[_Write], outcomes: Sequence[Change | Exception]) -> None:
        for write, outcome in zip(batch, outcomes, strict=True):
            self._room.release()
            if write.outcome.done():  # its caller was cancelled
                continue
            if isinstance(outcome, Exception):
                write.outcome.set_exception(_fresh(outcome))
            else:
                write.outcome.set_result(outcome)


def _fresh(error: Exception) -> Exception:
    """An exception of its own for each caller: raising one object in many places would mix their tracebacks."""
    if not isinstance(error, StoreError | StorageFull):
        return error
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy
