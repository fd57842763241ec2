import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.model import (
    Alias,
    CodeSigningConfig,
    EventInvokeConfig,
    FunctionPolicy,
    FunctionVersion,
    LayerPolicy,
    LayerVersion,
    Scope,
)
from runtime.store import Store
from runtime.store.attachments import WHATEVER
from runtime.store.catalog import AttachmentDeleted, AttachmentPut
from runtime.store.errors import RecordExists, RecordMissing, RecordUnreadable, RevisionMismatch

FunctionMaker = Callable[..., FunctionVersion]
LayerMaker = Callable[..., LayerVersion]
THERE = Scope("123456789012", "eu-west-1")


@pytest.fixture
async def store(data_dir: Path, function: FunctionMaker) -> AsyncIterator[Store]:
    """A store with a function `f` and its versions."""
    store = await Store.open(data_dir)
    await make(store, function)
    yield store
    await store.close()


async def make(store: Store, function: FunctionMaker, name: str = "f", versions: int = 1) -> None:
    await store.put_function(function(name), expected_revision=None)
    for number in range(1, versions + 1):
        draft = function(name, version=str(number), revision=f"v{number}")
        await store.put_function(draft, expected_revision=None)


def policy(scope: Scope, *sids: str, revision: str = "p1", qualifier: str = "") -> FunctionPolicy:
    statements = tuple({"Sid": sid} for sid in sids)
    return FunctionPolicy(
        scope=scope, owner="f", qualifier=qualifier, revision_id=revision, statements=statements
    )


async def test_conditions(store: Store, scope: Scope) -> None:
    """New, at a revision, or whatever is there; a refused write changes nothing."""
    first, second = policy(scope, "a"), policy(scope, "b", revision="p2")
    with pytest.raises(RevisionMismatch):
        await store.attach(first, expected_revision="p0")
    await store.attach(first, expected_revision=None)
    with pytest.raises(RecordExists):
        await store.attach(second, expected_revision=None)
    with pytest.raises(RevisionMismatch):
        await store.attach(second, expected_revision="p2")
    assert store.catalog.attachment(FunctionPolicy, scope, "f") == first
    await store.attach(second, expected_revision="p1")
    assert store.catalog.attachment(FunctionPolicy, scope, "f") == second
    await store.attach(first)
    with pytest.raises(RevisionMismatch):
        await store.detach(FunctionPolicy, scope, "f", expected_revision="p2")
    assert store.catalog.attachment(FunctionPolicy, scope, "f") == first
    await store.detach(FunctionPolicy, scope, "f", expected_revision="p1")
    assert store.catalog.attachment(FunctionPolicy, scope, "f") is None
    for expected in ("p1", WHATEVER):
        with pytest.raises(RecordMissing):
            await store.detach(FunctionPolicy, scope, "f", expected_revision=expected)


async def test_places_are_apart(store: Store, scope: Scope, function: FunctionMaker) -> None:
    """Kinds, qualifiers and scopes do not touch each other."""
    await store.put_function(function(scope=THERE), expected_revision=None)
    records = (
        policy(scope, "a"),
        policy(scope, "b", qualifier="1"),
        policy(THERE, "c"),
        EventInvokeConfig(scope=scope, owner="f", revision_id="e", last_modified=1.5),
    )
    for record in records:
        await store.attach(record, expected_revision=None)
    for record in records:
        found = store.catalog.attachment(type(record), record.scope, "f", record.qualifier)
        assert found == record
    assert store.catalog.attachments_of(FunctionPolicy, scope, "f") == records[:2]
    assert list(store.catalog.attachments(FunctionPolicy, scope)) == list(records[:2])
    await store.detach(FunctionPolicy, scope, "f", "1")
    assert store.catalog.attachments_of(FunctionPolicy, scope, "f") == records[:1]


async def test_nothing_to_attach_to(store: Store, scope: Scope, layer: LayerMaker) -> None:
    """Without the function or layer version nothing is attached, whatever is expected of it."""
    orphan = replace(policy(scope, "a"), owner="g")
    shared = LayerPolicy(scope=scope, owner="l", qualifier="1", revision_id="p", statements=())
    unknown = replace(policy(scope, "a"), qualifier="2")
    for record in (orphan, unknown, shared, replace(shared, qualifier="x")):
        for expected in (None, "p1", WHATEVER):
            with pytest.raises(RecordMissing):
                await store.attach(record, expected_revision=expected)
    await store.publish_layer_version(layer())
    await store.attach(shared)
    with pytest.raises(RecordMissing):
        await store.attach(replace(shared, qualifier="2"))


async def test_what_goes_with_its_owner(
    store: Store, data_dir: Path, scope: Scope, function: FunctionMaker, layer: LayerMaker
) -> None:
    """Deleting a function or layer version takes what is attached to it and nothing else, also for the next start."""
    await store.put_function(function("g"), expected_revision=None)
    for _ in range(11):
        await store.publish_layer_version(layer("f"))
    kept = (
        replace(policy(scope, "a"), owner="g"),
        CodeSigningConfig(scope=scope, owner="f", revision_id="c", publishers=(), last_modified=""),
        LayerPolicy(scope=scope, owner="f", qualifier="11", revision_id="l", statements=()),
    )
    gone = (policy(scope, "a"), policy(scope, "b", qualifier="1"), replace(kept[2], qualifier="1"))
    for record in (*kept, *gone):
        await store.attach(record)
    await store.delete_function(scope, "f")
    await store.delete_layer_version(scope, "f", 1)
    await store.close()
    again = await Store.open(data_dir)
    for catalog in (store.catalog, again.catalog):
        for record in kept:
            assert catalog.attachment(type(record), scope, record.owner, record.qualifier) == record
        for record in gone:
            assert catalog.attachment(type(record), scope, record.owner, record.qualifier) is None
    await make(again, function)
    assert again.catalog.attachments_of(FunctionPolicy, scope, "f") == ()
    await again.close()


async def test_one_of_many_attaches(store: Store, scope: Scope) -> None:
    """Of writers that expect nothing to be there, or the same revision, exactly one wins."""
    for expected, refusal in ((None, RecordExists), ("first", RevisionMismatch)):
        writes = (
            store.attach(
                policy(scope, str(i), revision="first" if expected is None else "second"),
                expected_revision=expected,
            )
            for i in range(50)
        )
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        (winner,) = (i for i, outcome in enumerate(outcomes) if outcome is None)
        assert all(outcome is None or isinstance(outcome, refusal) for outcome in outcomes)
        found = store.catalog.attachment(FunctionPolicy, scope, "f")
        assert found
        assert found.statements == ({"Sid": str(winner)},)


async def test_attaching_while_the_function_goes(store: Store, scope: Scope, function: FunctionMaker) -> None:
    """However attachments and deletions come together, none is left of a function that is gone."""
    for _ in range(10):
        writes = [store.attach(policy(scope, str(i), qualifier="1" if i % 2 else "")) for i in range(20)]
        writes.insert(10, store.delete_function(scope, "f"))
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {type(None), RecordMissing}
        assert store.catalog.attachments_of(FunctionPolicy, scope, "f") == ()
        await make(store, function)


async def test_a_policy_and_its_owner(
    store: Store, data_dir: Path, scope: Scope, function: FunctionMaker
) -> None:
    """Both are written, or neither, and both are there after the next start."""
    put = AttachmentPut(policy(scope, "a", revision="r2"))
    with pytest.raises(RevisionMismatch):
        await store.change_policy(put, function(revision="r2"), expected_revision="r0")
    assert store.catalog.attachment(FunctionPolicy, scope, "f") is None
    await store.change_policy(put, function(revision="r2"), expected_revision="r1")
    gone = AttachmentDeleted(FunctionPolicy, scope, "f", "1")
    with pytest.raises(RecordMissing):
        await store.change_policy(gone, function(version="1", revision="v2"), expected_revision="v1")
    alias = Alias(scope=scope, function="f", name="live", version="1", revision_id="a1")
    await store.put_alias(alias, expected_revision=None)
    changed = replace(alias, revision_id="a2")
    of_alias = AttachmentPut(policy(scope, "b", qualifier="live"))
    await store.change_policy(of_alias, changed, expected_revision="a1")
    await store.close()
    again = await Store.open(data_dir)
    for catalog in (store.catalog, again.catalog):
        assert catalog.function(scope, "f") == function(revision="r2")
        assert catalog.function(scope, "f", "1") == function(version="1", revision="v1")
        assert catalog.alias(scope, "f", "live") == changed
        assert catalog.attachments_of(FunctionPolicy, scope, "f") == (put.record, of_alias.record)
    await again.close()


async def test_what_goes_with_a_qualifier(store: Store, data_dir: Path, scope: Scope) -> None:
    """Deleting a version or an alias takes what is attached to it, and leaves the rest."""
    alias = Alias(scope=scope, function="f", name="live", version="$LATEST", revision_id="a1")
    await store.put_alias(alias, expected_revision=None)
    for qualifier in ("", "1", "live"):
        await store.attach(policy(scope, "a", qualifier=qualifier))
    await store.delete_version(scope, "f", "1")
    await store.delete_alias(scope, "f", "live")
    await store.close()
    again = await Store.open(data_dir)
    for catalog in (store.catalog, again.catalog):
        assert catalog.attachments_of(FunctionPolicy, scope, "f") == (policy(scope, "a"),)
    await again.close()


async def test_snapshots_do_not_change(store: Store, scope: Scope) -> None:
    """A reader that keeps a catalog keeps what it saw."""
    await store.attach(policy(scope, "a"))
    before = store.catalog
    await store.attach(policy(scope, "b", revision="p2"))
    await store.attach(policy(scope, "c", qualifier="1"))
    await store.delete_function(scope, "f")
    assert before.attachments_of(FunctionPolicy, scope, "f") == (policy(scope, "a"),)


async def test_unknown_kind(store: Store, data_dir: Path, scope: Scope) -> None:
    """A kind that this program does not know is an error that names it, not silence."""
    await store.attach(policy(scope, "a"))
    await store.close()
    connection = sqlite3.connect(data_dir / "store" / "berth.sqlite3")
    connection.execute("UPDATE attachments SET kind = 'wish'")
    connection.commit()
    connection.close()
    with pytest.raises(RecordUnreadable, match=r"'wish' are not known \(at 123456789012/us-east-1/f"):
        await Store.open(data_dir)
