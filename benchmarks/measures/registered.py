"""What many registered functions cost the one that is invoked: two control planes, one of which has them."""

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from benchmarks.asking import Target, answered, ask, document
from benchmarks.load import Result
from benchmarks.measures.run import Run
from benchmarks.measures.turns import load, of, rounds
from benchmarks.plane import QUIET, Berth, berth, package
from benchmarks.proc import resident
from benchmarks.programs import Failed
from benchmarks.registering import CONNECTIONS, register

PACKAGE = package({"app.py": "def handler(event, context):\n    return event\n"})
LIST = "/2015-03-31/functions/"


async def registered(run: Run) -> None:
    count = run.extent.functions
    async with (
        berth(run.bench, run.command, "many", **QUIET) as many,
        berth(run.bench, run.command, "one", **QUIET) as one,
    ):
        began = time.perf_counter()
        await register(many, "registered", count, PACKAGE, memory_mb=128)
        took = time.perf_counter() - began
        targets = {"Berth": await many.function("echo"), "one": await one.function("echo")}
        for target in targets.values():
            await answered(target, target.request())
        results = await rounds(run, targets, clients=1)
        if results.keys() == targets.keys():  # else one has failed altogether, and that is told
            _latencies(run, count, results)
        for functions, plane in ((f"{count:,}", many), ("1", one)):
            pss = resident(plane.pid)[1]
            run.findings.add(f"control plane, functions: {functions}, PSS", "MB", {"Berth": [pss]})
        run.findings.add(
            f"CreateFunction until Active, {CONNECTIONS} at a time", "/s", {"Berth": [count / took]}
        )
        await _lists(run, many, count + 1)


def _latencies(run: Run, count: int, results: Mapping[str, Sequence[Result]]) -> None:
    for quantile in ("p50", "p99"):
        beside, alone = of(results["Berth"], quantile), of(results["one"], quantile)
        run.findings.add(f"warm, {count:,} functions registered, {quantile}", "ms", {"Berth": beside})
        run.findings.add(f"warm, 1 function registered, {quantile}", "ms", {"Berth": alone})
        times = [a / b for a, b in zip(beside, alone, strict=True)]
        run.findings.add(f"{count:,} functions beside 1, {quantile}", "x", {"Berth": times}, "1")
        run.findings.note(
            f"{count:,} functions beside 1, {quantile}: {min(times):.2f} to {max(times):.2f} x, round by round"
        )


async def _lists(run: Run, plane: Berth, count: int) -> None:
    """The first page, one from the middle, and all of them."""
    door = plane.target()
    began = time.perf_counter()
    markers = await _walk(door, count)
    seconds = time.perf_counter() - began
    for name, marker in (("first", ""), ("middle", markers[len(markers) // 2])):
        request = door.get(_page(marker))
        status, body = await ask(door, request)
        if status != 200:
            raise Failed(f"ListFunctions was answered {status}")
        several = [
            await load(door, request, run.extent.seconds / 2, expected=body) for _ in range(run.extent.few)
        ]
        values = {"Berth": of(several, "p50")}
        run.findings.add(f"ListFunctions, the {name} page of {len(markers)}, p50", "ms", values)
    run.findings.add(f"ListFunctions, all {len(markers)} pages", "s", {"Berth": [seconds]})


async def _walk(door: Target, count: int) -> list[str]:
    """The markers of all pages; `Failed` unless each function is there once."""
    names: list[str] = []
    markers = [""]
    while True:
        page: dict[str, Any] = await document(door, _page(markers[-1]))
        names += [each["FunctionName"] for each in page["Functions"]]
        if not page.get("NextMarker"):
            break
        markers.append(page["NextMarker"])
    if len(names) != count or len(set(names)) != count:
        raise Failed(
            f"ListFunctions told of {len(names)} functions, {len(set(names))} of them once, not of {count}"
        )
    return markers


def _page(marker: str) -> str:
    return f"{LIST}?Marker={quote(marker, safe='')}" if marker else LIST
