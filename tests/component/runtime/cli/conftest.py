import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from runtime.instance import acquire
from runtime.settings import ROWS


@dataclass
class Asked:
    """One request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeBerth:
    """A server on a real socket that answers what it was told to, and remembers what it was asked."""

    url: str
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def answer(self, path: str, document: Any, status: int = 200, **headers: str) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = (status, named, body)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands see an empty home and none of the caller's variables."""
    monkeypatch.setenv("HOME", str(tmp_path))
    others = {name for row in ROWS for name in row.others}
    for name in [name for name in os.environ if name.startswith("BERTH_") or name in others]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def server() -> Iterator[FakeBerth]:
    """The fake, listening."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fake.asked.append(Asked(self.command, self.path, dict(self.headers), body))
            status, headers, answer = fake.answers.get(
                self.path.partition("?")[0], (404, {}, b"no such path")
            )
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_PUT = do_GET  # noqa: N815 -- the base class looks for these names

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        fake = FakeBerth(f"http://127.0.0.1:{listening.server_port}")
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield fake
        listening.shutdown()
        thread.join()


@pytest.fixture
def berth(server: FakeBerth, home: Path) -> Iterator[FakeBerth]:
    """The fake, running for the default data directory."""
    with acquire(home / ".berth") as instance:
        instance.write_state(server.url)
        yield server


Runs = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Runs:
    """Run a command line in this process; gives exit code, stdout, stderr."""
    from runtime.cli import main

    def run_it(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run_it
