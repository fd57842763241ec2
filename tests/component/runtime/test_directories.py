"""What is heard of a directory's changes, through the kernel: at once when asked, and by itself."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from runtime import directories as directories_module
from runtime.directories import Directories, NoDirectory

QUEUE = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


class World:
    """A directory of code that is watched."""

    def __init__(self, path: Path) -> None:
        self.root = path
        self.code = path / "code"
        self.code.mkdir()
        self.file = self.code / "app.py"
        self.file.write_text("1")
        (self.code / "package" / "inner").mkdir(parents=True)
        self.directories = Directories([path])
        self.told: list[frozenset[str]] = []
        self.directories.on_change = lambda paths: self.told.append(frozenset(paths))

    @property
    def paths(self) -> tuple[str]:
        return (str(self.code),)

    async def watch(self) -> None:
        await self.directories.watch(str(self.code))

    def has_changed(self) -> bool:
        """Whether there is news since the last question; asked as an invocation asks."""
        before = self.directories.generation(self.paths)
        self.directories.refresh(self.paths)
        return self.directories.generation(self.paths) > before

    def life(self) -> int:
        self.directories.refresh(self.paths)
        return self.directories.life(self.paths)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.watch()
    yield world
    world.directories.close()


async def test_nothing_is_no_news(world: World) -> None:
    """Reading, listing and looking do not count."""
    assert world.file.read_text() == "1"
    assert len(list(world.code.iterdir())) == 2
    world.file.stat()
    assert not world.has_changed()
    assert world.life() == 0


async def test_what_is_written_is_known_at_once(world: World) -> None:
    """However soon one asks after a write, and however often that goes on within one tick of the clock."""
    with world.file.open("r+b", buffering=0) as file:
        for number in range(2000):
            file.seek(0)
            file.write(b"%d" % (number % 10))
            assert world.has_changed(), number
            assert not world.has_changed()


CHANGES: dict[str, Callable[[Path], object]] = {
    "overwritten": lambda code: (code / "app.py").write_text("2"),
    "replaced by rename": lambda code: (
        shutil.copy(code / "app.py", code.parent / "new") and (code.parent / "new").rename(code / "app.py")
    ),
    "moved away": lambda code: (code / "app.py").rename(code.parent / "old"),
    "deleted": lambda code: (code / "app.py").unlink(),
    "created": lambda code: (code / "new.py").touch(),
    "linked": lambda code: (code / "new.py").symlink_to("app.py"),
    "hard-linked": lambda code: (code / "new.py").hardlink_to(code / "app.py"),
    "made executable": lambda code: (code / "app.py").chmod(0o755),
    "deep inside": lambda code: (code / "package" / "inner" / "x.py").write_text("1"),
    "a new folder": lambda code: (code / "new").mkdir(),
    "truncated": lambda code: os.truncate(code / "app.py", 0),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_every_kind_of_change_counts(world: World, change: Callable[[Path], object]) -> None:
    """Whatever an editor, a compiler or a shell does to a file."""
    change(world.code)
    assert world.has_changed()


async def test_new_folders_are_watched_with_all_that_is_in_them(world: World) -> None:
    """One that is created, one that is moved in, and one that is moved about."""
    (world.code / "new").mkdir()
    assert world.has_changed()
    (world.code / "new" / "x.py").write_text("1")
    assert world.has_changed()
    (world.root / "outside" / "deep").mkdir(parents=True)
    (world.root / "outside").rename(world.code / "inside")
    assert world.has_changed()
    (world.code / "inside" / "deep" / "x.py").write_text("1")
    assert world.has_changed()
    (world.code / "inside").rename(world.code / "package" / "moved")
    assert world.has_changed()
    (world.code / "package" / "moved" / "deep" / "x.py").write_text("2")
    assert world.has_changed()


async def test_folder_that_has_left_is_of_no_interest(world: World) -> None:
    """What happens in it afterwards happens somewhere else."""
    (world.code / "package").rename(world.root / "elsewhere")
    assert world.has_changed()
    (world.root / "elsewhere" / "inner" / "x.py").write_text("1")
    assert not world.has_changed()


@pytest.mark.parametrize(
    "name", ["__pycache__/app.pyc", ".git/index", ".app.py.swp", "app.py~", "4913", ".#app.py", "#app.py#"]
)
async def test_what_is_no_code_does_not_count(world: World, name: str) -> None:
    """Bytecode, repositories, and what editors keep beside a file."""
    path = world.code / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("1")
    path.write_text("2")
    assert not world.has_changed()


async def test_other_directories_are_not_told_of(world: World) -> None:
    """What lies beside it, or what its links lead to."""
    (world.root / "other").mkdir()
    (world.code / "link").symlink_to(world.root / "other")
    assert world.has_changed()
    (world.root / "other" / "x.py").write_text("1")
    assert not world.has_changed()


async def test_directories_within_each_other(world: World) -> None:
    """A change counts for all that it lies in."""
    inner = str(world.code / "package")
    await world.directories.watch(inner)
    both = [str(world.code), inner]
    before = [world.directories.generation([path]) for path in both]
    (world.code / "package" / "inner" / "x.py").touch()
    world.directories.refresh(both)
    assert all(world.directories.generation([path]) > was for path, was in zip(both, before, strict=True))
    world.directories.retain(lambda: [inner])
    before = [world.directories.generation([path]) for path in both]
    (world.code / "package" / "inner" / "y.py").touch()
    world.directories.refresh(both)
    assert world.directories.generation([both[0]]) == before[0]
    assert world.directories.generation([inner]) > before[1]


def delete(code: Path) -> None:
    shutil.rmtree(code)


def recreate(code: Path) -> None:
    shutil.rmtree(code)
    code.mkdir()


def swap(code: Path) -> None:
    code.rename(code.parent / "old")
    shutil.copytree(code.parent / "old", code)


def swap_above(code: Path) -> None:
    """Of this one no notice is to be had: nothing has happened to the directory, only to its name."""
    shutil.copytree(code.parent, code.parent.parent / "copy")
    code.parent.rename(code.parent.parent / "old")
    (code.parent.parent / "copy").rename(code.parent)


@pytest.mark.parametrize("change", [delete, recreate, swap, swap_above])
async def test_another_directory_has_another_life(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Deleted, made anew, replaced, or replaced with the directory above: it has to be watched again."""
    (tmp_path / "above").mkdir()
    world = World(tmp_path / "above")
    world.directories.roots = (tmp_path,)
    await world.watch()
    change(world.code)
    life, generation = world.life(), world.directories.generation(world.paths)
    assert life >= 1
    if world.code.exists():
        await world.watch()
        assert world.life() == life
        (world.code / "app.py").write_text("3")
        assert world.has_changed()
    else:
        with pytest.raises(NoDirectory, match="No such file or directory"):
            await world.watch()
    assert world.directories.generation(world.paths) >= generation >= 1
    world.directories.close()


async def test_changes_are_told_without_being_asked_for(world: World) -> None:
    """Whoever wants to act ahead hears of them."""
    heard = asyncio.Event()
    world.directories.on_change = lambda paths: heard.set() if set(paths) == set(world.paths) else None
    world.file.write_text("2")
    async with asyncio.timeout(10):
        await heard.wait()


async def test_changes_while_a_directory_is_being_entered(tmp_path: Path) -> None:
    """A folder that appears between the first look and the end of it is watched like the others."""
    world = World(tmp_path)
    for number in range(300):
        (world.code / f"folder{number}").mkdir()
    watching = asyncio.create_task(world.watch())
    late: list[Path] = []
    while not watching.done():
        late.append(world.code / f"late{len(late)}" / "deep")
        late[-1].mkdir(parents=True)
        world.directories.refresh(world.paths)
        await asyncio.sleep(0)
    await watching
    world.directories.refresh(world.paths)
    for folder in late:
        (folder / "x.py").touch()
        assert world.has_changed(), folder
    world.directories.close()


async def test_more_at_once_than_the_kernel_keeps(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Everything counts as changed, and folders that came meanwhile are found."""
    (world.code / "new").mkdir()
    with world.file.open("r+b", buffering=0) as one, (world.code / "b.py").open("wb", buffering=0) as two:
        for _ in range(QUEUE // 2 + 10):
            one.write(b"1")
            two.write(b"1")
    (world.code / "last").mkdir()
    assert world.has_changed()
    assert "too many changes at once" in caplog.text
    (world.code / "last" / "x.py").touch()
    assert world.has_changed()


class TestAllowed:
    """Which directories may be code."""

    async def test_below_a_root(self, world: World) -> None:
        """Links on the way are resolved."""
        (world.root / "link").symlink_to(world.code)
        assert world.directories.allowed(str(world.root / "link")) == str(world.code)
        assert world.directories.allowed(f"{world.root}/code/../code/") == str(world.code)
        assert world.directories.allowed(str(world.root)) == str(world.root)

    @pytest.mark.parametrize("name", ["/etc", "..", "escape", "nothing", "code/app.py"])
    async def test_refused(self, world: World, name: str) -> None:
        """Elsewhere, above, out by a link, not there, not a directory."""
        (world.root / "escape").symlink_to("/etc")
        with pytest.raises(NoDirectory):
            world.directories.allowed(str(world.root / name))

    async def test_no_roots_no_directories(self, tmp_path: Path) -> None:
        """Unless the setting names some."""
        with pytest.raises(NoDirectory, match="hot_reload"):
            Directories().allowed(str(tmp_path))

    async def test_what_has_become_a_link_is_not_watched(self, world: World) -> None:
        """What was allowed once is looked at again."""
        shutil.rmtree(world.code)
        world.code.symlink_to("/etc")
        with pytest.raises(NoDirectory):
            await world.watch()


async def test_too_many_folders(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused as a whole, and nothing of it stays watched."""
    monkeypatch.setattr(directories_module, "MOST_FOLDERS", 5)
    big = world.root / "big"
    for number in range(10):
        (big / str(number)).mkdir(parents=True)
    with pytest.raises(NoDirectory, match="more than 5 folders"):
        await world.directories.watch(str(big))
    world.directories.retain(list)
    assert world.directories._by_watch == {}
