"""Control groups, as far as a directory can play them: what is written where, in both versions."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.spawners import limits
from runtime.spawners.limits import Limits

MAX = (128 + 16) << 20


class Kernel:
    """Fills new groups with files, as the kernel does."""

    def __init__(self, root: Path, files: Callable[[Path], tuple[str, ...]]) -> None:
        self.root = root
        self._files = files
        self._mkdir = Path.mkdir

    def mkdir(self, path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        self._mkdir(path, mode, parents, exist_ok)
        for name in self._files(path):
            (path / name).touch()

    def rmdir(self, path: Path) -> None:
        for entry in path.iterdir():
            if entry.is_dir() or (entry.name == "cgroup.procs" and entry.read_text()):
                raise OSError(16, "Device or resource busy")
            entry.unlink()
        path.parent.joinpath(path.name).rename(path.with_name("removed-" + path.name))


@pytest.fixture
def version_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A unified hierarchy; a group's files are there once its parent passes the controllers on."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    kernel = Kernel(
        tmp_path,
        lambda _: ("cgroup.procs", "cgroup.subtree_control", "memory.max", "memory.swap.max", "pids.max"),
    )
    _install(kernel, monkeypatch)
    return tmp_path


@pytest.fixture
def version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hierarchy for each controller; this process is in none of their groups."""
    for name in ("memory", "pids"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").touch()
    memory = ("cgroup.procs", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    kernel = Kernel(tmp_path, lambda path: memory if "memory" in path.parts else ("cgroup.procs", "pids.max"))
    _install(kernel, monkeypatch)
    return tmp_path


def _install(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CGROUPS", kernel.root)
    monkeypatch.setattr(limits, "_own_groups", list)
    monkeypatch.setattr(Path, "mkdir", lambda *a, **k: kernel.mkdir(*a, **k))  # noqa: PLW0108  the path is an argument
    monkeypatch.setattr(Path, "rmdir", lambda path: kernel.rmdir(path))  # noqa: PLW0108  likewise


def test_version_2(version_2: Path) -> None:
    """One group limits memory, swap and processes; the agent's own memory comes on top."""
    mine = Limits("me")
    assert mine.prepare() is None
    assert mine.are_strict
    assert (version_2 / "berth-me/cgroup.subtree_control").read_text() == "+memory +pids"
    cell = mine.cell("one", 128)
    group = version_2 / "berth-me/one"
    assert (group / "memory.max").read_text() == str(MAX)
    assert (group / "memory.swap.max").read_text() == "0"
    assert (group / "pids.max").read_text() == "1024"
    assert cell.entrances == [f"{group}/cgroup.procs"]
    assert cell.shown_at == str(version_2)


def test_version_1(version_1: Path) -> None:
    """Two groups, memory's first."""
    mine = Limits("me")
    assert mine.prepare() is None
    cell = mine.cell("one", 128)
    memory, processes = version_1 / "memory/berth-me/one", version_1 / "pids/berth-me/one"
    assert cell.groups == (memory, processes)
    assert (memory / "memory.limit_in_bytes").read_text() == str(MAX)
    assert (memory / "memory.memsw.limit_in_bytes").read_text() == str(MAX)
    assert (processes / "pids.max").read_text() == "1024"
    assert cell.shown_at == str(version_1 / "memory")


def test_kills(version_2: Path) -> None:
    """Kills for memory and members are read from the group."""
    mine = Limits("me")
    mine.prepare()
    cell = mine.cell("one", 128)
    assert cell.memory_kills() == 0
    (version_2 / "berth-me/one/memory.events").write_text("low 0\nmax 31\noom 2\noom_kill 2\n")
    (version_2 / "berth-me/one/cgroup.procs").write_text("17\n4\n")
    assert (cell.memory_kills(), cell.members()) == (2, [4, 17])


def test_removal(version_2: Path) -> None:
    """A removed cell is gone; one that never was is empty, and removing it is no error."""
    mine = Limits("me")
    mine.prepare()
    mine.cell("one", 128).remove()
    assert mine.existing("one").groups == ()
    mine.existing("one").remove()
    assert mine.existing("one").members() == []


def test_left_by_a_killed_control_plane(version_1: Path) -> None:
    """A cell that nobody joined before the end, and nobody recorded, goes with the next start; one that is in use stays."""
    before = Limits("me")
    before.prepare()
    before.cell("unused", 128)
    used = before.cell("used", 128)
    for entrance in used.entrances:
        Path(entrance).write_text("17\n")
    after = Limits("me")
    assert after.prepare() is None
    assert after.existing("unused").groups == ()
    assert after.existing("used") == used
    after.cell("new", 128)
    assert after.prepare() is None
    assert len(after.existing("new").groups) == 2


def test_nothing_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without control groups each process is limited by itself, and the reason is given."""
    monkeypatch.setattr(limits, "CGROUPS", tmp_path)
    mine = Limits("me")
    assert mine.prepare() == "no control groups of memory and processes are mounted"
    assert not mine.are_strict
    assert mine.cell("one", 128).groups == ()
    assert mine.shell_limits(128) == ["ulimit -n 4096", f"ulimit -d {256 * 1024}"]


def test_not_writable(version_2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be written, the reason is given and nothing stays."""

    def refuse(path: Path, text: str) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "write_text", refuse)
    mine = Limits("me")
    assert "Permission denied" in (mine.prepare() or "")
    assert not mine.are_strict
    assert not (version_2 / "berth-me").exists()
