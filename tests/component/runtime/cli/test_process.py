"""The command as a process of its own: what it imports, and how it behaves in a pipe."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runtime import instance

HEAVY = {"aiohttp", "asyncio", "botocore", "docker", "uvloop", "yaml"}


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(instance.__file__).parent.parent))


@pytest.mark.parametrize(
    "arguments", [["--help"], ["ps"], ["invoke", "f"], ["logs", "f"], ["down"], ["settings"]]
)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    """Clients start fast: server and SDK libraries are not loaded for them."""
    script = "import sys; from runtime.cli import main; main(sys.argv[1:]); print('modules', *sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    modules = next(line for line in result.stdout.splitlines() if line.startswith("modules")).split()
    assert HEAVY & set(modules) == set()


def test_module_is_the_command() -> None:
    """`python -m runtime.cli` works where no script is installed."""
    result = subprocess.run(
        [sys.executable, "-m", "runtime.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout == "berth 0.1.0\n"


def test_reader_that_leaves_is_no_error(berth: Any) -> None:
    """`berth logs f | head -1` ends quietly."""
    line = json.dumps({"timestamp": 0, "stream": "s", "message": "x" * 1000}).encode() + b"\n"
    berth.answer("/_berth/logs", line * 2000)
    command = [sys.executable, "-m", "runtime.cli", "logs", "f", "--url", berth.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"1970-01-01T00:00:00.000Z xxx")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_terminal_without_utf8_gets_question_marks(berth: Any) -> None:
    """Output that the terminal cannot show does not end the command."""
    berth.answer("/_berth/logs", json.dumps({"timestamp": 0, "stream": "s", "message": "\u2714"}).encode())
    result = subprocess.run(
        [sys.executable, "-m", "runtime.cli", "logs", "f", "--url", berth.url],
        env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(instance.__file__).parent.parent)},
        capture_output=True,
        check=True,
    )
    assert result.stdout == b"1970-01-01T00:00:00.000Z ?\n"
