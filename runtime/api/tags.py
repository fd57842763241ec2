"""Operations on tags, and the rules for tags that every taggable resource shares.

Functions keep their tags in their `$LATEST`; event source mappings, code signing configurations and capacity providers in
their records.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from runtime.api.attachments import Place, change
from runtime.api.calls import Call, Operation, Services
from runtime.api.stamps import new_revision
from runtime.errors import LambdaError, invalid_parameter, not_found
from runtime.model import CapacityProvider, CodeSigningConfig, EventSourceMapping, FunctionVersion, Scope
from runtime.names import function_missing, resolve_function
from runtime.store.errors import RevisionMismatch

TAG_LIMIT = 50
_RESERVED_PREFIX = "aws:"
Tags = Mapping[str, str]
Edit = Callable[[Tags], Tags]


@dataclass(frozen=True, slots=True)
class _Kind:
    """A taggable resource that is a record of its own."""

    record: type[EventSourceMapping | CodeSigningConfig | CapacityProvider]
    missing: str

    def absent(self, arn: str) -> LambdaError:
        return not_found(self.missing.format(arn=arn))


_KINDS = {
    "capacity-provider": _Kind(CapacityProvider, "Capacity provider not found: {arn}"),
    "event-source-mapping": _Kind(EventSourceMapping, "The resource you requested does not exist."),
    "code-signing-config": _Kind(
        CodeSigningConfig, "The Lambda code signing configuration {arn} can not be found."
    ),
}


def check_tags(tags: Tags) -> Tags:
    """Tags as a resource may have them."""
    if any(key.lower().startswith(_RESERVED_PREFIX) for key in tags):
        raise invalid_parameter("aws: prefixed tag key names are not allowed for external use.")
    if len(tags) > TAG_LIMIT:
        raise invalid_parameter("Number of tags exceeds resource tag limit.")
    return tags


async def tag_resource(services: Services, call: Call) -> Mapping[str, Any]:
    added: Tags = call.params["Tags"]
    if not added:
        raise invalid_parameter("An error occurred and the request cannot be processed.")
    await _change(services, call, lambda tags: check_tags({**tags, **added}))
    return {}


async def untag_resource(services: Services, call: Call) -> Mapping[str, Any]:
    removed = frozenset(call.params["TagKeys"])
    await _change(
        services, call, lambda tags: {key: text for key, text in tags.items() if key not in removed}
    )
    return {}


async def list_tags(services: Services, call: Call) -> Mapping[str, Any]:
    arn: str = call.params["Resource"]
    kind, place = _resource(call, arn)
    if kind is None:
        return {"Tags": _function(services, place).tags}
    found = services.store.catalog.attachment(kind.record, place.scope, place.owner)
    if found is None:
        raise kind.absent(arn)
    return {"Tags": found.tags}


def _resource(call: Call, arn: str) -> tuple[_Kind | None, Place]:
    """What an ARN names: a record of its own, or (None) a function."""
    parts = arn.split(":")
    if parts[5] == "function":
        asked = resolve_function(arn, None, call.scope)
        if asked.qualifier is not None:
            raise invalid_parameter(
                "Tags on function aliases and versions are not supported. Please specify a function ARN."
            )
        return None, Place(call.scope, asked.name)
    kind = _KINDS.get(parts[5])
    if kind is None:
        raise not_found("The resource you requested does not exist.")
    if Scope(parts[4], parts[3]) != call.scope:
        raise kind.absent(arn)
    return kind, Place(call.scope, parts[6])


async def _change(services: Services, call: Call, edit: Edit) -> None:
    arn: str = call.params["Resource"]
    kind, place = _resource(call, arn)
    if kind is None:
        await _change_function(services, place, edit)
        return
    missing = kind.absent(arn)
    await change(services, kind.record, place, lambda found: _edited(found, edit, missing), lambda: missing)


def _edited(
    found: EventSourceMapping | CodeSigningConfig | CapacityProvider | None, edit: Edit, missing: LambdaError
) -> EventSourceMapping | CodeSigningConfig | CapacityProvider:
    if found is None:
        raise missing
    return replace(found, tags=edit(found.tags), revision_id=new_revision())


async def _change_function(services: Services, place: Place, edit: Edit) -> None:
    while True:
        found = _function(services, place)
        changed = replace(found, tags=edit(found.tags), revision_id=new_revision())
        try:
            return await services.store.put_function(changed, expected_revision=found.revision_id)
        except RevisionMismatch:
            continue


def _function(services: Services, place: Place) -> FunctionVersion:
    found = services.store.catalog.function(place.scope, place.owner)
    if found is None:
        raise function_missing(place.scope, place.owner)
    return found


OPERATIONS: dict[str, Operation] = {
    "ListTags": list_tags,
    "TagResource": tag_resource,
    "UntagResource": untag_resource,
}
