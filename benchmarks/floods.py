"""What a function that writes much costs: its own lines, the control plane's memory, its neighbour's latency.

A function writes numbered lines, at a rate or as fast as it gets rid of them, while another one is invoked every few
milliseconds. Then the log is read: a line that is missing, torn or out of order is counted as lost.
"""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.asking import Target, answered, ask
from benchmarks.load import Result
from benchmarks.plane import Berth
from benchmarks.programs import Failed

PROMISED = 10_000
"""Lines a second at which nothing is lost."""
PAUSE = 0.005
"""Seconds between an answer to the neighbour's client and its next request."""
MOST = 1_000_000
"""Lines of one flood: the log keeps at least the last 64 MB of a stream, and up to 128."""
_LINE = re.compile(rb"^\S+ line (\d+) x+$")

Load = Callable[[float], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Flood:
    """One flood: lines a second, lines that did not arrive as they were written, what the plane took meanwhile."""

    rate: float
    lost: int
    memory_mb: float
    neighbour: Result


async def flood(plane: Berth, name: str, load: Load, seconds: float, rate: int = 0) -> Flood:
    """A new function floods its log for so many seconds, at `rate` lines a second or at any. `load` is the neighbour's."""
    target = await plane.function(name)
    await answered(target, target.request())
    watching = asyncio.create_task(_highest_memory(plane.pid))
    try:
        answer, neighbour = await asyncio.gather(
            _flooded(target, {"write": seconds, "rate": rate, "most": MOST}), load(seconds)
        )
    finally:
        watching.cancel()
        highest = await watching
    lines, took = answer
    return Flood(lines / took, await _lost(plane, name, lines), highest, neighbour)


async def _flooded(target: Target, event: dict[str, float]) -> tuple[int, float]:
    """Lines that the function wrote, and the seconds until it was rid of them."""
    status, body = await ask(target, target.request(json.dumps(event).encode()))
    if status != 200:
        raise Failed(f"the flood was answered {status}: {body[:200].decode(errors='replace')}")
    said = json.loads(body)
    return said["lines"], said["seconds"]


async def _highest_memory(pid: int) -> float:
    """The most memory in MB that a process holds until this is cancelled."""
    highest = 0.0
    try:
        while True:
            highest = max(highest, _memory(pid))
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        return highest


def _memory(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / (1 << 20)


async def _lost(plane: Berth, name: str, written: int) -> int:
    """How many of the lines 0 to `written` are not in the log, once each, whole and in order."""
    deadline = time.monotonic() + 30
    found = await asyncio.to_thread(_numbers, plane.data_dir, name)
    while found[-1:] != [written - 1] and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
        found = await asyncio.to_thread(_numbers, plane.data_dir, name)
    expected, lost = 0, 0
    for number in found:
        lost += abs(number - expected)
        expected = number + 1
    return lost + written - expected


def _numbers(data_dir: Path, name: str) -> list[int]:
    """The numbers of the lines that are in the log, file by file."""
    return [int(match[1]) for path in _files(data_dir, name) for match in _matches(path)]


def _files(data_dir: Path, name: str) -> list[Path]:
    """Of the one stream, the older file first."""
    return sorted((data_dir / "logs").glob(f"*/*/+aws+lambda+{name}/*"), reverse=True)


def _matches(path: Path) -> Iterator[re.Match[bytes]]:
    with path.open("rb") as lines:
        for line in lines:
            if match := _LINE.match(line):
                yield match
