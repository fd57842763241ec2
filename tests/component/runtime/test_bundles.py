import asyncio
import errno
import hashlib
import io
import os
import py_compile
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from runtime import overlay, trees
from runtime.bundles import BadZip, Bundles
from runtime.directories import Directories, NoDirectory
from runtime.files import StorageFull
from runtime.model import Code
from runtime.store import BlobStore
from runtime.trees import Trees

MTIME = 1_706_933_106  # 2024-02-03 04:05:06 UTC
LINK = stat.S_IFLNK | 0o777


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, (2024, 2, 3, 4, 5, 6))
    info.external_attr = mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


class Shelf:
    """A data directory with bundles in it, and zips to fill it with."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.blobs = BlobStore(data_dir / "blobs")
        self.blobs.prepare()
        self.bundles = Bundles(data_dir, self.blobs)

    async def code(self, *files: tuple[str, bytes] | tuple[str, bytes, int]) -> Code:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content, *mode in files:
                archive.writestr(entry(name, mode[0] if mode else stat.S_IFREG | 0o644), content)
        data = buffer.getvalue()
        return Code(await self.blobs.put(data), len(data), sum(len(file[1]) for file in files))

    def made(self) -> set[str]:
        """What is under trees/, by path, files of trees left out."""
        root = self.data_dir / "trees"
        return {
            str(path.relative_to(root)) for kind in ("code", "opt", "tmp") for path in (root / kind).glob("*")
        }


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    shelf = Shelf(tmp_path / "data")
    yield shelf
    await shelf.bundles.close()


def contents(tree: Path) -> dict[str, str]:
    """Paths below a tree: text of files, `-> target` of links, `/` for folders."""
    found = {}
    for directory, folders, files in os.walk(tree):
        for name in folders + files:
            path = Path(directory) / name
            key = str(path.relative_to(tree))
            if path.is_symlink():
                found[key] = f"-> {path.readlink()}"
            else:
                found[key] = "/" if path.is_dir() else path.read_text()
    return found


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


async def test_task_root(shelf: Shelf) -> None:
    """A zip becomes a tree with its contents, modes and times."""
    code = await shelf.code(
        ("app.py", b"x = 1"),
        ("bin/tool", b"#!", stat.S_IFREG | 0o4777),
        ("private", b"", stat.S_IFREG | 0o600),
        ("empty/", b"", stat.S_IFDIR | 0o700),
        ("lib/link", b"../app.py", LINK),
    )
    root = await shelf.bundles.task_root(code)
    assert contents(root) == {
        "app.py": "x = 1",
        "bin": "/",
        "bin/tool": "#!",
        "private": "",
        "empty": "/",
        "lib": "/",
        "lib/link": "-> ../app.py",
    }
    modes = {name: mode(root / name) for name in ("app.py", "bin", "bin/tool", "private", "empty")}
    assert modes == {"app.py": 0o644, "bin": 0o755, "bin/tool": 0o755, "private": 0o600, "empty": 0o755}
    assert mode(root) == 0o755
    assert {int((root / name).lstat().st_mtime) for name in ("app.py", "empty", "lib/link")} == {MTIME}


def told_on_import(root: Path) -> str:
    """What Python says it does when it imports `m` from there."""
    command = [sys.executable, "-B", "-v", "-c", f"import sys; sys.path[:0] = [{str(root)!r}]; import m"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stderr


async def test_compiled_files_stay_valid(shelf: Shelf, tmp_path: Path) -> None:
    """A compiled Python file in a zip is used, for its source keeps the time that was recorded in it."""
    source = tmp_path / "m.py"
    source.write_text("x = 1")
    os.utime(source, (MTIME, MTIME))
    py_compile.compile(str(source), cfile=str(tmp_path / "m.pyc"))
    tag = sys.implementation.cache_tag
    code = await shelf.code(
        ("m.py", source.read_bytes()), (f"__pycache__/m.{tag}.pyc", (tmp_path / "m.pyc").read_bytes())
    )
    root = await shelf.bundles.task_root(code)
    assert f"code object from '{root}/__pycache__/m.{tag}.pyc'" in told_on_import(root)


async def test_unpacked_once(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask at once, and again later, a zip is unpacked once."""
    unpackings = []
    original = Trees.unpack

    def counted(self: Trees, digest: str, blob: Path) -> Path:
        unpackings.append(digest)
        return original(self, digest, blob)

    monkeypatch.setattr(Trees, "unpack", counted)
    code = await shelf.code(("f", b"x"))
    roots = await asyncio.gather(*(shelf.bundles.task_root(code) for _ in range(20)))
    assert {*roots, await shelf.bundles.task_root(code), await shelf.bundles.opt([code])} == {roots[0]}
    assert unpackings == [code.digest]


async def test_a_cancelled_caller_leaves_the_work_to_others(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first who asked leaves; who asked next still gets the tree, from the same work."""
    code = await shelf.code(("f", b"x"))
    begun, gate, unpackings = asyncio.Event(), threading.Event(), []
    original, loop = Trees.unpack, asyncio.get_running_loop()

    def held(self: Trees, digest: str, blob: Path) -> Path:
        unpackings.append(digest)
        loop.call_soon_threadsafe(begun.set)
        gate.wait()
        return original(self, digest, blob)

    monkeypatch.setattr(Trees, "unpack", held)
    first, second = (asyncio.create_task(shelf.bundles.task_root(code)) for _ in range(2))
    await begun.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.set()
    assert contents(await second) == {"f": "x"}
    assert len(unpackings) == 1


async def test_failures_are_told_to_all_and_not_kept(shelf: Shelf) -> None:
    """Everybody who waits learns of a failure; the next who asks has it tried again."""
    code = Code(await shelf.blobs.put(b"no zip"), 6, 0)
    outcomes = await asyncio.gather(
        *(shelf.bundles.task_root(code) for _ in range(3)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [BadZip] * 3
    assert shelf.made() == set()
    with pytest.raises(BadZip):
        await shelf.bundles.opt([code, await shelf.code(("f", b"x"))])


async def test_a_blob_that_is_missing(shelf: Shelf) -> None:
    """A tree without its blob cannot be made, and the reason says so."""
    with pytest.raises(FileNotFoundError):
        await shelf.bundles.task_root(Code("0" * 64, 1, 1))
    assert shelf.made() == set()


async def test_no_layers(shelf: Shelf) -> None:
    """Without layers there is still a directory to show, empty and traversable."""
    tree = await shelf.bundles.opt([])
    assert contents(tree) == {}
    assert mode(tree) == 0o755


async def test_later_layers_win(shelf: Shelf) -> None:
    """Files of one path: the later layer's; all others: side by side."""
    one = await shelf.code(("python/a.py", b"1"), ("python/b.py", b"1"), ("only/one", b"1"))
    two = await shelf.code(("python/b.py", b"2"), ("python/c.py", b"2"))
    expected = {"python": "/", "python/a.py": "1", "only": "/", "only/one": "1", "python/c.py": "2"}
    assert contents(await shelf.bundles.opt([one, two])) == {**expected, "python/b.py": "2"}
    assert contents(await shelf.bundles.opt([two, one])) == {**expected, "python/b.py": "1"}


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        pytest.param([("x/a", b"1"), ("x/b/c", b"1")], [("x", b"2")], {"x": "2"}, id="file over directory"),
        pytest.param([("x", b"1")], [("x/a", b"2")], {"x": "/", "x/a": "2"}, id="directory over file"),
        pytest.param([("x", b"1")], [("x", b"y", LINK)], {"x": "-> y"}, id="link over file"),
        pytest.param([("x", b"y", LINK)], [("x", b"2")], {"x": "2"}, id="file over link"),
        pytest.param([("x/a", b"1")], [("x", b"/etc", LINK)], {"x": "-> /etc"}, id="link over directory"),
        pytest.param(
            [("x", b"y", LINK), ("y/a", b"1")],
            [("x/b", b"2")],
            {"x": "/", "x/b": "2", "y": "/", "y/a": "1"},
            id="directory over link to directory",
        ),
        pytest.param(
            [("x/a", b"1")], [("x/", b"", stat.S_IFDIR)], {"x": "/", "x/a": "1"}, id="empty directory"
        ),
    ],
)
async def test_kinds_meet(
    shelf: Shelf,
    lower: Sequence[tuple[str, bytes]],
    upper: Sequence[tuple[str, bytes]],
    expected: dict[str, str],
) -> None:
    """What is later wins whatever the kinds, and the layers' own trees stay as they are."""
    one, two = await shelf.code(*lower), await shelf.code(*upper)
    before = [contents(await shelf.bundles.task_root(code)) for code in (one, two)]
    assert contents(await shelf.bundles.opt([one, two])) == expected
    assert [contents(await shelf.bundles.task_root(code)) for code in (one, two)] == before


@pytest.mark.parametrize("target", ["relative", "absolute"])
async def test_no_layer_writes_through_another_ones_link(shelf: Shelf, tmp_path: Path, target: str) -> None:
    """
    1. One layer holds a link to a directory outside all trees, a later one files below the link's path.
    2. They are merged, and the result is archived.
    Result: nothing outside is written, read or archived.
    """
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("hush")
    to = {"absolute": str(outside), "relative": "../../../../outside"}[target].encode()
    link, files = await shelf.code(("x", to, LINK)), await shelf.code(("x/planted", b"2"))
    tree = await shelf.bundles.opt([link, files])
    assert contents(tree) == {"x": "/", "x/planted": "2"}
    assert contents(outside) == {"secret": "hush"}
    linking = await shelf.bundles.opt([files, link])
    with tarfile.open(await shelf.bundles.archive(linking)) as tar:
        assert [(member.name, member.linkname) for member in tar] == [("x", to.decode())]


async def test_layers_share_their_files(shelf: Shelf) -> None:
    """Merged trees hold hard links: the bytes are on the disk once."""
    one, two = await shelf.code(("a", b"1"), ("l", b"a", LINK)), await shelf.code(("b", b"2"))
    merged = await shelf.bundles.opt([one, two])
    assert (merged / "a").samefile(await shelf.bundles.task_root(one) / "a")
    assert (merged / "b").samefile(await shelf.bundles.task_root(two) / "b")


@pytest.mark.parametrize("failure", [errno.EMLINK, errno.EXDEV, errno.EPERM])
async def test_files_are_copied_where_links_are_not_to_be_had(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, failure: int
) -> None:
    """A file system without (more) hard links costs space, nothing else."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(failure, os.strerror(failure))

    one, two = (
        await shelf.code(("a", b"1", 0o100755), ("l", b"/nowhere", LINK)),
        await shelf.code(("b", b"2")),
    )
    monkeypatch.setattr(os, "link", refuse)
    merged = await shelf.bundles.opt([one, two])
    assert contents(merged) == {"a": "1", "l": "-> /nowhere", "b": "2"}
    assert mode(merged / "a") == 0o755
    assert int((merged / "a").stat().st_mtime) == MTIME


async def test_archive(shelf: Shelf) -> None:
    """A tree's tar holds the same, in order, as root's, uncompressed."""
    code = await shelf.code(
        ("b", b"text", 0o100755),
        ("a/c", b"x"),
        ("a/é", b"y"),
        ("l", b"/usr/bin/env", LINK),
        ("p" * 200, b"long"),
    )
    path = await shelf.bundles.archive(await shelf.bundles.task_root(code))
    with tarfile.open(path, "r:") as tar:
        members = tar.getmembers()
        read = {
            member.name: (file.read() if (file := tar.extractfile(member)) else b"") for member in members[:4]
        }
    assert [member.name for member in members] == ["a", "a/c", "a/é", "b", "l", "p" * 200]
    assert read == {"a": b"", "a/c": b"x", "a/é": b"y", "b": b"text"}
    assert {(member.uid, member.gid) for member in members} == {(0, 0)}
    assert [oct(member.mode) for member in members[:4]] == ["0o755", "0o644", "0o644", "0o755"]
    assert members[4].linkname == "/usr/bin/env"


async def test_archives_are_reproducible(shelf: Shelf, tmp_path: Path) -> None:
    """The same content gives the same bytes, in another data directory and at another time too."""

    async def archived(where: Shelf) -> bytes:
        codes = [await where.code(("d/a", b"1"), ("x/y/z", b"1")), await where.code(("d/b", b"2"))]
        return (await where.bundles.archive(await where.bundles.opt(codes))).read_bytes()

    assert await archived(shelf) == await archived(Shelf(tmp_path / "other"))


async def test_only_trees_are_archived(shelf: Shelf, tmp_path: Path) -> None:
    """Nothing but a tree from here can be asked for."""
    with pytest.raises(ValueError, match="Not a tree"):
        await shelf.bundles.archive(tmp_path)


async def test_full_disk(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up half-way is StorageFull, nothing stays behind, and the next attempt may succeed."""
    code = await shelf.code(("a", b"1"), ("b", b"2"))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fchmod", full)
        with pytest.raises(StorageFull, match="No space left on device while storing an unpacked"):
            await shelf.bundles.task_root(code)
    assert shelf.made() == set()
    assert contents(await shelf.bundles.task_root(code)) == {"a": "1", "b": "2"}


async def test_two_control_planes_of_one_mind(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree that appears while the same one is being made is taken instead."""
    code = await shelf.code(("a", b"1"))
    original = trees._write_archive

    def overtaken(*arguments: object) -> None:
        monkeypatch.setattr(trees, "_write_archive", original)
        Trees(shelf.data_dir).unpack(code.digest, shelf.blobs.path(code.digest))
        original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(trees, "_write_archive", overtaken)
    assert contents(await shelf.bundles.task_root(code)) == {"a": "1"}
    assert shelf.made() == {f"code/{code.digest}"}


async def test_sweep(shelf: Shelf) -> None:
    """What is live stays with its archive; what is dead or half made goes."""
    collector = Trees(shelf.data_dir)
    collector.sweep([], [])
    live, dead = await shelf.code(("a", b"1")), await shelf.code(("a", b"2"))
    both, turned = await shelf.bundles.opt([live, dead]), await shelf.bundles.opt([dead, live])
    for tree in (both, turned, await shelf.bundles.task_root(live), await shelf.bundles.task_root(dead)):
        await shelf.bundles.archive(tree)
    (shelf.data_dir / "trees" / "tmp" / "half").mkdir()
    collector.sweep([live.digest], [(live.digest, dead.digest)])
    collector.empty_trash(lambda: False)
    kept = {f"code/{live.digest}", f"opt/{both.name}"}
    assert shelf.made() == kept | {f"{name}.tar" for name in kept}
    assert list((shelf.data_dir / "trees" / "trash").iterdir()) == []
    assert contents(both) == {"a": "2"}


async def test_trash_may_wait(shelf: Shelf) -> None:
    """Emptying the trash stops when told to; what is left goes the next time."""
    collector = Trees(shelf.data_dir)
    collector.sweep([], [])
    await shelf.bundles.archive(await shelf.bundles.opt([]))
    collector.sweep([], [])
    trash = shelf.data_dir / "trees" / "trash"
    collector.empty_trash(lambda: True)
    assert len(list(trash.iterdir())) == 2
    collector.empty_trash(lambda: False)
    assert list(trash.iterdir()) == []


@pytest.mark.parametrize("mark", ["another boot", ""])
async def test_trees_of_an_earlier_boot(shelf: Shelf, mark: str) -> None:
    """A power failure may have taken bytes of what was not synchronised: such trees are made again."""
    collector = Trees(shelf.data_dir)
    collector.sweep([], [])
    code = await shelf.code(("a", b"1"))
    root = await shelf.bundles.task_root(code)
    (root / "a").write_bytes(b"")
    (shelf.data_dir / "trees" / "boot").write_text(mark)
    collector.sweep([code.digest], [])
    assert shelf.made() == set()
    assert contents(await shelf.bundles.task_root(code)) == {"a": "1"}


class TestPlaces:
    async def test_a_place_shows_a_tree(self, shelf: Shelf) -> None:
        """As the tree itself: files, links, modes and times; its files are the tree's own."""
        code = await shelf.code(("d/a", b"1"), ("link", b"d/a", LINK), ("tool", b"#!", stat.S_IFREG | 0o755))
        tree = await shelf.bundles.task_root(code)
        task, opt = await shelf.bundles.make_place("one")
        assert contents(task) == contents(opt) == {}
        assert (mode(task), mode(opt), mode(task.parent)) == (0o755, 0o755, 0o755)
        await shelf.bundles.fill("one", {task: tree, opt: await shelf.bundles.opt([])})
        assert contents(task) == contents(tree) == {"d": "/", "d/a": "1", "link": "-> d/a", "tool": "#!"}
        assert contents(opt) == {}
        for path in (".", "d", "d/a", "link", "tool"):
            mine, original = (os.lstat(each / path) for each in (task, tree))
            assert (mine.st_mode, int(mine.st_mtime)) == (original.st_mode, int(original.st_mtime))
        assert os.lstat(task / "d" / "a").st_ino == os.lstat(tree / "d" / "a").st_ino
        await shelf.bundles.remove_place("one")
        assert list((shelf.data_dir / "sandboxes").iterdir()) == []
        assert contents(tree)["d/a"] == "1"

    async def test_without_links_it_is_a_copy(self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the file system has none to give, or no more of them."""
        tree = await shelf.bundles.task_root(await shelf.code(("a", b"1")))
        task, _ = await shelf.bundles.make_place("one")

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EMLINK, "too many links")

        monkeypatch.setattr(os, "link", refuse)
        await shelf.bundles.fill("one", {task: tree})
        assert contents(task) == {"a": "1"}
        assert os.lstat(task / "a").st_ino != os.lstat(tree / "a").st_ino

    async def test_a_removal_waits_for_what_fills_it(
        self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A thread goes on when its caller has been cancelled; nothing of it may stay behind."""
        tree = await shelf.bundles.task_root(await shelf.code(("a", b"1")))
        task, _ = await shelf.bundles.make_place("one")
        filling, go_on = threading.Event(), threading.Event()
        usual = overlay.read_folder

        def slow(path: Path) -> Any:
            filling.set()
            assert go_on.wait(10)
            return usual(path)

        monkeypatch.setattr(trees, "read_folder", slow)
        caller = asyncio.create_task(shelf.bundles.fill("one", {task: tree}))
        await asyncio.to_thread(filling.wait, 10)
        caller.cancel()
        removal = asyncio.create_task(shelf.bundles.remove_place("one"))
        await asyncio.wait([caller])
        go_on.set()
        await removal
        assert not task.parent.exists()
        assert caller.cancelled()
        assert shelf.bundles._placing == {}

    async def test_what_was_never_made_can_be_removed(self, shelf: Shelf) -> None:
        """A start may fail before its place is there."""
        await shelf.bundles.remove_place("nobody")

    async def test_a_full_disk_has_its_name(self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
        """Directories need room too."""
        tree = await shelf.bundles.task_root(await shelf.code(("d/a", b"1")))
        task, _ = await shelf.bundles.make_place("one")

        def refuse(self: Path, *_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(StorageFull):
            await shelf.bundles.fill("one", {task: tree})

    async def test_files_are_counted_once(self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
        """Files and links, not folders; a tree never changes."""
        tree = await shelf.bundles.task_root(await shelf.code(("d/a", b"1"), ("b", b"d/a", LINK)))
        assert await shelf.bundles.count(tree) == 2
        monkeypatch.setattr(os, "walk", None)
        assert await shelf.bundles.count(tree) == 2

    async def test_places_of_an_earlier_control_plane_are_swept(self, shelf: Shelf) -> None:
        """Their sandboxes are gone, or going."""
        await shelf.bundles.make_place("one")
        collector = Trees(shelf.data_dir)
        collector.sweep([], [])
        assert not (shelf.data_dir / "sandboxes").exists()
        collector.empty_trash(lambda: False)
        assert list((shelf.data_dir / "trees" / "trash").iterdir()) == []


UNPACKER = """
import sys
from pathlib import Path
from runtime import overlay, trees

def stop(*_):
    print("half", flush=True)
    sys.stdin.read()

trees._finish_folder = stop
trees.Trees(Path(sys.argv[1])).unpack(sys.argv[2], Path(sys.argv[3]))
"""


def kill_half_way(arguments: list[str]) -> None:
    """Let a process unpack, and kill it when all is written and nothing finished."""
    environment = {**os.environ, "PYTHONPATH": str(Path(trees.__file__).parent.parent)}
    command = [sys.executable, "-c", UNPACKER, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout
        assert child.stdout.readline() == b"half\n"
        child.kill()


async def test_killed_half_way(shelf: Shelf) -> None:
    """
    1. A process unpacks a zip and is killed when the files are written but the tree is not finished.
    2. The next start sweeps.
    Result: there was never a tree under its name, the remains go, and the tree can be made.
    """
    code = await shelf.code(("d/a", b"1"))
    arguments = [str(shelf.data_dir), code.digest, str(shelf.blobs.path(code.digest))]
    kill_half_way(arguments)
    assert {name.split("/")[0] for name in shelf.made()} == {"tmp"}
    collector = Trees(shelf.data_dir)
    collector.sweep([code.digest], [])
    collector.empty_trash(lambda: False)
    assert shelf.made() == set()
    assert contents(await shelf.bundles.task_root(code)) == {"d": "/", "d/a": "1"}


def test_paths_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Engines mount absolute paths only, so a relative data directory gives them too."""
    monkeypatch.chdir(tmp_path)
    digest = hashlib.sha256().hexdigest()
    assert Trees(Path("data")).code(digest) == tmp_path / "data" / "trees" / "code" / digest


class TestDirectories:
    """Code that is a directory of the host."""

    @pytest.fixture
    async def live(self, tmp_path: Path) -> AsyncIterator[Shelf]:
        directories = Directories([tmp_path])
        shelf = Shelf(tmp_path / "data")
        shelf.bundles = Bundles(shelf.data_dir, shelf.blobs, directories)
        yield shelf
        await shelf.bundles.close()
        directories.close()

    @pytest.fixture
    def host(self, tmp_path: Path) -> Path:
        found = tmp_path / "host"
        (found / "python").mkdir(parents=True)
        (found / "python" / "a.py").write_text("host")
        return found

    async def test_shown_as_it_is(self, live: Shelf, host: Path) -> None:
        """Alone, it is its own tree; as code and as the only layer."""
        code = Code("0" * 64, 1, 1, str(host))
        assert await live.bundles.task_root(code) == host
        assert await live.bundles.opt([code]) == host
        async with live.bundles.composed([code]) as opt:
            assert opt == host
        assert live.made() == set()

    async def test_copied_among_others(self, live: Shelf, host: Path) -> None:
        """What is there now, in the layers' order, for as long as it is needed; nothing is shared with the host."""
        fixed = await live.code(("python/a.py", b"fixed"), ("python/b.py", b"fixed"))
        code = Code("0" * 64, 1, 1, str(host))
        os.mkfifo(host / "pipe")
        (host / "__pycache__").mkdir()
        (host / "link").symlink_to("/usr/bin/env")
        await live.bundles.ready(fixed, [fixed, code])
        async with live.bundles.composed([fixed, code]) as opt:
            assert contents(opt) == {
                "python": "/",
                "python/a.py": "host",
                "python/b.py": "fixed",
                "link": "-> /usr/bin/env",
            }
            assert (opt / "python" / "a.py").stat().st_nlink == 1
            assert opt.stat().st_mode & 0o777 == 0o755
            async with live.bundles.archived(opt) as archive:
                with tarfile.open(archive) as tar:
                    names = tar.getnames()
                assert names == ["link", "python", "python/a.py", "python/b.py"]
        assert not [path for path in live.made() if path.startswith("tmp/")]

    async def test_archived_as_it_is_now(self, live: Shelf, host: Path) -> None:
        """Each time anew; of what never changes there is one archive."""
        for text in ("1", "22"):
            (host / "python" / "a.py").write_text(text)
            async with live.bundles.archived(host) as archive:
                with tarfile.open(archive) as tar:
                    assert tar.getmember("python/a.py").size == len(text)
            assert not archive.exists()
        tree = await live.bundles.task_root(await live.code(("a", b"1")))
        async with live.bundles.archived(tree) as archive:
            assert archive == await live.bundles.archive(tree)
        assert archive.exists()

    async def test_not_used_where_there_are_none(self, shelf: Shelf, host: Path) -> None:
        """Bundles without directories have no business with the host's."""
        with pytest.raises(NoDirectory):
            await shelf.bundles.task_root(Code("0" * 64, 1, 1, str(host)))
