import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from runtime.model import (
    LATEST,
    Alias,
    Attachment,
    Code,
    CodeSigningConfig,
    FunctionConfig,
    FunctionPolicy,
    FunctionVersion,
    LayerPolicy,
    LayerVersion,
    RecursionConfig,
    Scope,
)
from runtime.store import Store
from runtime.store.attachments import WHATEVER, Expected
from runtime.store.errors import RecordExists, RecordMissing, RecordReferenced, RevisionMismatch
from tests.helpers.catalogs import every_alias

SCOPE = Scope("123456789012", "us-east-1")
CODE = Code("0" * 64, 1, 1)
names = st.sampled_from("ab")
versions = st.just(LATEST)  # numbers are the store's to give


kinds = st.sampled_from([FunctionPolicy, LayerPolicy, RecursionConfig, CodeSigningConfig])
qualifiers = st.sampled_from(["", LATEST, "1", "2", "a"])
FUNCTIONS_OWN = {FunctionPolicy, RecursionConfig}
Kind = type[Attachment]


def attachment(kind: Kind, owner: str, qualifier: str, revision: int) -> Attachment:
    own: dict[Kind, dict[str, Any]] = {
        FunctionPolicy: {"statements": ({"Sid": str(revision)},)},
        LayerPolicy: {"statements": ()},
        RecursionConfig: {"recursive_loop": "Allow"},
        CodeSigningConfig: {"publishers": ("p",), "last_modified": ""},
    }
    return kind(scope=SCOPE, owner=owner, qualifier=qualifier, revision_id=str(revision), **own[kind])


def function(name: str, version: str, revision: int) -> FunctionVersion:
    return FunctionVersion(
        scope=SCOPE,
        name=name,
        version=version,
        config=FunctionConfig(role="r", declared={"n": [revision]}),
        code=CODE,
        revision_id=str(revision),
        last_modified="",
    )


class StoreWalk(RuleBasedStateMachine):
    """Random writes and restarts of a real store, against plain dictionaries that hold what should be there."""

    @initialize()
    def start(self) -> None:
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.data_dir = Path(self.directory.name) / "data"
        self.store = self.runner.run(Store.open(self.data_dir))
        self.functions: dict[tuple[str, str], FunctionVersion] = {}
        self.aliases: dict[tuple[str, str], Alias] = {}
        self.last_version: dict[str, int] = {}
        self.layers: dict[tuple[str, int], LayerVersion] = {}
        self.attachments: dict[tuple[Kind, str, str], Attachment] = {}
        self.last_number = {"a": 0, "b": 0}
        self.revision = 0

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.runner.run(self.store.close())
            self.runner.close()
            self.directory.cleanup()

    def put(self, record: FunctionVersion, expected: str | None) -> type[Exception] | None:
        try:
            self.runner.run(self.store.put_function(record, expected_revision=expected))
        except (RecordExists, RevisionMismatch) as error:
            return type(error)
        self.functions[record.name, record.version] = record
        return None

    @rule(name=names, version=versions)
    def create(self, name: str, version: str) -> None:
        self.revision += 1
        there = (name, version) in self.functions
        outcome = self.put(function(name, version, self.revision), None)
        assert outcome == (RecordExists if there else None)

    @rule(name=names, version=versions, stale=st.booleans())
    def replace(self, name: str, version: str, stale: bool) -> None:
        self.revision += 1
        former = self.functions.get((name, version))
        expected = "stale" if stale or former is None else former.revision_id
        outcome = self.put(function(name, version, self.revision), expected)
        assert outcome == (RevisionMismatch if expected == "stale" else None)

    @rule(name=names)
    def delete(self, name: str) -> None:
        there = {key for key in self.functions if key[0] == name}
        try:
            self.runner.run(self.store.delete_function(SCOPE, name))
            assert there
        except RecordMissing:
            assert not there
        for key in there:
            del self.functions[key]
        if there:
            self.let_go(lambda kind, owner, _: kind in FUNCTIONS_OWN and owner == name)
        self.aliases = {key: record for key, record in self.aliases.items() if key[0] != name}
        self.last_version.pop(name, None)

    @rule(name=names, stale=st.booleans(), count=st.integers(1, 3))
    def publish_function(self, name: str, stale: bool, count: int) -> None:
        """Different drafts of one `$LATEST` at once."""
        latest = self.functions.get((name, LATEST))
        expected = "stale" if stale or latest is None else latest.revision_id
        self.revision += count
        drafts = [function(name, LATEST, self.revision + i) for i in range(count)]
        self.revision += count

        async def publish_together() -> list[FunctionVersion | BaseException]:
            calls = (self.store.publish_version(draft, latest_revision=expected) for draft in drafts)
            return list(await asyncio.gather(*calls, return_exceptions=True))

        outcomes = self.runner.run(publish_together())
        if expected == "stale":
            assert {type(each) for each in outcomes} == {RevisionMismatch}
            return
        published = [each for each in outcomes if isinstance(each, FunctionVersion)]
        first = self.last_version.get(name, 0) + 1
        assert [int(each.version) for each in published] == list(range(first, first + count))
        self.last_version[name] = first + count - 1
        self.functions |= {(name, each.version): each for each in published}

    @rule(name=names, version=st.sampled_from("123"))
    def delete_version(self, name: str, version: str) -> None:
        users = sorted(
            alias
            for (function_name, alias), record in self.aliases.items()
            if function_name == name and version in record.versions
        )
        refused: tuple[str, ...] = ()
        try:
            self.runner.run(self.store.delete_version(SCOPE, name, version))
            self.functions.pop((name, version), None)
            self.let_go(lambda kind, *place: kind in FUNCTIONS_OWN and place == (name, version))
        except RecordReferenced as error:
            refused = error.names
        assert list(refused) == users

    @rule(
        name=names,
        alias=names,
        version=st.sampled_from([LATEST, "1", "2", "3"]),
        second=st.none() | st.sampled_from("123"),
        stale=st.booleans(),
    )
    def put_alias(self, name: str, alias: str, version: str, second: str | None, stale: bool) -> None:
        self.revision += 1
        record = Alias(
            scope=SCOPE,
            function=name,
            name=alias,
            version=version,
            weights={second: 0.5} if second else {},
            revision_id=str(self.revision),
        )
        former = self.aliases.get((name, alias))
        expected = "stale" if stale else former.revision_id if former else None
        exists = all((name, each) in self.functions for each in record.versions)
        try:
            self.runner.run(self.store.put_alias(record, expected_revision=expected))
        except RevisionMismatch:
            assert stale
        except RecordMissing:
            assert not exists
            assert not stale
        else:
            assert exists
            assert not stale
            self.aliases[name, alias] = record

    @rule(name=names, alias=names)
    def delete_alias(self, name: str, alias: str) -> None:
        self.runner.run(self.store.delete_alias(SCOPE, name, alias))
        self.aliases.pop((name, alias), None)
        self.let_go(lambda kind, *place: kind in FUNCTIONS_OWN and place == (name, alias))

    @rule(name=names, count=st.integers(1, 3))
    def publish(self, name: str, count: int) -> None:
        async def publish_together() -> list[LayerVersion]:
            draft = LayerVersion(scope=SCOPE, name=name, number=99, code=CODE, created="")
            return list(
                await asyncio.gather(*(self.store.publish_layer_version(draft) for _ in range(count)))
            )

        published = self.runner.run(publish_together())
        first = self.last_number[name] + 1
        assert sorted(record.number for record in published) == list(range(first, first + count))
        self.last_number[name] += count
        self.layers |= {(name, record.number): record for record in published}

    @rule(name=names, number=st.integers(1, 6))
    def unpublish(self, name: str, number: int) -> None:
        self.runner.run(self.store.delete_layer_version(SCOPE, name, number))
        self.layers.pop((name, number), None)
        self.let_go(lambda *key: key == (LayerPolicy, name, str(number)))

    def let_go(self, gone: Callable[[Kind, str, str], bool]) -> None:
        self.attachments = {key: record for key, record in self.attachments.items() if not gone(*key)}

    def has_holder(self, kind: Kind, owner: str, qualifier: str) -> bool:
        if kind is LayerPolicy:
            return qualifier.isdecimal() and (owner, int(qualifier)) in self.layers
        place = (owner, qualifier or LATEST)
        return kind is CodeSigningConfig or place in self.functions or place in self.aliases

    @rule(kind=kinds, owner=names, qualifier=qualifiers, how=st.sampled_from(["new", "at", "stale", "any"]))
    def attach(self, kind: Kind, owner: str, qualifier: str, how: str) -> None:
        self.revision += 1
        former = self.attachments.get((kind, owner, qualifier))
        record = attachment(kind, owner, qualifier, self.revision)
        at = former.revision_id if former else "none"
        expected: Expected = {"new": None, "at": at, "stale": "stale", "any": WHATEVER}[how]
        allowed = {"new": former is None, "at": former is not None, "stale": False, "any": True}[how]
        try:
            self.runner.run(self.store.attach(record, expected_revision=expected))
            assert allowed
            assert self.has_holder(kind, owner, qualifier)
            self.attachments[kind, owner, qualifier] = record
        except RecordMissing:
            assert not self.has_holder(kind, owner, qualifier)
        except RecordExists:
            assert how == "new"
            assert former
        except RevisionMismatch:
            assert how == "stale" or former is None

    @rule(kind=kinds, owner=names, qualifier=qualifiers, stale=st.booleans())
    def detach(self, kind: Kind, owner: str, qualifier: str, stale: bool) -> None:
        former = self.attachments.get((kind, owner, qualifier))
        expected = "stale" if stale else WHATEVER
        try:
            self.runner.run(self.store.detach(kind, SCOPE, owner, qualifier, expected_revision=expected))
            assert not stale
            del self.attachments[kind, owner, qualifier]
        except RecordMissing:
            assert former is None
        except RevisionMismatch:
            assert stale
            assert former

    @rule()
    def restart(self) -> None:
        self.runner.run(self.store.close())
        self.store = self.runner.run(Store.open(self.data_dir))

    @invariant()
    def catalog_is_what_was_written(self) -> None:
        catalog = self.store.catalog
        assert {(r.name, r.version): r for r in catalog.all_functions()} == self.functions
        assert {(r.function, r.name): r for r in every_alias(catalog)} == self.aliases
        assert {(r.name, r.number): r for r in catalog.all_layer_versions()} == self.layers
        found = [
            record
            for kind in (FunctionPolicy, LayerPolicy, RecursionConfig, CodeSigningConfig)
            for record in catalog.attachments(kind, SCOPE)
        ]
        assert {(type(r), r.owner, r.qualifier): r for r in found} == self.attachments
        for (kind, owner, qualifier), record in self.attachments.items():
            assert catalog.attachment(kind, SCOPE, owner, qualifier) == record


StoreWalk.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
TestStoreWalk = StoreWalk.TestCase
