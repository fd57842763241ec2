"""The control plane alone: how soon it answers, and what it takes while nothing happens."""

import asyncio
import time

from benchmarks.asking import document
from benchmarks.measures.run import Run
from benchmarks.plane import berth
from benchmarks.proc import resident


async def start(run: Run) -> None:
    """From the start of the process, on an empty data directory, to the first answered request."""
    times, sizes = [], []
    for number in range(run.extent.starts):
        began = time.perf_counter()
        async with berth(run.bench, run.command, f"start-{number}") as plane:
            await document(plane.target(), "/2015-03-31/functions/")
            times.append(time.perf_counter() - began)
            await asyncio.sleep(2)  # it looks around in the background; then it is idle
            sizes.append(resident(plane.pid))
    run.findings.add("control plane, start to first answer", "s", {"Berth": times}, "< 1")
    run.findings.add("control plane, idle, RSS", "MB", {"Berth": [rss for rss, _ in sizes]}, "< 80")
    run.findings.add("control plane, idle, PSS", "MB", {"Berth": [pss for _, pss in sizes]})
