"""Operations on code signing configurations, and on which function uses which.

No signature is ever verified here: what a package upload carries is unsigned. So where a configuration says Enforce,
a function that uses it takes no new package, as on AWS.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from runtime.api.attachments import Place, Row, change, deleter, getter, pages
from runtime.api.calls import Call, Operation, Services
from runtime.api.stamps import new_revision, timestamp
from runtime.api.tags import check_tags
from runtime.api.targets import existing_function, target_missing
from runtime.errors import LambdaError, conflict, invalid_parameter
from runtime.model import CodeSigningConfig, FunctionCodeSigning, FunctionVersion, Scope
from runtime.names import function_arn
from runtime.store import Catalog
from runtime.store.errors import RecordMissing

_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_ID_LENGTH = 17


def refuse_unsigned(catalog: Catalog, function: FunctionVersion) -> None:
    """Refuse a package or a layer for a function whose configuration demands signatures."""
    used = catalog.attachment(FunctionCodeSigning, function.scope, function.name)
    config = used and catalog.attachment(
        CodeSigningConfig, function.scope, used.config_arn.rpartition(":")[2]
    )
    if config:
        _refuse_enforced(config, function.arn)


def config_for_new(services: Services, call: Call, name: str) -> CodeSigningConfig | None:
    """The configuration that a function is to be created with, if any: one that lets unsigned code in."""
    if "CodeSigningConfigArn" not in call.params:
        return None
    if call.params.get("PackageType") == "Image":
        # AWS has this rule; how it words the refusal is not known.
        raise invalid_parameter("Code signing is not supported for functions with packageType Image.")
    config = _require(services, call, _not_for_functions)
    _refuse_enforced(config, function_arn(call.scope, name))
    return config


async def use(services: Services, function: FunctionVersion, config: CodeSigningConfig) -> None:
    """Let a function that has just been created use a configuration."""
    async with services.deciding:
        place = Place(config.scope, config.owner)
        if _ROW.find(services, place) is None:
            return  # deleted meanwhile: had it been before, there would be no such function
        record = FunctionCodeSigning(
            scope=function.scope, owner=function.name, revision_id=new_revision(), config_arn=config.arn
        )
        with suppress(RecordMissing):  # so is the function
            await services.store.attach(record)


def _refuse_enforced(config: CodeSigningConfig, arn: str) -> None:
    if config.policy == "Enforce":
        raise LambdaError(
            "CodeVerificationFailedException",
            "Lambda cannot deploy the function. The function or layer might be signed using a signature that the "
            f"client is not configured to accept. Check the provided signature for {arn}.",
        )


async def create_code_signing_config(services: Services, call: Call) -> Mapping[str, Any]:
    identifier = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
    record = CodeSigningConfig(
        scope=call.scope,
        owner=f"csc-{identifier}",
        revision_id=new_revision(),
        publishers=tuple(call.params["AllowedPublishers"]["SigningProfileVersionArns"]),
        tags=check_tags(call.params.get("Tags", {})),
        last_modified=timestamp(services.now()),
    )
    record = replace(record, **_changes(call.params))
    await services.store.attach(record, expected_revision=None)
    return _document(call, record)


async def update_code_signing_config(services: Services, call: Call) -> Mapping[str, Any]:
    place = _place(services, call)

    def edit(found: CodeSigningConfig | None) -> CodeSigningConfig:
        if found is None:
            raise _missing(place)
        changed = replace(found, **_changes(call.params))
        return replace(changed, revision_id=new_revision(), last_modified=timestamp(services.now()))

    return _document(call, await change(services, CodeSigningConfig, place, edit, lambda: _missing(place)))


def _changes(params: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a request sets."""
    changes: dict[str, Any] = {}
    if "Description" in params:
        changes["description"] = params["Description"]
    if "AllowedPublishers" in params:
        changes["publishers"] = tuple(params["AllowedPublishers"]["SigningProfileVersionArns"])
    if (policy := params.get("CodeSigningPolicies", {}).get("UntrustedArtifactOnDeployment")) is not None:
        changes["policy"] = policy
    return changes


async def delete_code_signing_config(services: Services, call: Call) -> Mapping[str, Any]:
    async with services.deciding:
        if any(_users(services, call)):
            raise conflict(
                f"The code signing configuration {call.params['CodeSigningConfigArn']} is used by functions "
                "and cannot be deleted."
            )
        return await _DELETE(services, call)


async def list_code_signing_configs(services: Services, call: Call) -> Mapping[str, Any]:
    records = services.store.catalog.attachments(CodeSigningConfig, call.scope)
    return pages(call, "CodeSigningConfigs", records, lambda record: record.owner, _member)


async def list_functions_by_code_signing_config(services: Services, call: Call) -> Mapping[str, Any]:
    _require(services, call, _missing)
    users = _users(services, call)
    return pages(
        call, "FunctionArns", users, lambda record: record.owner, lambda _call, record: record.function_arn
    )


def _users(services: Services, call: Call) -> Iterator[FunctionCodeSigning]:
    arn = call.params["CodeSigningConfigArn"]
    every = services.store.catalog.attachments(FunctionCodeSigning, call.scope)
    return (record for record in every if record.config_arn == arn)


async def put_function_code_signing_config(services: Services, call: Call) -> Mapping[str, Any]:
    async with services.deciding:
        config = _require(services, call, _not_for_functions)
        target = existing_function(services, call)
        record = FunctionCodeSigning(
            scope=target.scope, owner=target.name, revision_id=new_revision(), config_arn=config.arn
        )
        try:
            await services.store.attach(record)
        except RecordMissing:
            raise target_missing(target) from None
    return _use(call, record)


def _use(_call: Call, record: FunctionCodeSigning) -> Mapping[str, Any]:
    return {"CodeSigningConfigArn": record.config_arn, "FunctionName": record.owner}


def _require(services: Services, call: Call, missing: Callable[[Place], LambdaError]) -> CodeSigningConfig:
    """The configuration that the request names; only the caller's own are there."""
    place = _named(call)
    found = _ROW.find(services, place) if place.scope == call.scope else None
    if found is None:
        raise missing(place)
    return found


def _place(_services: Services, call: Call) -> Place:
    place = _named(call)
    if place.scope != call.scope:
        raise _missing(place)
    return place


def _named(call: Call) -> Place:
    _, _, _, region, account, _, identifier = call.params["CodeSigningConfigArn"].split(":")
    return Place(Scope(account, region), identifier)


def _missing(place: Place) -> LambdaError:
    arn = place.scope.arn("code-signing-config", place.owner)
    return LambdaError(
        "ResourceNotFoundException",
        f"The Lambda code signing configuration {arn} can not be found.",
        typed=False,
    )


def _not_for_functions(place: Place) -> LambdaError:
    arn = place.scope.arn("code-signing-config", place.owner)
    return LambdaError(
        "CodeSigningConfigNotFoundException",
        "The code signing configuration cannot be found. "
        f"Check that the provided configuration is not deleted: {arn}.",
    )


def _document(call: Call, record: CodeSigningConfig) -> Mapping[str, Any]:
    return {"CodeSigningConfig": _member(call, record)}


def _member(_call: Call, record: CodeSigningConfig) -> Mapping[str, Any]:
    return {
        "CodeSigningConfigId": record.owner,
        "CodeSigningConfigArn": record.arn,
        "Description": record.description,
        "AllowedPublishers": {"SigningProfileVersionArns": list(record.publishers)},
        "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": record.policy},
        "LastModified": record.last_modified,
    }


def _function_place(services: Services, call: Call) -> Place:
    target = existing_function(services, call)
    return Place(target.scope, target.name)


_ROW = Row(record=CodeSigningConfig, place=_place, document=_document, missing=_missing)
_DELETE = deleter(_ROW)
_USE = Row(record=FunctionCodeSigning, place=_function_place, document=_use)

OPERATIONS: dict[str, Operation] = {
    "CreateCodeSigningConfig": create_code_signing_config,
    "DeleteCodeSigningConfig": delete_code_signing_config,
    "DeleteFunctionCodeSigningConfig": deleter(_USE),
    "GetCodeSigningConfig": getter(_ROW),
    "GetFunctionCodeSigningConfig": getter(_USE),
    "ListCodeSigningConfigs": list_code_signing_configs,
    "ListFunctionsByCodeSigningConfig": list_functions_by_code_signing_config,
    "PutFunctionCodeSigningConfig": put_function_code_signing_config,
    "UpdateCodeSigningConfig": update_code_signing_config,
}
