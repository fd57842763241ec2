"""Cold starts, one at a time, beside bare containers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from benchmarks import peers
from benchmarks.asking import START_LIMIT, Target, answered
from benchmarks.bench import Bench, variables
from benchmarks.measures.run import Run
from benchmarks.measures.turns import rotated
from benchmarks.plane import QUIET, Berth, berth
from benchmarks.programs import Failed


async def cold(run: Run, plane: Berth, _: Target) -> None:
    """A new function's first invoke to its answer: in a sandbox that stood by; with a network made ahead; with neither.

    Beside it a bare container with the runtime, and `docker run` of the image with RIE.
    """
    async with AsyncExitStack() as held:
        network = await held.enter_async_context(
            berth(run.bench, run.command, "network", BERTH_STANDBY="false")
        )
        alone = await held.enter_async_context(berth(run.bench, run.command, "alone", **QUIET))
        ways: dict[str, Callable[[int], Awaitable[float]]] = {
            "from standby": lambda number: _cold_berth(plane, number, standby=True),
            "with a network made ahead": lambda number: _cold_berth(network, number, standby=False),
            "with nothing ahead": lambda number: _cold_berth(alone, number, standby=False),
            "floor": lambda _: _cold_floor(run.bench),
            "engine": lambda _: _cold_engine(run.bench),
        }
        mine = list(ways)[:3]
        if run.rie and (missing := peers.no_docker()):
            run.fail("RIE", Failed(missing))
        elif run.rie:
            ways["RIE"] = lambda _: _cold_rie(run.bench)
        found: dict[str, list[float]] = {peer: [] for peer in ways}
        for number in range(run.extent.cold + 1):
            for peer in rotated(list(ways), number):
                seconds = await ways[peer](number)
                if number:
                    found[peer].append(1000 * seconds)
    engine = found.pop("engine")
    times = {way: found.pop(way) for way in mine}
    targets = dict(zip(mine, ("<= 1/3 RIE", "<= floor + 30 ms", "<= floor + 30 ms"), strict=True))
    for way in mine:
        run.findings.add(f"cold start {way}", "ms", {"Berth": times[way], **found}, targets[way])
    pairs = zip(times[mine[-1]], found["floor"], strict=True)
    beyond = [whole - floor for whole, floor in pairs]
    run.findings.add(f"cold start {mine[-1]}, beyond the floor", "ms", {"Berth": beyond}, "<= 30")
    run.findings.add("engine's create + start alone", "ms", {"floor": engine})


async def _cold_berth(plane: Berth, number: int, *, standby: bool) -> float:
    target = await plane.function(f"cold-{number}")
    while standby and not await plane.stands_by():  # noqa: ASYNC110  there is no event to wait for
        await asyncio.sleep(0.1)
    return await _timed(answered(target, target.request()))


async def _cold_floor(bench: Bench) -> float:
    """Engine's create and start, the runtime's own boot, the answer."""
    async with peers.floor(bench) as (target, api):
        request = target.request()
        answer = asyncio.create_task(answered(target, request))
        began = time.perf_counter()
        reference = await bench.start(peers.floor_document(bench, api))
        try:
            async with asyncio.timeout(START_LIMIT):
                await answer
            return time.perf_counter() - began
        finally:
            answer.cancel()
            await bench.engine.remove(reference)


async def _cold_engine(bench: Bench) -> float:
    began = time.perf_counter()
    reference = await bench.start(peers.floor_document(bench, "127.0.0.1:9"))
    seconds = time.perf_counter() - began
    await bench.engine.remove(reference)
    return seconds


async def _cold_rie(bench: Bench) -> float:
    """`docker run`, the plain command, to the first answer."""
    options = [part for name, value in variables("").items() for part in ("--env", f"{name}={value}")]
    mounts = {"task": "/var/task", "rie": "/aws-lambda-rie"}
    began = time.perf_counter()
    async with peers.docker_run(bench, bench.image, *peers.RIE_COMMAND, mounts=mounts, options=options) as (
        target,
        _,
    ):
        await answered(target, target.request())
        return time.perf_counter() - began


async def _timed(work: Awaitable[None]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began
