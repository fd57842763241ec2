import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.instance import AlreadyRunning, acquire, owner, running

OWNER = """
import pathlib, sys
from runtime.instance import acquire
with acquire(pathlib.Path(sys.argv[1])) as instance:
    instance.write_state("http://127.0.0.1:1")
    print(instance.id, flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(data_dir: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A Berth in another process that owns the data directory; yields it and its instance name."""
    command = [sys.executable, "-c", OWNER, str(data_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_owner_is_found_while_it_runs(tmp_path: Path) -> None:
    """The state appears when written and is gone, with the ownership, after the block."""
    data = tmp_path / "new" / "data"
    with acquire(data) as instance:
        assert owner(data) == os.getpid()
        assert running(data) is None
        state = instance.write_state("http://127.0.0.1:3001")
        assert running(data) == state
        assert (state.pid, state.url, state.instance) == (os.getpid(), "http://127.0.0.1:3001", instance.id)
        assert json.loads((data / "berth.json").read_text())["started"].endswith("+00:00")
    assert owner(data) is None
    assert running(data) is None
    assert not (data / "berth.json").exists()


def test_name_stays_over_restarts(tmp_path: Path) -> None:
    """Sandboxes left by a killed control plane carry the name of the next one."""
    with acquire(tmp_path) as first:
        pass
    with acquire(tmp_path) as second:
        assert second.id == first.id
    with acquire(tmp_path / "other") as other:
        assert other.id != first.id


def test_empty_name_file_is_replaced(tmp_path: Path) -> None:
    """An instance file that a crash left empty does not make an empty name."""
    (tmp_path / "instance").write_text("")
    with acquire(tmp_path) as instance:
        assert len(instance.id) == 8


def test_second_owner_is_refused_with_the_first_ones_state(tmp_path: Path) -> None:
    """Two control planes never share a data directory; the refusal says where the other one is."""
    with other_process(tmp_path) as (process, name):
        with pytest.raises(AlreadyRunning) as caught, acquire(tmp_path):
            pass
        assert caught.value.state is not None
        assert (caught.value.state.pid, caught.value.state.instance) == (process.pid, name)
        assert f"http://127.0.0.1:1 (pid {process.pid})" in str(caught.value)


def test_refusal_while_the_other_one_is_starting(tmp_path: Path) -> None:
    """An owner that does not answer yet is still an owner."""
    with acquire(tmp_path), pytest.raises(AlreadyRunning, match="and starting") as caught, acquire(tmp_path):
        pass
    assert caught.value.state is None


def test_killed_owner_leaves_the_way_free(tmp_path: Path) -> None:
    """After kill -9 the state that remains counts for nothing, and the next owner takes over."""
    with other_process(tmp_path) as (process, name):
        process.kill()
        process.wait()
        assert (tmp_path / "berth.json").exists()
        assert owner(tmp_path) is None
        assert running(tmp_path) is None
        with acquire(tmp_path) as instance:
            assert instance.id == name
            assert running(tmp_path) is None


def test_damaged_state_is_no_state(tmp_path: Path) -> None:
    """A state file that makes no sense is treated like none."""
    with acquire(tmp_path):
        (tmp_path / "berth.json").write_text('{"pid": 1}')
        assert running(tmp_path) is None


def test_failure_inside_frees_the_directory(tmp_path: Path) -> None:
    """An error in the owner's block does not keep the directory locked."""

    def fail_inside() -> None:
        with acquire(tmp_path) as instance:
            instance.write_state("http://x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_inside()
    assert running(tmp_path) is None


def test_no_data_directory_has_no_owner(tmp_path: Path) -> None:
    """To look for an owner creates nothing."""
    assert owner(tmp_path / "none") is None
    (tmp_path / "file").touch()
    assert owner(tmp_path / "file") is None
    assert not (tmp_path / "none").exists()
