"""Streamed responses: how late a chunk is, how much passes, and what that takes."""

import json

from benchmarks import streaming
from benchmarks.asking import Target
from benchmarks.measures.run import Run
from benchmarks.plane import Berth
from benchmarks.proc import forget_peak, peak, resident
from benchmarks.programs import python

STREAM_LIMIT = 200 * 1024 * 1024


async def stream(run: Run, plane: Berth, _echo: Target) -> None:
    """From a chunk's write to its arrival; and as much as a stream may hold, with what it costs in memory."""
    target = await plane.function("stream", streaming.FILES, streaming.VARIABLES)
    await _streamed(target, 1, 64, 0.0)  # the cold start
    slow = [await _streamed(target, 200, 64, 0.005) for _ in range(run.extent.rounds)]
    for quantile in ("p50", "p99", "most"):
        values = {"Berth": [each[quantile] for each in slow]}
        run.findings.add(f"stream, write to arrival, {quantile}", "ms", values, "< 50")
    idle, _ = resident(plane.pid)
    rates, peaks = [], []
    for _ in range(run.extent.rounds):
        forget_peak(plane.pid)
        fast = await _streamed(target, 200, STREAM_LIMIT // 200, 0.0)
        rates.append(fast["bytes"] / 1e6 / fast["seconds"])
        peaks.append(peak(plane.pid) - idle)
    run.findings.add("stream, 200 MB through", "MB/s", {"Berth": rates})
    run.findings.add("control plane, 200 MB through, RSS beyond before", "MB", {"Berth": peaks}, "< 64")


async def _streamed(target: Target, chunks: int, size: int, pause: float) -> dict[str, float]:
    arguments = (target.url, target.function, str(chunks), str(size), str(pause))
    found: dict[str, float] = json.loads(await python("benchmarks.streaming", *arguments))
    return found
