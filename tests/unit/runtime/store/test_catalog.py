from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from runtime.model import (
    LATEST,
    Alias,
    Code,
    FunctionConfig,
    FunctionVersion,
    LayerVersion,
    ReservedConcurrency,
    Scope,
)
from runtime.store.catalog import (
    AliasDeleted,
    AliasPut,
    AttachmentDeleted,
    AttachmentPut,
    Catalog,
    Change,
    FunctionDeleted,
    FunctionPublished,
    FunctionPut,
    LayerVersionDeleted,
    LayerVersionPut,
    VersionDeleted,
)
from tests.helpers.catalogs import every_alias

HERE, THERE = Scope("123456789012", "us-east-1"), Scope("123456789012", "eu-west-1")
CODE = Code("0" * 64, 1, 1)


def function(
    name: str, version: str = LATEST, *, scope: Scope = HERE, revision: str = "r"
) -> FunctionVersion:
    return FunctionVersion(
        scope=scope,
        name=name,
        version=version,
        config=FunctionConfig(role="r"),
        code=CODE,
        revision_id=revision,
        last_modified="",
    )


def alias(
    name: str, function: str = "f", *, version: str = "1", scope: Scope = HERE, revision: str = "r"
) -> Alias:
    return Alias(scope=scope, function=function, name=name, version=version, revision_id=revision)


def layer(name: str, number: int, *, scope: Scope = HERE) -> LayerVersion:
    return LayerVersion(scope=scope, name=name, number=number, code=CODE, created="")


def filled(*records: FunctionVersion | LayerVersion) -> Catalog:
    return Catalog().evolve(
        FunctionPut(record) if isinstance(record, FunctionVersion) else LayerVersionPut(record)
        for record in records
    )


def test_empty() -> None:
    """Nothing is found in an empty catalog, and nothing fails."""
    catalog = Catalog()
    assert catalog.function(HERE, "f") is None
    assert list(catalog.functions(HERE)) == []
    assert catalog.versions(HERE, "f") == ()
    assert catalog.alias(HERE, "f", "live") is None
    assert catalog.aliases(HERE, "f") == ()
    assert list(every_alias(catalog)) == []
    assert catalog.layer_version(HERE, "l", 1) is None
    assert catalog.layer_versions(HERE, "l") == ()
    assert catalog.layers(HERE) == []
    assert list(catalog.all_functions()) == []
    assert list(catalog.all_layer_versions()) == []


def test_functions_are_sorted_and_scoped() -> None:
    """A listing shows one scope's functions by name."""
    catalog = filled(function("b"), function("c", scope=THERE), function("a"))
    assert [record.name for record in catalog.functions(HERE)] == ["a", "b"]
    assert [record.name for record in catalog.functions(THERE)] == ["c"]
    assert catalog.function(THERE, "a") is None
    assert len(list(catalog.all_functions())) == 3


def test_a_listing_can_be_cut_into_pages() -> None:
    """Listings are sequences: length, index, negative index, slice."""
    listing = filled(*(function(name) for name in "dbca")).functions(HERE)
    assert len(listing) == 4
    assert listing[0].name == "a"
    assert listing[-1].name == "d"
    assert [record.name for record in listing[1:3]] == ["b", "c"]


def test_versions_count_like_numbers() -> None:
    """`$LATEST` comes first, and 10 after 9."""
    catalog = filled(*(function("f", version) for version in ("10", "9", LATEST, "1")))
    assert [record.version for record in catalog.versions(HERE, "f")] == [LATEST, "1", "9", "10"]
    assert catalog.function(HERE, "f", "9") == function("f", "9")
    assert len(catalog.functions(HERE)) == 1


def test_a_version_without_latest_is_not_listed() -> None:
    """A listing shows `$LATEST` only, so a function that has none does not appear in it."""
    catalog = filled(function("f", "1"))
    assert list(catalog.functions(HERE)) == []
    assert catalog.evolve([FunctionDeleted(HERE, "f")]).versions(HERE, "f") == ()


def test_replacing_keeps_one() -> None:
    """A version that is put again takes the place of the former."""
    catalog = filled(function("f"), function("f", revision="r2"))
    assert catalog.function(HERE, "f") == function("f", revision="r2")
    assert len(catalog.functions(HERE)) == 1


def test_a_version_goes_alone() -> None:
    """Other versions stay, and the function is listed as before."""
    catalog = filled(function("f"), function("f", "1"), function("f", "2"))
    after = catalog.evolve([VersionDeleted(HERE, "f", "1"), VersionDeleted(HERE, "g", "1")])
    assert [record.version for record in after.versions(HERE, "f")] == [LATEST, "2"]
    assert len(after.functions(HERE)) == 1


def test_publishing_is_one_change() -> None:
    """`$LATEST` and the version made of it appear together."""
    latest, version = function("f", revision="r2"), function("f", "1")
    after = filled(function("f")).evolve([FunctionPublished(latest, version)])
    assert after.versions(HERE, "f") == (latest, version)


def test_aliases_by_name() -> None:
    """Aliases are sorted within their function, and go with it or alone."""
    changes = [AliasPut(alias(name)) for name in ("prod", "dev")]
    catalog = filled(function("f")).evolve([*changes, AliasPut(alias("dev", "g"))])
    assert [each.name for each in catalog.aliases(HERE, "f")] == ["dev", "prod"]
    assert catalog.alias(HERE, "f", "prod") == alias("prod")
    assert catalog.alias(THERE, "f", "prod") is None
    alone = catalog.evolve([AliasDeleted(HERE, "f", "dev"), AliasDeleted(HERE, "h", "dev")])
    assert alone.aliases(HERE, "f") == (alias("prod"),)
    gone = catalog.evolve([FunctionDeleted(HERE, "f")])
    assert list(every_alias(gone)) == [alias("dev", "g")]
    assert catalog.aliases(HERE, "f") == (alias("dev"), alias("prod"))


def test_layers_newest_first() -> None:
    """Layer versions come newest first; a layer without versions is no layer."""
    catalog = filled(layer("l", 1), layer("l", 10), layer("l", 9), layer("k", 1))
    assert [record.number for record in catalog.layer_versions(HERE, "l")] == [10, 9, 1]
    assert catalog.layers(HERE) == ["k", "l"]
    after = catalog.evolve([LayerVersionDeleted(HERE, "k", 1), LayerVersionDeleted(HERE, "l", 9)])
    assert after.layers(HERE) == ["l"]
    assert after.layer_version(HERE, "l", 9) is None
    assert after.layer_version(HERE, "l", 10) == layer("l", 10)


def test_deleting_what_is_not_there() -> None:
    """Deletions of unknown things change nothing."""
    changes: list[Change] = [FunctionDeleted(HERE, "f"), LayerVersionDeleted(HERE, "l", 1)]
    assert list(Catalog().evolve(changes).all_functions()) == []


def test_a_snapshot_never_changes() -> None:
    """A reader that kept a snapshot sees what it saw, whatever is written meanwhile."""
    before = filled(function("a"), function("a", "1"), layer("l", 1))
    listing = before.functions(HERE)
    before.evolve(
        [
            FunctionPut(function("a", revision="r2")),
            FunctionPut(function("b")),
            FunctionDeleted(HERE, "a"),
            LayerVersionPut(layer("l", 2)),
            LayerVersionDeleted(HERE, "l", 1),
        ]
    )
    assert list(listing) == [function("a")]
    assert before.versions(HERE, "a") == (function("a"), function("a", "1"))
    assert before.layer_versions(HERE, "l") == (layer("l", 1),)


def test_a_swap_shares_what_did_not_change() -> None:
    """Other scopes, and other functions' versions, are the same objects in both snapshots."""
    before = filled(function("a"), function("b"), function("c", scope=THERE))
    after = before.evolve([FunctionPut(function("a", revision="r2"))])
    assert after._shelves[THERE] is before._shelves[THERE]
    assert after._shelves[HERE].functions["b"] is before._shelves[HERE].functions["b"]


def reserved(owner: str, executions: int = 1, *, scope: Scope = HERE) -> ReservedConcurrency:
    return ReservedConcurrency(scope=scope, owner=owner, revision_id="r", executions=executions)


def test_attachments_of_a_kind() -> None:
    """By owner and qualifier in one scope, or all there are in any."""
    catalog = Catalog().evolve(
        [
            AttachmentPut(reserved("b")),
            AttachmentPut(reserved("a")),
            AttachmentPut(reserved("a", scope=THERE)),
        ]
    )
    assert catalog.owners(ReservedConcurrency, HERE) == {
        "a": {"": reserved("a")},
        "b": {"": reserved("b")},
    }
    assert catalog.owners(ReservedConcurrency, Scope("000000000000", "us-east-1")) == {}
    everywhere = [(each.scope, each.owner) for each in catalog.all_attachments(ReservedConcurrency)]
    assert everywhere == [(HERE, "a"), (HERE, "b"), (THERE, "a")]


def test_owners_tell_of_changes() -> None:
    """The mapping is another one exactly when something of the kind has changed in the scope, be it to nothing."""
    catalog = Catalog()
    seen = catalog.owners(ReservedConcurrency, HERE)
    for change, changes in (
        (FunctionPut(function("f")), False),
        (AttachmentPut(reserved("f")), True),
        (AttachmentPut(reserved("f", scope=THERE)), False),
        (AliasPut(alias("live")), False),
        (AttachmentPut(reserved("f", 2)), True),
        (FunctionDeleted(HERE, "f"), True),
        (AttachmentPut(reserved("g")), True),
        (AttachmentDeleted(ReservedConcurrency, HERE, "g", ""), True),
    ):
        catalog = catalog.evolve([change])
        found = catalog.owners(ReservedConcurrency, HERE)
        assert (found is not seen) is changes, change
        seen = found
    assert seen == {}


def test_repr_counts() -> None:
    """A catalog in a log says how much it holds."""
    catalog = filled(function("a"), layer("l", 1))
    assert repr(catalog) == "<Catalog [123456789012/us-east-1: 1 functions, 1 layers]>"


names = st.sampled_from("abc")
scopes = st.sampled_from([HERE, THERE])


class CatalogWalk(RuleBasedStateMachine):
    """Random changes to a catalog, against a dictionary that does the same the slow way."""

    @initialize()
    def start(self) -> None:
        self.catalog = Catalog()
        self.functions: dict[tuple[Scope, str, str], FunctionVersion] = {}
        self.aliases: dict[tuple[Scope, str, str], Alias] = {}
        self.layers: dict[tuple[Scope, str, int], LayerVersion] = {}
        self.revision = 0

    @rule(scope=scopes, name=names, version=st.sampled_from([LATEST, "1", "2", "11"]))
    def put_function(self, scope: Scope, name: str, version: str) -> None:
        self.revision += 1
        record = function(name, version, scope=scope, revision=str(self.revision))
        self.functions[scope, name, version] = record
        self.catalog = self.catalog.evolve([FunctionPut(record)])

    @rule(scope=scopes, name=names)
    def delete_function(self, scope: Scope, name: str) -> None:
        self.functions = {key: record for key, record in self.functions.items() if key[:2] != (scope, name)}
        self.aliases = {key: record for key, record in self.aliases.items() if key[:2] != (scope, name)}
        self.catalog = self.catalog.evolve([FunctionDeleted(scope, name)])

    @rule(scope=scopes, name=names, version=st.sampled_from(["1", "2"]))
    def delete_version(self, scope: Scope, name: str, version: str) -> None:
        self.functions.pop((scope, name, version), None)
        self.catalog = self.catalog.evolve([VersionDeleted(scope, name, version)])

    @rule(scope=scopes, function=names, name=names)
    def put_alias(self, scope: Scope, function: str, name: str) -> None:
        self.revision += 1
        record = alias(name, function, scope=scope, revision=str(self.revision))
        self.aliases[scope, function, name] = record
        self.catalog = self.catalog.evolve([AliasPut(record)])

    @rule(scope=scopes, function=names, name=names)
    def delete_alias(self, scope: Scope, function: str, name: str) -> None:
        self.aliases.pop((scope, function, name), None)
        self.catalog = self.catalog.evolve([AliasDeleted(scope, function, name)])

    @rule(scope=scopes, name=names, number=st.integers(1, 11))
    def put_layer_version(self, scope: Scope, name: str, number: int) -> None:
        self.layers[scope, name, number] = replace(layer(name, number, scope=scope))
        self.catalog = self.catalog.evolve([LayerVersionPut(self.layers[scope, name, number])])

    @rule(scope=scopes, name=names, number=st.integers(1, 11))
    def delete_layer_version(self, scope: Scope, name: str, number: int) -> None:
        self.layers.pop((scope, name, number), None)
        self.catalog = self.catalog.evolve([LayerVersionDeleted(scope, name, number)])

    @invariant()
    def same_records(self) -> None:
        key: Any = repr
        assert sorted(self.catalog.all_functions(), key=key) == sorted(self.functions.values(), key=key)
        assert sorted(every_alias(self.catalog), key=key) == sorted(self.aliases.values(), key=key)
        assert sorted(self.catalog.all_layer_versions(), key=key) == sorted(self.layers.values(), key=key)

    @invariant()
    def same_answers(self) -> None:
        for scope in (HERE, THERE):
            listed = sorted(name for s, name, version in self.functions if s == scope and version == LATEST)
            assert [record.name for record in self.catalog.functions(scope)] == listed
            assert self.catalog.layers(scope) == sorted({name for s, name, _ in self.layers if s == scope})
            for name in "abc":
                found_aliases = [each.name for each in self.catalog.aliases(scope, name)]
                assert found_aliases == sorted(n for s, f, n in self.aliases if (s, f) == (scope, name))
                numbers = [n for s, layer_name, n in self.layers if (s, layer_name) == (scope, name)]
                found = self.catalog.layer_versions(scope, name)
                assert [record.number for record in found] == sorted(numbers, reverse=True)


CatalogWalk.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestCatalogWalk = CatalogWalk.TestCase
