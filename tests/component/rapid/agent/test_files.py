"""The files of a sandbox: listed by the agent, and unpacked from archives."""

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from rapid.wire import MOST_NAMES, SETTLED_PAYLOAD, TOKEN, Kind, fields, frame, message
from tests.helpers.agents import Peer


def names(peer: Peer, path: object) -> Any:
    peer.send(message(Kind.LIST, path=str(path)))
    told = peer.told(Kind.LISTED)
    assert told["path"] == str(path)
    return told["names"]


def test_list(peer: Peer, public: Path) -> None:
    """Everything but directories is named, in order, whether it can be executed or not."""
    for name in ("b", "a", "C", ".hidden", "ü ü", os.fsdecode(b"\xff")):
        (public / name).touch()
    (public / "directory").mkdir()
    (public / "directory" / "inner").touch()
    os.mkfifo(public / "pipe")
    for link, target in {
        "to directory": "directory",
        "to file": "a",
        "to nothing": "nowhere",
        "to itself": "to itself",
        "beyond a file": "a/b",
    }.items():
        (public / link).symlink_to(target)
    assert names(peer, public) == [
        ".hidden", "C", "a", "b", "beyond a file", "pipe", "to file", "to itself", "to nothing", "ü ü", "\udcff",
    ]  # fmt: skip


def test_listed_names_can_be_started(peer: Peer, public: Path) -> None:
    """A name comes back as it was told, bytes that are no text included."""
    program = public / os.fsdecode(b"\xffprogram")
    program.write_text("#!/bin/sh\necho started")
    program.chmod(0o755)
    [name] = names(peer, public)
    assert peer.run(f"{public}/{name}")[0] == b"started\n"


@pytest.mark.parametrize("path", ["/nowhere", "/etc/passwd", "/etc/passwd/below", "", "\0", "/" + "x" * 300])
def test_list_of_what_is_no_directory(peer: Peer, path: str) -> None:
    """Where no directory is, nothing is; the agent goes on."""
    assert names(peer, path) == []
    assert peer.run("/bin/true")[2]["status"] == 0


@pytest.mark.parametrize("count", [MOST_NAMES, MOST_NAMES + 1, 3000])
def test_list_of_many(peer: Peer, public: Path, count: int) -> None:
    """Of many names the first are told; directories do not count."""
    for number in range(count):
        (public / f"{number:04}").touch()
        (public / f"{number:04}-directory").mkdir()
    assert names(peer, public) == [f"{number:04}" for number in range(MOST_NAMES)]


def test_list_beside_a_process(peer: Peer, public: Path) -> None:
    """Answers come in the order of the questions, whatever else goes on."""
    (public / "a").touch()
    peer.shell("exec cat /dev/zero")
    peer.send(message(Kind.LIST, path=str(public)), message(Kind.LIST, path="/nowhere"))
    assert [peer.told(Kind.LISTED)["names"] for _ in range(2)] == [["a"], []]
    peer.ask(Kind.CLEAR)


def archive_of(tree: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(tree, arcname=".")
    return buffer.getvalue()


def deliver(peer: Peer, path: Path, archive: bytes) -> dict[str, Any]:
    """Send an archive in odd pieces, a question right behind it, and return the answer to the archive."""
    pieces = [frame(Kind.TREE_DATA, archive[at : at + 5000]) for at in range(0, len(archive), 5000)]
    settle = frame(Kind.SETTLE, TOKEN.pack(9))
    peer.send(message(Kind.TREE, path=str(path)), *pieces, frame(Kind.TREE_END), settle)
    payload, before = peer.until(Kind.SETTLED)
    assert SETTLED_PAYLOAD.unpack(payload)[0] == 9
    [(kind, done)] = before
    assert kind is Kind.TREE_DONE
    return fields(done)


def test_tree(peer: Peer, tmp_path: Path) -> None:
    """A tree arrives with its modes, links and contents, whatever the agent's umask."""
    source, target = tmp_path / "source", tmp_path / "deep" / "target"
    (source / "lib").mkdir(parents=True)
    (source / "handler.py").write_text("handler")
    (source / "bootstrap").write_bytes(os.urandom(300_000))
    (source / "bootstrap").chmod(0o755)
    (source / "lib" / "data").write_text("ü")
    (source / "lib" / "data").chmod(0o444)
    (source / "lib").chmod(0o555)
    (source / "link").symlink_to("lib/data")
    assert deliver(peer, target, archive_of(source)) == {"path": str(target), "error": None}
    assert (target / "bootstrap").read_bytes() == (source / "bootstrap").read_bytes()
    assert (target / "link").readlink() == Path("lib/data")
    assert (target / "link").read_text() == "ü"
    modes = {entry.name: entry.lstat().st_mode for entry in sorted(source.rglob("*"))}
    assert {entry.name: entry.lstat().st_mode for entry in sorted(target.rglob("*"))} == modes


@pytest.mark.parametrize("archive", [b"no tar archive" * 1000, b""])
def test_broken_tree(peer: Peer, tmp_path: Path, archive: bytes) -> None:
    """What is no archive is told as an error; the frames behind it are understood all the same."""
    told = deliver(peer, tmp_path / "target", archive)
    assert told["path"] == str(tmp_path / "target")
    assert told["error"]


def test_tree_that_is_cut_short(peer: Peer, tmp_path: Path) -> None:
    """An archive that ends too early is told as an error."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(bytes(100_000))
    told = deliver(peer, tmp_path / "target", archive_of(tmp_path / "source")[:50_000])
    assert told["error"]


def test_tree_where_nothing_can_be_made(peer: Peer, tmp_path: Path) -> None:
    """A place that cannot be a directory is told as an error."""
    (tmp_path / "file").write_text("")
    told = deliver(peer, tmp_path / "file" / "target", archive_of(tmp_path))
    assert "ot a directory" in told["error"]
