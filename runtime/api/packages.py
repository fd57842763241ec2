"""Deployment packages on their way in: from a request's members to a stored, inspected `Code`.

Knows AWS's limits and texts. How a zip is read and where bytes are kept belongs to `runtime.bundles` and the store.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from runtime.api.calls import not_implemented
from runtime.bundles import BadZip, inspect_zip
from runtime.errors import LambdaError, invalid_parameter
from runtime.model import Code
from runtime.store import Store
from runtime.zips import MAX_UNZIPPED

_log = logging.getLogger(__name__)
ZIPPED_LIMIT = 52_428_800


async def take_package(store: Store, members: Mapping[str, Any]) -> Code:
    """Store the package that `members` (of FunctionCode, UpdateFunctionCode or layer content) describe."""
    return await store_package(store, *await inspect_package(members))


async def inspect_package(members: Mapping[str, Any]) -> tuple[bytes, int]:
    """The zip's bytes and its unzipped size, checked against every limit; nothing is stored."""
    data = _zip_member(members)
    if len(data) > ZIPPED_LIMIT:
        raise LambdaError(
            "RequestEntityTooLargeException", f"Zipped size must be smaller than {ZIPPED_LIMIT} bytes"
        )
    try:
        facts = await asyncio.to_thread(inspect_zip, data)
    except BadZip as error:
        _log.info("A package was refused: %s", error.detail)
        raise invalid_parameter(str(error)) from None
    return data, facts.unzipped_size


async def store_package(store: Store, data: bytes, unzipped_size: int) -> Code:
    return Code(await store.blobs.put(data), len(data), unzipped_size)


def _zip_member(members: Mapping[str, Any]) -> bytes:
    if "S3Bucket" in members or "S3Key" in members:
        raise not_implemented("packages in S3 (send the zip itself as ZipFile)")
    data: bytes | None = members.get("ZipFile")
    if data is None:
        raise invalid_parameter("Please provide a source for function code.")
    return data


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
