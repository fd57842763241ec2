"""Which processors' programs an engine's machine runs, and what functions' packages run on; against an engine that behaves."""

import asyncio
import platform
from dataclasses import replace
from typing import Any

import pytest

from runtime.image_table import UnknownRuntime, processor_of
from runtime.processors import (
    AGAIN,
    AUTO,
    OFF,
    REQUIRED,
    CannotRun,
    Emulation,
    Processors,
    probe_image,
)
from runtime.spawners.engine import Engine, EngineError
from runtime.tiny_programs import program, runs_here


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def processors(engine: Engine, clock: Clock) -> Processors:
    engine.facts = facts("amd64", engine)
    return Processors(engine, clock)


def facts(machine: str, engine: Engine) -> Any:
    return replace(engine.facts, machine=machine)


async def test_its_own_is_not_tried(processors: Processors, fake_engine: Any) -> None:
    """Nor is anything else done for it."""
    asked = len(fake_engine.asked)
    assert await processors.run("amd64")
    assert len(fake_engine.asked) == asked


async def test_another_is_tried_once(processors: Processors, fake_engine: Any) -> None:
    """By a program in an image for that processor; its container is removed, the image stays."""
    fake_engine.emulates.add("arm64")
    assert await asyncio.gather(*(processors.run("arm64") for _ in range(3))) == [True] * 3
    await processors.require("arm64")
    assert fake_engine.asked.count("POST /containers/create") == 1
    assert fake_engine.containers == {}
    image = fake_engine.images[probe_image("arm64")]
    assert (image["Architecture"], image["Labels"]) == ("arm64", {"berth.image": "probe-arm64"})
    assert program("arm64") in fake_engine.layers[probe_image("arm64")]


async def test_one_that_does_not_run_is_tried_again(
    processors: Processors, fake_engine: Any, clock: Clock
) -> None:
    """After a while: somebody may have read what to install."""
    with pytest.raises(
        CannotRun, match=r"engine's machine does not run programs for arm64.*qemu-user-static"
    ):
        await processors.require("arm64")
    fake_engine.emulates.add("arm64")
    assert not await processors.run("arm64")
    clock.now += AGAIN
    assert await processors.run("arm64")
    assert fake_engine.asked.count("POST /images/load") == 1


async def test_an_engine_that_finds_out_at_the_start(processors: Processors, fake_engine: Any) -> None:
    """Some refuse to start what their machine does not run."""
    fake_engine.failures.append(
        (r"POST /containers/[^/]+/start", 400, "failed to create shim: exec format error")
    )
    fake_engine.emulates.add("arm64")
    assert not await processors.run("arm64")
    assert fake_engine.containers == {}


async def test_an_engine_that_has_other_troubles(processors: Processors, fake_engine: Any) -> None:
    """They are no answer: the next one who asks makes it be tried again."""
    fake_engine.failures.append((r"POST /containers/create", 500, "no space left on device"))
    fake_engine.emulates.add("arm64")
    with pytest.raises(EngineError, match="no space left"):
        await processors.run("arm64")
    assert await processors.run("arm64")


def test_this_machine_runs_its_own() -> None:
    """The program is one, and ends with the status that it should."""
    assert runs_here(processor_of(platform.machine()))
    assert len(program("arm64")) == len(program("amd64")) == 132


@pytest.mark.parametrize(
    ("machine", "mode", "emulates", "x86_64", "arm64"),
    [
        ("amd64", AUTO, True, None, "arm64"),
        ("amd64", AUTO, False, None, None),
        ("amd64", OFF, True, None, None),
        ("amd64", REQUIRED, True, None, "arm64"),
        ("arm64", AUTO, True, None, None),
        ("arm64", OFF, True, None, None),
        ("arm64", REQUIRED, True, "amd64", None),
    ],
)
async def test_what_packages_run_on(  # noqa: PLR0917
    engine: Engine,
    fake_engine: Any,
    machine: str,
    mode: str,
    emulates: bool,
    x86_64: str | None,
    arm64: str | None,
) -> None:
    """On an arm64 machine those for x86_64 are most, since that is the default of `Architectures`."""
    engine.facts = facts(machine, engine)
    fake_engine.emulates |= {"amd64", "arm64"} if emulates else set()
    emulation = Emulation(Processors(engine), mode)
    assert (await emulation.of("x86_64"), await emulation.of("arm64")) == (x86_64, arm64)


async def test_packages_that_have_to_run_as_they_say(processors: Processors) -> None:
    """Without an emulator they do not run at all; nor do container images, whatever the mode."""
    with pytest.raises(CannotRun):
        await Emulation(processors, REQUIRED).of("arm64")
    await Emulation(processors, OFF).require("x86_64")
    with pytest.raises(CannotRun):
        await Emulation(processors, OFF).require("arm64")
    with pytest.raises(UnknownRuntime, match="nothing for the processor riscv64"):
        await Emulation(processors, OFF).require("riscv64")


async def test_packages_on_the_machine_s_own_are_told_of_once(
    processors: Processors, fake_engine: Any, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Of whatever keeps them from being emulated; they run all the same."""
    emulation = Emulation(processors)
    fake_engine.failures.append((r"POST /containers/create", 500, "no space left on device"))
    assert await emulation.of("arm64") is None
    assert await emulation.of("arm64") is None
    assert [each.message for each in caplog.records] == [
        "packages for arm64 run on amd64: no space left on device"
    ]
    clock.now += AGAIN
    fake_engine.emulates.add("arm64")
    assert await emulation.of("arm64") == "arm64"
