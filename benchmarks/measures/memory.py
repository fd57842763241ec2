"""What memory is taken: of the control plane after the load, of an idle environment beside its runtime."""

from benchmarks import peers
from benchmarks.asking import Target, answered
from benchmarks.bench import pid_of
from benchmarks.measures.run import Run
from benchmarks.plane import Berth
from benchmarks.proc import resident


async def memory(run: Run, plane: Berth, _: Target) -> None:
    """The control plane after the load, and what an idle environment costs beside the runtime process: its agent.

    For RIE that is RIE itself.
    """
    rss, pss = resident(plane.pid)
    run.findings.add("control plane, after the load, RSS", "MB", {"Berth": [rss]})
    run.findings.add("control plane, after the load, PSS", "MB", {"Berth": [pss]})
    agents = [resident(pid) for pid in await plane.agents()]
    found: dict[str, list[tuple[float, float]]] = {"Berth": agents}
    if run.rie:
        async with peers.rie(run.bench) as (target, reference):
            await answered(target, target.request())
            found["RIE"] = [resident(await pid_of(run.bench.engine, reference))]
    for index, kind in enumerate(("RSS", "PSS")):
        values = {peer: [each[index] for each in pairs] for peer, pairs in found.items()}
        run.findings.add(
            f"per idle environment beside the runtime, {kind}", "MB", values, ("", "< 10")[index]
        )
    run.findings.note(f"environments at the end of the load: {len(agents)}")
