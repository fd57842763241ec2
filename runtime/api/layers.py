"""Operations on layers and their versions."""

from collections.abc import Iterator, Mapping
from typing import Any

from runtime.api.calls import Call, Operation, Services
from runtime.api.documents import code_sha256
from runtime.api.layer_references import check_access
from runtime.api.packages import take_package
from runtime.api.paging import page
from runtime.api.stamps import timestamp
from runtime.errors import invalid_parameter, not_found
from runtime.model import LayerVersion, Scope
from runtime.names import LayerName, resolve_layer

MISSING = "The resource you requested does not exist."
_MOST_VERSIONS = 10**18


async def publish_layer_version(services: Services, call: Call) -> Mapping[str, Any]:
    params = call.params
    asked = own_layer(call)
    code = await take_package(services, params["Content"])
    draft = LayerVersion(
        scope=asked.scope,
        name=asked.name,
        number=0,
        code=code,
        created=timestamp(services.now()),
        description=params.get("Description", ""),
        license_info=params.get("LicenseInfo"),
        compatible_runtimes=_tuple(params.get("CompatibleRuntimes")),
        compatible_architectures=_tuple(params.get("CompatibleArchitectures")),
    )
    return _document(services, call, await services.store.publish_layer_version(draft))


async def get_layer_version(services: Services, call: Call) -> Mapping[str, Any]:
    asked = resolve_layer(call.params["LayerName"], call.scope)
    return _document(services, call, _find(services, call.scope, asked, version_number(call)))


async def get_layer_version_by_arn(services: Services, call: Call) -> Mapping[str, Any]:
    asked = resolve_layer(call.params["Arn"], call.scope)
    return _document(services, call, _find(services, call.scope, asked, asked.number or 0))


async def delete_layer_version(services: Services, call: Call) -> Mapping[str, Any]:
    asked, number = own_layer(call), version_number(call)
    await services.store.delete_layer_version(asked.scope, asked.name, number)
    return {}


async def list_layer_versions(services: Services, call: Call) -> Mapping[str, Any]:
    asked = resolve_layer(call.params["LayerName"], call.scope)
    versions = _matching(services, call, asked)
    records, next_marker = page(
        versions, _newest_first, call.params.get("Marker"), call.params.get("MaxItems")
    )
    return {"LayerVersions": [_listed(record) for record in records], "NextMarker": next_marker}


async def list_layers(services: Services, call: Call) -> Mapping[str, Any]:
    """Each layer with its newest version that matches the filters."""
    names = (LayerName(call.scope, name) for name in services.store.catalog.layers(call.scope))
    newest = (next(_matching(services, call, name), None) for name in names)
    found = (record for record in newest if record is not None)
    marker, size = call.params.get("Marker"), call.params.get("MaxItems")
    records, next_marker = page(found, lambda record: record.name, marker, size)
    layers = [
        {"LayerName": each.name, "LayerArn": each.layer_arn, "LatestMatchingVersion": _listed(each)}
        for each in records
    ]
    return {"Layers": layers, "NextMarker": next_marker}


def own_layer(call: Call) -> LayerName:
    """The layer to write to: only the caller's own."""
    asked = resolve_layer(call.params["LayerName"], call.scope)
    if asked.scope != call.scope:
        raise not_found(MISSING)
    return asked


def version_number(call: Call) -> int:
    number: int = call.params["VersionNumber"]
    if number < 1:
        raise invalid_parameter("Layer Version Cannot be less than 1")
    return number


def _find(services: Services, scope: Scope, asked: LayerName, number: int) -> LayerVersion:
    """For a caller of `scope`, which may be another account's."""
    found = services.store.catalog.layer_version(asked.scope, asked.name, number)
    if found is None:
        raise not_found(MISSING)
    check_access(services.store.catalog, scope, found)
    return found


def _matching(services: Services, call: Call, asked: LayerName) -> Iterator[LayerVersion]:
    """Versions that fit the filters, newest first. What a version does not state, it is not compatible with."""
    runtime = call.params.get("CompatibleRuntime")
    architecture = call.params.get("CompatibleArchitecture")
    for record in services.store.catalog.layer_versions(asked.scope, asked.name):
        fits_runtime = runtime is None or runtime in (record.compatible_runtimes or ())
        fits_architecture = architecture is None or architecture in (record.compatible_architectures or ())
        if fits_runtime and fits_architecture:
            yield record


def _newest_first(record: LayerVersion) -> str:
    return f"{_MOST_VERSIONS - record.number:020d}"


def _document(services: Services, call: Call, record: LayerVersion) -> dict[str, Any]:
    content = {
        "Location": services.links.url(call.base_url, record.code.digest),
        "CodeSha256": code_sha256(record.code),
        "CodeSize": record.code.size,
    }
    return {"Content": content, "LayerArn": record.layer_arn, **_listed(record)}


def _listed(record: LayerVersion) -> dict[str, Any]:
    return {
        "LayerVersionArn": record.arn,
        "Version": record.number,
        "Description": record.description,
        "CreatedDate": record.created,
        "CompatibleRuntimes": _list(record.compatible_runtimes),
        "CompatibleArchitectures": _list(record.compatible_architectures),
        "LicenseInfo": record.license_info,
    }


def _tuple(items: list[str] | None) -> tuple[str, ...] | None:
    return None if items is None else tuple(items)


def _list(items: tuple[str, ...] | None) -> list[str] | None:
    return None if items is None else list(items)


OPERATIONS: dict[str, Operation] = {
    "DeleteLayerVersion": delete_layer_version,
    "GetLayerVersion": get_layer_version,
    "GetLayerVersionByArn": get_layer_version_by_arn,
    "ListLayerVersions": list_layer_versions,
    "ListLayers": list_layers,
    "PublishLayerVersion": publish_layer_version,
}
