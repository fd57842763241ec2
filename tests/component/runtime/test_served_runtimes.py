"""Which image serves a runtime: Berth's own, AWS's, somebody's, or another that stands in; against an engine that behaves."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from runtime.image_choice import parse
from runtime.images import RuntimeImages, UnknownRuntime
from runtime.served_runtimes import RuntimeUnavailable, ServedRuntimes
from runtime.spawners.engine import Engine

AWS = "public.ecr.aws/lambda/python:3.12"


def quiet(line: str) -> None:
    pass


@pytest.fixture
async def images(engine: Engine, fake_engine: Any) -> AsyncIterator[RuntimeImages]:
    fake_engine.add_image("debian:bookworm-slim")
    fake_engine.add_image("debian:trixie-slim")
    images = RuntimeImages(engine)
    yield images
    await images.close()


class Make:
    def __init__(self, engine: Engine, images: RuntimeImages) -> None:
        self._engine, self._images = engine, images

    def __call__(self, choice: str = "own", *, nearest: bool = False) -> ServedRuntimes:
        return ServedRuntimes(self._engine, self._images, parse(choice), nearest=nearest)


@pytest.fixture
def make(engine: Engine, images: RuntimeImages) -> Make:
    return Make(engine, images)


async def test_berth_s_own_is_built(make: Make, images: RuntimeImages, fake_engine: Any) -> None:
    """It has an agent, and no registry is asked."""
    served = make()
    assert await served.existing("python3.11") is None
    serving = await served.ensure("python3.11", quiet)
    assert (serving.reference, serving.foreign) == (images.reference("python3.11"), None)
    assert await served.existing("python3.11") == serving.reference
    assert fake_engine.pulls == []


async def test_aws_s_serves_where_berth_has_none(make: Make, fake_engine: Any) -> None:
    """Pulled once, and pinned by its identifier, with what the engine says of it."""
    fake_engine.registry.add(AWS)
    told: list[str] = []
    serving = await make().ensure("python3.12", told.append)
    assert await make().ensure("python3.12", quiet) == serving
    assert serving.reference == fake_engine.images[AWS]["Id"]
    assert serving.foreign is not None
    assert serving.foreign.identifier == serving.reference
    assert (fake_engine.pulls, told[0]) == ([AWS], f"pulling {AWS}")


async def test_an_image_that_is_there_is_not_pulled(make: Make, fake_engine: Any) -> None:
    """`docker load` on a machine without a registry is enough."""
    identity = fake_engine.add_image(AWS)
    assert (await make().ensure("python3.12", quiet)).reference == identity
    assert fake_engine.pulls == []


async def test_fresh_pulls_in_any_case(make: Make, fake_engine: Any) -> None:
    """AWS's tags move with security updates."""
    before = fake_engine.add_image(AWS)
    fake_engine.registry.add(AWS)
    assert (await make().ensure("python3.12", quiet, fresh=True)).reference != before


async def test_aws_s_for_all(make: Make, fake_engine: Any) -> None:
    """By one setting, an exception included."""
    fake_engine.registry |= {"public.ecr.aws/lambda/python:3.11", "public.ecr.aws/lambda/provided:al2023"}
    served = make("aws,python3.13=own")
    for runtime in ("python3.11", "provided.al2023"):
        assert (await served.ensure(runtime, quiet)).foreign is not None
    assert (await served.ensure("python3.13", quiet)).foreign is None
    assert [served.source(name) for name in ("python3.11", "python3.13")] == ["aws", "own"]


@pytest.mark.parametrize(
    ("image", "pulled"),
    [
        ("mine/py", "mine/py:latest"),
        ("registry:5000/py:1", "registry:5000/py:1"),
        ("mine@sha256:ab", "mine:sha256:ab"),
    ],
)
async def test_somebody_s_own_image(make: Make, fake_engine: Any, image: str, pulled: str) -> None:
    """By tag or by digest, which the engine's API writes as a tag too; one that cannot be had is an error."""
    served = make(f"python3.11={image}", nearest=True)
    assert (served.source("python3.11"), served.stand_in("python3.11")) == ("custom", None)
    with pytest.raises(
        RuntimeUnavailable, match=r"cannot be pulled \(dial tcp: lookup registry.*python3.11=own"
    ):
        await served.ensure("python3.11", quiet)
    assert fake_engine.pulls == [pulled]


async def test_without_an_image_the_ways_out_are_named(make: Make) -> None:
    """The registry's words, and what to do."""
    with pytest.raises(RuntimeUnavailable) as failed:
        await make().ensure("python3.12", quiet)
    assert str(failed.value) == (
        "there is no image for the runtime python3.12: Berth has none of its own, and public.ecr.aws/lambda/python:3.12 "
        "cannot be pulled (dial tcp: lookup registry: no such host). Ways out: load public.ecr.aws/lambda/python:3.12 "
        "into the engine (docker load); name another in the setting runtime_images (python3.12=IMAGE); let python3.13 "
        "serve it (setting nearest_runtime)"
    )


async def test_a_family_that_berth_does_not_have(make: Make) -> None:
    """Nothing stands in for Java, whatever the setting."""
    with pytest.raises(RuntimeUnavailable, match=r"runtime java21.*java21=IMAGE\)$"):
        await make(nearest=True).ensure("java21", quiet)


async def test_the_nearest_stands_in(
    make: Make, images: RuntimeImages, fake_engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """With one warning. The registry is not asked for every sandbox."""
    served = make(nearest=True)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            serving = await served.ensure("python3.12", quiet)
            assert (serving.reference, serving.stand_in) == (images.reference("python3.13"), "python3.13")
    assert fake_engine.pulls == [AWS]
    assert [record.message for record in caplog.records] == [
        "python3.12 is served by the image of python3.13 (nearest_runtime): dial tcp: lookup registry: no such host"
    ]
    assert await served.existing("python3.12") == serving.reference
    assert "standing in for: python3.12" in repr(served)


async def test_the_right_image_ends_the_standing_in(make: Make, fake_engine: Any) -> None:
    """As soon as the engine holds it."""
    served = make(nearest=True)
    await served.ensure("python3.12", quiet)
    identity = fake_engine.add_image(AWS)
    assert (await served.ensure("python3.12", quiet)).reference == identity
    assert await served.existing("python3.12") is None


async def test_berth_s_own_stands_in_for_aws_s(make: Make, images: RuntimeImages) -> None:
    """Where AWS's are wanted for all, and there is no way to them."""
    serving = await make("aws", nearest=True).ensure("python3.11", quiet)
    assert (serving.reference, serving.stand_in) == (images.reference("python3.11"), "python3.11")


async def test_no_sandbox_stands_by_for_others_images(make: Make, fake_engine: Any) -> None:
    """They need the bundle, and their trees from the start."""
    fake_engine.add_image(AWS)
    assert await make().existing("python3.12") is None


async def test_a_choice_for_a_runtime_that_does_not_exist(make: Make) -> None:
    """A slip of the keyboard is not passed over."""
    with pytest.raises(UnknownRuntime, match=r"no runtime python3\.99"):
        make("python3.99=mine:1")
