"""The Berth that tests use: one that runs already, or one for the run, shared by all of its processes.

A run's own Berth has a directory with three files that are locked and never written. `turn` is held while somebody joins
or leaves, `users` by all who use it, `alive` too: the last to leave sees that `users` is free and stops Berth. Should the
run be killed, `alive` comes free with it, and the Berth, which waits for just that, ends by itself (`watched`).
"""

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime import instance
from runtime.cli.client import Client
from runtime.cli.launch import LaunchError, launch
from runtime.cli.terminal import CliError
from runtime.setting_kinds import SettingsError
from runtime.settings import endpoint_of_tests, load
from runtime.testing.namespace import Namespace
from runtime.testing.watched import ALIVE

START_LIMIT = 120.0
STOP_LIMIT = 60.0
_KEPT = 100
"""Logs of functions that are remembered for one report, at the most."""


class CannotServe(Exception):
    """There is no Berth for the tests, with the reason."""


class Server:
    """A running Berth at `url`, of whose accounts tests get one each."""

    def __init__(self, url: str, region: str) -> None:
        self.url = url
        self.region = region
        self._open: list[Namespace] = []
        self._closed: list[tuple[str, str]] = []
        """Logs of the namespaces that were closed since the last report: Berth may be gone when that is written."""

    @contextmanager
    def namespace(self) -> Iterator[Namespace]:
        """A new account; for fixtures of a wider scope than a test's."""
        namespace = Namespace.unused(self.url, self.region)
        self._open.append(namespace)
        try:
            yield namespace
        finally:
            self._open.remove(namespace)
            self._closed = [*self._closed, *namespace.log_sections()][-_KEPT:]
            namespace.clear()

    def logs(self) -> list[tuple[str, str]]:
        """Title and text for each function of the accounts in use, and of those given back since the last test."""
        return [section for each in self._open for section in each.log_sections()] + self._closed

    def forget_closed(self) -> None:
        """The test is over, and its report written."""
        self._closed.clear()


@contextmanager
def serving(directory: Path, arguments: Sequence[str]) -> Iterator[Server]:
    """A Berth to use; `directory` and the arguments of `berth up` are for one that is started."""
    try:
        region = load({}).settings.region
        if url := endpoint_of_tests():
            Client(url).get_json("/health")
            yield Server(url, region)
            return
        with _own(directory, arguments) as url:
            yield Server(url, region)
    except (CliError, SettingsError) as error:
        raise CannotServe(str(error)) from None


@contextmanager
def _own(directory: Path, arguments: Sequence[str]) -> Iterator[str]:
    directory.mkdir(mode=0o700, exist_ok=True)
    data_dir = directory / "data"
    with _file(directory / "users") as users, _file(directory / ALIVE) as alive:
        with _turn(directory):
            fcntl.flock(users, fcntl.LOCK_SH)
            fcntl.flock(alive, fcntl.LOCK_SH)
            state = instance.running(data_dir)
            url = state.url if state else _start(directory, data_dir, arguments)
        try:
            yield url
        finally:
            with _turn(directory):
                if _alone(users):
                    _stop(data_dir)


def _start(directory: Path, data_dir: Path, arguments: Sequence[str]) -> str:
    log = directory / "berth.log"
    own = ["--data-dir", str(data_dir), "--host", "127.0.0.1", "--port", "0"]
    command = [sys.executable, "-m", "runtime.testing.watched", str(directory), "up", *arguments, *own]
    try:
        process, url = launch(command, log, START_LIMIT)
    except LaunchError as error:
        last = "".join(f"\n  | {line}" for line in error.last_lines)
        raise CannotServe(f"{error}; its log is {log}{last}") from None
    # It may outlive this process, whose workers share it; should it end before, this hears of it.
    threading.Thread(target=process.wait, name="berth", daemon=True).start()
    return url


def _stop(data_dir: Path) -> None:
    """End it, kindly first; its log stays."""
    down = [sys.executable, "-m", "runtime.cli", "down", "--data-dir", str(data_dir)]
    done = subprocess.run(down, check=False, capture_output=True, text=True, timeout=STOP_LIMIT)
    if done.returncode:
        raise CannotServe(f"Berth does not end: {done.stderr.strip()}")
    shutil.rmtree(data_dir)


def _alone(users: int) -> bool:
    """Whether nobody else holds the file; this process holds it no more, or alone."""
    with suppress(BlockingIOError):
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


@contextmanager
def _turn(directory: Path) -> Iterator[None]:
    with _file(directory / "turn") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


@contextmanager
def _file(path: Path) -> Iterator[int]:
    """A file to be locked; closing it lets go."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
