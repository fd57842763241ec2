"""The agent as a real process at the other end of a real link.

Two ways of running it: as an ordinary child (`plain`: it becomes a sub-reaper) and as PID 1 of a PID namespace
(`init`: what it is in a container). What it promises is the same in both, and so are the tests.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rapid.wire import OUTPUT_HEADER, SETTLED_PAYLOAD, TOKEN, Frames, Kind, fields, frame, message

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 20.0
"""Seconds after which something that should have happened is taken for failed."""
CODE = f"import sys; sys.path.append({str(ROOT)!r}); from rapid.agent import main; main()"
AGENT = [sys.executable, "-I", "-S", "-B", "-c", CODE]
IS_ROOT = os.geteuid() == 0
FUNCTION_USER = 993 if IS_ROOT else os.geteuid()
FUNCTION_GROUP = 990 if IS_ROOT else os.getegid()
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
AS_INIT = UNSHARE if IS_ROOT else ["unshare", "--user", "--map-current-user", *UNSHARE[1:]]


def unshare() -> list[str]:
    """The command prefix that makes its child PID 1."""
    trial = subprocess.run([*AS_INIT, "true"], capture_output=True, text=True, check=False, timeout=LIMIT)
    if trial.returncode:
        pytest.fail(f"these tests need PID namespaces, as root or by user namespaces: {trial.stderr}")
    return AS_INIT


def function_python() -> str:
    """An interpreter that the unprivileged user of functions can reach."""
    for candidate in (sys.executable, shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")):
        steps = [*Path(candidate).parents, *Path(candidate).resolve().parents] if candidate else []
        if candidate and all(step.stat().st_mode & 0o001 for step in steps):
            return candidate
    pytest.fail("no python3 that other users can execute was found")


def wait_until(true: Callable[[], object]) -> None:
    """Look again and again at something that tells nobody when it changes."""
    end, pause = time.monotonic() + LIMIT, threading.Event()
    while not true():
        assert time.monotonic() < end, f"never came true: {true}"
        pause.wait(0.002)


def status_of(pid: int) -> dict[str, str]:
    """`/proc/<pid>/status`; empty when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return dict(re.split(r":\s*", line, maxsplit=1) for line in lines)


class Peer:
    """An agent and the control plane's end of its link."""

    def __init__(
        self, prefix: list[str], more: Mapping[str, str] | None = None, agent: Sequence[str] = AGENT
    ) -> None:
        self.token = uuid.uuid4().hex
        self.is_init = bool(prefix)
        self.heard: list[tuple[Kind, bytes]] = []
        self._frames = Frames()
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(LIMIT)
            env = {
                "BERTH_LINK": f"127.0.0.1:{server.getsockname()[1]}",
                "BERTH_SANDBOX": "box",
                "BERTH_TOKEN": self.token,
                "PATH": "/usr/bin:/bin",
                **(more or {}),
            }
            self.process = subprocess.Popen([*prefix, *agent], env=env)
            self.link, _ = server.accept()
        self.link.settimeout(LIMIT)

    def close(self) -> None:
        self.link.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.process.kill()
        self.process.wait()

    # Talking

    def send(self, *frames: bytes) -> None:
        self.link.sendall(b"".join(frames))

    def hear(self) -> tuple[Kind, bytes]:
        """The next frame."""
        while not self.heard:
            data = self.link.recv(1 << 18)
            assert data, "the agent hung up"
            self.heard += self._frames.feed(data)
        return self.heard.pop(0)

    def until(self, wanted: Kind) -> tuple[bytes, list[tuple[Kind, bytes]]]:
        """The payload of the next frame of that kind, and the frames before it."""
        before: list[tuple[Kind, bytes]] = []
        while True:
            kind, payload = self.hear()
            if kind is wanted:
                return payload, before
            before.append((kind, payload))

    def told(self, wanted: Kind) -> dict[str, Any]:
        return fields(self.until(wanted)[0])

    def start(self, *argv: str, process: int = 1, cwd: str = "/", **env: str) -> int:
        """Start a process and return its pid as the agent sees it."""
        self.command(*argv, process=process, cwd=cwd, env=env)
        started = self.told(Kind.STARTED)
        assert started["process"] == process
        pid = started["pid"]
        assert isinstance(pid, int)
        return pid

    def command(
        self,
        *argv: str,
        process: int = 1,
        cwd: str = "/",
        log_fd: int | None = None,
        log_desk: bool = False,
        files: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        marked = {"PATH": "/usr/bin:/bin", "MARK": self.token, **(env or {})}
        program = {
            "argv": argv,
            "env": marked,
            "cwd": cwd,
            "log_fd": log_fd,
            "log_desk": log_desk,
            "files": files,
        }
        self.send(message(Kind.START, process=process, **program))

    def shell(self, script: str, process: int = 1) -> int:
        return self.start("/bin/sh", "-c", script, process=process)

    def ask(self, kind: Kind, token: int = 7) -> tuple[int, list[tuple[Kind, bytes]]]:
        """SETTLE or CLEAR; the memory peak and what was said before the answer."""
        self.send(frame(kind, TOKEN.pack(token)))
        payload, before = self.until(Kind.SETTLED if kind is Kind.SETTLE else Kind.CLEARED)
        answered, peak = SETTLED_PAYLOAD.unpack(payload)
        assert answered == token
        return peak, before

    def run(self, *argv: str, process: int = 1, **env: str) -> tuple[bytes, bytes, dict[str, Any]]:
        """Start a process and wait for its end: stdout, stderr, EXITED."""
        self.start(*argv, process=process, **env)
        payload, before = self.until(Kind.EXITED)
        return output(before, process, 1), output(before, process, 2), fields(payload)

    def await_output(self, wanted: bytes, process: int = 1) -> bytes:
        """Read until what the process has written to stdout contains something."""
        said = b""
        while wanted not in said:
            kind, payload = self.hear()
            if kind is Kind.OUTPUT:
                said += output([(kind, payload)], process, 1)
        return said

    # Looking

    @property
    def pid(self) -> int:
        """The agent's process as this machine sees it."""
        if not self.is_init:
            return self.process.pid
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        wait_until(children.read_text)
        return int(children.read_text())

    def await_life(self) -> None:
        """Until a process is seen: one that daemonises changes its parent while `/proc` is walked."""
        while not self.alive():
            pass

    def alive(self) -> list[int]:
        """The sandbox's processes but the agent, as this machine sees them; all carry a mark in their environment."""
        found = []
        mark = f"MARK={self.token}".encode()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return found


def output(frames: list[tuple[Kind, bytes]], process: int, stream: int) -> bytes:
    """What a process wrote to one of its streams, according to these frames."""
    header = OUTPUT_HEADER.pack(process, stream)
    return b"".join(
        payload[OUTPUT_HEADER.size :]
        for kind, payload in frames
        if kind is Kind.OUTPUT and payload.startswith(header)
    )


PERSISTENT = {
    "sleeps": "echo up; sleep 1000",
    "ignores SIGTERM": "trap '' TERM INT HUP; echo up; while :; do sleep 1000; done",
    "is stopped": "echo up; kill -STOP $$",
    "has daemonised": "(setsid sh -c 'echo up; exec sleep 1000' >&1 &) ; exit",
    "has daemonised and closed its pipes": (
        "(setsid sh -c 'sleep 1000 & exec sleep 1001' >/dev/null 2>&1 </dev/null &) ; echo up; exec sleep 1000"
    ),
    "forks": "echo up; while :; do sh -c 'sleep 1000 & sleep 1000' & sleep 0.001; done",
    "has many children": "for n in 1 2 3 4 5 6 7 8 9 10; do (sleep 1000 & sleep 1000 &) ; done; echo up; wait",
}
