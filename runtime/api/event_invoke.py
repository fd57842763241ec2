"""Operations on the configuration of asynchronous invocation: retries, age, destinations.

Kept for each qualifier; without one it is that of `$LATEST`.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from runtime.api.attachments import Place, Row, change, deleter, getter, lister, owner_of
from runtime.api.calls import Call, Operation, Services
from runtime.api.stamps import new_revision
from runtime.api.targets import Target, asked_target, existing_target, exists
from runtime.errors import LambdaError, invalid_parameter, not_found
from runtime.model import LATEST, EventInvokeConfig
from runtime.names import function_arn, parse_function

_SETTINGS = {"MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig"}
_DESTINATIONS = {"OnSuccess": {"sqs", "sns", "lambda", "events"}}
_DESTINATIONS["OnFailure"] = _DESTINATIONS["OnSuccess"] | {"s3"}
"""The services that may receive the outcome."""


async def put_function_event_invoke_config(services: Services, call: Call) -> Mapping[str, Any]:
    target = _checked(services, call)
    record = EventInvokeConfig(
        **_place(target).members, revision_id=new_revision(), last_modified=services.now(), **_given(call)
    )
    await change(services, EventInvokeConfig, _place(target), lambda _: record, lambda: _no_function(target))
    return _document(call, record)


async def update_function_event_invoke_config(services: Services, call: Call) -> Mapping[str, Any]:
    target = _checked(services, call)
    place = _place(target)

    def edit(found: EventInvokeConfig | None) -> EventInvokeConfig:
        if found is None:
            raise _missing(place)
        changes = {"revision_id": new_revision(), "last_modified": services.now(), **_given(call)}
        return replace(found, **changes)

    return _document(
        call, await change(services, EventInvokeConfig, place, edit, lambda: _no_function(target))
    )


def _checked(services: Services, call: Call) -> Target:
    """The function, version or alias to configure, if what is asked for can be."""
    if not _SETTINGS & call.params.keys():
        raise invalid_parameter("You must specify at least one of error handling or destination setting.")
    target = existing_target(services, call, _no_function)
    _check_destinations(services, target, call.params.get("DestinationConfig", {}))
    return target


def _given(call: Call) -> dict[str, Any]:
    """The fields that a request sets. Both destinations are replaced together."""
    params = call.params
    given = {
        "maximum_retry_attempts": params.get("MaximumRetryAttempts"),
        "maximum_event_age": params.get("MaximumEventAgeInSeconds"),
    }
    if (destinations := params.get("DestinationConfig")) is not None:
        given |= {
            "on_success": destination(destinations, "OnSuccess"),
            "on_failure": destination(destinations, "OnFailure"),
        }
    return {name: value for name, value in given.items() if value is not None or name.startswith("on_")}


def destination(config: Mapping[str, Any], outcome: str) -> str | None:
    """Where an outcome goes; an empty ARN is none."""
    return config.get(outcome, {}).get("Destination") or None


def _check_destinations(services: Services, target: Target, config: Mapping[str, Any]) -> None:
    arns = {outcome: destination(config, outcome) for outcome in ("OnSuccess", "OnFailure")}
    for outcome, arn in arns.items():
        service = arn.split(":")[2] if arn and arn.startswith("arn:") else None
        if arn is not None and service not in _DESTINATIONS[outcome]:
            shown = {
                each: "null" if found is None else f"{each}(destination={found})"
                for each, found in arns.items()
            }
            raise invalid_parameter(
                f"The provided destination config DestinationConfig(onSuccess={shown['OnSuccess']}, "
                f"onFailure={shown['OnFailure']}) is invalid."
            )
        if arn is not None and service == "lambda":
            _check_function(services, target, arn)


def _check_function(services: Services, target: Target, arn: str) -> None:
    """A destination of this account and region must exist; others cannot be known."""
    found = parse_function(arn)
    here = found is not None and (found.account, found.region) == (target.scope.account, target.scope.region)
    if found is None or (here and not exists(services.store.catalog, Target(target.scope, found.name))):
        raise invalid_parameter(f"The destination ARN {arn} is invalid.")
    if here and found.name == target.name:
        raise invalid_parameter("You can't specify the function as a destination for itself.")


def _no_function(_target: Target) -> LambdaError:
    return not_found("The function doesn't exist.")


def _place(target: Target) -> Place:
    return Place(target.scope, target.name, target.qualifier or LATEST)


def _missing(place: Place) -> LambdaError:
    arn = function_arn(place.scope, place.owner, place.qualifier)
    return not_found(f"The function {arn} doesn't have an EventInvokeConfig")


def _document(_call: Call, record: EventInvokeConfig) -> Mapping[str, Any]:
    return {
        "LastModified": datetime.fromtimestamp(record.last_modified, UTC),
        "FunctionArn": record.function_arn,
        "MaximumRetryAttempts": record.maximum_retry_attempts,
        "MaximumEventAgeInSeconds": record.maximum_event_age,
        "DestinationConfig": {
            "OnSuccess": {"Destination": record.on_success},
            "OnFailure": {"Destination": record.on_failure},
        },
    }


_ROW = Row(
    record=EventInvokeConfig,
    place=lambda _services, call: _place(asked_target(call)),
    document=_document,
    missing=_missing,
)

OPERATIONS: dict[str, Operation] = {
    "DeleteFunctionEventInvokeConfig": deleter(_ROW),
    "GetFunctionEventInvokeConfig": getter(_ROW),
    "ListFunctionEventInvokeConfigs": lister(_ROW, "FunctionEventInvokeConfigs", owner_of(_no_function)),
    "PutFunctionEventInvokeConfig": put_function_event_invoke_config,
    "UpdateFunctionEventInvokeConfig": update_function_event_invoke_config,
}
