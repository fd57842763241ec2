"""Operations that change a function: its code, its configuration."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from runtime.api.calls import Call, Operation, Services
from runtime.api.code_signing import refuse_unsigned
from runtime.api.configuration import architecture, changed_configuration, refuse_unimplemented
from runtime.api.documents import function_configuration
from runtime.api.function_lookup import find_writable, update_in_progress
from runtime.api.layer_references import resolve_layers
from runtime.api.managed_functions import on_provider
from runtime.api.packages import check_kind, check_total_size, frozen, taken_code
from runtime.api.protocol import runtime_identifiers
from runtime.api.stamps import new_revision, timestamp
from runtime.api.versions import pending_version
from runtime.api.workshop import is_unsettled, updating
from runtime.errors import invalid_parameter
from runtime.model import Code, FunctionConfig, FunctionVersion, ImageCode, LayerReference
from runtime.store.errors import RevisionMismatch


async def update_function_code(services: Services, call: Call) -> Mapping[str, Any]:
    record = find_writable(services, call)
    check_kind(record.config.package_type, call.params, "updating")
    refuse_unimplemented(call.params)
    refuse_unsigned(services.store.catalog, record)
    config = replace(record.config, architecture=architecture(call.params, record.config.architecture))
    async with taken_code(services, call.params, config) as code:
        if call.params.get("DryRun"):
            return function_configuration(replace(record, code=code, config=config))
        return await _store_update(services, call, record, config, code)


async def update_function_configuration(services: Services, call: Call) -> Mapping[str, Any]:
    record = find_writable(services, call)
    refuse_unimplemented(call.params)
    if "CapacityProviderConfig" in call.params and record.config.managed is None:
        raise invalid_parameter("CapacityProviderConfig can be given only when a function is created.")
    layers = _layers(services, call, record)
    config = changed_configuration(record.config, call.params, runtime_identifiers())
    if isinstance(record.code, Code):
        check_total_size(record.code.unzipped_size, (layer.code for layer in layers))
    return await _store_update(services, call, record, replace(config, layers=layers), record.code)


def _layers(services: Services, call: Call, record: FunctionVersion) -> tuple[LayerReference, ...]:
    """Layers are replaced whole; without the member they stay."""
    arns = call.params.get("Layers")
    if arns is None:
        return record.config.layers
    layers = resolve_layers(services.store.catalog, call.scope, arns, record.config.layers)
    if set(layers) - set(record.config.layers):
        refuse_unsigned(services.store.catalog, record)
    return layers


async def _store_update(
    services: Services, call: Call, record: FunctionVersion, config: FunctionConfig, code: Code | ImageCode
) -> Mapping[str, Any]:
    with ExitStack() as held:
        if isinstance(record.code, ImageCode):  # what a failed update goes back to
            held.callback(services.images.hold(record.code))
        while True:
            changed = _updated(services, record, config, code)
            try:
                async with on_provider(services, call.scope, config, adds=bool(call.params.get("Publish"))):
                    published = await _write(services, call, changed, record.revision_id)
                break
            except RevisionMismatch:
                record = _same_otherwise(services, call, record)
        services.workshop.prepare(changed, record, held.pop_all().close)
    services.retired(call.scope, record.name)
    if published is None:
        return function_configuration(changed)
    if is_unsettled(published):
        services.workshop.prepare(published)
    return function_configuration(published, published.version)


def _updated(
    services: Services, record: FunctionVersion, config: FunctionConfig, code: Code | ImageCode
) -> FunctionVersion:
    return updating(
        replace(
            record,
            config=config,
            code=code,
            revision_id=new_revision(),
            last_modified=timestamp(services.now()),
        )
    )


def _same_otherwise(services: Services, call: Call, before: FunctionVersion) -> FunctionVersion:
    """The function as it is after somebody else's write came between, if that was one of tags or policies.

    Otherwise the caller hears what it would have heard a moment later.
    """
    now = find_writable(services, call)
    if (now.code, now.config) != (before.code, before.config):
        raise update_in_progress(before)
    return now


async def _write(
    services: Services, call: Call, changed: FunctionVersion, expected: str
) -> FunctionVersion | None:
    """Store the update; the version that was published with it, if that was asked for."""
    if not call.params.get("Publish"):
        await services.store.put_function(changed, expected_revision=expected)
        return None
    draft = pending_version(await frozen(services, changed), services.now())
    return await services.store.put_and_publish(changed, draft, expected_revision=expected)


OPERATIONS: dict[str, Operation] = {
    "UpdateFunctionCode": update_function_code,
    "UpdateFunctionConfiguration": update_function_configuration,
}
