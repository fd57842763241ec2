"""`berth deploy` of container images, against the real REST door and an engine that behaves."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.cli import main
from runtime.function_images import FunctionImages
from runtime.spawners.engine import Engine
from runtime.store.garbage import live_images
from tests.component.runtime.conftest import FakeEngine

TEMPLATE = """
Parameters: {Level: {Type: String, Default: low}}
Resources:
  Built:
    Type: AWS::Serverless::Function
    Properties:
      PackageType: Image
      ImageConfig: {Command: [app.handler]}
      AutoPublishAlias: live
    Metadata:
      DockerContext: greet
      Dockerfile: images/Dockerfile
      DockerTag: v1
      DockerBuildArgs: {LEVEL: !Ref Level}
  Named:
    Type: AWS::Lambda::Function
    Properties:
      PackageType: Image
      Code: {ImageUri: "team/app:1"}
      Role: arn:aws:iam::123456789012:role/r
"""
Deploys = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
async def held(
    serve: Callable[..., Any], engine: Engine, fake_engine: FakeEngine, tmp_path: Path
) -> AsyncIterator[Any]:
    """A door whose images are an engine's."""
    fake_engine.add_image("team/app:1")
    images = FunctionImages(engine, "me")
    async with serve(tmp_path / "data", images=images) as door:
        images.open(lambda: live_images(door.store.catalog))
        yield door
        await images.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "greet" / "images").mkdir(parents=True)
    (folder / "greet" / "images" / "Dockerfile").write_text("FROM scratch\n")
    (folder / "greet" / "app.py").write_text("x = 1\n")
    (folder / "template.yaml").write_text(TEMPLATE)
    return folder


@pytest.fixture
def deploy(held: Any, fake_engine: FakeEngine, folder: Path, capfd: pytest.CaptureFixture[str]) -> Deploys:
    """The command, from the folder's template; exit code and stderr."""

    async def run(*arguments: str) -> tuple[int, str]:
        places = ("--template", str(folder / "template.yaml"), "--docker-host", fake_engine.url)
        code = await held.aside(main, ["deploy", *places, "--url", held.url, "--json", *arguments])
        captured = capfd.readouterr()
        run.__dict__["out"] = captured.out
        return code, captured.err

    return run


async def actions(deploy: Deploys, *arguments: str) -> dict[str, str]:
    """What became of each resource."""
    code, err = await deploy(*arguments)
    assert code == 0, err
    return {each["logical_id"]: each["action"] for each in json.loads(deploy.__dict__["out"])["resources"]}


async def code_of(door: Any, function: str, **more: str) -> dict[str, str]:
    found: dict[str, str] = (await door.call("get_function", FunctionName=function, **more))["Code"]
    return found


def deployed_tags(fake_engine: FakeEngine) -> list[str]:
    return [name for name in fake_engine.images if name.startswith("shop-built:berth-")]


async def test_images_are_built_and_named(held: Any, deploy: Deploys, fake_engine: FakeEngine) -> None:
    """One is built as the metadata say and deployed under a name that stands for it; the other is taken as it is."""
    assert await actions(deploy) == {"Built": "created", "Named": "created"}
    [build] = fake_engine.builds
    assert (build["t"], build["dockerfile"]) == ("shop-built:v1", "images/Dockerfile")
    assert build["buildargs"] == {"LEVEL": "low"}
    assert b"app.py" in build["context"]
    identifier = fake_engine.images["shop-built:v1"]["Id"]
    uri = f"shop-built:berth-{identifier.removeprefix('sha256:')[:16]}"
    assert (await code_of(held, "shop-Built"))["ImageUri"] == uri
    assert (await code_of(held, "shop-Named"))["ImageUri"] == "team/app:1"
    told = await held.call("get_function_configuration", FunctionName="shop-Built", Qualifier="live")
    assert (told["Version"], told["PackageType"]) == ("1", "Image")
    assert told["ImageConfigResponse"] == {"ImageConfig": {"Command": ["app.handler"]}}


async def test_a_second_run_changes_nothing(deploy: Deploys, fake_engine: FakeEngine) -> None:
    """What is built again is the same image."""
    await actions(deploy)
    assert await actions(deploy) == {"Built": "unchanged", "Named": "unchanged"}
    assert len(deployed_tags(fake_engine)) == 1


async def test_changed_files_make_another_image(
    held: Any, deploy: Deploys, fake_engine: FakeEngine, folder: Path
) -> None:
    """The alias follows it; the name of the one before goes, and the version that runs on it keeps the image."""
    await actions(deploy)
    before = await code_of(held, "shop-Built")
    (folder / "greet" / "app.py").write_text("x = 2\n")
    assert await actions(deploy) == {"Built": "updated", "Named": "unchanged"}
    after = await code_of(held, "shop-Built", Qualifier="live")
    assert after["ImageUri"] != before["ImageUri"]
    assert deployed_tags(fake_engine) == [after["ImageUri"]]
    assert await code_of(held, "shop-Built", Qualifier="1") == before
    digest = before["ResolvedImageUri"].partition("@sha256:")[2]
    assert f"berth-pin/me:{digest}" in fake_engine.images


async def test_a_name_that_leads_elsewhere(held: Any, deploy: Deploys, fake_engine: FakeEngine) -> None:
    """An image that is named is looked at again with each run."""
    await actions(deploy)
    identifier = fake_engine.add_image("team/app:1")
    assert (await actions(deploy))["Named"] == "updated"
    assert (await code_of(held, "shop-Named"))["ResolvedImageUri"] == f"team/app@{identifier}"


async def test_image_config_is_compared(held: Any, deploy: Deploys, folder: Path) -> None:
    """What the template no longer says is the image's affair again."""
    await actions(deploy)
    template = folder / "template.yaml"
    template.write_text(TEMPLATE.replace("ImageConfig: {Command: [app.handler]}", "Timeout: 3"))
    assert (await actions(deploy))["Built"] == "updated"
    told = await held.call("get_function_configuration", FunctionName="shop-Built")
    assert "ImageConfigResponse" not in told
    assert (await actions(deploy))["Built"] == "unchanged"


async def test_a_dry_run_builds_nothing(held: Any, deploy: Deploys, fake_engine: FakeEngine) -> None:
    """So it cannot tell whether the image will be another, and says that it is updated."""
    assert await actions(deploy, "--dry-run") == {"Built": "created", "Named": "created"}
    assert fake_engine.builds == []
    await actions(deploy)
    assert await actions(deploy, "--dry-run") == {"Built": "updated", "Named": "unchanged"}
    assert len(fake_engine.builds) == 1


async def test_a_build_that_fails(held: Any, deploy: Deploys, fake_engine: FakeEngine) -> None:
    """Before anything is deployed; the error has the builder's last lines and the place in the template."""
    fake_engine.build_steps = [{"stream": "Step 1/1 : FROM x\n"}, {"error": "no such stage"}]
    code, err = await deploy()
    assert code == 2
    assert "Resources.Built.Metadata: building shop-built:v1 failed: no such stage" in err
    assert (await held.call("list_functions"))["Functions"] == []


async def test_a_dockerfile_that_is_not_there(deploy: Deploys, folder: Path) -> None:
    """It is looked for in the context, and the error says where."""
    (folder / "greet" / "images" / "Dockerfile").unlink()
    code, err = await deploy()
    assert code == 2
    assert "there is no file" in err
    assert "greet/images/Dockerfile" in err


async def test_without_an_engine(held: Any, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The command needs the engine to build; the error says what to do."""
    places = ("--template", str(folder / "template.yaml"), "--docker-host", f"unix://{folder}/nobody")
    assert await held.aside(main, ["deploy", *places, "--url", held.url]) == 2
    assert "no container engine can be reached" in capfd.readouterr().err


async def test_what_a_failed_run_did_is_taken_back(
    held: Any, deploy: Deploys, fake_engine: FakeEngine, folder: Path
) -> None:
    """The function has the image again that it had: it is still there, by its digest."""
    await actions(deploy)
    before = await code_of(held, "shop-Built")
    (folder / "greet" / "app.py").write_text("x = 2\n")
    (folder / "template.yaml").write_text(TEMPLATE.replace("team/app:1", "team/missing:1"))
    code, err = await deploy()
    assert code == 2
    assert "Source image team/missing:1 does not exist" in err
    assert "Built: putting back the code of shop-Built" in err
    assert (await code_of(held, "shop-Built"))["ResolvedImageUri"] == before["ResolvedImageUri"]


async def test_a_package_does_not_become_an_image(deploy: Deploys, folder: Path) -> None:
    """As with Lambda, the function has to be made anew for that."""
    await actions(deploy)
    changed = TEMPLATE.replace('PackageType: Image\n      Code: {ImageUri: "team/app:1"}', "Code: greet")
    (folder / "template.yaml").write_text(changed + "      Runtime: python3.11\n      Handler: app.handler\n")
    code, err = await deploy()
    assert code == 2
    assert "Please provide ImageUri when updating a function with packageType Image." in err
