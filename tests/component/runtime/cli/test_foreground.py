"""`berth up` in the foreground, with a control plane that only says that it is ready."""

import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.cli import up
from runtime.instance import acquire
from runtime.settings import Settings
from runtime.spawners.base import SpawnerError
from runtime.store.errors import KeyRefused

Ready = Callable[[str], None]


@pytest.fixture(autouse=True)
def untouched_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command configures logging for its process; the tests' process gets back what it had."""
    root, functions = logging.getLogger(), logging.getLogger(up.FUNCTIONS_LOGGER)
    before = [(each, each.level, each.propagate, list(each.handlers)) for each in (root, functions)]
    yield
    for logger, level, propagate, handlers in before:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = handlers


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands where the composition root is; `run` can be replaced."""

    def run(settings: Settings, *, ready: Ready) -> int:
        ready(f"http://{settings.host}:{settings.port}")
        return 0

    module = SimpleNamespace(run=run)
    monkeypatch.setitem(sys.modules, "runtime.app", module)
    return module


def test_report_says_how_to_use_it(app: Any, run: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When Berth answers, the terminal shows address, spawner, data directory and the variables to set."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    code, out, _ = run("up", "--port", "4000", "--spawner", "process")
    assert code == 0
    assert out == (
        "Berth 0.1.0 is up\n"
        "  address   http://127.0.0.1:4000\n"
        "  spawner   process\n"
        f"  data      {home}/.berth\n"
        "  stop      Ctrl-C\n"
        "\n"
        "Any AWS client works with it, with any credentials:\n"
        "  export AWS_ENDPOINT_URL=http://127.0.0.1:4000\n"
        "  export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1\n"
        "  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test\n"
        "  aws lambda list-functions\n"
    )


def test_a_proxy_is_pointed_out(app: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients would ask it for Berth's address too."""
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "example.com")
    assert "  export NO_PROXY=example.com,127.0.0.1 no_proxy=example.com,127.0.0.1\n" in run("up")[1]


def test_open_door_is_pointed_out(app: Any, run: Any) -> None:
    """Listening on all interfaces lets others run code, which is said."""
    assert "Whoever reaches 0.0.0.0:3001 can run code on this machine." in run("up", "--host", "0.0.0.0")[1]


def test_stop_command_names_the_data_directory(app: Any, run: Any, home: Path) -> None:
    """Who is told to stop the running one gets a command that stops that one."""

    def contended(settings: Settings, *, ready: Ready) -> int:
        with acquire(settings.data_dir), acquire(settings.data_dir):
            return 0

    app.run = contended
    err = run("up", "--data-dir", f"{home}/other")[2]
    assert err.endswith(f"; stop it first: berth down --data-dir {home}/other\n")


def test_exit_code_is_the_control_planes(app: Any, run: Any) -> None:
    """What the control plane returns, the command returns."""
    app.run = lambda settings, *, ready: 3
    assert run("up")[0] == 3


def test_background_half_tells_its_parent(app: Any, run: Any) -> None:
    """With a ready descriptor the address goes there and nowhere else; a parent that has left is no error."""
    reading, writing = os.pipe()
    assert run("up", "--ready-fd", str(writing)) == (0, "", "")
    assert os.read(reading, 100) == b"http://127.0.0.1:3001\n"
    os.close(reading)
    reading, writing = os.pipe()
    os.close(reading)
    assert run("up", "--ready-fd", str(writing))[0] == 0
    os.close(writing)


def test_losing_the_race_for_the_directory_is_one_line(app: Any, run: Any, home: Path) -> None:
    """A second control plane started at the same moment is refused by the lock."""

    def contended(settings: Settings, *, ready: Ready) -> int:
        with acquire(settings.data_dir), acquire(settings.data_dir):
            return 0

    app.run = contended
    code, _, err = run("up")
    assert code == 2
    assert (
        err == f"berth: Berth is already running and starting for {home}/.berth; stop it first: berth down\n"
    )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(98, "Address already in use"), "Address already in use"),
        (NotADirectoryError(20, "Not a directory", "/etc/passwd"), "/etc/passwd: Not a directory"),
        (SpawnerError("no engine"), "no engine"),
    ],
)
def test_refusal_of_the_surroundings_is_one_line(app: Any, run: Any, error: Exception, reason: str) -> None:
    """What the operating system or the engine refuses is told with a pointer to the doctor."""

    def refused(settings: Settings, *, ready: Ready) -> int:
        raise error

    app.run = refused
    assert run("up")[::2] == (2, f"berth: cannot start: {reason}; see: berth doctor\n")


def test_interrupt_is_quiet(app: Any, run: Any) -> None:
    """Ctrl-C costs no traceback."""

    def interrupted(settings: Settings, *, ready: Ready) -> int:
        raise KeyboardInterrupt

    app.run = interrupted
    assert run("up") == (130, "", "")


def test_functions_logs_are_shown_with_their_group(
    app: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the foreground the terminal shows what functions log."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)

    def logging_function(settings: Settings, *, ready: Ready) -> int:
        logging.getLogger(up.FUNCTIONS_LOGGER).info("%s", "hi\nthere", extra={"group": "/aws/lambda/hello"})
        return 0

    app.run = logging_function
    run("up")
    assert out.getvalue() == "/aws/lambda/hello | hi\nthere\n"


def test_store_that_cannot_be_opened_says_why(app: Any, run: Any, home: Path) -> None:
    """One line, with the data directory it is about and what to do."""

    def locked(settings: Settings, *, ready: Ready) -> int:
        raise KeyRefused("The key is missing. Put it back.")

    app.run = locked
    code, _, err = run("up")
    assert code == 2
    assert err == f"berth: cannot start with {home}/.berth: The key is missing. Put it back.\n"
