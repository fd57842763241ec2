"""What an engine tells of an image, and what a function's record holds of it."""

from typing import Any

import pytest

from runtime.image_facts import Image, read_image
from runtime.model import ImageCode

ID = "sha256:" + "1" * 64
DIGEST = "2" * 64
OTHER = "3" * 64


def image(*digests: str) -> Image:
    return Image(identifier=ID, digests=digests, system="linux", architecture="x86_64", size=1)


@pytest.mark.parametrize(
    ("uri", "resolved"),
    [
        ("app", "app"),
        ("app:1", "app"),
        ("host:5000/team/app", "host:5000/team/app"),
        ("host:5000/team/app:1", "host:5000/team/app"),
        (f"host/app@sha256:{DIGEST}", "host/app"),
        (f"host:5000/app:1@sha256:{DIGEST}", "host:5000/app"),
    ],
)
def test_resolved_uri(uri: str, resolved: str) -> None:
    """The digest stands in the place of a tag or of another digest; a port is no tag."""
    assert ImageCode(uri, DIGEST, ID).resolved_uri == f"{resolved}@sha256:{DIGEST}"


def test_digest_of_the_asked_repository() -> None:
    """Of several registries' digests the one counts that belongs to the name which was asked for."""
    found = image(f"other/app@sha256:{OTHER}", f"host/app@sha256:{DIGEST}")
    assert found.pinned("host/app:1") == ImageCode("host/app:1", DIGEST, ID)


def test_digest_of_another_repository() -> None:
    """An image that was given another name after a pull still has its digest."""
    assert image(f"other/app@sha256:{OTHER}").pinned("app").digest == OTHER


def test_an_image_that_was_in_no_registry() -> None:
    """One that was built here is its own digest."""
    assert image().pinned("app").digest == "1" * 64


def test_read_whole() -> None:
    """All that functions need is read, in Lambda's words."""
    config = {
        "Entrypoint": ["/run"],
        "Cmd": ["app.handler"],
        "Env": ["PATH=/bin", "EQUATION=a=b", "EMPTY="],
        "WorkingDir": "/app",
    }
    told = {
        "Id": ID,
        "RepoDigests": ["a@sha256:1"],
        "Os": "linux",
        "Architecture": "amd64",
        "Size": 7,
        "Config": config,
    }
    assert read_image(told) == Image(
        identifier=ID,
        digests=("a@sha256:1",),
        system="linux",
        architecture="x86_64",
        size=7,
        entry_point=("/run",),
        command=("app.handler",),
        environment={"PATH": "/bin", "EQUATION": "a=b", "EMPTY": ""},
        working_directory="/app",
    )


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"Config": None},
        {"Config": {"Entrypoint": None, "Cmd": None, "Env": None, "WorkingDir": ""}, "RepoDigests": None},
    ],
)
def test_read_empty(told: dict[str, Any]) -> None:
    """An image may say nothing of itself."""
    found = read_image({"Id": ID, "Os": "linux", "Architecture": "riscv64", **told})
    assert found == Image(identifier=ID, system="linux", architecture="riscv64", size=0)
