"""Functions that flood their logs: what arrives, what the control plane takes, what a neighbour feels."""

from collections import defaultdict
from collections.abc import Awaitable

from benchmarks import floods
from benchmarks.asking import Target
from benchmarks.load import Result
from benchmarks.measures.run import Run
from benchmarks.measures.turns import add_latencies, load
from benchmarks.plane import Berth


async def logs(run: Run, plane: Berth, target: Target) -> None:
    """A function that floods its log: what arrives, what the control plane takes, what its neighbour feels."""

    def neighbour(seconds: float) -> Awaitable[Result]:
        return load(target, target.request(), seconds, pause=floods.PAUSE)

    found: dict[str, list[Result]] = defaultdict(list)
    rates = {"promised": floods.PROMISED, "full speed": 0}
    measured: dict[str, list[floods.Flood]] = {name: [] for name in rates}
    for number in range(run.extent.few):
        found["no flood"].append(await neighbour(run.extent.seconds))
        for name, rate in rates.items():
            function = f"flood-{name.replace(' ', '-')}-{number}"
            each = await floods.flood(plane, function, neighbour, 2 * run.extent.seconds, rate)
            measured[name].append(each)
            found[name].append(each.neighbour)
    for name, several in measured.items():
        lost = float(sum(each.lost for each in several))
        memory = [each.memory_mb for each in several]
        run.findings.add(f"log lines, {name}", "/s", {"Berth": [each.rate for each in several]})
        run.findings.add(f"log lines lost, {name}", "lines", {"Berth": [lost]}, "0")
        run.findings.add(f"control plane, flood at {name}, most RSS", "MB", {"Berth": memory})
    for name, results in found.items():
        add_latencies(run, f"a neighbour every 5 ms, {name}", {"Berth": results}, {})
