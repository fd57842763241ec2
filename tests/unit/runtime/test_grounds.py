"""What sandboxes of packages and of container images stand on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from runtime.bundles import Bundles
from runtime.errors import PreparationFailed
from runtime.function_images import ImageMissing
from runtime.grounds import MOMENT, MOST_BYTES, Ground, Grounds, Progress
from runtime.image_facts import Image, Serving
from runtime.model import Code, FunctionConfig, FunctionVersion, ImageCode, LayerReference, Scope
from runtime.processors import CannotRun
from runtime.spawners.base import Delivery, ForeignImage, SpawnerError

CODE = Code("c" * 64, 1, 1)
LAYER = LayerReference("arn", Code("l" * 64, 1, 1))
PINNED = ImageCode("app:1", "d" * 64, "sha256:1")
IMAGE = Image(
    identifier="sha256:1",
    system="linux",
    architecture="x86_64",
    size=MOST_BYTES,
    environment={"PATH": "/bin", "LD_PRELOAD": "/x.so"},
)


def version(code: Code | ImageCode) -> FunctionVersion:
    runtime, layers = ("python3.11", (LAYER,)) if isinstance(code, Code) else (None, ())
    return FunctionVersion(
        scope=Scope("123456789012", "us-east-1"),
        name="f",
        config=FunctionConfig(role="r", runtime=runtime, layers=layers),
        code=code,
        revision_id="r",
        last_modified="",
    )


class Surroundings:
    """Images, a bundle and trees, all of them there."""

    def __init__(self, image: Image | None = IMAGE, serving: Serving | None = None) -> None:
        self.image = image
        self.serving = serving
        self.now = 0.0
        self.asked = 0
        self.broken = False
        self.machine = _Machine()
        self.grounds = Grounds(
            images=self,
            function_images=self,
            agent_bundle=_Bundle(),
            bundles=cast("Bundles", _Trees()),
            emulation=self.machine,
            clock=lambda: self.now,
        )

    async def ensure(self, runtime: str, progress: Progress, *, processor: str | None = None) -> Serving:
        del progress
        self.asked += 1
        if self.broken:
            raise SpawnerError("no space left")
        return self.serving or Serving(f"berth/{runtime}{f'-{processor}' if processor else ''}:0")

    async def pinned(self, code: ImageCode) -> Image:
        if self.image is None:
            raise ImageMissing(f"{code.uri} is gone")
        return self.image

    async def of(self, code: Code | ImageCode, *, launches: bool = False) -> Ground:
        return await self.grounds.of(version(code), Delivery.BIND, print, launches=launches)


class _Machine:
    """One for x86_64, that emulates others."""

    def __init__(self) -> None:
        self.cannot = ""

    async def require(self, architecture: str) -> None:
        if architecture == self.cannot:
            raise CannotRun(architecture)

    async def of(self, architecture: str) -> str | None:
        await self.require(architecture)
        return None if architecture == "x86_64" else architecture


class _Bundle:
    async def ensure(self, delivery: Delivery, _progress: Progress) -> Path | str:
        return Path("/agent") if delivery is Delivery.BIND else "volume"


class _Trees:
    async def ready(self, code: Code, layers: Sequence[Code]) -> None:
        """They are."""

    async def task_root(self, code: Code) -> Path:
        return Path("/trees", code.digest)

    async def opt(self, layers: Sequence[Code]) -> Path:
        return Path("/merged", *(layer.digest for layer in layers))


async def test_a_package() -> None:
    """The image of its runtime, and its trees."""
    trees = Path("/trees", "c" * 64), Path("/merged", "l" * 64)
    assert await Surroundings().of(CODE) == Ground("berth/python3.11:0", trees=trees)


async def test_a_package_on_an_image_that_is_not_ours() -> None:
    """It gets the trees and an agent, which sees nothing of the image's variables."""
    ground = await Surroundings(serving=Serving("sha256:1", IMAGE)).of(CODE)
    trees = Path("/trees", "c" * 64), Path("/merged", "l" * 64)
    foreign = ForeignImage(agent=Path("/agent"), variables=("PATH", "LD_PRELOAD"), has_code=False)
    assert ground == Ground("sha256:1", trees=trees, own=IMAGE, foreign=foreign)


async def test_the_engine_is_asked_once() -> None:
    """A launch takes the answer that its preparation has got; later, and after a failure, it asks again."""
    there = Surroundings()
    prepared = await there.of(CODE)
    assert await there.of(CODE, launches=True) == prepared
    assert there.asked == 1
    there.grounds.doubt(version(CODE))
    await there.of(CODE, launches=True)
    assert there.asked == 2
    there.now += MOMENT
    await there.of(CODE, launches=True)
    assert there.asked == 3


async def test_preparations_ask() -> None:
    """An image may have been removed behind our back."""
    there = Surroundings()
    assert await there.of(CODE) == await there.of(CODE)
    assert there.asked == 2


async def test_a_container_image() -> None:
    """The image itself, by an identifier that no tag can move, and an agent which sees nothing of its variables."""
    foreign = ForeignImage(agent=Path("/agent"), variables=("PATH", "LD_PRELOAD"))
    assert await Surroundings().of(PINNED) == Ground("sha256:1", own=IMAGE, foreign=foreign)


async def test_an_agent_in_a_volume() -> None:
    """Where the engine does not see our files."""
    ground = await Surroundings().grounds.of(version(PINNED), Delivery.COPY, print)
    assert ground.foreign is not None
    assert ground.foreign.agent == "volume"


@pytest.mark.parametrize("code", [CODE, PINNED])
async def test_what_can_run(code: Code | ImageCode) -> None:
    """Packages were checked when they came; an image may have 10 GiB."""
    await Surroundings().grounds.check(version(code))


@pytest.mark.parametrize(
    ("image", "code", "reason"),
    [
        (
            replace(IMAGE, size=MOST_BYTES + 1),
            "InvalidImage",
            "SizeLimitExceeded: Uncompressed container image size exceeds 10 GiB limit",
        ),
        (None, "ImageDeleted", "app:1 is gone"),
    ],
)
async def test_what_can_never_run(image: Image | None, code: str, reason: str) -> None:
    """Such a function ends in state Failed, with AWS's code for it."""
    with pytest.raises(PreparationFailed) as failed:
        await Surroundings(image).grounds.check(version(PINNED))
    assert (failed.value.reason_code, failed.value.reason) == (code, reason)


async def test_a_package_for_another_processor() -> None:
    """Its image is that processor's, and none is taken for the other's."""
    there = Surroundings()
    other = replace(version(CODE), config=replace(version(CODE).config, architecture="arm64"))
    for each, image in ((version(CODE), "berth/python3.11:0"), (other, "berth/python3.11-arm64:0")) * 2:
        ground = await there.grounds.of(each, Delivery.BIND, print, launches=True)
        assert ground.image == image
    assert there.asked == 2
    there.grounds.doubt(other)
    there.machine.cannot = "arm64"
    with pytest.raises(CannotRun, match="does not run programs for arm64"):
        await there.grounds.of(other, Delivery.BIND, print, launches=True)


async def test_an_image_that_cannot_be_built_for_another_processor() -> None:
    """There is a way out, which for the machine's own would be none."""
    there = Surroundings()
    there.broken = True
    other = replace(version(CODE), config=replace(version(CODE).config, architecture="arm64"))
    with pytest.raises(SpawnerError, match=r"no space left\nWith the setting emulation=off"):
        await there.grounds.of(other, Delivery.BIND, print)
    with pytest.raises(SpawnerError, match=r"no space left$"):
        await there.of(CODE)


async def test_a_container_image_for_a_processor_that_does_not_run_here() -> None:
    """That is said before it is started."""
    there = Surroundings(replace(IMAGE, architecture="arm64"))
    assert (await there.of(PINNED)).image == "sha256:1"
    there.machine.cannot = "arm64"
    with pytest.raises(CannotRun, match="qemu-user-static"):
        await there.of(PINNED)
