"""What is measured, part by part: each measures peers in turns and adds to the findings of its run. Nothing is asserted.

Parts that stand alone bring up control planes of their own. The others share one, in this order.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from benchmarks.asking import Target, answered
from benchmarks.measures.burst import burst
from benchmarks.measures.cold import cold
from benchmarks.measures.emulator import emulator
from benchmarks.measures.freezing import freezing
from benchmarks.measures.logs import logs
from benchmarks.measures.memory import memory
from benchmarks.measures.processor import processor
from benchmarks.measures.registered import registered
from benchmarks.measures.run import Run, go_on
from benchmarks.measures.start import start
from benchmarks.measures.stream import stream
from benchmarks.measures.throughput import throughput
from benchmarks.measures.warm import paced, telemetry, warm, with_boto3
from benchmarks.plane import Berth, berth


@dataclass(frozen=True, slots=True)
class Alone:
    what: str
    measurement: Callable[[Run], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Sharing:
    what: str
    measurement: Callable[[Run, Berth, Target], Awaitable[None]]
    """Gets the control plane, and a function of it that only echoes."""


ALONE: Mapping[str, Alone] = {
    "start": Alone("start of the control plane", start),
    "freezing": Alone("what freezing adds", freezing),
    "registered": Alone("many functions registered", registered),
    "burst": Alone("many cold starts at once", burst),
    "emulator": Alone("the emulator in a container image", emulator),
}
SHARING: Mapping[str, Sharing] = {
    "warm": Sharing("warm latency", warm),
    "paced": Sharing("warm latency, frozen in between", paced),
    "boto3": Sharing("warm latency with boto3", with_boto3),
    "telemetry": Sharing("warm latency with a subscriber to telemetry", telemetry),
    "throughput": Sharing("throughput", throughput),
    "processor": Sharing("processor time of an invocation", processor),
    "memory": Sharing("memory", memory),
    "stream": Sharing("response streaming", stream),
    "logs": Sharing("floods of log lines", logs),
    "cold": Sharing("cold start", cold),
}
PARTS = (*ALONE, *SHARING)


async def all_of(run: Run) -> None:
    """Everything that is wanted."""
    for name, alone in ALONE.items():
        await run.measure(name, alone.what, lambda each=alone: each.measurement(run))  # type: ignore[misc]
    if not set(run.parts) & set(SHARING):
        return
    try:
        async with berth(run.bench, run.command) as plane:
            target = await plane.function("echo")
            await answered(target, target.request())
            for name, sharing in SHARING.items():
                await run.measure(
                    name,
                    sharing.what,
                    lambda each=sharing: each.measurement(run, plane, target),  # type: ignore[misc]
                )
    except Exception as error:  # noqa: BLE001  whatever it is, it is told with the figures
        go_on(error)
        run.fail("Berth, and all that was still to be measured", error)
