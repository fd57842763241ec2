import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from runtime.spawners import endpoints

SCRIPT = Path(__file__).parents[3] / ".ci" / "engine.py"

INSTALL = "apt-get install -y --no-install-recommends -o Dpkg::Use-Pty=0"

ENGINE = f"""#!{sys.executable}
import http.server, os, socketserver, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{{"Version": "20.10.24"}}')

    def address_string(self):
        return "unix"

print("engine started", file=sys.stderr, flush=True)
server = socketserver.UnixStreamServer("SOCKET", Handler)
server.timeout = 30
for _ in range(REQUESTS):
    server.handle_request()
"""
"""An engine that knows its version and ends after some requests."""


class Machine:
    """A machine of which this directory is everything: its commands, its socket, its log."""

    def __init__(self, root: Path, script: ModuleType) -> None:
        self.script = script
        self.root = root
        self.bin = root / "bin"
        self.bin.mkdir()
        self.socket = root / "docker.sock"
        self.done = root / "done"
        self.done.touch()

    def command(self, name: str, text: str) -> Path:
        """Install a command that notes that it ran."""
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.done}\n{text}\n')
        path.chmod(0o755)
        return path

    def engine(self, name: str, requests: int) -> Path:
        path = self.bin / name
        path.write_text(ENGINE.replace("SOCKET", str(self.socket)).replace("REQUESTS", str(requests)))
        path.chmod(0o755)
        return path

    def run(self, **environ: str) -> int:
        code: int = self.script.main({"PATH": os.environ["PATH"], "HOME": str(self.root), **environ})
        return code

    @property
    def ran(self) -> list[str]:
        return self.done.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine without systemd, as root. The engines that the script leaves running end with it."""
    specification = importlib.util.spec_from_file_location("engine_script", SCRIPT)
    assert specification
    assert specification.loader
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    machine = Machine(tmp_path, script)
    monkeypatch.setenv("PATH", f"{machine.bin}:/usr/bin:/bin")
    monkeypatch.setattr(script.shutil, "which", lambda name: which(machine, name))
    monkeypatch.setattr(script.os, "geteuid", lambda: 0)
    monkeypatch.setattr(script, "SYSTEMD", tmp_path / "no-systemd")
    monkeypatch.setattr(script, "LOG", tmp_path / "dockerd.log")
    monkeypatch.setattr(script, "PID_FILES", {"dockerd": tmp_path / "docker.pid"})
    monkeypatch.setattr(script, "DEFAULT_SOCKET", f"unix://{machine.socket}")
    monkeypatch.setattr(script, "has_cgroups", lambda: True)
    monkeypatch.setattr(script, "APPARMOR", tmp_path / "apparmor")
    monkeypatch.setattr(script, "PAUSE", 0.01)
    monkeypatch.setattr(endpoints, "SYSTEM_SOCKETS", ((machine.socket, "Docker's socket"),))
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(script.subprocess, "Popen", start)
    yield machine
    for engine in started:
        engine.kill()
        engine.wait()


def which(machine: Machine, name: str) -> str | None:
    path = machine.bin / name
    return str(path) if path.exists() else None


def test_an_engine_that_answers_is_enough(
    machine: Machine, capsys: pytest.CaptureFixture[str], fake_url: str
) -> None:
    """It is named, and nothing is installed or started."""
    assert machine.run(DOCKER_HOST=fake_url) == 0
    assert f"engine 20.10.24 answers at {fake_url}" in capsys.readouterr().out
    assert machine.ran == []


@pytest.fixture
def fake_url(machine: Machine) -> str:
    """An engine that was started by someone else."""
    machine.engine("dockerd", requests=10)
    machine.script.start()
    return f"unix://{machine.socket}"


@pytest.mark.parametrize(
    "left", ["4194304", str(os.getpid()), "", "x"], ids=["nobody's", "another's", "empty", "no number"]
)
def test_the_number_of_a_killed_engine_is_forgotten(machine: Machine, left: str) -> None:
    """Also where another process has it by now; what holds no number is Docker's own to judge."""
    pid_file = machine.root / "docker.pid"
    pid_file.write_text(left)
    machine.engine("dockerd", requests=10)
    machine.script.start()
    assert pid_file.exists() == (not left.isdigit())


def test_the_number_of_a_living_engine_is_kept(machine: Machine) -> None:
    """A process of that name and number is there."""
    pid_file = machine.root / "docker.pid"
    pid_file.write_text(str(os.getpid()))
    machine.script.forget_the_killed(Path("/proc/self/comm").read_text().strip(), pid_file)
    assert pid_file.exists()


def test_an_address_that_does_not_answer_is_not_replaced(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever set DOCKER_HOST would not use what was installed."""
    machine.command("apt-get", "exit 1")
    assert machine.run(DOCKER_HOST="tcp://127.0.0.1:1") == 3
    assert "correct it, or unset it" in capsys.readouterr().out
    assert machine.ran == []


def test_docker_is_installed_and_started(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """On Debian and Ubuntu, as root; its log has a place."""
    hidden = machine.engine("packaged", requests=2)
    machine.command("apt-get", f'[ "$1" = update ] || cp {hidden} {machine.bin}/dockerd')
    machine.command("apt-cache", "echo 'N: Unable to locate package' >&2")
    assert machine.run() == 0
    assert machine.ran == [
        "apt-get update",
        "apt-cache show --quiet=2 docker-cli",
        f"{INSTALL} docker.io ca-certificates xz-utils",
    ]
    assert "engine 20.10.24 answers" in capsys.readouterr().out
    assert "engine started" in machine.script.LOG.read_text()


@pytest.mark.parametrize(
    ("enabled", "has_parser", "wanted"),
    [("Y", False, "docker-cli apparmor"), ("Y", True, "docker-cli"), ("N", False, "docker-cli")],
)
def test_what_the_engine_only_recommends_is_installed_where_it_is_needed(
    machine: Machine, enabled: str, has_parser: bool, wanted: str
) -> None:
    """The command, where it is a package of its own; and what loads profiles, where the kernel confines."""
    hidden = machine.engine("packaged", requests=2)
    machine.command("apt-get", f'[ "$1" = update ] || cp {hidden} {machine.bin}/dockerd')
    machine.command("apt-cache", "echo Package: docker-cli")
    machine.script.APPARMOR.write_text(f"{enabled}\n")
    if has_parser:
        machine.command("apparmor_parser", "")
    assert machine.run() == 0
    assert machine.ran[-1] == f"{INSTALL} docker.io ca-certificates xz-utils {wanted}"


@pytest.mark.parametrize(
    ("user", "members", "advised"), [("kim", [], True), ("kim", ["kim"], False), ("root", [], False)]
)
def test_who_came_by_sudo_is_told_what_is_left_to_do(
    machine: Machine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    user: str,
    members: list[str],
    advised: bool,
) -> None:
    """The engine is root's and its group's."""
    group = SimpleNamespace(gr_name="docker", gr_gid=101, gr_mem=members)
    monkeypatch.setattr(machine.script.grp, "getgrgid", lambda number: group)
    machine.engine("dockerd", requests=2)
    assert machine.run(SUDO_USER=user) == 0
    assert ("sudo usermod -aG docker kim" in capsys.readouterr().out) == advised


@pytest.mark.parametrize("name", ["engine.py", "emulation.py"])
def test_nothing_is_left_in_the_checkout(name: str) -> None:
    """Run by `sudo`, it would be root's."""
    script = str(SCRIPT.with_name(name))
    program = f"import runpy, sys; runpy.run_path({script!r}); sys.exit(not sys.dont_write_bytecode)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_installed_docker_is_only_started(machine: Machine) -> None:
    """After a restart of a machine without services."""
    machine.engine("dockerd", requests=2)
    machine.command("apt-get", "exit 1")
    assert machine.run() == 0
    assert machine.ran == []


def test_systemd_starts_what_it_manages(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is a service there."""
    monkeypatch.setattr(machine.script, "SYSTEMD", machine.root)
    hidden = machine.engine("service", requests=2)
    machine.command("dockerd", "exit 1")
    machine.command("systemctl", f"setsid {hidden} >/dev/null 2>&1 &")
    assert machine.run() == 0
    assert machine.ran == ["systemctl start docker"]


def test_a_service_that_does_not_answer_has_a_journal(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no log of ours."""
    monkeypatch.setattr(machine.script, "SYSTEMD", machine.root)
    monkeypatch.setattr(machine.script, "PATIENCE", 0.05)
    machine.command("dockerd", "exit 1")
    machine.command("systemctl", "")
    assert machine.run() == 3
    assert "journalctl --unit docker" in capsys.readouterr().out


def test_an_engine_that_ends_shows_its_last_lines(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log knows why."""
    monkeypatch.setattr(machine.script, "SECOND", 0.1)
    machine.command("dockerd", "echo 'failed to mount cgroups' >&2; exit 1")
    assert machine.run() == 3
    out = capsys.readouterr().out
    assert "failed to mount cgroups" in out
    assert "spawner=process" in out


def test_without_root_the_ways_out_are_named(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is tried that cannot work."""
    monkeypatch.setattr(machine.script.os, "geteuid", lambda: 1000)
    machine.command("apt-get", "exit 1")
    assert machine.run() == 3
    assert "sudo make engine" in capsys.readouterr().out
    assert machine.ran == []


def test_elsewhere_than_on_debian_the_ways_out_are_named(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other systems install their own way."""
    assert machine.run() == 3
    assert "https://docs.docker.com/engine/install/" in capsys.readouterr().out


def test_an_installation_that_fails_is_the_reason(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """No network, say."""
    machine.command("apt-get", "exit 100")
    assert machine.run() == 3
    assert "`apt-get update` failed (exit status 100)" in capsys.readouterr().out


def test_a_socket_that_may_not_be_opened_is_told_apart(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is there; the user lacks a group."""

    def refuse(endpoint: object) -> str:
        raise PermissionError

    monkeypatch.setattr(machine.script, "ask", refuse)
    machine.socket.touch()
    assert machine.run() == 3
    assert "usermod -aG docker" in capsys.readouterr().out
