import asyncio
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from runtime.model import LATEST, Code, FunctionConfig, FunctionVersion, LayerVersion, Scope
from runtime.store import Store
from runtime.store.errors import RecordExists, RecordMissing, RevisionMismatch

SCOPE = Scope("123456789012", "us-east-1")
CODE = Code("0" * 64, 1, 1)
names = st.sampled_from("ab")
versions = st.sampled_from([LATEST, "1", "2"])


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
        self.layers: dict[tuple[str, int], LayerVersion] = {}
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

    @rule()
    def restart(self) -> None:
        self.runner.run(self.store.close())
        self.store = self.runner.run(Store.open(self.data_dir))

    @invariant()
    def catalog_is_what_was_written(self) -> None:
        catalog = self.store.catalog
        assert {(r.name, r.version): r for r in catalog.all_functions()} == self.functions
        assert {(r.name, r.number): r for r in catalog.all_layer_versions()} == self.layers


StoreWalk.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
TestStoreWalk = StoreWalk.TestCase
