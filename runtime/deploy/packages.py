"""Code as deployments send it: a package's bytes, the name of an object in S3 that Berth reads, an image's, or that of a
folder that Berth runs as it is. Pure.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class Package:
    """One of them. `sha256` is what the API will tell of it; None where only Berth can know."""

    members: Mapping[str, Any]
    """As CreateFunction's `Code` and PublishLayerVersion's `Content` have them."""
    sha256: str | None
    is_unbuilt: bool = False
    """Of an image that a dry run does not build: nobody knows what it will be."""
    directory: str | None = None
    """That is run as it is: its content makes no difference to a deployment."""


def zipped(data: bytes) -> Package:
    return Package({"ZipFile": data}, base64.b64encode(sha256(data).digest()).decode())


def stored(bucket: str, key: str, version: str | None) -> Package:
    members = {"S3Bucket": bucket, "S3Key": key}
    return Package(members | ({"S3ObjectVersion": version} if version else {}), None)


def imaged(uri: str, *, unbuilt: bool = False) -> Package:
    return Package({"ImageUri": uri}, None, unbuilt)


def live(bucket: str, directory: str) -> Package:
    return Package({"S3Bucket": bucket, "S3Key": directory}, None, directory=directory)


def live_members(code: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Of a function that runs a directory, by the `Code` of GetFunction: how to say so again. None of other ones."""
    if code.get("RepositoryType", "S3") in _PACKAGED:
        return None
    return live(code["RepositoryType"], unquote(code["Location"].partition("#")[2])).members


_PACKAGED = ("S3", "ECR")
