"""Starting a program in the background, and stopping what owns a data directory."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime import instance
from runtime.cli import down, launch, up
from runtime.cli.client import Client
from runtime.cli.launch import LaunchError
from runtime.settings import Settings, as_text

PROGRAM = str(Path(__file__).with_name("program.py"))
Start = Callable[..., tuple["subprocess.Popen[bytes]", str]]


def command(data_dir: Path, mode: str) -> list[str]:
    return [sys.executable, PROGRAM, str(data_dir), mode]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program imports the package that is being tested."""
    monkeypatch.setenv("PYTHONPATH", str(Path(instance.__file__).parent.parent))


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Start the program for the default data directory; it is ended with the test."""
    started: list[subprocess.Popen[bytes]] = []
    data_dir = home / ".berth"
    data_dir.mkdir()

    def start_it(mode: str = "kind") -> tuple["subprocess.Popen[bytes]", str]:
        process, url = launch.launch(command(data_dir, mode), home / "log", 20)
        started.append(process)
        return process, url

    yield start_it
    for process in started:
        process.kill()
        process.wait()


def test_launched_program_answers_in_its_own_session(start: Start, home: Path) -> None:
    """When launch returns the program serves; it is detached from the terminal, its output in the log."""
    process, url = start()
    assert Client(url).get_json("/health") == {"status": "ok"}
    assert os.getsid(process.pid) == process.pid
    assert (home / "log").read_text() == "mode kind\n"


def test_program_that_dies_shows_its_last_words(home: Path) -> None:
    """A failed start is noticed when the program ends, with what it said this time and not earlier."""
    (home / "log").write_text("words of an earlier start\n")
    with pytest.raises(LaunchError, match=r"Berth did not start \(exit status 1\)") as caught:
        launch.launch(command(home, "dies"), home / "log", 20)
    assert caught.value.last_lines == ["mode dies", "the disk is on fire"]


def test_program_that_is_killed_is_told_so(home: Path) -> None:
    """The signal is named."""
    script = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(LaunchError, match=r"\(signal 9\)"):
        launch.launch([sys.executable, "-c", script], home / "log", 20)


def test_program_that_is_never_ready_is_ended(home: Path) -> None:
    """Nobody waits for ever, and nothing stays behind."""
    with pytest.raises(LaunchError, match=r"not ready within 0.05 s"):
        launch.launch(command(home, "silent"), home / "log", 0.05)


def test_large_log_is_put_aside(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The background log does not grow for ever."""
    monkeypatch.setattr(launch, "LOG_LIMIT", 10)
    (home / "log").write_text("more than ten bytes\n")
    with pytest.raises(LaunchError):
        launch.launch(command(home, "dies"), home / "log", 20)
    assert (home / "log.1").read_text() == "more than ten bytes\n"
    assert (home / "log").read_text().startswith("mode dies")


def test_down_ends_a_berth_and_is_idempotent(start: Start, run: Any, home: Path) -> None:
    """The owner gets SIGTERM and time to clean up; a second time there is nothing to do, which is fine."""
    process, _ = start()
    assert run("down") == (0, f"stopped Berth (pid {process.pid})\n", "")
    assert process.wait() == 0
    assert not (home / ".berth/berth.json").exists()
    assert run("down") == (0, f"no Berth is running for {home}/.berth\n", "")


def test_down_ends_a_berth_that_is_starting(start: Start, run: Any, home: Path) -> None:
    """A Berth without an address can be stopped too."""
    process, _ = start()
    (home / ".berth/berth.json").unlink()
    assert run("down")[0] == 0
    assert process.wait() == 0


def test_down_kills_what_does_not_listen(start: Start, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the limit comes SIGKILL, announced; waiting is told meanwhile."""
    monkeypatch.setattr(down, "PATIENCE", 0.01)
    process, _ = start("stubborn")
    code, out, err = run("down", "--timeout", "0.1")
    assert (code, out) == (0, f"stopped Berth (pid {process.pid})\n")
    assert f"waiting for Berth (pid {process.pid}) to end" in err
    assert f"berth: pid {process.pid} has not ended within 0.1 s, killing it\n" in err
    assert process.wait() == -signal.SIGKILL


def test_down_leaves_other_processes_alone(run: Any, home: Path) -> None:
    """A pid that is not the lock's holder, as with a Berth in a container, is never signalled."""
    with instance.acquire(home / ".berth"):
        (home / ".berth/berth.lock").write_text("1\n")
        code, _, err = run("down")
    assert code == 2
    assert (
        err == f"berth: process 1 is not the Berth of {home}/.berth: is that in a container? Stop it there\n"
    )


# up


def test_up_detached_reports_address_and_pid(home: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report comes when Berth answers, says how to use it and how to stop it; then `down` stops it."""
    started: list[subprocess.Popen[bytes]] = []
    asked: list[list[str]] = []

    def launch_program(wanted: list[str], log: Path, limit: float) -> tuple["subprocess.Popen[bytes]", str]:
        asked.append(wanted)
        process, url = launch.launch(command(home / ".berth", "kind"), log, limit)
        started.append(process)
        return process, url

    monkeypatch.setattr(up, "launch", launch_program)
    code, out, _ = run("up", "--detach", "--port", "0", "--no-freeze")
    url = instance.running(home / ".berth")
    assert code == 0
    assert url is not None
    assert f"address   {url.url}\n" in out
    assert f"berth down  # pid {started[0].pid}" in out
    assert f"export AWS_ENDPOINT_URL={url.url}\n" in out
    assert asked == [[sys.executable, "-m", "runtime.cli", "up", "--port=0", "--no-freeze"]]
    assert run("down")[0] == 0
    assert started[0].wait() == 0


def test_up_detached_shows_why_it_failed(home: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the log and where the whole of it is."""

    def launch_program(_: list[str], log: Path, limit: float) -> Any:
        return launch.launch(command(home, "dies"), log, limit)

    monkeypatch.setattr(up, "launch", launch_program)
    code, out, err = run("up", "--detach")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "  | mode dies",
        "  | the disk is on fire",
        f"berth: Berth did not start (exit status 1); its log is {home}/.berth/berth.log, and `berth doctor` may know more",
    ]


def test_up_in_an_impossible_place_is_one_line(home: Path, run: Any) -> None:
    """A data directory that cannot be made is told without a traceback."""
    (home / "file").touch()
    code, _, err = run("up", "--detach", "--data-dir", f"{home}/file/data")
    assert code == 2
    assert err == f"berth: cannot start in {home}/file/data: Not a directory; see: berth doctor\n"


def test_up_beside_itself_is_fine(run: Any, berth: Any) -> None:
    """Asking for what is already there succeeds, detached or not; what is left open may be anything."""
    berth.answer("/_berth/settings", as_text(Settings(port=4000)))
    for arguments in (["up"], ["up", "--detach"], ["up", "--port", "4000"]):
        assert run(*arguments) == (0, f"Berth is already running at {berth.url} (pid {os.getpid()})\n", "")


def test_up_beside_another_is_refused_with_the_difference(run: Any, berth: Any) -> None:
    """A running Berth with other settings is not what was asked for."""
    berth.answer("/_berth/settings", as_text(Settings()))
    code, _, err = run("up", "--port", "4000")
    assert code == 2
    assert err == (
        f"berth: Berth runs at {berth.url} with other settings (port is 3001, not 4000); stop it first: berth down\n"
    )
