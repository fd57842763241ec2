"""Operations on functions that do not change an existing one: create, read, list, delete."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from runtime.api.calls import Call, Operation, Services
from runtime.api.code_signing import config_for_new, use
from runtime.api.configuration import new_configuration, refuse_unimplemented
from runtime.api.documents import function_configuration, listed_configuration
from runtime.api.function_lookup import UNQUALIFIED_ONLY, asked_name, find_version
from runtime.api.layer_references import resolve_layers
from runtime.api.managed_functions import on_provider
from runtime.api.packages import check_kind, frozen, taken_code
from runtime.api.paging import page
from runtime.api.protocol import runtime_identifiers
from runtime.api.stamps import new_revision, timestamp
from runtime.api.tags import check_tags
from runtime.api.versions import pending_version, position
from runtime.api.workshop import creating
from runtime.errors import conflict, invalid_parameter
from runtime.model import (
    LATEST,
    ZIP,
    Code,
    FunctionConfig,
    FunctionVersion,
    ImageCode,
    ReservedConcurrency,
    Scope,
)
from runtime.names import FunctionName, function_missing, names_alias
from runtime.store.errors import RecordExists, RecordMissing, RecordReferenced

NAME_LIMIT = 64


async def create_function(services: Services, call: Call) -> Mapping[str, Any]:
    name = _new_name(call)
    if services.store.catalog.function(call.scope, name) is not None:
        raise conflict(f"Function already exist: {name}")
    signing = config_for_new(services, call, name)
    config, tags = _new_configuration(services, call), check_tags(call.params.get("Tags", {}))
    async with taken_code(services, call.params["Code"], config) as code:
        record = creating(
            FunctionVersion(
                scope=call.scope,
                name=name,
                config=config,
                code=code,
                revision_id=new_revision(),
                last_modified=timestamp(services.now()),
                tags=tags,
            )
        )
        try:
            async with on_provider(services, call.scope, config, adds=2 if call.params.get("Publish") else 1):
                published = await _create(services, call, record)
        except RecordExists:
            raise conflict(f"Function already exist: {name}") from None
    if signing is not None:
        await use(services, record, signing)
    services.workshop.prepare(record)
    if published is None:
        return function_configuration(record)
    services.workshop.prepare(published)
    return function_configuration(published)  # under the unqualified ARN, as on AWS


async def _create(services: Services, call: Call, record: FunctionVersion) -> FunctionVersion | None:
    """Store the function; its first version, if one is to be published with it."""
    if not call.params.get("Publish"):
        await services.store.put_function(record, expected_revision=None)
        return None
    draft = pending_version(await frozen(services, record), services.now())
    return await services.store.put_and_publish(record, draft, expected_revision=None)


def _new_name(call: Call) -> str:
    asked = asked_name(call)
    if asked.qualifier is not None:
        raise invalid_parameter(UNQUALIFIED_ONLY)
    if len(asked.name) > NAME_LIMIT:
        # AWS words this as a validation error but answers with this exception.
        raise invalid_parameter(
            f"1 validation error detected: Value '{asked.name}' at 'functionName' failed to satisfy constraint: "
            f"Member must have length less than or equal to {NAME_LIMIT}"
        )
    return asked.name


def _new_configuration(services: Services, call: Call) -> FunctionConfig:
    params = call.params
    check_kind(params.get("PackageType", ZIP), params["Code"], "creating")
    refuse_unimplemented(params)
    layers = resolve_layers(services.store.catalog, call.scope, params.get("Layers", ()))
    return new_configuration(params, layers, runtime_identifiers())


async def get_function(services: Services, call: Call) -> Mapping[str, Any]:
    record, qualifier = find_version(services, call)
    reserved = services.store.catalog.attachment(ReservedConcurrency, record.scope, record.name)
    latest = services.store.catalog.function(record.scope, record.name) or record
    return {
        "Configuration": function_configuration(record, qualifier),
        "Code": _location(services, call, record.code),
        "Tags": latest.tags or None,
        "Concurrency": {"ReservedConcurrentExecutions": reserved.executions} if reserved else None,
    }


def _location(services: Services, call: Call, code: Code | ImageCode) -> Mapping[str, Any]:
    """Where the code is to be had; of a directory of the host, what was in it when it was set, and its path behind that."""
    if isinstance(code, ImageCode):
        return {"RepositoryType": "ECR", "ImageUri": code.uri, "ResolvedImageUri": code.resolved_uri}
    link = services.links.url(call.base_url, code.digest)
    if code.directory is None:
        return {"RepositoryType": "S3", "Location": link}
    return {"RepositoryType": services.live.bucket, "Location": f"{link}#{quote(code.directory)}"}


async def get_function_configuration(services: Services, call: Call) -> Mapping[str, Any]:
    return function_configuration(*find_version(services, call))


async def list_functions(services: Services, call: Call) -> Mapping[str, Any]:
    every = call.params.get("FunctionVersion") == "ALL"
    listed = _all_versions(services, call) if every else services.store.catalog.functions(call.scope)
    marker, size = call.params.get("Marker"), call.params.get("MaxItems")
    records, next_marker = page(listed, position, marker, size)
    return {
        "Functions": [listed_configuration(each, each.version if every else None) for each in records],
        "NextMarker": next_marker,
    }


def _all_versions(services: Services, call: Call) -> Iterator[FunctionVersion]:
    catalog = services.store.catalog
    for latest in catalog.functions(call.scope):
        yield from catalog.versions(call.scope, latest.name)


async def delete_function(services: Services, call: Call) -> Mapping[str, Any]:
    asked = asked_name(call)
    missing = function_missing(call.scope, asked.name)
    if services.store.catalog.function(call.scope, asked.name) is None:
        raise missing
    if asked.qualifier == LATEST:
        raise invalid_parameter("$LATEST version cannot be deleted without deleting the function.")
    if asked.qualifier is not None and names_alias(asked.qualifier):
        raise invalid_parameter("Deletion of aliases is not currently supported.")
    try:
        await _delete(services, call.scope, asked)
    except RecordMissing:
        raise missing from None
    except RecordReferenced as error:
        raise conflict(
            f"Unable to delete version because the following aliases reference it: [{', '.join(error.names)}]"
        ) from None
    services.retired(call.scope, asked.name)
    return {"StatusCode": 204}


async def _delete(services: Services, scope: Scope, asked: FunctionName) -> None:
    """One version, which need not exist, or everything."""
    if asked.qualifier is None:
        await services.store.delete_function(scope, asked.name)
    else:
        await services.store.delete_version(scope, asked.name, asked.qualifier)


OPERATIONS: dict[str, Operation] = {
    "CreateFunction": create_function,
    "DeleteFunction": delete_function,
    "GetFunction": get_function,
    "GetFunctionConfiguration": get_function_configuration,
    "ListFunctions": list_functions,
}
