import asyncio
import errno
import hashlib
import os
from pathlib import Path

import pytest

from runtime.store import BlobStore
from runtime.store.errors import StorageFull


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    store = BlobStore(tmp_path / "blobs")
    store.prepare()
    return store


def content(size: int) -> bytes:
    return hashlib.shake_128().digest(size)


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3_000_000])
async def test_put(store: BlobStore, size: int) -> None:
    """A blob is found under the SHA-256 of its content."""
    digest = await store.put(content(size))
    assert digest == hashlib.sha256(content(size)).hexdigest()
    assert store.path(digest).read_bytes() == content(size)


async def test_the_same_content_at_once(store: BlobStore, tmp_path: Path) -> None:
    """Callers with the same content do not disturb each other, and it is stored once."""
    data = content(2_000_000)
    digests = await asyncio.gather(*(store.put(data) for _ in range(16)))
    assert len(set(digests)) == 1
    assert [path.name for path in (tmp_path / "blobs").iterdir()] == digests[:1]
    assert store.path(digests[0]).read_bytes() == data


async def test_content_that_is_there_is_not_written_again(store: BlobStore) -> None:
    """A second put of the same bytes leaves the file as it is."""
    digest = await store.put(b"x")
    before = store.path(digest).stat()
    await store.put(b"x")
    assert store.path(digest).stat().st_ino == before.st_ino


async def test_a_truncated_blob_is_mended(store: BlobStore) -> None:
    """A file that lost bytes under our hands is replaced by the next put."""
    digest = await store.put(b"whole")
    store.path(digest).write_bytes(b"wh")
    await store.put(b"whole")
    assert store.path(digest).read_bytes() == b"whole"


async def test_leftovers_are_cleared(store: BlobStore, tmp_path: Path) -> None:
    """What a killed process left half written goes at the next start; whole blobs stay."""
    digest = await store.put(b"x")
    (tmp_path / "blobs" / ".incoming-abc").write_bytes(b"half")
    store.prepare()
    assert [path.name for path in (tmp_path / "blobs").iterdir()] == [digest]


@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EDQUOT])
async def test_full_disk(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: int
) -> None:
    """A full disk, or quota, is StorageFull and leaves nothing behind."""

    def full(_: int) -> None:
        raise OSError(failure, os.strerror(failure))

    monkeypatch.setattr("runtime.store.blobs.os.fsync", full)
    with pytest.raises(StorageFull, match="No space left on device while storing a deployment package"):
        await store.put(b"x")
    assert list((tmp_path / "blobs").iterdir()) == []


async def test_other_trouble_keeps_its_name(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input/output error is not taken for a full disk."""

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr("runtime.store.blobs.os.fsync", broken)
    with pytest.raises(OSError, match="broken"):
        await store.put(b"x")
    assert list((tmp_path / "blobs").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", "x", "../store/berth.sqlite3", "0" * 63, "0" * 65, "A" * 64, "0" * 64 + "\n"]
)
def test_only_digests_are_paths(store: BlobStore, name: str) -> None:
    """No name but a digest leads anywhere."""
    with pytest.raises(ValueError, match="Not a digest"):
        store.path(name)


async def test_sweep(store: BlobStore, tmp_path: Path) -> None:
    """A sweep removes blobs that are not live, and nothing that is no blob."""
    live, dead = await store.put(b"live"), await store.put(b"dead")
    (tmp_path / "blobs" / "notes").mkdir()
    assert store.sweep({live}) == [dead]
    assert {path.name for path in (tmp_path / "blobs").iterdir()} == {live, "notes"}
