"""Many clients at once."""

from benchmarks import peers
from benchmarks.asking import Target
from benchmarks.measures.run import Run
from benchmarks.measures.turns import add_latencies, load, rounds
from benchmarks.plane import Berth

MOST_TURNS = 20
"""Of load, until as many environments are there as there will be."""


async def throughput(run: Run, plane: Berth, target: Target) -> None:
    """RIE takes no part: it refuses a second request."""
    for clients in run.extent.crowds:
        await until_steady(run, plane, target, clients)
        await _crowd(run, target, clients)


async def until_steady(run: Run, plane: Berth, target: Target, clients: int) -> None:
    """So much load that no environment is launched any more: what is measured is warm."""
    launched = -1
    for _ in range(MOST_TURNS):
        before, launched = launched, len(await plane.agents())
        if launched == before:
            return
        await load(target, target.request(), run.extent.seconds, clients=clients)
    run.findings.note(f"{clients} clients: environments were still being launched when the measuring began")


async def _crowd(run: Run, target: Target, clients: int) -> None:
    async with peers.floor_with(run.bench, clients) as floor:
        targets = {"Berth": target, "floor": floor}
        results = await rounds(run, targets, clients=clients)
    rates = {peer: [each.rate for each in found] for peer, found in results.items()}
    errors = {peer: [float(sum(each.errors for each in found))] for peer, found in results.items()}
    run.findings.add(f"throughput, {clients} clients", "/s", rates, ">= 0.5 x floor")
    add_latencies(run, f"latency, {clients} clients", results, {})
    run.findings.add(f"errors, {clients} clients", "requests", errors, "0")
