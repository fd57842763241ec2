"""Published versions and aliases in a real store."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from runtime.model import LATEST, Alias, FunctionVersion, Scope, State
from runtime.store import Store
from runtime.store.database import migrate
from runtime.store.errors import RecordExists, RecordMissing, RecordReferenced, RevisionMismatch
from runtime.store.statements import read_migrations
from tests.helpers.catalogs import every_alias

FunctionMaker = Callable[..., FunctionVersion]
AliasMaker = Callable[..., Alias]


@pytest.fixture
async def store(data_dir: Path, function: FunctionMaker) -> AsyncIterator[Store]:
    """A store with a function `f`."""
    store = await Store.open(data_dir)
    await store.put_function(function(), expected_revision=None)
    yield store
    await store.close()


def numbers(store: Store, scope: Scope) -> list[str]:
    return [record.version for record in store.catalog.versions(scope, "f")]


async def publish(store: Store, draft: FunctionVersion, latest: str = "r1") -> str:
    return (await store.publish_version(draft, latest_revision=latest)).version


async def test_publishing(store: Store, scope: Scope, function: FunctionMaker) -> None:
    """The draft is stored under the next number and given back; the same again gives what is there."""
    draft = function(revision="v1")
    first = await store.publish_version(draft, latest_revision="r1")
    assert first == replace(draft, version="1") == store.catalog.function(scope, "f", "1")
    again = await store.publish_version(function(revision="v2"), latest_revision="r1")
    assert again == first
    assert await publish(store, function(digest="1" * 64)) == "2"
    assert numbers(store, scope) == [LATEST, "1", "2"]


async def test_descriptions(store: Store, function: FunctionMaker) -> None:
    """A version of another description is the same, unless the function's own had changed."""
    described = replace(function(), config=replace(function().config, description="of the version"))
    assert await publish(store, described) == "1"
    assert await publish(store, function()) == "1"
    assert await publish(store, replace(function(), source_description="new")) == "2"


async def test_a_failed_version_is_like_no_other(store: Store, function: FunctionMaker) -> None:
    """Publishing again after a failure gives a new version."""
    assert await publish(store, replace(function(), state=State.FAILED)) == "1"
    assert await publish(store, function()) == "2"


async def test_publishing_what_has_changed(store: Store, scope: Scope, function: FunctionMaker) -> None:
    """A draft of a `$LATEST` that is not there any more is refused and takes no number."""
    with pytest.raises(RevisionMismatch):
        await publish(store, function(), latest="r0")
    with pytest.raises(RevisionMismatch):
        await publish(store, function("g"))
    assert await publish(store, function()) == "1"
    assert numbers(store, scope) == [LATEST, "1"]


async def test_numbers_outlive_versions_not_functions(
    store: Store, data_dir: Path, scope: Scope, function: FunctionMaker
) -> None:
    """Numbers go on after deletions and restarts; a function made anew begins at 1."""
    for digit in "12":
        assert await publish(store, function(digest=digit * 64)) == digit
    for number in ("2", "1", "1"):
        await store.delete_version(scope, "f", number)
    await store.close()
    again = await Store.open(data_dir)
    assert numbers(again, scope) == [LATEST]
    assert await publish(again, function(digest="2" * 64)) == "3"
    await again.delete_function(scope, "f")
    await again.put_function(function(), expected_revision=None)
    assert await publish(again, function()) == "1"
    await again.close()


async def test_latest_is_no_number(store: Store, scope: Scope) -> None:
    """The database keeps `$LATEST` when a version is to be deleted."""
    connection = store._writer._connection
    await store.delete_version(scope, "f", LATEST)
    assert connection.execute("SELECT version FROM function_versions").fetchall() == [(LATEST,)]


async def test_publishers_at_once(store: Store, scope: Scope, function: FunctionMaker) -> None:
    """Of many different drafts each gets its number, of many equal ones all get one."""
    drafts = [function(digest=f"{i:064}") for i in range(30)]
    published = await asyncio.gather(*(publish(store, draft) for draft in drafts))
    assert sorted(published, key=int) == [str(number) for number in range(1, 31)]
    same = await asyncio.gather(*(publish(store, function(digest="a" * 64)) for _ in range(30)))
    assert set(same) == {"31"}
    assert len(numbers(store, scope)) == 32


async def test_put_and_publish(store: Store, scope: Scope, function: FunctionMaker) -> None:
    """Both are stored, or neither, whether the function is new or changed."""
    latest, draft = function(revision="r2", digest="1" * 64), function(revision="v1", digest="1" * 64)
    made = await store.put_and_publish(latest, draft, expected_revision="r1")
    assert store.catalog.versions(scope, "f") == (latest, made) == (latest, replace(draft, version="1"))
    with pytest.raises(RevisionMismatch):
        await store.put_and_publish(function(revision="r3"), function(), expected_revision="r1")
    with pytest.raises(RecordExists):
        await store.put_and_publish(function(revision="r3"), function(), expected_revision=None)
    assert store.catalog.versions(scope, "f") == (latest, made)
    new = await store.put_and_publish(function("g"), function("g"), expected_revision=None)
    assert new.version == "1"


async def test_aliases(
    store: Store, data_dir: Path, scope: Scope, function: FunctionMaker, alias: AliasMaker
) -> None:
    """An alias is created once, replaced at its revision, found after a restart, and deleted."""
    for digit in "12":
        await publish(store, function(digest=digit * 64))
    await store.put_alias(alias(), expected_revision=None)
    with pytest.raises(RecordExists):
        await store.put_alias(alias(revision="a2"), expected_revision=None)
    changed = alias(revision="a2", v2=0.1)
    await store.put_alias(changed, expected_revision="a1")
    with pytest.raises(RevisionMismatch):
        await store.put_alias(alias(revision="a3"), expected_revision="a1")
    await store.close()
    again = await Store.open(data_dir)
    assert again.catalog.aliases(scope, "f") == (changed,)
    await again.delete_alias(scope, "f", "live")
    await again.delete_alias(scope, "f", "live")
    assert again.catalog.aliases(scope, "f") == ()
    with pytest.raises(RevisionMismatch):
        await again.put_alias(alias(revision="a3"), expected_revision="a2")
    await again.close()


async def test_aliases_lead_somewhere(
    store: Store, scope: Scope, function: FunctionMaker, alias: AliasMaker
) -> None:
    """An alias of a version that is not there is refused, and a version with aliases stays."""
    for digit in "12":
        await publish(store, function(digest=digit * 64))
    for lost in (alias(version="9"), alias(v9=0.5)):
        with pytest.raises(RecordMissing):
            await store.put_alias(lost, expected_revision=None)
    await store.put_alias(alias("b"), expected_revision=None)
    await store.put_alias(alias("a", "2", v1=0.5), expected_revision=None)
    with pytest.raises(RecordMissing):
        await store.put_alias(alias("b", "9", revision="a2"), expected_revision="a1")
    with pytest.raises(RecordReferenced) as caught:
        await store.delete_version(scope, "f", "1")
    assert caught.value.names == ("a", "b")
    assert numbers(store, scope) == [LATEST, "1", "2"]
    await store.delete_function(scope, "f")
    assert list(every_alias(store.catalog)) == []


async def test_version_and_alias_at_once(
    store: Store, scope: Scope, function: FunctionMaker, alias: AliasMaker
) -> None:
    """Of a deletion and an alias that come together one is refused: no alias is left leading nowhere."""
    for round_ in range(1, 21):
        await publish(store, function(digest=f"{round_:064}"))
        number = str(round_)
        writes = [
            store.delete_version(scope, "f", number),
            store.put_alias(alias(f"a{round_}", number), expected_revision=None),
        ]
        outcomes = await asyncio.gather(*(writes if round_ % 2 else writes[::-1]), return_exceptions=True)
        refused = [each for each in outcomes if each is not None]
        assert [type(each) for each in refused] in ([RecordMissing], [RecordReferenced])
    for each in every_alias(store.catalog):
        assert store.catalog.function(scope, "f", each.version)


async def test_of_many_alias_writers_one_wins(
    store: Store, scope: Scope, function: FunctionMaker, alias: AliasMaker
) -> None:
    """Of writers that have seen one revision exactly one replaces it."""
    await publish(store, function())
    await store.put_alias(alias(), expected_revision=None)
    writes = (store.put_alias(alias(revision=f"w{i}"), expected_revision="a1") for i in range(40))
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    winners = [i for i, outcome in enumerate(outcomes) if outcome is None]
    assert len(winners) == 1
    assert store.catalog.alias(scope, "f", "live") == alias(revision=f"w{winners[0]}")


async def test_code_of_versions_is_kept(
    store: Store, data_dir: Path, scope: Scope, function: FunctionMaker
) -> None:
    """A package that only a version needs stays; it goes once the version is deleted."""
    old, new = await store.blobs.put(b"old"), await store.blobs.put(b"new")
    await publish(store, function(digest=old))
    await store.put_function(function(revision="r2", digest=new), expected_revision="r1")
    await store.close()
    again = await Store.open(data_dir)
    assert again.blobs.path(old).exists()
    await again.delete_version(scope, "f", "1")
    await again.close()
    last = await Store.open(data_dir)
    assert not last.blobs.path(old).exists()
    assert last.blobs.path(new).exists()
    await last.close()


async def test_a_database_of_the_first_schema(
    data_dir: Path, scope: Scope, function: FunctionMaker, alias: AliasMaker
) -> None:
    """
    1. A database is made by the first migration alone, with functions, one of which has numbers.
    2. The store opens it.
    Result: every record is there, numbers go on where they were, and aliases can be made.
    """
    (data_dir / "store").mkdir(parents=True)
    old = sqlite3.connect(data_dir / "store" / "berth.sqlite3", isolation_level=None)
    migrate(old, read_migrations()[:1])
    records = [function(), function(version="9"), function(version="10"), function("g")]
    for record in records:
        document = orjson.dumps({"format": 1, "record": record}).decode()
        document = document.replace(',"source_description":""', "")
        assert "source_description" not in document
        key = (scope.account, scope.region, record.name, record.version)
        old.execute("INSERT INTO function_versions VALUES (?, ?, ?, ?, ?, ?)", (*key, "r1", document))
    old.close()

    store = await Store.open(data_dir)
    assert sorted(store.catalog.all_functions(), key=repr) == sorted(records, key=repr)
    assert await publish(store, function(digest="1" * 64)) == "11"
    assert await publish(store, function("g")) == "1"
    await store.put_alias(alias(version="9"), expected_revision=None)
    await store.close()


async def test_ten_thousand_functions(
    store: Store, scope: Scope, function: FunctionMaker, alias: AliasMaker
) -> None:
    """Whatever is looked up among them costs what it costs among few: no look-up walks the functions."""
    catalog = store.catalog
    for first in range(0, 10_000, 100):
        batch = [function(f"f{i:05}") for i in range(first, first + 100)]
        await asyncio.gather(*(store.put_function(record, expected_revision=None) for record in batch))
    await publish(store, function())
    await store.put_alias(alias(), expected_revision=None)
    assert len(store.catalog.functions(scope)) == 10_001
    assert [record.name for record in store.catalog.functions(scope)[5000:5002]] == ["f04999", "f05000"]
    assert len(catalog.functions(scope)) == 1
    found = store.catalog.alias(scope, "f", "live")
    assert found
    assert store.catalog.function(scope, "f", found.version)
