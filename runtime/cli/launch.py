"""Starting a program in the background and learning when it is ready.

The program gets `--ready-fd N` as its last arguments and writes one line there once it serves: its address. If it ends
before, the pipe ends with it, so nobody polls. It has its own session, no stdin, and a log file for what it prints.
"""

import os
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

LAST_LINES = 20
END_LIMIT = 10.0
LOG_LIMIT = 10 * 1024 * 1024
"""A log that is longer when a program starts is put aside, in place of the one put aside before."""


class LaunchError(Exception):
    """The program did not become ready. `last_lines` is the end of what it printed."""

    def __init__(self, message: str, last_lines: Sequence[str]) -> None:
        super().__init__(message)
        self.last_lines = last_lines


def launch(command: Sequence[str], log: Path, limit: float) -> tuple["subprocess.Popen[bytes]", str]:
    """Start `command` and give it with its address. One that is not ready within `limit` seconds is ended."""
    _put_aside(log)
    reading, writing = os.pipe()
    try:
        with log.open("ab") as output:
            begun = output.tell()
            process = _start(command, output.fileno(), writing)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        line = _first_line(reading, limit)
    except BaseException:  # interrupted: nobody would know of it
        _end(process)
        raise
    finally:
        os.close(reading)
    if line is None:
        _end(process)
        raise LaunchError(f"Berth was not ready within {limit:g} s", _last_lines(log, begun))
    if not line:
        raise LaunchError(f"Berth did not start ({_ended(process.wait())})", _last_lines(log, begun))
    return process, line


def _start(command: Sequence[str], output: int, ready: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*command, "--ready-fd", str(ready)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        pass_fds=(ready,),
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(END_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _first_line(descriptor: int, limit: float) -> str | None:
    """The first line; empty if the other side closes before; None if time is over."""
    deadline = time.monotonic() + limit
    received = b""
    while b"\n" not in received:
        readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            return None
        piece = os.read(descriptor, 4096)
        if not piece:
            return ""
        received += piece
    return received.partition(b"\n")[0].decode()


def _last_lines(log: Path, begun: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(begun)
        return file.read().decode(errors="replace").splitlines()[-LAST_LINES:]


def _put_aside(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_name(log.name + ".1"))


def _ended(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"signal {-status}"
