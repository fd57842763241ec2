"""The provisioner between a real catalog and a fleet that makes environments when it is told to."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from rapid.records import PROVISIONED
from runtime.admission import Admission
from runtime.core.admission import Ledger
from runtime.core.leases import Lease
from runtime.core.limits import LimitsReader
from runtime.core.provisioning import Progress, Status
from runtime.fleet import Kept, KeptNews, Key
from runtime.model import Alias, Code, FunctionConfig, FunctionVersion, ProvisionedConcurrency, Scope, State
from runtime.provisioning import Provisioner
from runtime.soon import settled
from runtime.store.catalog import (
    AliasDeleted,
    AliasPut,
    AttachmentDeleted,
    AttachmentPut,
    Catalog,
    Change,
    FunctionDeleted,
    FunctionPut,
    VersionDeleted,
)

SCOPE = Scope("123456789012", "us-east-1")


class Fleet:
    """What is to be kept, by version and the variable STAGE; `ready` of it when `make` says so."""

    def __init__(self) -> None:
        self.on_kept: Any = None
        self.wanted: dict[Key, int] = {}
        self.ready: dict[Key, int] = {}
        self.lacking: str | None = None
        self.asked = 0

    def provisioned_key(self, version: FunctionVersion) -> Key:
        return Key(
            version.scope,
            version.name,
            version.version,
            version.code.digest,
            repr(version.config),
            PROVISIONED,
            None,
            version,
        )

    def keep(self, version: FunctionVersion, count: int) -> None:
        key = self.provisioned_key(version)
        self.asked += 1
        self.wanted[key] = count
        self.ready[key] = min(self.ready.get(key, 0), count)

    def kept(self, version: FunctionVersion) -> tuple[int, int]:
        key = self.provisioned_key(version)
        return self.wanted.get(key, 0), self.ready.get(key, 0)

    def lacks(self, key: Key) -> str | None:
        return self.lacking if self.ready[key] < self.wanted[key] else None

    def make(self) -> None:
        """Everything that is wanted, one after the other."""
        for key, count in self.wanted.items():
            while self.ready[key] < count:
                self.ready[key] += 1
                self.on_kept(KeptNews(key, Kept.READY))

    def fail(self, error_type: str | None) -> None:
        for key in self.wanted:
            self.on_kept(KeptNews(key, Kept.FAILED, "it is said why", error_type))

    def lose(self) -> None:
        """One of each."""
        for key in self.wanted:
            self.ready[key] -= 1
            self.on_kept(KeptNews(key, Kept.ENDED))

    def shown(self) -> dict[str, int]:
        return {
            f"{key.name}:{key.version} {(key.record.config.environment or {}).get('STAGE', '')}".strip(): count
            for key, count in self.wanted.items()
            if count
        }


class World:
    def __init__(self) -> None:
        self.catalog = Catalog()
        self.fleet = Fleet()
        self.admission = Admission(lambda: self.catalog, Ledger(), LimitsReader(1000))
        self.provisioner = self.begin()

    def begin(self) -> Provisioner:
        return Provisioner(lambda: self.catalog, self.fleet, self.admission)  # type: ignore[arg-type]

    def change(self, *changes: Change, function: str = "f") -> None:
        self.catalog = self.catalog.evolve(changes)
        self.provisioner.changed(SCOPE, function)
        self.admission.ledger.check()

    def provision(self, qualifier: str, executions: int, revision: str = "r") -> ProvisionedConcurrency:
        record = ProvisionedConcurrency(
            scope=SCOPE,
            owner="f",
            qualifier=qualifier,
            revision_id=revision,
            executions=executions,
            last_modified="",
        )
        self.change(AttachmentPut(record))
        return record

    async def kinds(self, version: str, count: int) -> list[bool]:
        """Whether so many invocations of the version get a provisioned environment."""
        found = self.catalog.function(SCOPE, "f", version)
        assert found
        key = self.fleet.provisioned_key(found)
        leases = [Lease(SCOPE, "f", version, provisioned=key) for _ in range(count)]
        for lease in leases:
            await settled(self.admission.take(lease, self.admission.limits(SCOPE)))
        for lease in leases:
            self.admission.end(lease)
        return [lease.is_provisioned for lease in leases]


def versions(*numbers: str) -> Iterable[Change]:
    for number in numbers:
        yield FunctionPut(
            FunctionVersion(
                scope=SCOPE,
                name="f",
                version=number,
                config=FunctionConfig(role="r"),
                code=Code(number * 64, 1, 1),
                revision_id=number,
                last_modified="",
                state=State.ACTIVE,
            )
        )


LIVE = Alias(scope=SCOPE, function="f", name="live", version="1", revision_id="a")


@pytest.fixture
async def world() -> World:
    world = World()
    world.change(*versions("$LATEST", "1", "2", "3"), AliasPut(LIVE))
    return world


async def test_version(world: World) -> None:
    """What is configured is kept; what is ready serves, and the rest spills over."""
    record = world.provision("1", 2)
    assert world.fleet.shown() == {"f:1": 2}
    assert world.provisioner.progress(record) == Progress(0, Status.IN_PROGRESS)
    assert await world.kinds("1", 1) == [False]
    world.fleet.make()
    assert world.provisioner.progress(record) == Progress(2, Status.READY)
    assert await world.kinds("1", 3) == [True, True, False]
    assert await world.kinds("2", 1) == [False]


async def test_deleted(world: World) -> None:
    """Without the configuration, nothing is kept, and nobody counts on it."""
    world.provision("1", 2)
    world.fleet.make()
    world.change(AttachmentDeleted(ProvisionedConcurrency, SCOPE, "f", "1"))
    assert world.fleet.shown() == {}
    assert await world.kinds("1", 1) == [False]


@pytest.mark.parametrize("change", [VersionDeleted(SCOPE, "f", "1"), FunctionDeleted(SCOPE, "f")])
async def test_deleted_with_its_owner(world: World, change: Change) -> None:
    """A deleted version or function takes its configuration with it."""
    world.provision("1", 2)
    world.fleet.make()
    world.change(change)
    assert world.fleet.shown() == {}
    assert world.admission.ledger._regions == {}


async def test_alias_moves(world: World) -> None:
    """The environments are of the version that the alias leads to, and in progress again when that is another one."""
    record = world.provision("live", 2)
    world.fleet.make()
    world.change(AliasPut(replace(LIVE, version="2", revision_id="b")))
    assert world.fleet.shown() == {"f:2": 2}
    assert world.provisioner.progress(record) == Progress(0, Status.IN_PROGRESS)
    assert await world.kinds("1", 1) == [False]
    world.fleet.make()
    assert await world.kinds("2", 2) == [True, True]
    world.change(AliasDeleted(SCOPE, "f", "live"))
    assert world.fleet.shown() == {}


async def test_weights(world: World) -> None:
    """Two versions share by weight."""
    record = world.provision("live", 10)
    world.change(AliasPut(replace(LIVE, weights={"2": 0.2}, revision_id="b")))
    assert world.fleet.shown() == {"f:1": 8, "f:2": 2}
    world.fleet.make()
    assert world.provisioner.progress(record) == Progress(10, Status.READY)


async def test_variables(world: World) -> None:
    """An alias with variables of its own has environments of its own."""
    world.provision("live", 1)
    world.fleet.make()
    world.change(AliasPut(replace(LIVE, environment={"STAGE": "live"}, revision_id="b")))
    assert world.fleet.shown() == {"f:1 live": 1}
    world.fleet.make()
    assert await world.kinds("1", 1) == [False]


async def test_unrelated_changes(world: World) -> None:
    """A new description, policy or revision changes nothing about the environments."""
    record = world.provision("live", 1)
    world.fleet.make()
    asked = world.fleet.asked
    world.change(AliasPut(replace(LIVE, description="other", revision_id="b")), *versions("$LATEST", "4"))
    assert world.fleet.asked == asked
    assert world.provisioner.progress(record).status is Status.READY


async def test_never_latest(world: World) -> None:
    """An alias that leads to `$LATEST` after all keeps nothing."""
    world.provision("live", 1)
    world.change(AliasPut(replace(LIVE, version="$LATEST", revision_id="b")))
    assert world.fleet.shown() == {}


async def test_restart(world: World) -> None:
    """A new process makes again what its catalog says."""
    record = world.provision("1", 2)
    world.provision("live", 1)
    world.fleet.__init__()  # type: ignore[misc]
    provisioner = world.provisioner = world.begin()
    provisioner.open()
    assert world.fleet.shown() == {"f:1": 3}
    assert provisioner.progress(record) == Progress(0, Status.IN_PROGRESS)
    world.fleet.make()
    assert provisioner.progress(record) == Progress(2, Status.READY)


async def test_failures(world: World) -> None:
    """Static code that fails is told in AWS's word, surroundings that fail in theirs; both until it goes well."""
    record = world.provision("1", 1)
    world.fleet.fail("Runtime.ExitError")
    failed = Progress(0, Status.FAILED, "FUNCTION_ERROR_INIT_FAILURE")
    assert world.provisioner.progress(record) == failed
    world.fleet.fail(None)
    assert world.provisioner.progress(record) == Progress(0, Status.FAILED, "it is said why")
    world.fleet.make()
    assert world.provisioner.progress(record) == Progress(1, Status.READY)


async def test_no_room_for_the_rest(world: World) -> None:
    """What cannot be had has failed, whenever that came about, and until there is room again."""
    world.change(*versions("1"))
    record = world.provision("1", 2)
    assert world.provisioner.progress(record) == Progress(0, Status.IN_PROGRESS)
    world.fleet.lacking = "others have the room"
    assert world.provisioner.progress(record) == Progress(0, Status.FAILED, "others have the room")
    world.fleet.lacking = None
    assert world.provisioner.progress(record) == Progress(0, Status.IN_PROGRESS)
    world.fleet.make()
    world.fleet.lacking = "others have the room"
    assert world.provisioner.progress(record) == Progress(2, Status.READY)
    world.fleet.lose()
    assert world.provisioner.progress(record) == Progress(1, Status.FAILED, "others have the room")


async def test_put_again(world: World) -> None:
    """After a failure the next try is due at once, and in progress."""
    world.provision("1", 1)
    world.fleet.fail("Runtime.ExitError")
    asked = world.fleet.asked
    record = world.provision("1", 1, revision="s")
    assert world.fleet.asked == asked + 1
    assert world.provisioner.progress(record) == Progress(0, Status.IN_PROGRESS)


async def test_one_dies(world: World) -> None:
    """It serves nobody from then on, until another has come up."""
    record = world.provision("1", 2)
    world.fleet.make()
    world.fleet.lose()
    assert world.provisioner.progress(record) == Progress(1, Status.READY)
    assert await world.kinds("1", 2) == [True, False]
    world.fleet.make()
    assert await world.kinds("1", 2) == [True, True]


async def test_who_waits_gets_a_new_one(world: World) -> None:
    """An invocation that waits for an environment to finish is served by one that comes up meanwhile."""
    world.provision("1", 2)
    world.fleet.make()
    world.fleet.lose()
    version = world.catalog.function(SCOPE, "f", "1")
    assert version
    key = world.fleet.provisioned_key(version)
    first, second = (Lease(SCOPE, "f", "1", provisioned=key) for _ in range(2))
    limits = world.admission.limits(SCOPE)
    await settled(world.admission.take(first, limits))
    world.admission.responded(first)
    waiting = asyncio.create_task(settled(world.admission.take(second, limits)))
    await asyncio.sleep(0)
    world.fleet.make()
    await waiting
    assert second.is_provisioned
