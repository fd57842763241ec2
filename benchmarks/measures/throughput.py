"""Many clients at once."""

from benchmarks import peers
from benchmarks.asking import Target
from benchmarks.measures.run import Run
from benchmarks.measures.turns import add_latencies, rounds
from benchmarks.plane import Berth


async def throughput(run: Run, _: Berth, target: Target) -> None:
    """RIE takes no part: it refuses a second request."""
    for clients in run.extent.crowds:
        await _crowd(run, target, clients)


async def _crowd(run: Run, target: Target, clients: int) -> None:
    async with peers.floor_with(run.bench, clients) as floor:
        targets = {"Berth": target, "floor": floor}
        results = await rounds(run, targets, clients=clients)
    rates = {peer: [each.rate for each in found] for peer, found in results.items()}
    errors = {peer: [float(sum(each.errors for each in found))] for peer, found in results.items()}
    run.findings.add(f"throughput, {clients} clients", "/s", rates, ">= 0.5 x floor")
    add_latencies(run, f"latency, {clients} clients", results, {})
    run.findings.add(f"errors, {clients} clients", "requests", errors, "0")
