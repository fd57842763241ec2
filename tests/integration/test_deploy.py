"""`berth deploy` for real: the example, deployed, invoked by alias, deployed again, changed under a watch."""

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BERTH = Path(sys.executable).parent / "berth"
EXAMPLE = Path(__file__).parents[2] / "examples" / "sam-demo"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The example, to be changed."""
    return shutil.copytree(EXAMPLE, tmp_path / "sam-demo")


def deploy(berth: Any, folder: Path, *arguments: str) -> dict[str, str]:
    """Deploy; what became of each resource."""
    template = ("--template", str(folder / "template.yaml"), "--data-dir", str(berth.data_dir))
    document = json.loads(berth.run("deploy", "--json", *template, *arguments).stdout)
    return {each["logical_id"]: each["action"] for each in document["resources"]}


@contextmanager
def watching(berth: Any, folder: Path) -> Iterator[Iterator[str]]:
    """A watch and what it tells; it is interrupted in the end, and killed if it hangs."""
    template = ("--template", str(folder / "template.yaml"), "--data-dir", str(berth.data_dir))
    with subprocess.Popen(
        [str(BERTH), "deploy", "--watch", *template],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        watchdog = threading.Timer(120, process.kill)
        watchdog.start()
        try:
            yield process.stderr
            process.send_signal(signal.SIGINT)
            assert process.wait() == 130
        finally:
            process.kill()
            watchdog.cancel()


def until(lines: Iterator[str], start: str) -> list[str]:
    """The lines until one that starts so."""
    seen: list[str] = []
    for line in lines:
        if line.startswith(start):
            return seen
        seen.append(line.rstrip("\n"))
    raise AssertionError(seen)


def test_the_example_is_deployed_and_watched(berth: Any, folder: Path) -> None:
    """
    1. The example is deployed, invoked by its aliases, and deployed again.
    2. Under a watch, one function's code and then the layer's change.
    Result: nothing changes the second time; a change arrives behind the aliases of those that it concerns, and there alone.
    """
    assert deploy(berth, folder) == {"Phrases": "published", "Farewell": "created", "Greet": "created"}
    greeting = berth.invoke("sam-demo-Greet:live", {"name": "Berth"})
    assert greeting.payload == {
        "text": "Hello, Berth!",
        "stage": "dev",
        "stack": "sam-demo in us-east-1",
        "next": "arn:aws:lambda:us-east-1:123456789012:function:sam-demo-Farewell",
        "version": "1",
    }
    assert berth.invoke("sam-demo-Farewell:live").payload["text"] == "Goodbye, you!"
    assert set(deploy(berth, folder).values()) == {"unchanged"}
    assert berth.invoke("sam-demo-Greet:live").version == "1"

    with watching(berth, folder) as lines:
        until(lines, "watching ")
        code = folder / "greet" / "app.py"
        code.write_text(code.read_text().replace('"Hello"', '"Good morning"'))
        until(lines, "changed: greet/app.py")
        assert [line.partition(":")[0] for line in until(lines, "watching ")] == ["Greet"] * 3
        greeting = berth.invoke("sam-demo-Greet:live")
        assert (greeting.payload["text"], greeting.version) == ("Good morning, you!", "2")
        assert berth.invoke("sam-demo-Greet:1").payload["text"] == "Hello, you!"
        assert berth.invoke("sam-demo-Farewell:live").version == "1"

        (folder / "phrases/python/phrases.py").write_text(
            "def say(word, name):\n    return f'{word} {name}?'\n"
        )
        until(lines, "changed: phrases/python/phrases.py")
        until(lines, "watching ")
        assert berth.invoke("sam-demo-Greet:live").payload["text"] == "Good morning you?"
        assert berth.invoke("sam-demo-Farewell:live").payload["text"] == "Goodbye you?"
    assert set(deploy(berth, folder).values()) == {"unchanged"}
    assert set(deploy(berth, folder, "--parameter", "Stage=prod").values()) == {"unchanged", "updated"}
    assert berth.invoke("sam-demo-Greet:live").payload["stage"] == "prod"
