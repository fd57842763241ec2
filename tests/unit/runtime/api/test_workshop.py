"""The tasks that bring functions from Pending or InProgress to an end, against a store of one function."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from runtime.api.workshop import Workshop, creating, updating
from runtime.errors import LambdaError
from runtime.model import Code, FunctionConfig, FunctionVersion, Scope, State, UpdateStatus
from runtime.store.errors import RevisionMismatch, StoreClosed

DRAFT = FunctionVersion(
    scope=Scope("123456789012", "us-east-1"),
    name="f",
    config=FunctionConfig(role="r"),
    code=Code("0" * 64, 1, 1),
    revision_id="1",
    last_modified="",
)
ACTIVE = replace(DRAFT, state=State.ACTIVE, last_update_status=UpdateStatus.SUCCESSFUL)


class OneFunction:
    """Store and catalog at once. `meddle` is put in just before the next write."""

    def __init__(self, record: FunctionVersion | None) -> None:
        self.record = record
        self.meddle: FunctionVersion | None = None
        self.closed = False
        self.writes = asyncio.Queue[FunctionVersion]()

    @property
    def catalog(self) -> "OneFunction":
        return self

    def function(self, _scope: Scope, _name: str, _version: str) -> FunctionVersion | None:
        return self.record

    def all_functions(self) -> Iterator[FunctionVersion]:
        return iter([self.record] if self.record else [])

    async def put_function(self, record: FunctionVersion, *, expected_revision: str | None) -> None:
        if self.closed:
            raise StoreClosed
        if self.meddle is not None:
            self.record, self.meddle = self.meddle, None
        if self.record is None or self.record.revision_id != expected_revision:
            raise RevisionMismatch
        self.record = record
        self.writes.put_nowait(record)


class Gate:
    """A readiness that waits to be opened, and fails with what it is given."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.open = asyncio.Event()
        self.entered = asyncio.Event()
        self.cancelled = False
        self._failure = failure

    async def prepare(self, _version: FunctionVersion) -> None:
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self._failure:
            raise self._failure


def workshop(store: OneFunction, gate: Gate) -> Workshop:
    return Workshop(store, gate, lambda _scope, _name: None)  # type: ignore[arg-type]


async def settled(store: OneFunction, gate: Gate) -> FunctionVersion:
    shop = workshop(store, gate)
    shop.resume()
    assert repr(shop) == "<Workshop [1 functions in preparation]>"
    gate.open.set()
    record = await store.writes.get()
    await shop.close()
    return record


async def test_pending_becomes_active() -> None:
    """A creation ends with a new revision and without reasons."""
    record = await settled(OneFunction(creating(DRAFT)), Gate())
    assert (record.state, record.last_update_status) == (State.ACTIVE, UpdateStatus.SUCCESSFUL)
    assert record.revision_id != "1"
    assert record.state_reason is None


async def test_resumed_update_that_fails() -> None:
    """What was before an update is not known any more after a restart: only the status tells."""
    error = LambdaError("InvalidRuntimeException", "no such runtime")
    record = await settled(OneFunction(updating(ACTIVE)), Gate(error))
    assert (record.state, record.last_update_status) == (State.ACTIVE, UpdateStatus.FAILED)
    assert record.last_update_status_reason == "no such runtime"
    assert record.last_update_status_reason_code == "InternalError"


async def test_settled_functions_are_left_alone() -> None:
    """Nothing is resumed that has come to an end."""
    store, gate = OneFunction(ACTIVE), Gate()
    shop = workshop(store, gate)
    shop.resume()
    await shop.close()
    assert not gate.entered.is_set()


async def test_change_of_another_kind_meanwhile() -> None:
    """A new revision (of tags, say) does not keep the function from becoming active, and is not lost."""
    store = OneFunction(creating(DRAFT))
    store.meddle = replace(creating(DRAFT), revision_id="2", tags={"a": "b"})
    record = await settled(store, Gate())
    assert (record.state, record.tags) == (State.ACTIVE, {"a": "b"})


@pytest.mark.parametrize("successor", [None, ACTIVE, replace(creating(DRAFT), code=Code("1" * 64, 1, 1))])
async def test_function_that_went_meanwhile(successor: FunctionVersion | None) -> None:
    """The outcome for a function that was deleted, or made anew, changes nothing."""
    store, gate = OneFunction(creating(DRAFT)), Gate()
    shop = workshop(store, gate)
    shop.resume()
    await gate.entered.wait()
    store.record = successor
    gate.open.set()
    await asyncio.gather(*shop._tasks)
    assert store.record is successor
    await shop.close()


async def test_close_leaves_the_function_pending() -> None:
    """Work that is cut off stays visible in the store, for the next process."""
    store, gate = OneFunction(creating(DRAFT)), Gate()
    shop = workshop(store, gate)
    shop.resume()
    await gate.entered.wait()
    await shop.close()
    assert gate.cancelled
    assert store.record == creating(DRAFT)


async def test_store_that_refuses(caplog: pytest.LogCaptureFixture) -> None:
    """An outcome that cannot be stored is logged."""
    store, gate = OneFunction(creating(DRAFT)), Gate()
    store.closed = True
    shop = workshop(store, gate)
    shop.resume()
    gate.open.set()
    await asyncio.gather(*shop._tasks)
    assert "could not be stored" in caplog.text
