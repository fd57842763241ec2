"""Layers through boto3, by themselves and under functions."""

import base64
import hashlib
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

LAYER = "arn:aws:lambda:us-east-1:123456789012:layer:"
INVALID = "InvalidParameterValueException"
MISSING = (404, "ResourceNotFoundException", "The resource you requested does not exist.")


@pytest.fixture
def publish(door: Any, zip_of: Callable[..., bytes]) -> Callable[..., Any]:
    async def publish(name: str = "lib", /, **params: Any) -> Any:
        members = {"Content": {"ZipFile": zip_of()}} | params
        return await door.call("publish_layer_version", LayerName=name, **members)

    return publish


async def test_life_of_a_layer_version(
    door: Any, publish: Callable[..., Any], zip_of: Callable[..., bytes]
) -> None:
    """A version is published, read by number and by ARN, downloaded and deleted."""
    package = zip_of(lib="x = 1\n")
    members = {
        "Description": "d",
        "LicenseInfo": "MIT",
        "CompatibleRuntimes": ["python3.12", "python3.13"],
        "CompatibleArchitectures": ["x86_64"],
    }
    published = await publish(Content={"ZipFile": package}, **members)
    assert published.pop("ResponseMetadata")["HTTPStatusCode"] == 201
    location = published["Content"].pop("Location")
    assert published["Content"] == {
        "CodeSha256": base64.b64encode(hashlib.sha256(package).digest()).decode(),
        "CodeSize": len(package),
    }
    assert members.items() <= published.items()
    assert (published["LayerArn"], published["Version"]) == (f"{LAYER}lib", 1)
    for params in (
        {"LayerName": "lib", "VersionNumber": 1},
        {"LayerName": f"{LAYER}lib", "VersionNumber": 1},
    ):
        got = await door.call("get_layer_version", **params)
        assert got["LayerVersionArn"] == published["LayerVersionArn"] == f"{LAYER}lib:1"
    got = await door.call("get_layer_version_by_arn", Arn=f"{LAYER}lib:1")
    assert got["CreatedDate"] == published["CreatedDate"]

    def download() -> bytes:
        with urllib.request.urlopen(location) as response:  # noqa: S310 - our own server
            found: bytes = response.read()
            return found

    assert await door.aside(download) == package
    deleted = await door.call("delete_layer_version", LayerName="lib", VersionNumber=1)
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert await door.refused("get_layer_version", LayerName="lib", VersionNumber=1) == MISSING
    await door.call("delete_layer_version", LayerName="lib", VersionNumber=1)


async def test_numbers_are_not_used_twice(door: Any, publish: Callable[..., Any]) -> None:
    """After versions 1 and 2 are deleted the next is 3."""
    for number in (1, 2):
        assert (await publish())["Version"] == number
        await door.call("delete_layer_version", LayerName="lib", VersionNumber=number)
    assert (await publish())["Version"] == 3


async def test_lists_and_filters(door: Any, publish: Callable[..., Any]) -> None:
    """Versions come newest first; layers come with their newest version that fits the filter."""
    await publish(CompatibleRuntimes=["python3.12"])
    await publish(CompatibleRuntimes=["nodejs22.x"], CompatibleArchitectures=["arm64"])
    await publish("other")

    async def versions(**params: Any) -> list[int]:
        found = await door.call("list_layer_versions", LayerName="lib", **params)
        return [version["Version"] for version in found["LayerVersions"]]

    async def layers(**params: Any) -> list[tuple[str, int]]:
        found = (await door.call("list_layers", **params))["Layers"]
        return [(layer["LayerName"], layer["LatestMatchingVersion"]["Version"]) for layer in found]

    assert await versions() == [2, 1]
    assert await versions(CompatibleRuntime="python3.12") == [1]
    assert await versions(CompatibleArchitecture="arm64", CompatibleRuntime="python3.12") == []
    assert await layers() == [("lib", 2), ("other", 1)]
    assert await layers(CompatibleRuntime="python3.12") == [("lib", 1)]
    page = await door.call("list_layer_versions", LayerName="lib", MaxItems=1)
    assert [version["Version"] for version in page["LayerVersions"]] == [2]
    assert await versions(Marker=page["NextMarker"]) == [1]
    assert (await door.call("list_layer_versions", LayerName="none"))["LayerVersions"] == []


@pytest.mark.parametrize("number", [0, -1])
async def test_version_below_one(door: Any, number: int) -> None:
    """Versions begin with 1."""
    for operation in ("get_layer_version", "delete_layer_version"):
        refused = await door.refused(operation, LayerName="lib", VersionNumber=number)
        assert refused == (400, INVALID, "Layer Version Cannot be less than 1")


async def test_refusals(door: Any, publish: Callable[..., Any]) -> None:
    """What is missing is missing, foreign layers are not written, bad zips are not stored."""
    assert await door.refused("get_layer_version_by_arn", Arn=f"{LAYER}lib:1") == MISSING
    foreign = LAYER.replace("us-east-1", "eu-west-1") + "lib"
    params = {"LayerName": foreign, "Content": {"ZipFile": b"x"}}
    assert await door.refused("publish_layer_version", **params) == MISSING
    status, code, text = await door.refused(
        "publish_layer_version", LayerName="lib", Content={"ZipFile": b"x"}
    )
    assert (status, code, text.startswith("Could not unzip")) == (400, INVALID, True)
    params = {
        "LayerName": "lib",
        "Content": {},
        "CompatibleRuntimes": ["x"],
        "CompatibleArchitectures": ["y"],
    }
    _, code, text = await door.refused("publish_layer_version", **params)
    assert (code, text[:29]) == ("ValidationException", "2 validation errors detected:")


async def test_function_with_layers(door: Any, publish: Callable[..., Any]) -> None:
    """A function pins layer versions, keeps them after their deletion, and lets go of them all at once."""
    first, second = (await publish("a"))["LayerVersionArn"], (await publish("b"))["LayerVersionArn"]
    created = await door.created(Layers=[second, first])
    assert [layer["Arn"] for layer in created["Layers"]] == [second, first]
    assert created["Layers"][0]["CodeSize"] > 0
    await door.call("delete_layer_version", LayerName="a", VersionNumber=1)
    await door.call("update_function_configuration", FunctionName="f", Layers=[first])
    await door.wait("function_updated_v2")
    got = await door.call("get_function_configuration", FunctionName="f")
    assert [layer["Arn"] for layer in got["Layers"]] == [first]
    updated = await door.call("update_function_configuration", FunctionName="f", Layers=[])
    assert "Layers" not in updated
    await door.wait("function_updated_v2")
    refused = await door.refused("update_function_configuration", FunctionName="f", Layers=[first])
    assert refused == (400, INVALID, f"Layer version {first} does not exist.")


async def test_rules_for_references(door: Any, publish: Callable[..., Any]) -> None:
    """At most five layers, one version of each, from the function's region, that exist."""
    await door.created()
    one, two = (await publish())["LayerVersionArn"], (await publish())["LayerVersionArn"]
    abroad = one.replace("us-east-1", "eu-west-1")
    for arns, text in (
        ([f"{LAYER}l{n}:1" for n in range(6)], "Cannot reference more than 5 layers."),
        (
            [one, two],
            (
                "Two different versions of the same layer are not allowed to be referenced in the same function. "
                f"{one} and {two} are versions of the same layer."
            ),
        ),
        (
            [abroad],
            (
                "Layers are not in the same region as the function. "
                "Layers are expected to be in region us-east-1."
            ),
        ),
        ([f"{LAYER}none:1"], f"Layer version {LAYER}none:1 does not exist."),
    ):
        refused = await door.refused("update_function_configuration", FunctionName="f", Layers=arns)
        assert refused == (400, INVALID, text)
