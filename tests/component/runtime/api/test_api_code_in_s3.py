"""Packages in S3, through boto3 as the client and a server that speaks S3's protocol."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from runtime import objects as objects_module
from runtime.objects import ObjectName, Objects, ObjectTooLarge, ObjectUnreachable
from tests.helpers.s3 import S3, Broken, serving_s3


@pytest.fixture(autouse=True)
def _no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the person who runs the tests, and no question to a cloud's metadata service."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))


@pytest.fixture
async def s3() -> AsyncIterator[S3]:
    async with serving_s3() as server:
        yield server


@pytest.fixture
async def door(
    tmp_path: Path, s3: S3, serve: Callable[[Path], AbstractAsyncContextManager[Any]]
) -> AsyncIterator[Any]:
    """The REST door with that server as its S3."""
    async with serve(tmp_path / "data") as door:
        reader = Objects(s3.url, "us-east-1")
        object.__setattr__(door.api._services, "objects", reader)
        yield door


def sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


async def test_a_function_is_created_from_s3(door: Any, s3: S3, zip_of: Callable[..., bytes]) -> None:
    """The bucket is part of the path, so that any host name will do."""
    package = zip_of(app="A = 1")
    s3.put("code", "folder/my code.zip", package)
    made = await door.created(Code={"S3Bucket": "code", "S3Key": "folder/my code.zip"})
    assert (made["CodeSha256"], made["CodeSize"]) == (sha256(package), len(package))
    assert s3.asked[0].raw_path == "/code/folder/my%20code.zip"


async def test_code_is_updated_from_a_version_of_an_object(
    door: Any, s3: S3, zip_of: Callable[..., bytes]
) -> None:
    """S3ObjectVersion names one."""
    new = zip_of(app="B = 1")
    s3.put("code", "a.zip?v2", new)
    await door.created()
    where = {"FunctionName": "f", "S3Bucket": "code", "S3Key": "a.zip", "S3ObjectVersion": "v2"}
    tried = await door.call("update_function_code", DryRun=True, **where)
    assert tried["CodeSha256"] == sha256(new)
    assert (await door.call("update_function_code", **where))["CodeSha256"] == sha256(new)


async def test_a_layer_is_published_from_s3(door: Any, s3: S3, zip_of: Callable[..., bytes]) -> None:
    """The same for content of layers."""
    package = zip_of(words="WORD = 1")
    s3.put("code", "layer.zip", package)
    made = await door.call(
        "publish_layer_version", LayerName="l", Content={"S3Bucket": "code", "S3Key": "layer.zip"}
    )
    assert made["Content"]["CodeSha256"] == sha256(package)


async def test_more_than_a_request_could_hold_comes_from_s3(
    door: Any, s3: S3, zip_of: Callable[..., bytes]
) -> None:
    """The limit of zipped sizes is one of requests."""
    import io
    import zipfile

    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:  # stored, not compressed
        archive.writestr("app.py", bytes(53_000_000))
    s3.put("code", "large.zip", target.getvalue())
    made = await door.created(Code={"S3Bucket": "code", "S3Key": "large.zip"})
    assert made["CodeSize"] == len(target.getvalue()) > 52_428_800


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (
            {"S3Bucket": "nowhere", "S3Key": "a.zip"},
            (
                "Error occurred while GetObject. S3 Error Code: NoSuchBucket. "
                "S3 Error Message: The specified bucket does not exist"
            ),
        ),
        (
            {"S3Bucket": "code", "S3Key": "missing.zip"},
            (
                "Error occurred while GetObject. S3 Error Code: NoSuchKey. "
                "S3 Error Message: The specified key does not exist."
            ),
        ),
        (
            {"S3Bucket": "code", "S3Key": "a.zip", "S3ObjectVersion": "v9"},
            (
                "Error occurred while GetObject. S3 Error Code: NoSuchVersion. "
                "S3 Error Message: The specified version does not exist."
            ),
        ),
        (
            {"S3Bucket": "code", "S3Key": "a.zip", "ZipFile": b"x"},
            "Please do not provide other FunctionCode parameters when providing a ZipFile.",
        ),
        ({"S3Bucket": "code"}, "Please provide a source for function code."),
        ({"S3Key": "a.zip"}, "Please provide a source for function code."),
        (
            {"S3Bucket": "code", "S3Key": "text"},
            "Could not unzip uploaded file. Please check your file, then try to upload again.",
        ),
    ],
)
async def test_refusals_are_worded_as_on_aws(door: Any, s3: S3, members: dict[str, Any], text: str) -> None:
    """What S3 says is passed on; the function is not there then."""
    s3.put("code", "text", b"no zip")
    refusal = await door.refused(
        "create_function",
        FunctionName="f",
        Runtime="python3.12",
        Handler="app.handler",
        Role="arn:aws:iam::123456789012:role/r",
        Code=members,
    )
    assert refusal == (400, "InvalidParameterValueException", text)
    assert list(door.store.catalog.all_functions()) == []


async def publish_refused(door: Any, key: str = "a.zip") -> tuple[int, str, str]:
    refusal: tuple[int, str, str] = await door.refused(
        "publish_layer_version", LayerName="l", Content={"S3Bucket": "code", "S3Key": key}
    )
    return refusal


async def test_who_may_not_read_is_told_so(door: Any, s3: S3) -> None:
    """AWS has an error of its own for that."""
    s3.put("code", "a.zip", b"")
    s3.buckets["code"].refusal = "AccessDenied"
    assert await publish_refused(door) == (
        403,
        "AccessDeniedException",
        (
            "Your access has been denied by S3, please make sure your request credentials have permission to GetObject "
            "for code/a.zip. S3 Error Code: AccessDenied. S3 Error Message: Access Denied"
        ),
    )


async def test_a_server_in_trouble_is_asked_twice(door: Any, s3: S3) -> None:
    """Then its trouble is told."""
    s3.put("code", "a.zip", b"")
    s3.buckets["code"].refusal = "InternalError"
    _, code, text = await publish_refused(door)
    assert (code, len(s3.asked)) == ("InvalidParameterValueException", 2)
    assert "S3 Error Code: InternalError" in text


async def test_an_object_that_ends_early_is_no_package(door: Any, s3: S3) -> None:
    """A connection that is cut is told, and nothing of it stored."""
    s3.put("code", "a.zip", Broken(100, b"PK"))
    _, code, text = await publish_refused(door)
    assert code == "InvalidParameterValueException"
    assert text.startswith("Error occurred while GetObject. S3 cannot be read: ")


@pytest.mark.parametrize("announced", [300_000_000, None])
async def test_an_object_that_is_too_large_is_not_read(door: Any, s3: S3, announced: int | None) -> None:
    """Whether it says how large it is or never ends."""
    reader = door.api._services.objects
    s3.put("code", "a.zip", Broken(announced, bytes(1 << 20), "repeat"))
    with pytest.raises(ObjectTooLarge):
        await reader.read(ObjectName("code", "a.zip"), 5_000_000)
    if announced:
        assert await publish_refused(door) == (
            400,
            "InvalidParameterValueException",
            "Unzipped size must be smaller than 262144000 bytes",
        )


async def test_an_object_that_does_not_come_is_given_up(
    door: Any, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is told; the thread ends by itself, because the SDK waits no longer either."""
    monkeypatch.setattr(objects_module, "READ_LIMIT", 0.2)
    s3.put("code", "a.zip", Broken(100, b"PK", "wait"))
    _, _, text = await publish_refused(door)
    assert s3.stuck
    assert "Read timeout" in text


async def test_time_for_an_object_is_bounded_as_a_whole(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """However lively the other side is, and whoever else is being served."""
    monkeypatch.setattr(objects_module, "LIMIT", 0.3)
    s3.put("code", "a.zip", Broken(None, b"PK", "repeat"))
    reader = Objects(s3.url, "us-east-1")
    names = [ObjectName("code", "a.zip")] * 4  # more than may be read at once
    found = await asyncio.gather(*(reader.read(name, 1 << 40) for name in names), return_exceptions=True)
    assert [type(each) for each in found] == [ObjectUnreachable] * 4


async def test_credentials_are_found_as_the_aws_cli_finds_them(
    door: Any, s3: S3, zip_of: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With some the request is signed; an SDK variable for the endpoint, which may lead to Berth, counts for nothing."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    s3.put("code", "a.zip", zip_of())
    await door.created(Code={"S3Bucket": "code", "S3Key": "a.zip"})
    assert "Credential=AKIDEXAMPLE/" in s3.asked[0].headers["Authorization"]


async def test_without_credentials_a_named_endpoint_is_asked_without(
    door: Any, s3: S3, zip_of: Callable[..., bytes]
) -> None:
    """Emulators do not mind."""
    s3.put("code", "a.zip", zip_of())
    await door.created(Code={"S3Bucket": "code", "S3Key": "a.zip"})
    assert "Authorization" not in s3.asked[0].headers


async def test_without_credentials_and_endpoint_it_says_what_to_do(
    tmp_path: Path, serve: Callable[[Path], AbstractAsyncContextManager[Any]]
) -> None:
    """Nothing is asked of AWS."""
    async with serve(tmp_path / "data") as door:
        _, code, text = await publish_refused(door)
    assert code == "InvalidParameterValueException"
    assert "no AWS credentials" in text
    assert "aws_endpoint_url" in text


async def test_an_endpoint_where_nobody_listens_is_named(
    tmp_path: Path, unused_port: int, serve: Callable[[Path], AbstractAsyncContextManager[Any]]
) -> None:
    """The text tells which address did not answer."""
    reader = Objects(f"http://127.0.0.1:{unused_port}", "us-east-1")
    with pytest.raises(ObjectUnreachable, match=rf"http://127\.0\.0\.1:{unused_port}/code/a\.zip"):
        await reader.read(ObjectName("code", "a.zip"), 10)


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_objects_are_read_two_at_a_time(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    1. Three objects are asked for; two do not come, and nobody waits for these any more.
    2. The other side hangs up.
    Result: the third is read only then.
    """
    for key in "ab":
        s3.put("code", key, Broken(100, b"PK", "wait"))
    s3.put("code", "c", b"whole")
    reader = Objects(s3.url, "us-east-1")
    stuck = [asyncio.create_task(reader.read(ObjectName("code", key), 1000)) for key in "ab"]
    await s3.until(lambda: len(s3.stuck) == 2)
    third = asyncio.create_task(reader.read(ObjectName("code", "c"), 1000))
    for task in stuck:
        task.cancel()
    await asyncio.wait(stuck)
    s3.hang_up()
    assert await third == b"whole"
    assert s3.order[2:] == ["hang up", "/code/c"]
