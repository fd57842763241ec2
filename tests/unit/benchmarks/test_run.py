"""A run of the benchmark in which parts fail."""

import asyncio
from typing import Any, cast

import pytest

from benchmarks.bench import Bench
from benchmarks.figures import Findings
from benchmarks.measures.run import QUICK, Run
from benchmarks.programs import Failed


@pytest.fixture
def run() -> Run:
    bench = cast(Bench, None)
    return Run(bench, Findings(), QUICK, ["berth"], rie=False, parts=["warm", "cold"], say=lambda _: None)


def failing(run: Run, error: BaseException, *, told: bool = False) -> Any:
    async def measurement() -> None:
        if told:
            run.fail("Berth, 8 clients", error, 5)
            return
        raise error

    return measurement


async def test_a_part_that_fails_is_told_and_the_next_one_measured(run: Run) -> None:
    """With what was measured, and in it who failed; an error in a group is the error."""
    await run.measure("warm", "warm latency", failing(run, ExceptionGroup("several", [Failed("gone")])))
    await run.measure("cold", "cold start", failing(run, Failed("429"), told=True))
    assert run.findings.failures == [
        "warm latency: Failed: gone",
        "cold start, Berth, 8 clients: 5 times, e.g. Failed: 429",
    ]
    run.fail("Berth", Failed("at the end"))
    assert run.findings.failures[-1] == "Berth: Failed: at the end"


async def test_a_part_that_is_not_wanted(run: Run) -> None:
    """Is not measured."""
    await run.measure("start", "start", failing(run, Failed("it was")))
    assert run.findings.failures == []


async def test_an_end_that_fails_is_an_end(run: Run) -> None:
    """What goes wrong while a part is given up does not let the run go on with the next one."""

    async def measurement() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise Failed("Berth had to be killed")

    task = asyncio.create_task(run.measure("warm", "warm latency", measurement))
    asyncio.get_running_loop().call_soon(task.cancel)
    await asyncio.wait([task])
    assert task.cancelled()
    assert run.findings.failures == []


async def test_an_end_is_not_a_failure_of_a_part(run: Run) -> None:
    """Ctrl-C ends the whole run."""
    with pytest.raises(asyncio.CancelledError):
        await run.measure("warm", "warm latency", failing(run, asyncio.CancelledError()))
