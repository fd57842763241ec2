"""Functions that are container images through boto3: what they show, what is refused, which images are kept."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.function_images import FunctionImages
from runtime.spawners.engine import Engine
from runtime.store.garbage import live_images
from tests.component.runtime.conftest import FakeEngine

INVALID = "InvalidParameterValueException"
ROLE = "arn:aws:iam::123456789012:role/r"
URI = "registry:5000/team/app:1"
DIGEST = "d" * 64


@pytest.fixture
async def held(
    serve: Callable[..., Any], engine: Engine, fake_engine: FakeEngine, tmp_path: Path
) -> AsyncIterator[Any]:
    """A door whose images are an engine's; `URI` is one of them."""
    fake_engine.add_image(URI, RepoDigests=[f"registry:5000/team/app@sha256:{DIGEST}"])
    images = FunctionImages(engine, "me")
    async with serve(tmp_path / "data", images=images) as door:
        images.open(lambda: live_images(door.store.catalog))
        yield door
        await images.close()


def pins(fake_engine: FakeEngine) -> set[str]:
    """The images that are pinned, by a name of theirs."""
    return {
        next(tag for tag in image["RepoTags"] if not tag.startswith("berth-pin/"))
        for name, image in fake_engine.images.items()
        if name.startswith("berth-pin/me:")
    }


def params(**changes: Any) -> dict[str, Any]:
    members = {"FunctionName": "f", "PackageType": "Image", "Role": ROLE, "Code": {"ImageUri": URI}}
    return {name: value for name, value in (members | changes).items() if value is not None}


async def create(door: Any, **changes: Any) -> Any:
    """A function that is an image, once it is active; the answer to its creation."""
    created = await door.call("create_function", **params(**changes))
    await door.wait("function_active_v2", changes.get("FunctionName", "f"))
    return created


async def test_creation(held: Any) -> None:
    """A function of an image is pending and becomes active; it has a digest, and neither runtime nor handler."""
    held.readiness.allowed.clear()
    created = await held.call("create_function", **params())
    assert (created["State"], created["StateReasonCode"]) == ("Pending", "Creating")
    assert created["PackageType"] == "Image"
    assert (created["CodeSha256"], created["CodeSize"]) == (DIGEST, 0)
    assert created["Architectures"] == ["x86_64"]
    absent = {"Runtime", "Handler", "Layers", "RuntimeVersionConfig", "ImageConfigResponse"}
    assert not absent & created.keys()
    held.readiness.allowed.set()
    await held.wait("function_active_v2")


async def test_get_function(held: Any) -> None:
    """Code tells the URI as it was given, and with the digest that it led to."""
    await create(held)
    code = (await held.call("get_function", FunctionName="f"))["Code"]
    assert code == {
        "RepositoryType": "ECR",
        "ImageUri": URI,
        "ResolvedImageUri": f"registry:5000/team/app@sha256:{DIGEST}",
    }


async def test_an_image_that_was_built_here(held: Any, fake_engine: FakeEngine) -> None:
    """Without a registry's digest an image is its own."""
    identifier = fake_engine.add_image("built:1")
    await create(held, Code={"ImageUri": "built:1"})
    found = await held.call("get_function", FunctionName="f")
    assert found["Configuration"]["CodeSha256"] == identifier.removeprefix("sha256:")
    assert found["Code"]["ResolvedImageUri"] == f"built@{identifier}"


NOT_BOTH = "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image."


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"Runtime": "python3.12"}, NOT_BOTH),
        ({"Handler": "app.handler"}, NOT_BOTH),
        (
            {"SnapStart": {"ApplyOn": "PublishedVersions"}},
            "ContainerImage is not supported for SnapStart enabled functions.",
        ),
        (
            {"Code": {"ImageUri": URI, "ZipFile": b"z"}},
            "Please do not provide other FunctionCode parameters when providing an ImageUri.",
        ),
        (
            {"Code": {"ZipFile": b"z"}},
            "Please provide ImageUri when creating a function with packageType Image.",
        ),
        (
            {"Code": {"ImageUri": "team/other:2"}},
            (
                "Source image team/other:2 does not exist. Provide a valid source image. "
                "(Berth pulls none: `docker pull` or `docker build` it on the engine that Berth uses.)"
            ),
        ),
        (
            {"Code": {"ImageUri": "not a name"}},
            "Source image not a name is not valid. Provide a valid source image.",
        ),
        (
            {"Code": {"ImageUri": "../containers/json"}},
            "Source image ../containers/json is not valid. Provide a valid source image.",
        ),
        (
            {"Architectures": ["arm64"]},
            (
                f"Source image {URI} is for the architecture x86_64, the function for arm64. "
                "Provide a valid source image, or another value of Architectures."
            ),
        ),
        ({"ImageConfig": {"Command": ["a\0b"]}}, "ImageConfig: an argument contains NUL."),
    ],
)
async def test_creation_refused(held: Any, changes: dict[str, Any], text: str) -> None:
    """What an image function cannot have, each with its text; nothing is created, nothing pinned."""
    assert await held.refused("create_function", **params(**changes)) == (400, INVALID, text)
    assert (await held.call("list_functions"))["Functions"] == []


async def test_other_systems_are_refused(held: Any, fake_engine: FakeEngine) -> None:
    """An image for Windows is none for Lambda."""
    fake_engine.add_image("windows:1", Os="windows")
    refused = await held.refused("create_function", **params(Code={"ImageUri": "windows:1"}))
    text = "The image manifest, config or layer media type for the source image windows:1 is not supported."
    assert refused == (400, INVALID, text)


async def test_layers_are_refused(held: Any, zip_of: Callable[..., bytes]) -> None:
    """Layers belong to packages."""
    layer = await held.call("publish_layer_version", LayerName="l", Content={"ZipFile": zip_of()})
    arns = [layer["LayerVersionArn"]]
    assert await held.refused("create_function", **params(Layers=arns)) == (400, INVALID, NOT_BOTH)
    await create(held)
    refused = await held.refused("update_function_configuration", FunctionName="f", Layers=arns)
    assert refused == (400, INVALID, NOT_BOTH)


async def test_without_an_engine(door: Any) -> None:
    """Where functions run as local processes there are no images, and no retry would help."""
    status, code, text = await door.refused("create_function", **params())
    assert (status, code) == (400, INVALID)
    assert text.startswith("Functions from container images need a container engine")


async def test_an_engine_that_fails(held: Any, fake_engine: FakeEngine) -> None:
    """Whether there is such an image is not known then, and the caller is told why."""
    fake_engine.failures.append((r"GET /images/.*/json", 500, "a bad moment"))
    status, code, text = await held.refused("create_function", **params())
    assert (status, code) == (500, "ServiceException")
    assert "a bad moment" in text


async def test_image_config(held: Any) -> None:
    """What the function says instead of its image is shown, replaced whole, and cleared by what is empty."""
    config = {"EntryPoint": ["/run"], "Command": ["app.handler"], "WorkingDirectory": "/app"}
    created = await create(held, ImageConfig=config)
    assert created["ImageConfigResponse"] == {"ImageConfig": config}
    for given, shown in (({"Command": ["other"]}, {"ImageConfig": {"Command": ["other"]}}), ({}, None)):
        updated = await held.call("update_function_configuration", FunctionName="f", ImageConfig=given)
        assert updated.get("ImageConfigResponse") == shown
        await held.wait("function_updated_v2")
    await held.call("update_function_configuration", FunctionName="f", ImageConfig=config)
    await held.wait("function_updated_v2")
    nothing = {"EntryPoint": [], "Command": [], "WorkingDirectory": ""}
    updated = await held.call("update_function_configuration", FunctionName="f", ImageConfig=nothing)
    assert "ImageConfigResponse" not in updated


async def test_code_update(held: Any, fake_engine: FakeEngine) -> None:
    """Another image takes the place of the one before, which is let go of when the update has succeeded."""
    await create(held)
    other = fake_engine.add_image("other:1")
    held.readiness.allowed.clear()
    updated = await held.call("update_function_code", FunctionName="f", ImageUri="other:1")
    assert updated["LastUpdateStatus"] == "InProgress"
    assert updated["CodeSha256"] == other.removeprefix("sha256:")
    assert pins(fake_engine) == {URI, "other:1"}
    held.readiness.allowed.set()
    await held.wait("function_updated_v2")
    await until_pinned(held, fake_engine, {"other:1"})


async def until_pinned(held: Any, fake_engine: FakeEngine, wanted: set[str]) -> None:
    """Each call takes its time, in which the engine hears of what changed; a hundred of them are enough."""
    for _ in range(100):
        if pins(fake_engine) == wanted:
            return
        await held.call("list_functions")
    assert pins(fake_engine) == wanted


async def test_a_failed_update_goes_back(held: Any, fake_engine: FakeEngine) -> None:
    """The image before is still there when the new one cannot be prepared."""
    await create(held)
    fake_engine.add_image("other:1")
    held.readiness.fail("InvalidImage", "too large")
    await held.call("update_function_code", FunctionName="f", ImageUri="other:1")
    while True:
        told = await held.call("get_function_configuration", FunctionName="f")
        if told["LastUpdateStatus"] != "InProgress":
            break
    assert (told["LastUpdateStatus"], told["LastUpdateStatusReasonCode"]) == ("Failed", "InvalidImage")
    assert told["CodeSha256"] == DIGEST
    await until_pinned(held, fake_engine, {URI})


async def test_dry_run(held: Any, fake_engine: FakeEngine) -> None:
    """DryRun shows what the update would give, and keeps nothing of it."""
    await create(held)
    other = fake_engine.add_image("other:1")
    shown = await held.call("update_function_code", FunctionName="f", ImageUri="other:1", DryRun=True)
    assert shown["CodeSha256"] == other.removeprefix("sha256:")
    assert (await held.call("get_function_configuration", FunctionName="f"))["CodeSha256"] == DIGEST
    await until_pinned(held, fake_engine, {URI})


@pytest.mark.parametrize(
    ("package_type", "members", "text"),
    [
        (
            "Image",
            {"ZipFile": b"z"},
            "Please provide ImageUri when updating a function with packageType Image.",
        ),
        (
            "Image",
            {"S3Bucket": "bucket", "S3Key": "key"},
            "Please provide ImageUri when updating a function with packageType Image.",
        ),
        (
            "Zip",
            {"ImageUri": URI},
            "Please don't provide ImageUri when updating a function with packageType Zip.",
        ),
    ],
)
async def test_the_kind_of_package_stays(
    held: Any, package_type: str, members: dict[str, Any], text: str
) -> None:
    """A package does not become an image, nor the other way round."""
    if package_type == "Zip":
        await held.created()
    else:
        await create(held)
    assert await held.refused("update_function_code", FunctionName="f", **members) == (400, INVALID, text)


async def test_versions_keep_their_images(held: Any, fake_engine: FakeEngine) -> None:
    """A published version has its image for as long as it exists; an alias leads to it as to any other."""
    await create(held, Publish=True)
    fake_engine.add_image("other:1")
    updated = await held.call("update_function_code", FunctionName="f", ImageUri="other:1", Publish=True)
    assert updated["Version"] == "2"
    await held.wait("function_updated_v2")
    await held.call("create_alias", FunctionName="f", Name="live", FunctionVersion="1")
    found = await held.call("get_function", FunctionName="f", Qualifier="live")
    assert (found["Configuration"]["Version"], found["Code"]["ImageUri"]) == ("1", URI)
    await until_pinned(held, fake_engine, {URI, "other:1"})
    await held.call("delete_alias", FunctionName="f", Name="live")
    await held.call("delete_function", FunctionName="f", Qualifier="1")
    assert ("123456789012", "f") in {(scope.account, name) for scope, name in held.retired}


async def test_publish_by_digest(held: Any) -> None:
    """PublishVersion compares the digest that it is given with the image's."""
    await create(held)
    status, _, text = await held.refused("publish_version", FunctionName="f", CodeSha256="0" * 64)
    assert (status, text.startswith(f"CodeSHA256 ({'0' * 64}) is different")) == (400, True)
    published = await held.call("publish_version", FunctionName="f", CodeSha256=DIGEST)
    assert (published["Version"], published["CodeSha256"]) == ("1", DIGEST)


async def test_moved_tags_change_nothing(held: Any, fake_engine: FakeEngine) -> None:
    """A function has the image that its URI led to when it was made, until its code is updated."""
    await create(held)
    first = fake_engine.images[URI]["Id"]
    second = fake_engine.add_image(URI)
    record = next(iter(held.store.catalog.all_functions()))
    assert record.code.image == first
    await held.call("update_function_code", FunctionName="f", ImageUri=URI)
    await held.wait("function_updated_v2")
    assert next(iter(held.store.catalog.all_functions())).code.image == second


async def test_survives_a_restart(
    serve: Callable[..., Any], engine: Engine, fake_engine: FakeEngine, tmp_path: Path
) -> None:
    """What was stored of an image is read again, and still keeps it."""
    fake_engine.add_image("app:1")
    config = {"EntryPoint": ["/run"], "WorkingDirectory": "/app"}
    for run in range(2):
        images = FunctionImages(engine, "me")
        async with serve(tmp_path / "data", images=images) as door:
            images.open(lambda door=door: live_images(door.store.catalog))  # type: ignore[misc]
            if run == 0:
                await create(door, Code={"ImageUri": "app:1"}, ImageConfig=config)
            found = await door.call("get_function", FunctionName="f")
            assert found["Code"]["ImageUri"] == "app:1"
            assert found["Configuration"]["ImageConfigResponse"] == {"ImageConfig": config}
            await images.close()
    assert pins(fake_engine) == {"app:1"}


async def test_images_count_for_nothing(held: Any) -> None:
    """The code storage of an account is that of packages."""
    await create(held)
    usage = (await held.call("get_account_settings"))["AccountUsage"]
    assert usage == {"TotalCodeSize": 0, "FunctionCount": 1}
