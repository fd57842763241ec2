import asyncio
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.model import FunctionVersion, LayerVersion, Scope
from runtime.store import Store
from runtime.store.errors import (
    RecordExists,
    RecordMissing,
    RecordUnreadable,
    RevisionMismatch,
    StoreClosed,
)

FunctionMaker = Callable[..., FunctionVersion]
LayerMaker = Callable[..., LayerVersion]


@pytest.fixture
async def store(data_dir: Path) -> AsyncIterator[Store]:
    store = await Store.open(data_dir)
    yield store
    await store.close()


async def reopened(store: Store, data_dir: Path) -> Store:
    await store.close()
    return await Store.open(data_dir)


async def test_a_write_is_visible_when_it_returns(
    store: Store, scope: Scope, function: FunctionMaker
) -> None:
    """The catalog holds a record as soon as the call that stored it returns."""
    await store.put_function(function(), expected_revision=None)
    assert store.catalog.function(scope, "f") == function()


async def test_creating_twice(store: Store, scope: Scope, function: FunctionMaker) -> None:
    """What is expected to be new must be new; the record that is there stays."""
    await store.put_function(function(), expected_revision=None)
    with pytest.raises(RecordExists):
        await store.put_function(function(revision="r2"), expected_revision=None)
    assert store.catalog.function(scope, "f") == function()


async def test_replacing_at_a_revision(store: Store, scope: Scope, function: FunctionMaker) -> None:
    """A record is replaced if it is still at the revision that the writer has seen, and only then."""
    await store.put_function(function(), expected_revision=None)
    await store.put_function(function(revision="r2"), expected_revision="r1")
    with pytest.raises(RevisionMismatch):
        await store.put_function(function(revision="r3"), expected_revision="r1")
    assert store.catalog.function(scope, "f") == function(revision="r2")


async def test_replacing_what_has_gone(store: Store, scope: Scope, function: FunctionMaker) -> None:
    """A write based on a record that was deleted meanwhile does not bring it back."""
    await store.put_function(function(), expected_revision=None)
    await store.delete_function(scope, "f")
    with pytest.raises(RevisionMismatch):
        await store.put_function(function(revision="r2"), expected_revision="r1")
    assert store.catalog.function(scope, "f") is None


async def test_versions_are_records_of_their_own(store: Store, scope: Scope, function: FunctionMaker) -> None:
    """`$LATEST` and numbers have revisions of their own, and one deletion removes them all."""
    await store.put_function(function(), expected_revision=None)
    await store.put_function(function(version="1", revision="v"), expected_revision=None)
    await store.put_function(function(revision="r2"), expected_revision="r1")
    assert [record.revision_id for record in store.catalog.versions(scope, "f")] == ["r2", "v"]
    await store.delete_function(scope, "f")
    assert store.catalog.versions(scope, "f") == ()


async def test_deleting_what_is_not_there(store: Store, scope: Scope) -> None:
    """Deleting an unknown function is refused, deleting an unknown layer version is not."""
    with pytest.raises(RecordMissing):
        await store.delete_function(scope, "f")
    await store.delete_layer_version(scope, "l", 1)


async def test_one_of_many_writers_wins(store: Store, scope: Scope, function: FunctionMaker) -> None:
    """Of writers that have seen one revision, exactly one replaces it, however they come together."""
    await store.put_function(function(), expected_revision=None)
    writes = (store.put_function(function(revision=f"w{i}"), expected_revision="r1") for i in range(50))
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    winners = [i for i, outcome in enumerate(outcomes) if outcome is None]
    assert len(winners) == 1
    assert all(
        isinstance(outcome, RevisionMismatch) for i, outcome in enumerate(outcomes) if i not in winners
    )
    assert len({id(outcome) for outcome in outcomes if outcome}) == 49
    assert store.catalog.function(scope, "f") == function(revision=f"w{winners[0]}")


async def test_no_update_is_lost(store: Store, scope: Scope, function: FunctionMaker) -> None:
    """Writers that read, change and retry on mismatch add up."""
    await store.put_function(function(revision="0"), expected_revision=None)

    async def add_one() -> None:
        while True:
            seen = store.catalog.function(scope, "f")
            assert seen
            after = replace(seen, revision_id=str(int(seen.revision_id) + 1))
            try:
                return await store.put_function(after, expected_revision=seen.revision_id)
            except RevisionMismatch:
                continue

    await asyncio.gather(*(add_one() for _ in range(30)))
    assert store.catalog.function(scope, "f") == function(revision="30")


async def test_layer_numbers_are_never_reused(
    store: Store, data_dir: Path, scope: Scope, layer: LayerMaker
) -> None:
    """Numbers go on after deletions, and after a restart."""
    assert [(await store.publish_layer_version(layer())).number for _ in range(2)] == [1, 2]
    for number in (1, 2):
        await store.delete_layer_version(scope, "l", number)
    assert store.catalog.layers(scope) == []
    again = await reopened(store, data_dir)
    assert (await again.publish_layer_version(layer())).number == 3
    await again.close()


async def test_concurrent_publishers_get_numbers_of_their_own(
    store: Store, scope: Scope, layer: LayerMaker
) -> None:
    """Each publisher gets another number, without gaps."""
    published = await asyncio.gather(*(store.publish_layer_version(layer()) for _ in range(40)))
    assert sorted(record.number for record in published) == list(range(1, 41))
    assert [record.number for record in store.catalog.layer_versions(scope, "l")] == list(range(40, 0, -1))


async def test_layers_count_for_themselves(store: Store, layer: LayerMaker) -> None:
    """Each layer of each scope begins at 1."""
    elsewhere = Scope("123456789012", "eu-west-1")
    for draft in (layer("a"), layer("b"), layer("a", scope=elsewhere)):
        assert (await store.publish_layer_version(draft)).number == 1


async def test_everything_is_there_after_a_restart(
    store: Store, data_dir: Path, function: FunctionMaker, layer: LayerMaker
) -> None:
    """A store that is opened again holds what the former one held."""
    await store.put_function(function("a"), expected_revision=None)
    await store.put_function(function("b"), expected_revision=None)
    await store.put_function(function("b", version="1"), expected_revision=None)
    published = await store.publish_layer_version(layer())
    before = list(store.catalog.all_functions())
    again = await reopened(store, data_dir)
    assert list(again.catalog.all_functions()) == before
    assert list(again.catalog.all_layer_versions()) == [published]
    await again.close()


async def test_closing(store: Store, function: FunctionMaker) -> None:
    """Writes that were begun before the end are carried out, later ones refused; closing twice is fine."""
    begun = [
        asyncio.create_task(store.put_function(function(f"f{i}"), expected_revision=None)) for i in range(20)
    ]
    await asyncio.wait(begun[:1])
    await store.close()
    await asyncio.gather(*begun)
    with pytest.raises(StoreClosed):
        await store.put_function(function("late"), expected_revision=None)
    await store.close()


async def test_a_cancelled_caller_does_not_stop_its_write(
    store: Store, scope: Scope, function: FunctionMaker
) -> None:
    """A caller that leaves is forgotten; its write and those beside it are carried out."""
    leaving = asyncio.create_task(store.put_function(function("a"), expected_revision=None))
    await asyncio.sleep(0)
    leaving.cancel()
    await store.put_function(function("b"), expected_revision=None)
    assert leaving.cancelled()
    assert [record.name for record in store.catalog.functions(scope)] == ["a", "b"]


async def test_an_unstorable_record_harms_nobody_else(
    store: Store, scope: Scope, function: FunctionMaker
) -> None:
    """A record that cannot be written fails alone; its neighbours in the transaction are stored."""
    good = [function(f"f{i}") for i in range(10)]
    bad = replace(function("bad"), tags={"x": "\ud800"})
    outcomes = await asyncio.gather(
        *(store.put_function(record, expected_revision=None) for record in [*good, bad]),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes[:-1]] == [type(None)] * 10
    assert isinstance(outcomes[-1], TypeError)
    assert list(store.catalog.functions(scope)) == good


async def test_secrets_are_for_the_owner_only(store: Store, data_dir: Path, function: FunctionMaker) -> None:
    """Database and blobs cannot be read by other users; trees can be reached, but the way there not listed."""
    await store.put_function(function(), expected_revision=None)
    digest = await store.blobs.put(b"code")

    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert {mode(path) for path in (data_dir / "store").iterdir()} == {0o600}
    assert mode(store.blobs.path(digest)) == 0o600
    assert mode(data_dir / "store") == mode(data_dir / "blobs") == 0o700
    assert mode(data_dir) == mode(data_dir / "trees") == mode(data_dir / "trees" / "code") == 0o711


async def test_unreadable_records_stop_the_start(
    store: Store, data_dir: Path, function: FunctionMaker
) -> None:
    """A document that cannot be understood is named, and nothing is collected as garbage on its account."""
    digest = await store.blobs.put(b"code")
    await store.put_function(function(digest=digest), expected_revision=None)
    store._writer._connection.execute("UPDATE function_versions SET document = '{}'")
    await store.close()
    with pytest.raises(RecordUnreadable, match=r"\(at 123456789012/us-east-1/f/\$LATEST\)"):
        await Store.open(data_dir)
    assert store.blobs.path(digest).exists()


async def test_garbage_collection(
    store: Store, data_dir: Path, scope: Scope, function: FunctionMaker, layer: LayerMaker
) -> None:
    """Opening removes blobs that no function, reference or live layer version needs, and only those."""
    names = ("code", "pinned", "published", "deleted layer", "orphan")
    digests = {name: await store.blobs.put(name.encode()) for name in names}
    await store.put_function(
        function(digest=digests["code"], layers=(digests["pinned"],)), expected_revision=None
    )
    for name in ("published", "pinned", "deleted layer"):
        await store.publish_layer_version(layer(digest=digests[name]))
    await store.delete_layer_version(scope, "l", 2)
    await store.delete_layer_version(scope, "l", 3)
    again = await reopened(store, data_dir)
    kept = {name for name, digest in digests.items() if again.blobs.path(digest).exists()}
    assert kept == {"code", "pinned", "published"}
    await again.delete_function(scope, "f")
    last = await reopened(again, data_dir)
    assert not last.blobs.path(digests["pinned"]).exists()
    await last.close()
