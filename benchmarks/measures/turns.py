"""Peers take turns within a round, in another order in each round, so that what the machine does meanwhile hits all
alike; ratios are taken within rounds.
"""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict

from benchmarks import peers
from benchmarks.asking import Target, encoded
from benchmarks.load import Job, Result
from benchmarks.measures.run import KNOWN, Run
from benchmarks.programs import Failed, ended, outcome, python, started
from benchmarks.sdk import PAYLOAD

PEERS = ("RIE", "floor")


async def rounds(
    run: Run,
    targets: Mapping[str, Target],
    *,
    clients: int,
    pause: float = 0.0,
    count: int | None = None,
    seconds: float | None = None,
) -> dict[str, list[Result]]:
    """Load for each target in turns, after one unmeasured turn each. A target that fails is out, and reported.

    Of Berth's failures all are counted, and it stays in.
    """
    requests = {peer: target.request() for peer, target in targets.items()}
    results: dict[str, list[Result]] = defaultdict(list)
    failed: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    left = list(targets)
    lasting = seconds or run.extent.seconds
    for number in range((count or run.extent.rounds) + 1):
        for peer in rotated(left, number):
            result = await load(targets[peer], requests[peer], lasting, clients=clients, pause=pause)
            if result.errors or not result.answers:
                failed[peer] += max(1, result.errors)
                reasons.setdefault(peer, result.first_error or "no answer")
            if not result.answers or (result.errors and peer in PEERS):
                left.remove(peer)
                results.pop(peer, None)
            elif number:
                results[peer].append(result)
    for peer, reason in reasons.items():
        run.fail(f"{peer}, {clients} clients", Failed(reason), failed[peer])
    return dict(results)


def rotated(names: Sequence[str], by: int) -> list[str]:
    turn = by % len(names) if names else 0
    return [*names[turn:], *names[:turn]]


async def all_peers(run: Run, held: AsyncExitStack, target: Target) -> dict[str, Target]:
    """Berth and what could be brought up beside it, each with one environment."""
    targets = {"Berth": target}
    if run.rie:
        try:
            targets["RIE"], _ = await held.enter_async_context(peers.rie(run.bench))
        except KNOWN as error:
            run.fail("RIE", error)
    try:
        targets["floor"] = await held.enter_async_context(peers.floor_with(run.bench, 1))
    except KNOWN as error:
        run.fail("floor", error)
    return targets


async def load(
    target: Target,
    request: bytes,
    seconds: float,
    *,
    clients: int = 1,
    pause: float = 0.0,
    expected: bytes = PAYLOAD,
) -> Result:
    """From a process of its own."""
    job = Job(
        host=target.host,
        port=target.port,
        request=encoded(request),
        expected=encoded(expected),
        clients=clients,
        seconds=seconds,
        pause=pause,
    )
    return Result(**json.loads(await python("benchmarks.load", stdin=_line(job))))


Finish = Callable[[], Awaitable[Result]]


@asynccontextmanager
async def load_meanwhile(target: Target, pause: float) -> AsyncIterator[Finish]:
    """The same with one client for as long as something else takes; then it is told to end, and says what it found."""
    job = Job(
        host=target.host,
        port=target.port,
        request=encoded(target.request()),
        expected=encoded(PAYLOAD),
        clients=1,
        seconds=None,
        pause=pause,
    )
    process = await started(sys.executable, "-m", "benchmarks.load")
    try:
        assert process.stdin
        process.stdin.write(_line(job))
        await process.stdin.drain()

        async def finish() -> Result:
            return Result(**json.loads(await outcome(process)))

        yield finish
    finally:
        await ended(process)


def _line(job: Job) -> bytes:
    return json.dumps(asdict(job)).encode() + b"\n"


def add_latencies(
    run: Run,
    name: str,
    results: Mapping[str, Sequence[Result]],
    targets: Mapping[str, str],
    quantiles: Sequence[str] = ("p50", "p99"),
) -> None:
    for quantile in quantiles:
        values = {peer: of(found, quantile) for peer, found in results.items()}
        run.findings.add(f"{name}, {quantile}", "ms", values, targets.get(quantile, ""))


def of(results: Sequence[Result], figure: str) -> list[float]:
    """One figure, round by round."""
    return [float(getattr(each, figure)) for each in results]
