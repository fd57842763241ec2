"""Operations on event source mappings. They are checked and kept; nothing polls their sources yet, and they say so."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from runtime.api.attachments import Place, Row, change, getter, pages
from runtime.api.calls import Call, Operation, Services
from runtime.api.event_source_rules import SETTINGS, SourceKind, checked_settings, duplicate, source_of
from runtime.api.stamps import new_revision
from runtime.api.tags import check_tags
from runtime.api.targets import Target, asked_target, shared_target
from runtime.errors import LambdaError, invalid_parameter, not_found
from runtime.model import EventSourceMapping

NOT_POLLED = "Berth does not poll event sources yet: the mapping is kept as it was asked for, enabled."
_FEATURE = "An event source"
_TIMESTAMP = "StartingPositionTimestamp"


async def create_event_source_mapping(services: Services, call: Call) -> Mapping[str, Any]:
    params = call.params
    kind, source = source_of(params)
    settings = checked_settings(kind, source, _given(params))
    _check_region(call, params.get("EventSourceArn"))
    target = shared_target(services, call, _FEATURE, _no_function)
    mapping = EventSourceMapping(
        scope=call.scope,
        owner=str(uuid.uuid4()),
        revision_id=new_revision(),
        function=target.name,
        function_qualifier=target.qualifier,
        source=source,
        enabled=params.get("Enabled", True),
        settings=_with_consumer_group(kind, settings),
        tags=check_tags(params.get("Tags", {})),
        last_modified=services.now(),
    )
    async with services.deciding:
        _refuse_duplicate(services, mapping, kind)
        await services.store.attach(mapping, expected_revision=None)
    return _document(call, mapping)


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a request names, in the form in which they are kept."""
    given = {name: value for name, value in params.items() if name in SETTINGS}
    if (moment := given.get(_TIMESTAMP)) is not None:
        if moment.timestamp() < 0:
            raise invalid_parameter(
                "Received Exception while reading from provided stream. "
                "class java.lang.Long can not be converted to a Timestamp"
            )
        given[_TIMESTAMP] = moment.timestamp()
    return given


def _with_consumer_group(kind: SourceKind, settings: dict[str, Any]) -> dict[str, Any]:
    """Kafka's mappings have a consumer group, of a random name unless one was chosen."""
    for name in ("AmazonManagedKafkaEventSourceConfig", "SelfManagedKafkaEventSourceConfig"):
        if name in kind.own:
            config = {"ConsumerGroupId": str(uuid.uuid4()), **settings.get(name, {})}
            return {**settings, name: config}
    return settings


def _check_region(call: Call, arn: str | None) -> None:
    region = arn.split(":")[3] if arn else ""
    if region not in {"", call.scope.region}:
        raise invalid_parameter(
            f"The event source is in region {region}; it is expected to be in region {call.scope.region}."
        )


def _no_function(_target: Target) -> LambdaError:
    return invalid_parameter("Function does not exist")


def _refuse_duplicate(services: Services, mapping: EventSourceMapping, kind: SourceKind) -> None:
    for other in services.store.catalog.attachments(EventSourceMapping, mapping.scope):
        if _identity(other) == _identity(mapping) and other.owner != mapping.owner:
            raise duplicate(
                kind,
                source=mapping.source,
                function=mapping.function,
                arn=mapping.target_arn,
                topics=mapping.settings.get("Topics", []),
                uuid=other.owner,
            )


def _identity(mapping: EventSourceMapping) -> tuple[Any, ...]:
    """What no two mappings have in common."""
    parts = (mapping.settings.get("Topics", []), mapping.settings.get("Queues", []))
    return (mapping.source, mapping.function, mapping.function_qualifier, *parts)


async def update_event_source_mapping(services: Services, call: Call) -> Mapping[str, Any]:
    place, params = _place(services, call), call.params
    target = shared_target(services, call, _FEATURE, _no_function) if "FunctionName" in params else None

    def edit(found: EventSourceMapping | None) -> EventSourceMapping:
        if found is None:
            raise _missing(place)
        kind = _kind(found)
        settings = checked_settings(kind, found.source, _given(params), found.settings)
        changed = replace(
            found,
            revision_id=new_revision(),
            function=target.name if target else found.function,
            function_qualifier=target.qualifier if target else found.function_qualifier,
            enabled=params.get("Enabled", found.enabled),
            settings=settings,
            last_modified=services.now(),
        )
        _refuse_duplicate(services, changed, kind)
        return changed

    async with services.deciding:
        changed = await change(services, EventSourceMapping, place, edit, lambda: _missing(place))
    return _document(call, changed)


async def delete_event_source_mapping(services: Services, call: Call) -> Mapping[str, Any]:
    """Shows the mapping once more, on its way out."""
    place = _place(services, call)
    deleted: list[EventSourceMapping] = []

    def edit(found: EventSourceMapping | None) -> None:
        if found is None:
            raise _missing(place)
        deleted[:] = [found]

    await change(services, EventSourceMapping, place, edit, lambda: _missing(place))
    return {
        **_document(call, deleted[0]),
        "State": "Deleting",
        "StateTransitionReason": _kind(deleted[0]).reason,
    }


async def list_event_source_mappings(services: Services, call: Call) -> Mapping[str, Any]:
    found = _matching(services, call)
    return pages(
        call, "EventSourceMappings", found, lambda mapping: mapping.owner, _document, most=_PAGE_LIMIT
    )


_PAGE_LIMIT = 100
"""As the model's documentation says of this list alone."""


def _matching(services: Services, call: Call) -> Iterator[EventSourceMapping]:
    source = call.params.get("EventSourceArn")
    target = asked_target(call) if "FunctionName" in call.params else None
    for mapping in services.store.catalog.attachments(EventSourceMapping, call.scope):
        of_function = target is None or target == Target(
            call.scope, mapping.function, mapping.function_qualifier
        )
        if of_function and source in {None, mapping.source}:
            yield mapping


def _place(_services: Services, call: Call) -> Place:
    return Place(call.scope, call.params["UUID"].lower())


def _missing(_place: Place) -> LambdaError:
    return not_found("The resource you requested does not exist.")


def _kind(mapping: EventSourceMapping) -> SourceKind:
    kind, _ = source_of({**mapping.settings, "EventSourceArn": _source_arn(mapping)})
    return kind


def _source_arn(mapping: EventSourceMapping) -> str | None:
    return None if "SelfManagedEventSource" in mapping.settings else mapping.source


def _document(_call: Call, mapping: EventSourceMapping) -> Mapping[str, Any]:
    kind = _kind(mapping)
    shown = dict(mapping.settings)
    if _TIMESTAMP in shown:
        shown[_TIMESTAMP] = datetime.fromtimestamp(shown[_TIMESTAMP], UTC)
    return {
        **shown,
        "UUID": mapping.owner,
        "EventSourceArn": _source_arn(mapping),
        "EventSourceMappingArn": mapping.arn,
        "FunctionArn": mapping.target_arn,
        "LastModified": datetime.fromtimestamp(mapping.last_modified, UTC),
        "LastProcessingResult": "No records processed" if kind.reports_processing else None,
        "State": "Disabled",
        "StateTransitionReason": NOT_POLLED if mapping.enabled else kind.reason,
    }


OPERATIONS: dict[str, Operation] = {
    "CreateEventSourceMapping": create_event_source_mapping,
    "DeleteEventSourceMapping": delete_event_source_mapping,
    "GetEventSourceMapping": getter(
        Row(record=EventSourceMapping, place=_place, document=_document, missing=_missing)
    ),
    "ListEventSourceMappings": list_event_source_mappings,
    "UpdateEventSourceMapping": update_event_source_mapping,
}
