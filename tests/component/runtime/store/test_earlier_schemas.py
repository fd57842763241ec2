"""Databases that earlier releases wrote, one for each schema: they open, and nothing in them is lost.

Each file of the folder `schemas` is a whole database as the first release of that schema left it; they never change.
"""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.model import (
    Attachment,
    Code,
    CodeSigningConfig,
    EventInvokeConfig,
    EventSourceMapping,
    FunctionCodeSigning,
    FunctionPolicy,
    FunctionUrl,
    FunctionVersion,
    LayerPolicy,
    LayerVersion,
    LoggingConfig,
    ProvisionedConcurrency,
    RecursionConfig,
    ReservedConcurrency,
    RuntimeManagement,
    Scope,
)
from runtime.store import Store
from runtime.store.codec import ATTACHMENTS
from runtime.store.statements import read_migrations

SCHEMAS = Path(__file__).with_name("schemas")
NUMBERS = [step.number for step in read_migrations()]
LAYER = "arn:aws:lambda:us-east-1:123456789012:layer:words:1"
KEPT: dict[type[Attachment], tuple[str, str]] = {
    CodeSigningConfig: ("csc-00000000000000000", ""),
    EventInvokeConfig: ("f", "$LATEST"),
    EventSourceMapping: ("11111111-1111-1111-1111-111111111111", ""),
    FunctionCodeSigning: ("f", ""),
    FunctionPolicy: ("f", "live"),
    FunctionUrl: ("f", "live"),
    LayerPolicy: ("words", "1"),
    ProvisionedConcurrency: ("f", "2"),
    RecursionConfig: ("f", ""),
    ReservedConcurrency: ("f", ""),
    RuntimeManagement: ("f", "$LATEST"),
}
"""What schema 3 held of each kind that it knew: owner and qualifier."""


@pytest.fixture
def database(data_dir: Path) -> Path:
    """Where the store looks for its database."""
    path = data_dir / "store" / "berth.sqlite3"
    path.parent.mkdir(parents=True)
    return path


def lay_out(path: Path, number: int) -> dict[tuple[str, ...], dict[str, object]]:
    """Write the database of a schema; what its attachments' documents said."""
    connection = sqlite3.connect(path)
    connection.executescript((SCHEMAS / f"{number}.sql").read_text())
    assert connection.execute("PRAGMA user_version").fetchone() == (number,)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    written: dict[tuple[str, ...], dict[str, object]] = {}
    if number >= 3:
        rows = connection.execute("SELECT kind, owner, qualifier, document FROM attachments")
        written = {tuple(key): json.loads(document)["record"] for *key, document in rows}
    connection.close()
    return written


def test_every_schema_has_its_database() -> None:
    """Whoever adds a migration adds what the schema before it looked like."""
    assert sorted(int(path.stem) for path in SCHEMAS.glob("*.sql")) == NUMBERS


@pytest.mark.parametrize("number", NUMBERS)
async def test_functions_and_layers_are_kept(
    data_dir: Path, database: Path, scope: Scope, number: int
) -> None:
    """Every member of their configuration, and their versions; after another start too."""
    lay_out(database, number)
    for _ in range(2):
        store = await Store.open(data_dir)
        found = store.catalog.function(scope, "f")
        assert found is not None
        config = found.config
        assert (found.revision_id, found.tags, found.code) == (
            "r1",
            {"team": "a"},
            Code("0" * 63 + "1", 120, 240),
        )
        assert (config.runtime, config.timeout, config.memory_size) == ("python3.11", 5, 256)
        assert (config.environment, config.architecture) == ({"STAGE": "old"}, "arm64")
        assert config.logging == LoggingConfig("JSON", "DEBUG", "WARN", "/my/group")
        assert [layer.arn for layer in config.layers] == [LAYER]
        assert config.declared == {"KMSKeyArn": "arn:k"}
        assert [each.version for each in store.catalog.versions(scope, "f")] == ["$LATEST", "1", "2"]
        layer = store.catalog.layer_version(scope, "words", 1)
        assert layer is not None
        assert (layer.license_info, layer.compatible_runtimes) == ("MIT", ("python3.11",))
        await store.close()


@pytest.mark.parametrize("number", NUMBERS)
async def test_numbers_go_on(data_dir: Path, database: Path, scope: Scope, number: int) -> None:
    """Numbers that were given are not given again, those of deleted layer versions included."""
    lay_out(database, number)
    store = await Store.open(data_dir)
    latest = store.catalog.function(scope, "f")
    layer = store.catalog.layer_version(scope, "words", 1)
    assert isinstance(latest, FunctionVersion)
    assert isinstance(layer, LayerVersion)
    changed = replace(latest, config=replace(latest.config, timeout=9))
    assert (await store.publish_version(changed, latest_revision="r1")).version == "3"
    assert (await store.publish_layer_version(layer)).number == 3
    await store.close()


@pytest.mark.parametrize("number", NUMBERS[1:])
async def test_aliases_are_kept(data_dir: Path, database: Path, scope: Scope, number: int) -> None:
    """With their weights and variables."""
    lay_out(database, number)
    store = await Store.open(data_dir)
    found = store.catalog.alias(scope, "f", "live")
    assert found is not None
    assert (found.version, found.weights, found.environment) == ("1", {"2": 0.25}, {"STAGE": "alias"})
    assert (found.revision_id, found.description) == ("a1", "a")
    await store.close()


@pytest.mark.parametrize("number", NUMBERS[2:])
async def test_attachments_are_kept(data_dir: Path, database: Path, scope: Scope, number: int) -> None:
    """Of every kind that there was, each member as it was written."""
    written = lay_out(database, number)
    assert len(written) == len(KEPT)
    store = await Store.open(data_dir)
    names = {kind: name for name, kind in ATTACHMENTS.items()}
    for kind, (owner, qualifier) in KEPT.items():
        found = store.catalog.attachment(kind, scope, owner, qualifier)
        assert found is not None, kind
        for member, value in written[names[kind], owner, qualifier].items():
            if member == "scope":
                assert found.scope == scope
                continue
            now = getattr(found, member)
            assert (list(now) if isinstance(now, tuple) else now) == value, (kind, member)
    await store.close()
