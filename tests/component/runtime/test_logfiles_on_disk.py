import os
from pathlib import Path

import pytest

from runtime import logfiles
from runtime.logfiles import LogFiles, Place, encode


def place(stream: str = "s", group: str = "g") -> Place:
    return Place("123456789012", "us-east-1", group, stream)


def put(files: LogFiles, stream: str, *times: int, group: str = "g") -> None:
    files.append(
        place(stream, group),
        b"".join(encode(time, b"%s %d" % (stream.encode(), time)) for time in times),
        times[-1],
    )


def texts(files: LogFiles, limit: int = 100, group: str = "g") -> list[str]:
    return [event.text for event in files.tail("123456789012", "us-east-1", group, limit)]


def test_streams_are_merged_by_time(tmp_path: Path) -> None:
    """The tail of a group is one sequence over all its streams."""
    files = LogFiles(tmp_path)
    put(files, "a", 1, 4, 5)
    put(files, "b", 2, 3, 6)
    assert texts(files) == ["a 1", "b 2", "b 3", "a 4", "a 5", "b 6"]
    assert texts(files, 3) == ["a 4", "a 5", "b 6"]


def test_lines_of_one_time_keep_their_order(tmp_path: Path) -> None:
    """Within a stream, equal times do not shuffle lines."""
    files = LogFiles(tmp_path)
    for number in range(5):
        files.append(place(), encode(7, b"%d" % number), 7)
    assert texts(files) == ["0", "1", "2", "3", "4"]
    assert texts(files, 2) == ["3", "4"]


def test_groups_are_apart(tmp_path: Path) -> None:
    """A tail shows its own group only, and an unknown group is empty."""
    files = LogFiles(tmp_path)
    put(files, "a", 1, group="one")
    assert texts(files, group="two") == []
    assert texts(files, 0, group="one") == []


def test_streams_too_old_to_matter_are_not_opened(tmp_path: Path) -> None:
    """Once enough is found, files whose last event is older stay closed."""
    files = LogFiles(tmp_path)
    put(files, "new", 10, 11)
    put(files, "old", 1)
    unreadable = next(tmp_path.rglob("old.log"))
    unreadable.unlink()
    unreadable.mkdir()  # to open it would raise
    os.utime(unreadable, (0, 0))
    assert texts(files, 1) == ["new 11"]


def test_tail_reads_across_blocks(tmp_path: Path) -> None:
    """Lines longer than a read block and a file of many blocks come back whole."""
    files = LogFiles(tmp_path)
    sizes = [10, 200_000, 0, 65_536, 3, 131_072]
    for time, size in enumerate(sizes):
        files.append(place(), encode(time, b"x" * size), time)
    assert [len(text) for text in texts(files)] == sizes


def test_torn_last_line_is_left_out(tmp_path: Path) -> None:
    """What a crash left half written is no event; neither is a file that holds nothing else."""
    files = LogFiles(tmp_path)
    put(files, "a", 1)
    put(files, "b", 2)
    path = next(tmp_path.rglob("a.log"))
    path.write_bytes(path.read_bytes() + b"1970-01-01T00:00:00.009Z half a li")
    next(tmp_path.rglob("b.log")).write_bytes(b"1970-01-01T00:00:00.009Z ha")
    assert texts(files) == ["a 1"]


def test_failed_append_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fills up in the middle of a batch, the file is as before."""
    files = LogFiles(tmp_path)
    put(files, "a", 1)
    before = next(tmp_path.rglob("a.log")).read_bytes()

    def half_then_full(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logfiles, "_write_all", half_then_full)
    with pytest.raises(OSError, match="No space"):
        put(files, "a", 2)
    assert next(tmp_path.rglob("a.log")).read_bytes() == before


def test_stream_is_bounded_by_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that never ends keeps its latest events, within twice the bound, and reads as one."""
    monkeypatch.setattr(logfiles, "ROTATE_AT", 200)
    files = LogFiles(tmp_path)
    for time in range(100):
        put(files, "a", time)
    assert sum(path.stat().st_size for path in tmp_path.rglob("a.log*")) < 2 * 250
    found = texts(files)
    assert found[-1] == "a 99"
    assert found == [f"a {time}" for time in range(100 - len(found), 100)]


def test_group_keeps_its_latest_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old streams go: every environment has its own, and they would add up for ever."""
    monkeypatch.setattr(logfiles, "STREAMS_KEPT", 10)
    files = LogFiles(tmp_path)
    for time in range(200):
        put(files, f"s{time}", time)
    kept = {path.stem for path in tmp_path.rglob("*.log")}
    assert len(kept) <= 10 + 50
    assert {f"s{time}" for time in range(190, 200)} <= kept


def test_hostile_names_stay_inside(tmp_path: Path) -> None:
    """Account, region, group and stream come from requests; none of them leaves the directory."""
    root = tmp_path / "logs"
    LogFiles(root).append(Place("..", "../..", "../../etc", "../x\0y"), encode(1, b"x"), 1)
    assert [path.parent.parent.parent.parent for path in tmp_path.rglob("*.log")] == [root]
