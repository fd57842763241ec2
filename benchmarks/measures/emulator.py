"""The emulator in a container image beside AWS's: the same image with the same function, `docker run` with either."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from benchmarks import peers
from benchmarks.asking import Target, answered
from benchmarks.bench import RUNTIME, Bench, pid_of
from benchmarks.measures.run import KNOWN, Run
from benchmarks.measures.turns import add_latencies, load, of, rotated, rounds
from benchmarks.proc import resident
from benchmarks.programs import Failed

HANDLER = "app.handler"
CROWD = 32
OURS = "/var/rapid"
"""What of an image is the emulator's; beside it there is the entry point, of a few hundred bytes."""

Started = AbstractAsyncContextManager[tuple[Target, str]]


async def emulator(run: Run) -> None:
    image = await run.bench.images.standalone(RUNTIME, run.say)
    ways: dict[str, Callable[[], Started]] = {"Berth": lambda: _ours(run.bench, image)}
    if run.rie:
        ways["RIE"] = lambda: _aws(run.bench, image)
    await _first_answers(run, ways)
    await _sizes(run, image)
    async with AsyncExitStack() as held:
        targets = {peer: (await held.enter_async_context(way()))[0] for peer, way in ways.items()}
        results = await rounds(run, targets, clients=1, count=run.extent.some)
    add_latencies(run, "emulator, warm, 1 client", results, {})
    async with _ours(run.bench, image) as (target, _):
        await _crowd(run, target)


def _ours(bench: Bench, image: str) -> Started:
    return peers.docker_run(bench, image, HANDLER, mounts={"task": "/var/task"})


def _aws(bench: Bench, image: str) -> Started:
    """As AWS documents it for images without its emulator."""
    rie, bootstrap = peers.RIE_COMMAND
    mounts = {"task": "/var/task", "rie": rie}
    return peers.docker_run(bench, image, bootstrap, HANDLER, mounts=mounts, options=("--entrypoint", rie))


async def _first_answers(run: Run, ways: dict[str, Callable[[], Started]]) -> None:
    """From the command to the first answer; then what it takes while it waits for the next request.

    Of the ways, AWS's is left out from where it fails.
    """
    times: dict[str, list[float]] = {peer: [] for peer in ways}
    sizes: dict[str, list[float]] = {peer: [] for peer in ways}
    for number in range(run.extent.cold + 1):
        for peer in rotated(list(ways), number):
            try:
                seconds, pss = await _first_answer(run.bench, ways[peer])
            except (*KNOWN, EOFError) as error:
                if peer == "Berth":
                    raise
                run.fail(peer, error)
                del ways[peer]
                continue
            if number:
                times[peer].append(1000 * seconds)
                sizes[peer].append(pss)
    run.findings.add("emulator, docker run to the first answer", "ms", times)
    run.findings.add("emulator, idle after it, PSS", "MB", sizes)


async def _first_answer(bench: Bench, way: Callable[[], Started]) -> tuple[float, float]:
    """Seconds, and MB after them."""
    began = time.perf_counter()
    async with way() as (target, reference):
        await answered(target, target.request())
        seconds = time.perf_counter() - began
        _, pss = resident(await pid_of(bench.engine, reference))
        return seconds, pss


async def _sizes(run: Run, image: str) -> None:
    """The layers that ours adds to a runtime's image, and AWS's file."""
    told = await peers.docker(
        run.bench, "history", "--no-trunc", "--human=false", "--format", "{{json .}}", image
    )
    sizes = {"Berth": [layers(told.splitlines(), OURS) / 1e6]}
    if run.rie:
        sizes["RIE"] = [(run.bench.place / "rie").stat().st_size / 1e6]
    run.findings.add("emulator, size in an image", "MB", sizes)


def layers(history: list[str], place: str) -> int:
    """Bytes of the layers whose making speaks of a place."""
    rows = [json.loads(line) for line in history]
    sizes = [int(row["Size"]) for row in rows if place in row["CreatedBy"]]
    if not sizes:
        raise Failed(f"no layer of the image speaks of {place}")
    return sum(sizes)


async def _crowd(run: Run, target: Target) -> None:
    """Many at a time, which is the end of AWS's."""
    request = target.request()
    warming = await load(target, request, run.extent.seconds, clients=CROWD)
    results = [await load(target, request, run.extent.seconds, clients=CROWD) for _ in range(run.extent.few)]
    errors = [float(sum(each.errors for each in (warming, *results)))]
    for each in (warming, *results):
        if each.errors:
            run.fail(f"{CROWD} clients", Failed(each.first_error), each.errors)
    run.findings.add(f"emulator, {CROWD} clients", "/s", {"Berth": of(results, "rate")})
    run.findings.add(f"emulator, {CROWD} clients, errors", "requests", {"Berth": errors}, "0")
