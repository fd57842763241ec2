"""What freezing adds: the same function on two control planes, one of which leaves its environment running."""

from benchmarks.asking import answered
from benchmarks.measures.run import Run
from benchmarks.measures.turns import of, rounds
from benchmarks.plane import QUIET, berth

PAUSE = 0.02
"""Seconds between an answer and the next request: frozen after 5 ms, the environment is thawed for each."""


async def freezing(run: Run) -> None:
    async with (
        berth(run.bench, run.command, "freezing", **QUIET) as frozen,
        berth(run.bench, run.command, "running", BERTH_FREEZE="false", **QUIET) as running,
    ):
        targets = {"Berth": await frozen.function("echo"), "running": await running.function("echo")}
        for target in targets.values():
            await answered(target, target.request())
        results = await rounds(run, targets, clients=1, pause=PAUSE, seconds=2 * run.extent.seconds)
    if results.keys() != targets.keys():
        return  # one has failed altogether, and that is told
    for quantile, aim in (("p50", ""), ("p95", "<= 1")):
        with_it, without = of(results["Berth"], quantile), of(results["running"], quantile)
        run.findings.add(f"every 20 ms, frozen in between, {quantile}", "ms", {"Berth": with_it})
        run.findings.add(f"every 20 ms, freezing off, {quantile}", "ms", {"Berth": without})
        added = [a - b for a, b in zip(with_it, without, strict=True)]
        run.findings.add(f"freezing adds, {quantile}", "ms", {"Berth": added}, aim)
