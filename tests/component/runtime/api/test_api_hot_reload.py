"""Directories of the host as code, through boto3: who may have which, and what becomes of them."""

import base64
import hashlib
import io
import shutil
import urllib.request
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from runtime.api.function_door import FunctionDoor
from runtime.api.live_code import LiveCode
from runtime.directories import Directories
from runtime.directory_zips import snapshot
from runtime.model import Scope
from tests.component.runtime.api.test_api_for_functions import client, refused

SCOPE = Scope("123456789012", "us-east-1")
Serve = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A directory that may be code."""
    found = tmp_path / "host" / "code"
    found.mkdir(parents=True)
    (found / "app.py").write_text("1")
    return found


@pytest.fixture
async def door(tmp_path: Path, code: Path, serve: Serve) -> AsyncIterator[Any]:
    live = LiveCode(Directories([code.parent]))
    async with serve(tmp_path / "data", live=live) as door:
        yield door


def place(directory: Path | str) -> dict[str, str]:
    return {"S3Bucket": "hot-reload", "S3Key": str(directory)}


def sha256(directory: Path) -> str:
    return base64.b64encode(hashlib.sha256(snapshot(directory, 1 << 20)).digest()).decode()


def downloaded(location: str) -> bytes:
    """The function's file, by the link that GetFunction gives."""
    with urllib.request.urlopen(location) as answer:  # noqa: S310  our own
        return zipfile.ZipFile(io.BytesIO(answer.read())).read("app.py")


async def test_function_of_a_directory(door: Any, code: Path) -> None:
    """Its hash and size are those of a zip of what was there; GetFunction says where it is."""
    made = await door.created(Code=place(code))
    assert made["CodeSha256"] == sha256(code)
    found = await door.call("get_function", FunctionName="f")
    assert found["Code"]["RepositoryType"] == "hot-reload"
    location = found["Code"]["Location"]
    assert location.partition("#")[2] == str(code)
    (code / "app.py").write_text("2")
    assert await door.aside(downloaded, location) == b"1"
    assert door.store.catalog.function(SCOPE, "f").code.directory == str(code)


async def test_zip_and_directory_take_turns(door: Any, code: Path, zip_of: Callable[..., bytes]) -> None:
    """UpdateFunctionCode leads there and back."""
    await door.created()
    await door.call("update_function_code", FunctionName="f", **place(code))
    await door.wait("function_updated_v2")
    assert door.store.catalog.function(SCOPE, "f").directories == (str(code),)
    await door.call("update_function_code", FunctionName="f", ZipFile=zip_of())
    await door.wait("function_updated_v2")
    assert door.store.catalog.function(SCOPE, "f").directories == ()


async def test_versions_are_of_what_was_there(door: Any, code: Path) -> None:
    """Each is a package like any other; publishing without a change gives the last one."""
    await door.created(Code=place(code), Publish=True)
    first = sha256(code)
    assert (await door.call("publish_version", FunctionName="f"))["Version"] == "1"
    (code / "app.py").write_text("2")
    second = await door.call("publish_version", FunctionName="f", CodeSha256=sha256(code))
    assert (second["Version"], second["CodeSha256"]) == ("2", sha256(code))
    found = await door.call("get_function", FunctionName="f", Qualifier="1")
    assert found["Configuration"]["CodeSha256"] == first
    assert await door.aside(downloaded, found["Code"]["Location"]) == b"1"
    catalog = door.store.catalog
    assert [each.directories for each in catalog.versions(SCOPE, "f")] == [(str(code),), (), ()]


async def test_publishing_something_else_than_was_meant(door: Any, code: Path) -> None:
    """A hash that the caller gives is compared with what would be published."""
    made = await door.created(Code=place(code))
    (code / "app.py").write_text("2")
    status, kind, text = await door.refused(
        "publish_version", FunctionName="f", CodeSha256=made["CodeSha256"]
    )
    assert (status, kind) == (400, "InvalidParameterValueException")
    assert sha256(code) in text


async def test_update_that_publishes(door: Any, code: Path) -> None:
    """The function stays live, the version does not."""
    await door.created()
    await door.call("update_function_code", FunctionName="f", Publish=True, **place(code))
    await door.wait("function_updated_v2")
    assert [each.directories for each in door.store.catalog.versions(SCOPE, "f")] == [(str(code),), ()]


async def test_layers(door: Any, code: Path) -> None:
    """A layer version can be a directory; functions that use it are live, their versions not."""
    published = await door.call("publish_layer_version", LayerName="l", Content=place(code))
    assert published["Content"]["CodeSha256"] == sha256(code)
    await door.created(Layers=[published["LayerVersionArn"]])
    (code / "app.py").write_text("2")
    await door.call("publish_version", FunctionName="f")
    latest, version = door.store.catalog.versions(SCOPE, "f")
    assert latest.directories == (str(code),)
    assert version.directories == ()
    [layer] = version.config.layers
    assert base64.b64encode(bytes.fromhex(layer.code.digest)).decode() == sha256(code)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("/etc", "/etc is in none of the directories that the setting hot_reload names"),
        ("{code}/../..", "is in none of the directories"),
        ("{code}/escape", "is in none of the directories"),
        ("{code}/nothing", "No such file or directory"),
        ("{code}/app.py", "is not a directory"),
        ("code", "code is not an absolute path"),
        ("/\0", "null byte"),
    ],
)
async def test_directories_that_are_refused(door: Any, code: Path, key: str, said: str) -> None:
    """Whatever is not below the roots, or is no directory."""
    (code / "escape").symlink_to("/etc")
    status, kind, text = await door.refused(
        "create_function",
        FunctionName="f",
        Runtime="python3.12",
        Handler="app.handler",
        Role="arn:aws:iam::123456789012:role/r",
        Code=place(key.format(code=code)),
    )
    assert (status, kind) == (400, "InvalidParameterValueException")
    assert said in text


async def test_versions_of_objects_mean_nothing(door: Any, code: Path) -> None:
    """What cannot be meant is refused."""
    await door.created()
    _, _, text = await door.refused(
        "update_function_code", FunctionName="f", S3ObjectVersion="1", **place(code)
    )
    assert text == "S3ObjectVersion: a directory of the host has no versions."


async def test_off_unless_there_are_roots(tmp_path: Path, code: Path, serve: Serve) -> None:
    """The refusal says how it is switched on."""
    async with serve(tmp_path / "data") as door:
        await door.created()
        _, kind, text = await door.refused("update_function_code", FunctionName="f", **place(code))
        assert kind == "InvalidParameterValueException"
        assert text.startswith("Hot reload is off.")


async def test_functions_may_not(door: Any, code: Path) -> None:
    """However much else they may do."""
    await door.created()
    functions = FunctionDoor(door.api._sessions)
    functions.api = door.api.for_functions()
    await functions.open("127.0.0.1")
    mine = client(functions.url("127.0.0.1"), functions.begin("a", SCOPE, "127.0.0.1"))
    kind, text = await refused(door, mine.update_function_code, FunctionName="f", **place(code))
    assert (kind, text) == (
        "InvalidParameterValueException",
        "Functions may not use directories of the host as code.",
    )
    await functions.close()


@pytest.mark.parametrize("roots", [[], ["elsewhere"]])
async def test_what_is_allowed_no_longer_is_not_read(
    tmp_path: Path, code: Path, serve: Serve, roots: list[str]
) -> None:
    """A function that was made while it was allowed stays, but nothing of the directory is published."""
    async with serve(tmp_path / "data", live=LiveCode(Directories([code.parent]))) as door:
        await door.created(Code=place(code))
    live = LiveCode(Directories([tmp_path / root for root in roots])) if roots else LiveCode()
    async with serve(tmp_path / "data", live=live) as door:
        _, kind, text = await door.refused("publish_version", FunctionName="f")
        assert kind == "InvalidParameterValueException"
        assert text.startswith("The code cannot be read: ")
        assert "hot_reload" in text


async def test_directory_that_is_gone_is_not_published(door: Any, code: Path) -> None:
    """The refusal says why."""
    await door.created(Code=place(code))
    shutil.rmtree(code)
    _, _, text = await door.refused("publish_version", FunctionName="f")
    assert text == f"The code cannot be read: {code}: No such file or directory"
