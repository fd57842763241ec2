import os
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime import diagnosis
from runtime.diagnosis import disk_space
from runtime.instance import acquire
from runtime.settings import Settings


def settings(tmp_path: Path, port: int = 0, spawner: str = "auto") -> Settings:
    return Settings(data_dir=tmp_path / "data", port=port, spawner=spawner)


def test_good_machine_has_essentials(tmp_path: Path) -> None:
    """Where everything is fine no finding asks for anything essential, and looking makes nothing."""
    findings = diagnosis.local_findings(settings(tmp_path))
    assert [each.name for each in findings] == [
        "data directory",
        "port",
        "disk space",
        "bubblewrap",
        "runtime client",
    ]
    assert [each.name for each in findings if each.essential and not each.ok] == []
    assert not (tmp_path / "data").exists()


def test_docker_spawner_needs_nothing_of_the_process_spawner(tmp_path: Path) -> None:
    """Who runs containers is not told about bubblewrap."""
    findings = diagnosis.local_findings(settings(tmp_path, spawner="docker"))
    assert [each.name for each in findings] == ["data directory", "port", "disk space"]


def test_taken_port_is_essential_and_advised(tmp_path: Path) -> None:
    """A port that somebody listens on cannot be used."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        found = diagnosis.port(settings(tmp_path, number))
    assert (found.ok, found.essential) == (False, True)
    assert found.advice == f"stop what listens on port {number}, or choose another one with --port"


def test_address_of_another_machine_cannot_be_bound(tmp_path: Path) -> None:
    """An address that is not this machine's is told apart from a taken port."""
    found = diagnosis.port(Settings(host="192.0.2.1", port=1, data_dir=tmp_path))
    assert (found.ok, found.advice) == (False, "choose another one with --host and --port")


def test_port_of_the_running_berth_is_fine(tmp_path: Path) -> None:
    """Doctor beside a running Berth does not complain about Berth."""
    with acquire(tmp_path / "data") as instance, socket.create_server(("127.0.0.1", 0)) as own:
        instance.write_state("http://127.0.0.1:1")
        found = diagnosis.port(settings(tmp_path, own.getsockname()[1]))
    assert found.ok
    assert found.detail == f"Berth runs at http://127.0.0.1:1 (pid {os.getpid()})"


def test_unwritable_data_directory_is_essential(tmp_path: Path) -> None:
    """A data directory below a file can never be made."""
    (tmp_path / "data").touch()
    found = diagnosis.data_directory(settings(tmp_path))
    assert (found.ok, found.essential) == (False, True)
    assert "cannot be written" in found.detail


@pytest.mark.parametrize(
    ("free", "ok", "essential"), [(10 * 1024**3, True, False), (1024**3, False, False), (1, False, True)]
)
def test_little_disk_is_a_warning_and_none_is_essential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, ok: bool, essential: bool
) -> None:
    """Running low is told; running out stops everything."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    found = disk_space(settings(tmp_path))
    assert (found.ok, found.essential, found.advice is None) == (ok, essential, ok)


def test_missing_bubblewrap_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without isolation functions still run; the finding says what is lost and what to install."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    found = diagnosis.bubblewrap(settings(tmp_path))
    assert (found.ok, found.essential) == (False, False)
    assert found.advice is not None
