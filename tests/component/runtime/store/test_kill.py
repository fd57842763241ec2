import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import runtime
from runtime.model import FunctionPolicy, Scope
from runtime.store import Store

WRITER = """
import asyncio, itertools, os, sys
from pathlib import Path
from runtime.model import Alias, Code, FunctionConfig, FunctionPolicy, FunctionVersion, LayerVersion, Scope
from runtime.store import Store

async def write(store, scope, mark):
    for i in itertools.count():
        content = f"{mark} {i}".encode() * 100
        digest = await store.blobs.put(content)
        code = Code(digest, len(content), 1)
        record = FunctionVersion(scope=scope, name=f"{mark}-{i}", config=FunctionConfig(role="r"), code=code,
                                 revision_id=str(i), last_modified="")
        await store.put_function(record, expected_revision=None)
        version = await store.publish_version(record, latest_revision=str(i))
        alias = Alias(scope=scope, function=record.name, name="live", version=version.version, revision_id="a")
        await store.put_alias(alias, expected_revision=None)
        layer = await store.publish_layer_version(
            LayerVersion(scope=scope, name="l", number=0, code=code, created=record.name))
        await store.attach(FunctionPolicy(scope=scope, owner=record.name, revision_id=record.name, statements=()))
        os.write(1, f"{record.name} {layer.number}\\n".encode())

async def main():
    store = await Store.open(Path(sys.argv[1]))
    scope = Scope("123456789012", "us-east-1")
    await asyncio.gather(*(write(store, scope, f"{sys.argv[2]}-{i}") for i in range(8)))

asyncio.run(main())
"""


def acknowledged_until_killed(data_dir: Path, mark: str, count: int) -> list[tuple[str, int]]:
    """Let a process write, kill it in the middle, and return what it had been told was stored."""
    root = str(Path(runtime.__file__).parent.parent)
    command = [sys.executable, "-c", WRITER, str(data_dir), mark]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}) as child:
        assert child.stdout
        lines = [child.stdout.readline() for _ in range(count)]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    pairs = (line.decode().split() for line in lines if line.endswith(b"\n"))
    return [(name, int(number)) for name, number in pairs]


@pytest.mark.parametrize("count", [1, 40, 250])
async def test_nothing_acknowledged_is_lost(data_dir: Path, scope: Scope, count: int) -> None:
    """
    1. A process writes functions, their versions, aliases and policies, blobs and layer versions from eight tasks.
    2. It is killed with SIGKILL; the store is opened again; the same once more.
    Result: every record that was acknowledged is there with its blob whole, no layer number was given twice, and the
    database is sound.
    """
    expected: list[tuple[str, int]] = []
    for mark in ("first", "second"):
        expected += acknowledged_until_killed(data_dir, mark, count)
        store = await Store.open(data_dir)
        for name, number in expected:
            record = store.catalog.function(scope, name)
            assert record
            content = store.blobs.path(record.code.digest).read_bytes()
            assert hashlib.sha256(content).hexdigest() == record.code.digest
            policy = store.catalog.attachment(FunctionPolicy, scope, name)
            assert policy
            assert policy.revision_id == name
            alias = store.catalog.alias(scope, name, "live")
            assert alias
            assert store.catalog.function(scope, name, alias.version)
            published = store.catalog.layer_version(scope, "l", number)
            assert published
            assert published.created == name
        await store.close()
    assert len({number for _, number in expected}) == len(expected)
    connection = sqlite3.connect(data_dir / "store" / "berth.sqlite3")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("PRAGMA foreign_key_check").fetchone() is None
    connection.close()
