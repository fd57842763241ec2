"""What REPORT says of memory, where it was not the runtime that took it."""

from typing import Any

CODE = """
import subprocess, sys

def handler(event, context):
    hog = "x = bytearray(400 * 1024 * 1024)"
    return subprocess.run([sys.executable, "-c", hog]).returncode
"""


def test_a_child_that_is_killed_for_memory(berth: Any, name: str) -> None:
    """The function survives it; the report says that all of its memory was used."""
    berth.deploy(name, CODE, MemorySize=128, Timeout=30)
    result = berth.invoke(name)
    assert result.payload == -9
    assert "\tMax Memory Used: 128 MB\t" in result.log
