import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.files import make_directory


@pytest.fixture
def careful_umask() -> Iterator[None]:
    former = os.umask(0o077)
    yield
    os.umask(former)


@pytest.mark.usefixtures("careful_umask")
def test_a_directory_gets_its_mode(tmp_path: Path) -> None:
    """The mode is as stated, whatever the umask; a directory that exists keeps its own."""
    make_directory(tmp_path / "a" / "b", 0o711)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o711
    make_directory(tmp_path / "a" / "b", 0o700)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o711
