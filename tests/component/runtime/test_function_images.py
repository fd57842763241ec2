"""Images of functions are found by name and kept by tags of our own."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

import runtime.function_images
from runtime.function_images import FunctionImages, ImageMissing, NoFunctionImages, NoImages
from runtime.model import ImageCode
from runtime.spawners.base import SpawnerError
from runtime.spawners.engine import Engine
from tests.component.runtime.conftest import FakeEngine

OWNER = "me"


class Records:
    """Which images records refer to."""

    def __init__(self) -> None:
        self.images: set[str] = set()

    def live(self) -> frozenset[str]:
        return frozenset(self.images)


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
async def images(engine: Engine, records: Records) -> AsyncIterator[FunctionImages]:
    """The images of an engine, pins being looked after."""
    images = FunctionImages(engine, OWNER)
    images.open(records.live)
    yield images
    await images.close()


def pin(code: ImageCode) -> str:
    return f"berth-pin/{OWNER}:{code.image.removeprefix('sha256:')}"


def added(fake_engine: FakeEngine, name: str = "app:1") -> ImageCode:
    return ImageCode(name, "0" * 64, fake_engine.add_image(name))


class Asked:
    """Waits for a request of the engine's, seen as it begins."""

    def __init__(self, fake_engine: FakeEngine, request: str, times: int = 1) -> None:
        self._seen = threading.Semaphore(0)
        self._times = times
        fake_engine.before = lambda asked: self._seen.release() if asked == request else None

    async def __call__(self) -> None:
        for _ in range(self._times):
            assert await asyncio.to_thread(self._seen.acquire, timeout=20)


async def looked_through(images: FunctionImages, fake_engine: FakeEngine) -> None:
    """Pins have been looked through since now: one look is over when the next but one begins."""
    looked = Asked(fake_engine, "GET /images/json")
    for _ in range(4):
        images.changed()
        await looked()


async def test_find(images: FunctionImages, fake_engine: FakeEngine) -> None:
    """What the engine holds is found under its name; nothing is pulled."""
    code = added(fake_engine)
    assert (await images.find("app:1")).identifier == code.image
    fake_engine.registry.add("elsewhere:1")
    with pytest.raises(ImageMissing, match="holds no image elsewhere:1"):
        await images.find("elsewhere:1")
    assert fake_engine.pulls == []


async def test_find_by_digest(images: FunctionImages, fake_engine: FakeEngine) -> None:
    """What a URI was resolved to can be used as a URI, also where the image was in no registry."""
    code = (await images.find(added(fake_engine).uri)).pinned("app:1")
    assert (await images.find(code.resolved_uri)).identifier == code.image
    with pytest.raises(ImageMissing):
        await images.find(f"app@sha256:{'0' * 64}")


async def test_a_record_keeps_its_image(
    images: FunctionImages, fake_engine: FakeEngine, records: Records
) -> None:
    """An image has its pin before a record refers to it, and keeps it when the name goes that it was found by."""
    code = added(fake_engine)
    async with images.kept(code):
        assert pin(code) in fake_engine.images
        records.images.add(code.image)
    del fake_engine.images["app:1"]
    await looked_through(images, fake_engine)
    assert (await images.pinned(code)).identifier == code.image
    assert pin(code) in fake_engine.images


async def test_without_a_record_the_pin_goes(images: FunctionImages, fake_engine: FakeEngine) -> None:
    """Where no record came of it, an image is let go of."""
    code = added(fake_engine)
    removed = Asked(fake_engine, f"DELETE /images/{pin(code)}")
    async with images.kept(code):
        pass
    await removed()
    await images.close()
    assert list(fake_engine.images) == ["app:1"]


async def test_the_pin_goes_with_the_last_record(
    images: FunctionImages, fake_engine: FakeEngine, records: Records
) -> None:
    """When records have changed, pins that none needs are removed, and no others."""
    code, other = added(fake_engine), added(fake_engine, "other:1")
    for each in (code, other):
        async with images.kept(each):
            records.images.add(each.image)
    removed = Asked(fake_engine, f"DELETE /images/{pin(code)}")
    records.images.remove(code.image)
    images.changed()
    await removed()
    await images.close()
    assert pin(code) not in fake_engine.images
    assert pin(other) in fake_engine.images


async def test_what_may_be_needed_again_is_held(
    images: FunctionImages, fake_engine: FakeEngine, records: Records
) -> None:
    """While an update may still fail, the image before it stays although no record refers to it."""
    code = added(fake_engine)
    async with images.kept(code):
        records.images.add(code.image)
    release = images.hold(code)
    records.images.remove(code.image)
    await looked_through(images, fake_engine)
    assert pin(code) in fake_engine.images
    removed = Asked(fake_engine, f"DELETE /images/{pin(code)}")
    release()
    await removed()


async def test_pins_of_an_earlier_run_are_looked_through(
    engine: Engine, fake_engine: FakeEngine, records: Records
) -> None:
    """What a control plane pinned that was killed before the record was stored goes when the next one opens."""
    kept, lost = added(fake_engine), added(fake_engine, "lost:1")
    for code in (kept, lost):
        fake_engine.tag_image({"repo": f"berth-pin/{OWNER}", "tag": code.image[7:]}, None, code.image)
    fake_engine.tag_image({"repo": "berth-pin/another", "tag": lost.image[7:]}, None, lost.image)
    records.images.add(kept.image)
    removed = Asked(fake_engine, f"DELETE /images/{pin(lost)}")
    images = FunctionImages(engine, OWNER)
    images.open(records.live)
    await removed()
    await images.close()
    assert pin(kept) in fake_engine.images
    assert f"berth-pin/another:{lost.image[7:]}" in fake_engine.images


async def test_a_pin_in_use_is_removed_later(
    images: FunctionImages, fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine refuses while a sandbox still runs on the image: it is asked again."""
    monkeypatch.setattr(runtime.function_images, "PAUSE", 0.01)
    code = added(fake_engine)
    fake_engine.failures.append(
        (f"DELETE /images/{pin(code)}", 409, "container is using its referenced image")
    )
    removed = Asked(fake_engine, f"DELETE /images/{pin(code)}", times=2)
    async with images.kept(code):
        pass
    await removed()
    await images.close()
    assert pin(code) not in fake_engine.images


async def test_an_engine_that_fails_is_asked_again(
    images: FunctionImages, fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking after pins survives a bad moment of the engine's."""
    monkeypatch.setattr(runtime.function_images, "PAUSE", 0.01)
    code = added(fake_engine)
    removed = Asked(fake_engine, f"DELETE /images/{pin(code)}")
    fake_engine.failures.append(("GET /images/json", 500, "a bad moment"))
    async with images.kept(code):
        pass
    await removed()


async def test_a_pin_that_somebody_removed_is_made_again(
    images: FunctionImages, fake_engine: FakeEngine, records: Records
) -> None:
    """As long as the image is there under any name, a function that needs it has its pin again."""
    code = added(fake_engine)
    records.images.add(code.image)
    async with images.kept(code):
        pass
    fake_engine.remove_image({}, None, pin(code))
    await images.pinned(code)
    assert pin(code) in fake_engine.images


async def test_an_image_that_was_deleted(images: FunctionImages) -> None:
    """Somebody has removed pin and image: the error says which and what to do."""
    code = ImageCode("app:1", "2" * 64, "sha256:" + "9" * 64)
    with pytest.raises(ImageMissing, match=r"app@sha256:2{64} \(sha256:9{12}\).*update the function's code"):
        await images.pinned(code)


async def test_an_image_that_goes_before_it_is_pinned(images: FunctionImages) -> None:
    """Then there is an error, and nothing is held."""
    code = ImageCode("app:1", "2" * 64, "sha256:" + "9" * 64)
    with pytest.raises(SpawnerError):
        async with images.kept(code):
            pass
    assert repr(images) == f"<FunctionImages [berth-pin/{OWNER} | held: 0]>"


async def test_without_an_engine() -> None:
    """Local processes have no images, and say so; functions that had one can still be deleted."""
    images = NoFunctionImages()
    code = ImageCode("app:1", "2" * 64, "sha256:" + "9" * 64)
    for attempt in (images.find("app:1"), images.pinned(code), images.kept(code).__aenter__()):
        with pytest.raises(NoImages, match="need a container engine"):
            await attempt
    images.hold(code)()
