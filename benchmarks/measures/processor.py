"""Whose processor time an invocation takes: what says why throughput is what it is, on a machine that all share."""

import os
import resource
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import peers, proc
from benchmarks.asking import Target
from benchmarks.bench import LABEL, pid_of
from benchmarks.measures.run import Run
from benchmarks.measures.throughput import until_steady
from benchmarks.measures.turns import load, rotated
from benchmarks.plane import Berth
from benchmarks.programs import Failed

LOAD, SERVER, AGENTS, RUNTIMES, REST, ALL = (
    "load generator",
    "server",
    "agents",
    "runtimes",
    "kernel and all else",
    "together",
)
_MICRO = 1e6


@dataclass(frozen=True, slots=True)
class Peer:
    """Whoever answers, and the processes that take part."""

    target: Target
    parties: Mapping[str, Sequence[int]]


async def processor(run: Run, plane: Berth, target: Target) -> None:
    """With one client, and with a crowd; Berth and the floor in turns."""
    for clients in (1, run.extent.crowds[0]):
        async with peers.floor_with(run.bench, clients) as floor:
            await _with(run, plane, {"Berth": target, "floor": floor}, clients)


async def _with(run: Run, plane: Berth, targets: Mapping[str, Target], clients: int) -> None:
    await until_steady(run, plane, targets["Berth"], clients)
    await load(targets["floor"], targets["floor"].request(), run.extent.seconds, clients=clients)
    among = {
        "Berth": Peer(targets["Berth"], await _of_berth(plane)),
        "floor": Peer(targets["floor"], await _of_the_floor(run)),
    }
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(run.extent.few):
        for name in rotated(list(among), number):
            for party, microseconds in (await _round(among[name], run.extent.seconds, clients)).items():
                found[party][name].append(microseconds)
    for party, several in found.items():
        crowd = "1 client" if clients == 1 else f"{clients} clients"
        run.findings.add(f"processor time of an invocation, {crowd}: {party}", "us", several)


async def _of_berth(plane: Berth) -> Mapping[str, Sequence[int]]:
    agents = await plane.agents()
    runtimes = [pid for agent in agents for pid in proc.descendants(agent)]
    return {SERVER: [plane.pid], AGENTS: agents, RUNTIMES: runtimes}


async def _of_the_floor(run: Run) -> Mapping[str, Sequence[int]]:
    engine = run.bench.engine
    inits = [
        await pid_of(engine, each["Id"]) for each in await engine.containers(f"{LABEL}={run.bench.run_id}")
    ]
    runtimes = [pid for init in inits for pid in (init, *proc.descendants(init))]
    servers = [pid for pid in proc.descendants(os.getpid()) if proc.runs(pid, "benchmarks.floor")]
    return {SERVER: servers, RUNTIMES: runtimes}


async def _round(peer: Peer, seconds: float, clients: int) -> Mapping[str, float]:
    """Microseconds for an answer, by party. Raises `Failed`."""
    busy, ours, before = proc.busy(), _children(), _spent(peer.parties)
    result = await load(peer.target, peer.target.request(), seconds, clients=clients)
    if not result.answers:
        raise Failed(result.first_error or "no answer")
    taken = {party: after - before[party] for party, after in _spent(peer.parties).items()}
    rest = proc.busy() - busy - (_children() - ours) - sum(taken.values())
    parts = {LOAD: result.processor, **taken, REST: rest}
    return {
        party: _MICRO * each / result.answers for party, each in {**parts, ALL: sum(parts.values())}.items()
    }


def _spent(parties: Mapping[str, Iterable[int]]) -> Mapping[str, float]:
    return {party: sum(map(proc.spent, pids)) for party, pids in parties.items()}


def _children() -> float:
    """Seconds that processes of ours took that have ended: the load generator with its start, which is nobody's."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
