"""What a zip of a directory holds."""

import io
import os
import stat
import zipfile
from pathlib import Path

import pytest

from runtime.directory_zips import TooMuch, snapshot
from runtime.zips import inspect_zip


def names(data: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(data)).namelist()


def test_files_links_and_modes(tmp_path: Path) -> None:
    """Below folders too; what an upload of it would be checked for holds."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "a.py").write_text("A = 1")
    (tmp_path / "bootstrap").write_text("#!/bin/sh")
    (tmp_path / "bootstrap").chmod(0o755)
    (tmp_path / "link").symlink_to("/usr/bin/python3")
    data = snapshot(tmp_path, 1000)
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert names(data) == ["bootstrap", "link", "package/a.py"]
    modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
    assert stat.S_IMODE(modes["bootstrap"]) == 0o755
    assert stat.S_ISLNK(modes["link"])
    assert archive.read("link") == b"/usr/bin/python3"
    assert inspect_zip(data).files == 3


def test_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    """Whenever they were written."""
    (tmp_path / "a").write_text("1")
    first = snapshot(tmp_path, 10)
    os.utime(tmp_path / "a", (0, 0))
    assert snapshot(tmp_path, 10) == first
    (tmp_path / "a").write_text("2")
    assert snapshot(tmp_path, 10) != first


def test_what_is_no_code_is_left_out(tmp_path: Path) -> None:
    """Bytecode, repositories, and what is neither file, folder nor link."""
    for folder in ("__pycache__", ".git"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").touch()
    (tmp_path / ".app.py.swp").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "app.py").touch()
    assert names(snapshot(tmp_path, 10)) == ["app.py"]


def test_limit_is_that_of_all_files_together(tmp_path: Path) -> None:
    """Exactly so many bytes are allowed."""
    (tmp_path / "a").write_bytes(bytes(6))
    (tmp_path / "b").write_bytes(bytes(4))
    assert len(names(snapshot(tmp_path, 10))) == 2
    with pytest.raises(TooMuch):
        snapshot(tmp_path, 9)


def test_what_is_not_there(tmp_path: Path) -> None:
    """It is an error of the system's."""
    with pytest.raises(FileNotFoundError):
        snapshot(tmp_path / "nothing", 10)
