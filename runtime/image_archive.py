"""An image as engines load it (`docker load`), made of one root file system: it says which processor it is for.

`docker import` cannot say that: what it makes is the engine's own processor's, whatever is in it. Knows no engine.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHUNK = 1 << 20
EPOCH = "1970-01-01T00:00:00Z"


def write_archive(
    tree: Path,
    archive: Path,
    reference: str,
    processor: str,
    *,
    config: Mapping[str, Any],
    created: str = EPOCH,
) -> None:
    """Write an image named `reference` whose only layer is the tar `tree`. Blocking.

    `config` has members of the image's configuration: `Cmd`, `Labels` and so on. Images that are cleared away by their
    age need the time at which they were `created`.
    """
    with tree.open("rb") as layer:
        digest = hashlib.file_digest(layer, "sha256").hexdigest()
    document = {
        "architecture": processor,
        "os": "linux",
        "created": created,
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": created, "created_by": "berth"}],
    }
    text = json.dumps(document).encode()
    named = f"{hashlib.sha256(text).hexdigest()}.json"
    manifest = [{"Config": named, "RepoTags": [reference], "Layers": [f"{digest}/layer.tar"]}]
    with tarfile.open(archive, "w") as tar:
        _add(tar, named, text)
        _add(tar, "manifest.json", json.dumps(manifest).encode())
        tar.add(tree, f"{digest}/layer.tar")


def write_moved(tree: Path, moved: Path, place: str) -> None:
    """Write the tar `tree` again with all that is in it below the directory `place`. Blocking."""
    with tarfile.open(tree) as old, tarfile.open(moved, "w") as new:
        entry = tarfile.TarInfo(place)
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        new.addfile(entry)
        for each in old:
            each.name = f"{place}/{each.name}"
            if each.islnk():
                each.linkname = f"{place}/{each.linkname}"
            new.addfile(each, old.extractfile(each) if each.isreg() else None)


def short_digest(data: bytes) -> str:
    """Twelve hex digits that stand for this content."""
    return hashlib.sha256(data).hexdigest()[:12]


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
