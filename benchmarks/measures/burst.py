"""Many cold starts at once: each of so many functions gets its first request, all in the same moment.

So each is a cold start, and none is saved by an environment that has just become free. The functions are small, and
there is room for all of them. The floor are bare containers, as many at a time as there are cores: that is how many
Berth starts at a time.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Sequence

from benchmarks import peers
from benchmarks.asking import START_LIMIT, Target, answered, ask
from benchmarks.bench import HANDLER, Bench
from benchmarks.load import Result, quantile
from benchmarks.measures.run import KNOWN, Run
from benchmarks.measures.turns import add_latencies, load, load_meanwhile
from benchmarks.plane import berth, package
from benchmarks.programs import Failed
from benchmarks.registering import register
from benchmarks.sdk import PAYLOAD

MEMORY_MB = 128
PAUSE = 0.02
"""Seconds between an answer to the neighbour's client and its next request."""
LIMIT = 300.0
"""Seconds in which all must have been answered."""


async def burst(run: Run) -> None:
    size, cores = run.extent.burst, len(os.sched_getaffinity(0))
    room = {"BERTH_MEMORY_BUDGET": str((size + 8) * MEMORY_MB)}
    async with berth(run.bench, run.command, "burst", **room) as plane:
        functions = [*await register(plane, "burst", size + 1, package({"app.py": HANDLER}), MEMORY_MB)]
        neighbour = functions.pop()
        await answered(neighbour, neighbour.request())
        while not await plane.stands_by():  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.1)
        before = await load(neighbour, neighbour.request(), 2 * run.extent.seconds, pause=PAUSE)
        async with load_meanwhile(neighbour, PAUSE) as finish:
            times, reasons = await _at_once(functions)
            during = await finish()
    name = f"{size} cold starts at once"
    for reason, count in reasons.items():
        run.fail(f"{size} functions", Failed(reason), count)
    _neighbour(run, name, {"before": before, "during": during})
    run.findings.add(f"{name}, errors", "requests", {"Berth": [float(reasons.total())]}, "0")
    if not times:
        return
    run.findings.add(f"{name}, until all are answered", "s", {"Berth": [times[-1]]})
    run.findings.add(f"{name}, until half are", "s", {"Berth": [quantile(times, 0.5)]})
    floor = await _floor(run.bench, max(cores, size // 4), cores)
    each = {"Berth": [1000 * times[-1] / len(times)], "floor": [1000 * floor]}
    run.findings.add(f"{name}, for each of them", "ms", each)


async def _at_once(functions: Sequence[Target]) -> tuple[list[float], Counter[str]]:
    """When the answers came, in order; why others did not."""
    requests = [each.request() for each in functions]  # takes boto3 a while
    times: list[float] = []
    reasons: Counter[str] = Counter()
    began = time.perf_counter()

    async def invoke(target: Target, request: bytes) -> None:
        try:
            async with asyncio.timeout(LIMIT):
                status, body = await ask(target, request)
        except (*KNOWN, EOFError) as error:
            reasons[f"{type(error).__name__} {error}"] += 1
            return
        if status == 200 and body == PAYLOAD:
            times.append(time.perf_counter() - began)
        else:
            reasons[f"{status} {body[:400].decode(errors='replace')}"] += 1

    await asyncio.gather(*map(invoke, functions, requests))
    return times, reasons


def _neighbour(run: Run, name: str, results: dict[str, Result]) -> None:
    for when, result in results.items():
        what = f"a neighbour every 20 ms, {when} {name}"
        add_latencies(run, what, {"Berth": [result]}, {})
        if result.errors:
            run.fail(what, Failed(result.first_error), result.errors)


async def _floor(bench: Bench, count: int, at_a_time: int) -> float:
    """Seconds for each of so many bare containers, from their creation to the answer."""
    turn = asyncio.Semaphore(at_a_time)
    references: list[str] = []

    async def one(target: Target, api: str) -> None:
        async with turn, asyncio.timeout(START_LIMIT):
            reply = asyncio.create_task(answered(target, request))
            try:
                references.append(await bench.start(peers.floor_document(bench, api, MEMORY_MB)))
                await reply
            finally:
                reply.cancel()

    async with peers.floors(bench, count) as functions:
        request = functions[0][0].request()
        try:
            began = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for target, api in functions:
                    group.create_task(one(target, api))
            return (time.perf_counter() - began) / count
        finally:
            for reference in references:
                await bench.engine.remove(reference)
