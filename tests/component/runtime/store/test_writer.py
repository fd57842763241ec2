import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event

import pytest

from runtime.model import FunctionVersion, Scope
from runtime.store import Store, writer
from runtime.store.catalog import Change, FunctionDeleted
from runtime.store.database import open_database
from runtime.store.errors import StorageFull, StoreError
from runtime.store.writer import Writer

FunctionMaker = Callable[..., FunctionVersion]


class Commits:
    """Remembers what each commit brought."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, changes: Sequence[Change]) -> None:
        self.batches.append([change.name for change in changes if isinstance(change, FunctionDeleted)])


def mark(name: str, scope: Scope) -> Callable[[sqlite3.Connection], Change]:
    """A write that touches the database and is told by its name."""

    def work(connection: sqlite3.Connection) -> Change:
        connection.execute(
            "INSERT INTO layers (account, region, name, last_number) VALUES ('a', 'r', ?, 1)", (name,)
        )
        return FunctionDeleted(scope, name)

    return work


class Held:
    """A write that keeps the thread busy from when it has begun until it is let go."""

    def __init__(self, subject: Writer, scope: Scope) -> None:
        self._scope = scope
        self._begun, self._gate = Event(), Event()
        self._task = asyncio.create_task(subject.write(self._work))

    async def begun(self) -> None:
        await asyncio.to_thread(self._begun.wait)

    async def let_go(self) -> None:
        self._gate.set()
        await self._task

    def _work(self, connection: sqlite3.Connection) -> Change:
        self._begun.set()
        self._gate.wait()
        return FunctionDeleted(self._scope, "held")


def names(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    found = {name for (name,) in connection.execute("SELECT name FROM layers")}
    connection.close()
    return found


async def test_writes_that_wait_share_a_commit(tmp_path: Path, scope: Scope) -> None:
    """What queues up while a transaction runs is committed together, in order."""
    commits = Commits()
    subject = Writer(open_database(tmp_path / "db"), commits)
    first = Held(subject, scope)
    await first.begun()
    rest = [asyncio.create_task(subject.write(mark(f"w{i}", scope))) for i in range(20)]
    await asyncio.sleep(0)
    await first.let_go()
    await asyncio.gather(*rest)
    assert commits.batches == [["held"], [f"w{i}" for i in range(20)]]
    await subject.close()
    assert names(tmp_path / "db") == {f"w{i}" for i in range(20)}


async def test_a_refused_write_takes_nothing_with_it(tmp_path: Path, scope: Scope) -> None:
    """What a refused write did is undone; its neighbours' work is committed."""
    subject = Writer(open_database(tmp_path / "db"), Commits())
    first = Held(subject, scope)
    await first.begun()

    def refuse(connection: sqlite3.Connection) -> Change:
        mark("undone", scope)(connection)
        raise StoreError("no")

    works = [mark("a", scope), refuse, mark("b", scope)]
    tasks = [asyncio.create_task(subject.write(work)) for work in works]
    await asyncio.sleep(0)
    await first.let_go()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(outcome, StoreError) for outcome in outcomes] == [False, True, False]
    await subject.close()
    assert names(tmp_path / "db") == {"a", "b"}


async def test_a_failed_transaction_fails_all_and_the_next_works(tmp_path: Path, scope: Scope) -> None:
    """When SQLite itself fails, nobody in the transaction is told otherwise; the writer goes on."""
    commits = Commits()
    subject = Writer(open_database(tmp_path / "db"), commits)
    first = Held(subject, scope)
    await first.begun()

    def broken(connection: sqlite3.Connection) -> Change:
        connection.execute("no statement")
        return FunctionDeleted(scope, "never")

    tasks = [asyncio.create_task(subject.write(work)) for work in (mark("a", scope), broken)]
    await asyncio.sleep(0)
    await first.let_go()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreError, StoreError]
    assert outcomes[0] is not outcomes[1]
    await subject.write(mark("b", scope))
    await subject.close()
    assert names(tmp_path / "db") == {"b"}
    assert commits.batches == [["held"], ["b"]]


async def test_a_caller_of_a_failed_write_may_have_left(tmp_path: Path, scope: Scope) -> None:
    """The failure of a write whose caller was cancelled troubles nobody."""
    subject = Writer(open_database(tmp_path / "db"), Commits())

    def refuse(connection: sqlite3.Connection) -> Change:
        raise StoreError("no")

    leaving = asyncio.create_task(subject.write(refuse))
    await asyncio.sleep(0)
    leaving.cancel()
    await subject.write(mark("a", scope))
    await subject.close()
    assert names(tmp_path / "db") == {"a"}


async def test_the_queue_is_bounded(tmp_path: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers beyond the bound wait for room, and get their turn."""
    monkeypatch.setattr(writer, "_QUEUE_LIMIT", 2)
    monkeypatch.setattr(writer, "_BATCH_LIMIT", 1)
    subject = Writer(open_database(tmp_path / "db"), Commits())
    first = Held(subject, scope)
    await first.begun()
    tasks = [asyncio.create_task(subject.write(mark(f"w{i}", scope))) for i in range(6)]
    await asyncio.sleep(0)
    assert subject._queue.qsize() == 1
    await first.let_go()
    await asyncio.gather(*tasks)
    await subject.close()
    assert len(names(tmp_path / "db")) == 6


async def test_full_disk(data_dir: Path, scope: Scope, function: FunctionMaker) -> None:
    """No room for a record is StorageFull; nothing is stored, nothing appears in the catalog, reads go on."""
    store = await Store.open(data_dir)
    await store.put_function(function("small"), expected_revision=None)
    connection = store._writer._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    big = function("big", layers=tuple(f"{i:064}" for i in range(500)))
    with pytest.raises(StorageFull, match="No space left"):
        await store.put_function(big, expected_revision=None)
    assert [record.name for record in store.catalog.functions(scope)] == ["small"]
    connection.execute("PRAGMA max_page_count = 1000000")
    await store.put_function(big, expected_revision=None)
    await store.close()
