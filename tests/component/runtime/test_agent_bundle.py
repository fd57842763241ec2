"""The agent's bundle is where the engine finds it: in a directory, or in a volume of its own."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runtime.agent_bundle import EngineBundle, NoBundle
from runtime.function_images import NoImages
from runtime.images import RuntimeImages
from runtime.spawners.base import Delivery
from runtime.spawners.engine import Engine, EngineError


class Told(list[str]):
    """What was said about progress."""

    def __call__(self, line: str) -> None:
        self.append(line)


@pytest.fixture
async def images(engine: Engine, fake_engine: Any) -> AsyncIterator[RuntimeImages]:
    fake_engine.add_image("debian:bookworm-slim")
    images = RuntimeImages(engine)
    yield images
    await images.close()


@pytest.fixture
def bundle(engine: Engine, images: RuntimeImages, tmp_path: Path) -> EngineBundle:
    return EngineBundle(engine, images, tmp_path)


def filled(fake_engine: Any) -> int:
    return sum(request == "POST /containers/create" for request in fake_engine.asked)


async def test_a_volume_is_filled_once(bundle: EngineBundle, fake_engine: Any) -> None:
    """From the bundle's image, by a container that never runs and does not stay."""
    told = Told()
    name = str(await bundle.ensure(Delivery.COPY, told))
    assert await bundle.ensure(Delivery.COPY, told) == name
    reference = fake_engine.volumes[name]["Image"]
    assert reference.startswith("berth/rapid-")
    assert name == reference.replace("/", "-").replace(":", "-")
    assert (filled(fake_engine), fake_engine.containers) == (1, {})
    assert told[-1] == f"filling the volume {name}"


async def test_a_volume_that_somebody_removed_is_filled_again(bundle: EngineBundle, fake_engine: Any) -> None:
    """Whether it is there is asked every time."""
    name = await bundle.ensure(Delivery.COPY, Told())
    fake_engine.volumes.clear()
    assert await bundle.ensure(Delivery.COPY, Told()) == name
    assert name in fake_engine.volumes


async def test_older_volumes_go(bundle: EngineBundle, fake_engine: Any) -> None:
    """Those of other bundles are removed, unless they are in use; those of others stay."""
    for name, labels in (("old", {"berth.bundle": "old"}), ("used", {"berth.bundle": "used"}), ("mine", {})):
        fake_engine.volumes[name] = {"Name": name, "Labels": labels}
    fake_engine.failures.append(("DELETE /volumes/used", 409, "volume is in use"))
    volume = await bundle.ensure(Delivery.COPY, Told())
    assert set(fake_engine.volumes) == {volume, "used", "mine"}


async def test_a_volume_that_cannot_be_filled(bundle: EngineBundle, fake_engine: Any) -> None:
    """Nothing half-full stays behind that would be taken for the bundle the next time."""
    fake_engine.failures.append(("POST /containers/create", 500, "no space left on device"))
    with pytest.raises(EngineError, match="no space left"):
        await bundle.ensure(Delivery.COPY, Told())
    assert fake_engine.volumes == {}
    assert await bundle.ensure(Delivery.COPY, Told()) in fake_engine.volumes


async def test_directories_of_earlier_runs_go(
    bundle: EngineBundle, images: RuntimeImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, at the first need: later ones may be mounted into sandboxes that run."""
    place = tmp_path / "agent"

    async def exported(where: Path, _progress: object) -> Path:
        (where / "now").mkdir(parents=True, exist_ok=True)
        return where / "now"

    monkeypatch.setattr(images, "exported", exported)
    (place / "earlier" / "bin").mkdir(parents=True)
    assert await bundle.ensure(Delivery.BIND, Told()) == place / "now"
    assert [each.name for each in place.iterdir()] == ["now"]
    (place / "later").mkdir()
    await bundle.ensure(Delivery.BIND, Told())
    assert sorted(each.name for each in place.iterdir()) == ["later", "now"]


async def test_without_an_engine() -> None:
    """Then there is nothing that it could be mounted into."""
    with pytest.raises(NoImages):
        await NoBundle().ensure(Delivery.BIND, Told())
