"""Functions' variables at rest: the key's file, and what lies in the database's."""

import base64
import errno
import logging
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

import runtime
from runtime.model import Alias, FunctionVersion, Scope
from runtime.store import Store
from runtime.store.errors import KeyRefused, RecordUnreadable
from runtime.store.vault import KEY_NAME, Vault, make_next_key, next_key

VALUE = "correct horse battery staple"
NAME = "PASS_PHRASE_OF_THE_TEST"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "key"


@pytest.fixture
def vault(path: Path) -> Vault:
    vault = Vault(path)
    vault.ensure_key()
    return vault


def test_what_is_sealed_opens_again(vault: Vault, path: Path) -> None:
    """Also in a vault with the same key; twice the same gives two texts."""
    first, second = (vault.seal(b"value", b"here") for _ in range(2))
    assert first != second
    assert vault.open(first, b"here") == Vault(path).open(second, b"here") == b"value"
    assert b"value" not in base64.b64decode(first.rpartition(":")[2])


def test_a_key_is_made_once_and_for_its_owner(vault: Vault, path: Path) -> None:
    """32 bytes in base64, and never another one while it is there."""
    text = path.read_bytes()
    assert len(base64.b64decode(text)) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    vault.ensure_key()
    Vault(path).ensure_key()
    assert path.read_bytes() == text
    assert list(path.parent.iterdir()) == [path]


def test_a_draft_that_an_earlier_process_left_does_not_matter(path: Path) -> None:
    """It was killed before its key was one."""
    path.with_name("key.new").write_bytes(b"half a k")
    vault = Vault(path)
    vault.ensure_key()
    assert Vault(path).open(vault.seal(b"v", b""), b"") == b"v"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda text: text[:-4], id="shorter"),
        pytest.param(lambda text: text[:-9] + ("A" if text[-9] != "A" else "B") + text[-8:], id="changed"),
        pytest.param(lambda text: text[:-4] + "****", id="no base64"),
        pytest.param(lambda text: text.rpartition(":")[0] + ":", id="empty"),
        pytest.param(lambda text: text.replace("sealed:1", "sealed:2"), id="another form"),
        pytest.param(lambda text: "hush", id="not sealed at all"),
    ],
)
def test_damage_is_noticed(vault: Vault, damage: Any) -> None:
    """Nothing that was changed opens."""
    with pytest.raises(ValueError, match="what is encrypted"):
        vault.open(damage(vault.seal(b"value", b"here")), b"here")


def test_another_context_does_not_open(vault: Vault) -> None:
    """A value belongs to its record."""
    with pytest.raises(ValueError, match="belongs to another record"):
        vault.open(vault.seal(b"value", b"here"), b"there")


def test_another_key_is_told_from_damage(vault: Vault, tmp_path: Path) -> None:
    """The text names the file and the setting."""
    other = Vault(tmp_path / "other")
    other.ensure_key()
    with pytest.raises(KeyRefused, match=r"another key than the one in .*other .*key_file"):
        other.open(vault.seal(b"value", b""), b"")


def test_without_a_key_nothing_opens_or_is_sealed(vault: Vault, tmp_path: Path) -> None:
    """And no key is made behind anybody's back."""
    none = Vault(tmp_path / "none")
    with pytest.raises(KeyRefused, match=r"key .*none is missing.*key_file"):
        none.open(vault.seal(b"value", b""), b"")
    with pytest.raises(KeyRefused, match="is missing"):
        none.seal(b"value", b"")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("text", [b"", b"short", base64.b64encode(bytes(16)), bytes(32), b"\xff" * 44])
def test_a_file_that_holds_no_key_is_refused(path: Path, text: bytes) -> None:
    """The text says how to make one, and nothing of what is in the file."""
    path.write_bytes(text)
    with pytest.raises(KeyRefused, match=r"does not hold a key: 32 bytes in base64.*openssl rand"):
        Vault(path)
    assert path.read_bytes() == text


def test_a_key_that_cannot_be_read_is_refused(path: Path) -> None:
    """With the system's reason."""
    path.mkdir()
    with pytest.raises(KeyRefused, match="cannot be read: Is a directory"):
        Vault(path)


def test_a_key_that_others_can_read_is_complained_of(
    vault: Vault, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It works all the same."""
    path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        assert Vault(path).open(vault.seal(b"v", b""), b"") == b"v"
    assert "chmod 600" in caplog.text


def test_nothing_shows_the_key(vault: Vault, path: Path) -> None:
    """What a vault says of itself is a mark."""
    assert path.read_text().strip() not in repr(vault)


# In the store


def with_variables(record: FunctionVersion) -> FunctionVersion:
    return replace(record, config=replace(record.config, environment={NAME: VALUE}))


def on_disk(data_dir: Path) -> bytes:
    """Everything that lies beside the key."""
    return b"".join(path.read_bytes() for path in (data_dir / "store").iterdir() if path.name != KEY_NAME)


async def test_the_file_holds_neither_values_nor_names(data_dir: Path, scope: Scope, function: Any) -> None:
    """
    1. A function with variables is stored, changed, and stored again.
    Result: neither the database nor its log has them at any time; opened again they are there.
    """
    store = await Store.open(data_dir)
    await store.put_function(with_variables(function()), expected_revision=None)
    assert VALUE.encode() not in on_disk(data_dir)
    changed = with_variables(function(revision="r2"))
    await store.put_function(changed, expected_revision="r1")
    await store.put_alias(alias_of(changed), expected_revision=None)
    assert NAME.encode() not in on_disk(data_dir)
    await store.close()
    assert VALUE.encode() not in on_disk(data_dir)
    again = await Store.open(data_dir)
    assert again.catalog.function(scope, "f") == changed
    assert again.catalog.alias(scope, "f", "live") == alias_of(changed)
    await again.close()


def lay_open(data_dir: Path, record: FunctionVersion) -> None:
    """Write a record as earlier releases did, with traces of others that were deleted since."""
    connection = sqlite3.connect(data_dir / "store" / "berth.sqlite3", isolation_level=None)
    document = orjson.dumps({"format": 1, "record": record}).decode()
    for name in (record.name, *(f"gone-{number}" for number in range(50))):
        key = (record.scope.account, record.scope.region, name, "$LATEST", record.revision_id, document)
        connection.execute("INSERT INTO function_versions VALUES (?, ?, ?, ?, ?, ?)", key)
    connection.execute("DELETE FROM function_versions WHERE name LIKE 'gone-%'")
    alias = alias_of(record)
    document = orjson.dumps({"format": 1, "record": alias}).decode()
    where = (alias.scope.account, alias.scope.region, alias.function, alias.name, alias.version)
    connection.execute(
        "INSERT INTO aliases VALUES (?, ?, ?, ?, ?, NULL, ?, ?)", (*where, alias.revision_id, document)
    )
    connection.close()


def alias_of(record: FunctionVersion) -> Alias:
    return Alias(
        scope=record.scope,
        function=record.name,
        name="live",
        version=record.version,
        environment=record.config.environment,
        revision_id="a1",
    )


async def test_an_old_database_is_encrypted_when_it_opens(
    data_dir: Path, scope: Scope, function: Any
) -> None:
    """What earlier releases stored as it was is read, rewritten, and erased, deleted records included."""
    await (await Store.open(data_dir)).close()
    old = with_variables(function())
    lay_open(data_dir, old)
    assert VALUE.encode() in on_disk(data_dir)
    store = await Store.open(data_dir)
    assert store.catalog.function(scope, "f") == old
    assert store.catalog.alias(scope, "f", "live") == alias_of(old)
    assert VALUE.encode() not in on_disk(data_dir)
    await store.put_function(replace(old, revision_id="r2"), expected_revision="r1")
    await store.close()
    assert VALUE.encode() not in on_disk(data_dir)
    again = await Store.open(data_dir)
    assert again.catalog.function(scope, "f") == replace(old, revision_id="r2")
    await again.close()


async def test_a_database_from_before_there_was_a_key(data_dir: Path, scope: Scope, function: Any) -> None:
    """The key is made when such a database is first opened."""
    await (await Store.open(data_dir)).close()
    lay_open(data_dir, with_variables(function()))
    (data_dir / "store" / KEY_NAME).unlink()
    store = await Store.open(data_dir)
    assert store.catalog.function(scope, "f") == with_variables(function())
    await store.close()
    assert (data_dir / "store" / KEY_NAME).exists()


async def test_a_missing_key_stops_the_start(data_dir: Path, scope: Scope, function: Any) -> None:
    """Nothing is lost by it: with the key back everything is there; no other key was made meanwhile."""
    store = await Store.open(data_dir)
    await store.put_function(with_variables(function()), expected_revision=None)
    digest = await store.blobs.put(b"unreferenced")
    await store.close()
    key = (data_dir / "store" / KEY_NAME).rename(data_dir / "elsewhere")
    with pytest.raises(KeyRefused, match="is missing"):
        await Store.open(data_dir)
    assert not (data_dir / "store" / KEY_NAME).exists()
    assert store.blobs.path(digest).exists()
    again = await Store.open(data_dir, key)
    assert again.catalog.function(scope, "f") == with_variables(function())
    await again.close()
    assert not (data_dir / "store" / KEY_NAME).exists()


async def test_a_wrong_key_stops_the_start(data_dir: Path, function: Any, tmp_path: Path) -> None:
    """The text tells the two keys apart."""
    store = await Store.open(data_dir)
    await store.put_function(with_variables(function()), expected_revision=None)
    await store.close()
    other = tmp_path / "other"
    other.write_bytes(base64.b64encode(bytes(32)))
    other.chmod(0o600)
    with pytest.raises(KeyRefused, match="another key"):
        await Store.open(data_dir, other)


async def test_a_damaged_value_names_its_record(data_dir: Path, function: Any) -> None:
    """And shows nothing of it."""
    store = await Store.open(data_dir)
    await store.put_function(with_variables(function()), expected_revision=None)
    store._writer._connection.execute(
        "UPDATE function_versions SET document = replace(document, 'sealed:1:', 'sealed:9:')"
    )
    await store.close()
    with pytest.raises(RecordUnreadable, match=r"does not know \(at 123456789012/us-east-1/f/\$LATEST\)"):
        await Store.open(data_dir)


REWRITER = """
import asyncio, os, sys
from pathlib import Path
from runtime.store import Store, store

def killed(*_):
    os.kill(os.getpid(), 9)

original = store.codec.decode_function
calls = 0

def counting(document, vault=None):
    global calls
    calls += 1
    if calls == 4:  # two have been read, and one rewritten
        killed()
    return original(document, vault)

store.codec.decode_function = counting
asyncio.run(Store.open(Path(sys.argv[1])))
"""


def marks(data_dir: Path) -> set[bytes]:
    """The marks of the keys that values in the database are sealed with."""
    return set(re.findall(rb"sealed:1:([0-9a-f]{8}):", on_disk(data_dir)))


async def test_the_key_is_changed(data_dir: Path, scope: Scope, function: Any) -> None:
    """
    1. A function and an alias with variables are stored; a next key is laid beside the one in use; the store opens.
    Result: both are there, nothing is left of what the former key opens, and the next key has taken its place.
    """
    key = data_dir / "store" / KEY_NAME
    store = await Store.open(data_dir)
    record = with_variables(function())
    await store.put_function(record, expected_revision=None)
    await store.put_alias(alias_of(record), expected_revision=None)
    await store.close()
    former, before = key.read_bytes(), marks(data_dir)
    make_next_key(key)
    other = next_key(key).read_bytes()
    make_next_key(key)
    assert next_key(key).read_bytes() == other != former
    store = await Store.open(data_dir)
    assert store.catalog.function(scope, "f") == record
    assert store.catalog.alias(scope, "f", "live") == alias_of(record)
    assert (key.read_bytes(), next_key(key).exists()) == (other, False)
    assert len(marks(data_dir)) == 1
    assert not marks(data_dir) & before
    await store.put_function(replace(record, revision_id="r2"), expected_revision="r1")
    await store.close()
    again = await Store.open(data_dir)
    assert again.catalog.function(scope, "f") == replace(record, revision_id="r2")
    await again.close()


async def test_a_change_of_keys_that_was_interrupted_goes_on(
    data_dir: Path, scope: Scope, function: Any
) -> None:
    """Where everything is sealed anew and the next key has not yet its name."""
    key = data_dir / "store" / KEY_NAME
    store = await Store.open(data_dir)
    await store.put_function(with_variables(function()), expected_revision=None)
    await store.close()
    former = key.read_bytes()
    make_next_key(key)
    await (await Store.open(data_dir)).close()
    key.rename(next_key(key))
    key.write_bytes(former)
    key.chmod(0o600)
    store = await Store.open(data_dir)
    assert store.catalog.function(scope, "f") == with_variables(function())
    assert key.read_bytes() != former
    assert not next_key(key).exists()
    await store.close()


async def test_a_key_that_cannot_take_its_place_waits(
    data_dir: Path,
    scope: Scope,
    function: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A key in a place that cannot be written stays beside the former; both are looked at, and the log says so."""
    key = data_dir / "store" / KEY_NAME
    store = await Store.open(data_dir)
    await store.put_function(with_variables(function()), expected_revision=None)
    await store.close()
    make_next_key(key)

    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "replace", refuse)
    for _ in range(2):
        store = await Store.open(data_dir)
        assert store.catalog.function(scope, "f") == with_variables(function())
        assert "do that by hand" in caplog.text
        await store.close()
    assert next_key(key).exists()


async def test_a_kill_while_an_old_database_is_encrypted(data_dir: Path, scope: Scope, function: Any) -> None:
    """
    1. An old database has two functions; the process is killed when one of them is rewritten.
    Result: the next one rewrites both, and nothing of them is left.
    """
    await (await Store.open(data_dir)).close()
    records = [with_variables(function(name)) for name in ("f", "g")]
    for record in records:
        lay_open(data_dir, record)
    root = str(Path(runtime.__file__).parent.parent)
    command = [sys.executable, "-c", REWRITER, str(data_dir)]
    ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": root}, check=False)  # noqa: ASYNC221
    assert ended.returncode == -signal.SIGKILL
    store = await Store.open(data_dir)
    assert [store.catalog.function(scope, record.name) for record in records] == records
    assert VALUE.encode() not in on_disk(data_dir)
    await store.close()
