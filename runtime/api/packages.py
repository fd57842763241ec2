"""Deployment packages on their way in: from a request's members to a stored, inspected `Code`.

Knows AWS's limits and texts. How a zip is read and where bytes are kept belongs to `runtime.bundles` and the store;
functions that are container images have their code from `runtime.api.image_uris`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from runtime.api.calls import Services
from runtime.api.image_uris import taken_image
from runtime.bundles import BadZip, inspect_zip
from runtime.errors import LambdaError, invalid_parameter
from runtime.model import IMAGE, ZIP, Code, FunctionConfig, FunctionVersion, ImageCode
from runtime.objects import ObjectName, ObjectRefused, Objects, ObjectTooLarge, ObjectUnreachable
from runtime.store import Store
from runtime.zips import MAX_UNZIPPED, TOO_LARGE

_log = logging.getLogger(__name__)
ZIPPED_LIMIT = 52_428_800
"""Of a zip in the request. One in S3 is held to what it may unpack to."""
_MOST_SAID = 500
"""Characters of what S3 says that are passed on."""


@dataclass(frozen=True, slots=True)
class Package:
    """A zip that has been checked against every limit."""

    data: bytes
    unzipped_size: int
    directory: str | None = None
    """Of the host, which it is a snapshot of."""


async def take_package(services: Services, members: Mapping[str, Any]) -> Code:
    """Store the package that `members` (of FunctionCode, UpdateFunctionCode or layer content) describe."""
    return await store_package(services.store, await inspect_package(services, members))


def check_kind(package_type: str, members: Mapping[str, Any], doing: str) -> None:
    """Refuse the code of a package of the other kind."""
    if package_type == ZIP and "ImageUri" in members:
        raise invalid_parameter(
            f"Please don't provide ImageUri when {doing} a function with packageType Zip."
        )
    if package_type == IMAGE and "ImageUri" not in members:
        raise invalid_parameter(f"Please provide ImageUri when {doing} a function with packageType Image.")
    if package_type == IMAGE and not members.keys().isdisjoint({"ZipFile", *_S3_MEMBERS}):
        raise invalid_parameter(
            "Please do not provide other FunctionCode parameters when providing an ImageUri."
        )


@asynccontextmanager
async def taken_code(
    services: Services, members: Mapping[str, Any], config: FunctionConfig
) -> AsyncIterator[Code | ImageCode]:
    """The code that `members` describe, checked against every limit for a function of this configuration.

    It is kept for as long as this lasts, and afterwards if a record refers to it by then.
    """
    if config.package_type == IMAGE:
        async with taken_image(services.images, members["ImageUri"], config.architecture) as image:
            yield image
    else:
        package = await inspect_package(services, members)
        check_total_size(package.unzipped_size, (layer.code for layer in config.layers))
        yield await store_package(services.store, package)


async def inspect_package(services: Services, members: Mapping[str, Any]) -> Package:
    """The package; nothing is stored."""
    name = _object_name(members)
    if name is None:
        return await _checked(_zip_member(members))
    directory = await services.live.directory(members)
    if directory is not None:
        return await _checked(await services.live.snapshot(directory), directory)
    return await _checked(await _fetched(services.objects, name))


async def _checked(data: bytes, directory: str | None = None) -> Package:
    try:
        facts = await asyncio.to_thread(inspect_zip, data)
    except BadZip as error:
        _log.info("A package was refused: %s", error.detail)
        raise invalid_parameter(str(error)) from None
    return Package(data, facts.unzipped_size, directory)


async def store_package(store: Store, package: Package) -> Code:
    digest = await store.blobs.put(package.data)
    return Code(digest, len(package.data), package.unzipped_size, package.directory)


async def frozen(services: Services, record: FunctionVersion) -> FunctionVersion:
    """The function with what directories of the host hold now in their place: what is published never changes."""
    if not record.directories:
        return record
    layers = [replace(layer, code=await _frozen_code(services, layer.code)) for layer in record.config.layers]
    code = record.code if isinstance(record.code, ImageCode) else await _frozen_code(services, record.code)
    return replace(record, code=code, config=replace(record.config, layers=tuple(layers)))


async def _frozen_code(services: Services, code: Code) -> Code:
    if code.directory is None:
        return code
    package = await _checked(await services.live.snapshot(code.directory))
    return await store_package(services.store, package)


def _zip_member(members: Mapping[str, Any]) -> bytes:
    data: bytes | None = members.get("ZipFile")
    if data is None:
        raise invalid_parameter(NO_SOURCE)
    if len(data) > ZIPPED_LIMIT:
        raise LambdaError(
            "RequestEntityTooLargeException", f"Zipped size must be smaller than {ZIPPED_LIMIT} bytes"
        )
    return data


def _object_name(members: Mapping[str, Any]) -> ObjectName | None:
    """The object that holds the zip; None where the zip is to be in the request."""
    given = [name for name in _S3_MEMBERS if name in members]
    if not given:
        return None
    if "ZipFile" in members:
        raise invalid_parameter(
            "Please do not provide other FunctionCode parameters when providing a ZipFile."
        )
    if not {"S3Bucket", "S3Key"} <= set(given):
        raise invalid_parameter(NO_SOURCE)
    return ObjectName(members["S3Bucket"], members["S3Key"], members.get("S3ObjectVersion"))


async def _fetched(objects: Objects, name: ObjectName) -> bytes:
    try:
        return await objects.read(name, MAX_UNZIPPED)
    except ObjectTooLarge:
        raise invalid_parameter(TOO_LARGE) from None
    except ObjectUnreachable as error:
        _log.warning("s3://%s/%s: %s", name.bucket, name.key, error)
        raise invalid_parameter(f"Error occurred while GetObject. {error}") from None
    except ObjectRefused as error:
        said = f"S3 Error Code: {error.code}. S3 Error Message: {error.text[:_MOST_SAID]}"
        if error.code == "AccessDenied":
            raise LambdaError(
                "AccessDeniedException",
                "Your access has been denied by S3, please make sure your request credentials have permission to "
                f"GetObject for {name.bucket}/{name.key}. {said}",
            ) from None
        raise invalid_parameter(f"Error occurred while GetObject. {said}") from None


_S3_MEMBERS = ("S3Bucket", "S3Key", "S3ObjectVersion")
NO_SOURCE = "Please provide a source for function code."


def check_total_size(unzipped_size: int, layers: Iterable[Code]) -> None:
    """The 250 MB that a function's code and all its layers may have together."""
    of_layers = sum(layer.unzipped_size for layer in layers)
    if of_layers > MAX_UNZIPPED:
        raise invalid_parameter(f"Layers consume more than the available size of {MAX_UNZIPPED} bytes")
    if (total := unzipped_size + of_layers) > MAX_UNZIPPED:
        raise invalid_parameter(
            "Function code combined with layers exceeds the maximum allowed size of "
            f"{MAX_UNZIPPED} bytes. The actual size is {total} bytes."
        )
