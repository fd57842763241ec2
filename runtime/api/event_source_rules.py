"""What each kind of event source lets a mapping say: a row per kind, and the rules that read them.

Pure. Texts are AWS's where they are known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.api.filter_patterns import check_filters
from runtime.errors import LambdaError, invalid_parameter

_EVERYWHERE = frozenset(
    {
        "BatchSize",
        "FilterCriteria",
        "KMSKeyArn",
        "LoggingConfig",
        "MaximumBatchingWindowInSeconds",
        "MetricsConfig",
    }
)
_RETRIES = frozenset(
    {
        "BisectBatchOnFunctionError",
        "DestinationConfig",
        "FunctionResponseTypes",
        "MaximumRecordAgeInSeconds",
        "MaximumRetryAttempts",
    }
)
_POSITION = frozenset({"StartingPosition", "StartingPositionTimestamp"})
SETTINGS = (
    _EVERYWHERE
    | _RETRIES
    | _POSITION
    | {
        "AmazonManagedKafkaEventSourceConfig",
        "DocumentDBEventSourceConfig",
        "ParallelizationFactor",
        "ProvisionedPollerConfig",
        "Queues",
        "ScalingConfig",
        "SelfManagedEventSource",
        "SelfManagedKafkaEventSourceConfig",
        "SourceAccessConfigurations",
        "Topics",
        "TumblingWindowInSeconds",
    }
)
"""Members of a mapping that its source's kind decides about."""
_CLEARED_BY_EMPTY = (
    "FilterCriteria",
    "KMSKeyArn",
    "MetricsConfig",
    "ProvisionedPollerConfig",
    "ScalingConfig",
)
_LEAST_RECORD_AGE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceKind:
    """A kind of event source."""

    name: str
    own: frozenset[str]
    """Settings that this kind knows besides those that all know."""
    defaults: Mapping[str, Any]
    required: tuple[str, ...] = ()
    positions: frozenset[str] = frozenset()
    """Where reading may start; empty where a source has no positions."""
    reason: str = "User action"
    """AWS's `StateTransitionReason` for what the caller asked for."""
    reports_processing: bool = False
    duplicate: str = field(default="")
    """The text for a second mapping of the same source and function."""


_STREAM_DEFAULTS = {
    "BatchSize": 100,
    "BisectBatchOnFunctionError": False,
    "DestinationConfig": {"OnFailure": {}},
    "FunctionResponseTypes": [],
    "MaximumBatchingWindowInSeconds": 0,
    "MaximumRecordAgeInSeconds": -1,
    "MaximumRetryAttempts": -1,
    "ParallelizationFactor": 1,
    "TumblingWindowInSeconds": 0,
}
_STREAM = _RETRIES | _POSITION | {"ParallelizationFactor", "TumblingWindowInSeconds"}
_KAFKA = _RETRIES | _POSITION | {"ProvisionedPollerConfig", "SourceAccessConfigurations", "Topics"}
_FROM_ANYWHERE = frozenset({"TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"})
_UPDATE_OR_DELETE = "Please update or delete the existing mapping with UUID {uuid}"
_STREAM_DUPLICATE = (
    f'The event source arn (" {{source}} ") and function (" {{function}} ") provided mapping already exists. '
    f"{_UPDATE_OR_DELETE}"
)
_OTHER_DUPLICATE = (
    f'An event source mapping with event source ("{{source}}"), function ("{{arn}}"){{topics}} already exists. '
    f"{_UPDATE_OR_DELETE}"
)

SQS = SourceKind(
    name="SQS",
    own=frozenset({"FunctionResponseTypes", "ProvisionedPollerConfig", "ScalingConfig"}),
    defaults={"BatchSize": 10, "FunctionResponseTypes": [], "MaximumBatchingWindowInSeconds": 0},
    reason="USER_INITIATED",
    duplicate=(
        f'An event source mapping with SQS arn (" {{source}} ") and function (" {{function}} ") already exists. '
        f"{_UPDATE_OR_DELETE}"
    ),
)
KINESIS = SourceKind(
    name="Kinesis",
    own=_STREAM,
    defaults=_STREAM_DEFAULTS,
    positions=_FROM_ANYWHERE,
    reports_processing=True,
    duplicate=_STREAM_DUPLICATE,
)
DYNAMODB = SourceKind(
    name="DynamoDB",
    own=_STREAM,
    defaults=_STREAM_DEFAULTS,
    positions=frozenset({"TRIM_HORIZON", "LATEST"}),
    reports_processing=True,
    duplicate=_STREAM_DUPLICATE,
)
MANAGED_KAFKA = SourceKind(
    name="Amazon MSK",
    own=_KAFKA | {"AmazonManagedKafkaEventSourceConfig"},
    defaults={"BatchSize": 100},
    required=("Topics",),
    positions=_FROM_ANYWHERE,
    reason="USER_INITIATED",
    reports_processing=True,
    duplicate=_OTHER_DUPLICATE,
)
SELF_MANAGED_KAFKA = SourceKind(
    name="Kafka",
    own=_KAFKA | {"SelfManagedEventSource", "SelfManagedKafkaEventSourceConfig"},
    defaults={"BatchSize": 100},
    required=("SourceAccessConfigurations", "Topics"),
    positions=_FROM_ANYWHERE,
    reason="USER_INITIATED",
    reports_processing=True,
    duplicate=_OTHER_DUPLICATE,
)
MQ = SourceKind(
    name="Amazon MQ",
    own=frozenset({"Queues", "SourceAccessConfigurations"}),
    defaults={"BatchSize": 100},
    required=("SourceAccessConfigurations", "Queues"),
    reason="USER_INITIATED",
    reports_processing=True,
    duplicate=_OTHER_DUPLICATE,
)
DOCUMENTDB = SourceKind(
    name="DocumentDB",
    own=_POSITION | {"DocumentDBEventSourceConfig", "SourceAccessConfigurations"},
    defaults={"BatchSize": 100},
    required=("DocumentDBEventSourceConfig", "SourceAccessConfigurations"),
    positions=_FROM_ANYWHERE,
    reason="USER_INITIATED",
    reports_processing=True,
    duplicate=_OTHER_DUPLICATE,
)
_BY_SERVICE = {
    "sqs": SQS,
    "kinesis": KINESIS,
    "dynamodb": DYNAMODB,
    "kafka": MANAGED_KAFKA,
    "mq": MQ,
    "rds": DOCUMENTDB,
}


def source_of(members: Mapping[str, Any]) -> tuple[SourceKind, str]:
    """The kind of source that a mapping names, and what tells the source from others."""
    arn: str | None = members.get("EventSourceArn")
    brokers = members.get("SelfManagedEventSource", {}).get("Endpoints", {}).get("KAFKA_BOOTSTRAP_SERVERS")
    if arn is None and brokers:
        return SELF_MANAGED_KAFKA, ",".join(brokers)
    kind = _BY_SERVICE.get(arn.split(":")[2]) if arn is not None and not brokers else None
    if arn is None or kind is None:
        raise invalid_parameter("Unrecognized event source.")
    return kind, arn


def checked_settings(
    kind: SourceKind, source: str, given: Mapping[str, Any], before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A mapping's settings with those that a request gives; `before` are those it has, None for a new one."""
    _refuse_unknown(kind, given)
    settings = {**(kind.defaults if before is None else before), **given}
    settings = {name: value for name, value in settings.items() if value or name not in _CLEARED_BY_EMPTY}
    if before is None:
        _check_new(kind, source, settings)
    _check_destination(given.get("DestinationConfig"))
    _check_batches(kind, source, settings)
    check_filters(settings.get("FilterCriteria", {}))
    return settings


def _refuse_unknown(kind: SourceKind, given: Mapping[str, Any]) -> None:
    for name in sorted(given.keys() - kind.own - _EVERYWHERE):
        if name in _POSITION:
            raise invalid_parameter(f"StartingPosition is not valid for {kind.name} event sources.")
        shown = name if name == "DestinationConfig" else f"'{name[0].lower()}{name[1:]}'"
        raise invalid_parameter(f"Unsupported {shown} parameter for given event source mapping type.")


def _check_new(kind: SourceKind, source: str, settings: Mapping[str, Any]) -> None:
    for name in kind.required:
        if not settings.get(name):
            raise invalid_parameter(f"Required '{name[0].lower()}{name[1:]}' parameter is missing.")
    if kind.positions:
        _check_position(kind, source, settings)


def _check_position(kind: SourceKind, source: str, settings: Mapping[str, Any]) -> None:
    position = settings.get("StartingPosition")
    if position is None:
        raise invalid_parameter(
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: "
            "Member must not be null."
        )
    timed = "StartingPositionTimestamp" in settings
    if timed and position != "AT_TIMESTAMP":
        raise invalid_parameter("Timestamp only valid with StartingPosition AT_TIMESTAMP")
    if position not in kind.positions:
        raise invalid_parameter(f"Unsupported starting position for arn type: {source}")
    if position == "AT_TIMESTAMP" and not timed:
        raise invalid_parameter("StartingPosition AT_TIMESTAMP requires a StartingPositionTimestamp")


def _check_destination(config: Mapping[str, Any] | None) -> None:
    if config is not None and "OnSuccess" in config:
        raise invalid_parameter(
            "Unsupported DestinationConfig parameter for given event source mapping type."
        )


def _check_batches(kind: SourceKind, source: str, settings: Mapping[str, Any]) -> None:
    size, window = settings["BatchSize"], settings.get("MaximumBatchingWindowInSeconds", 0)
    if kind is SQS and source.endswith(".fifo"):
        if window:
            raise invalid_parameter("Batching window is not supported for FIFO queues")
        if size > SQS.defaults["BatchSize"]:
            raise invalid_parameter("Batch size must be at most 10 for FIFO queues")
    elif kind is SQS and size > SQS.defaults["BatchSize"] and not window:
        raise invalid_parameter(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10"
        )
    if 0 <= (age := settings.get("MaximumRecordAgeInSeconds", -1)) < _LEAST_RECORD_AGE:
        raise invalid_parameter(
            f"MaximumRecordAgeInSeconds is {age}: it must be -1 or at least {_LEAST_RECORD_AGE}"
        )


def duplicate(
    kind: SourceKind, *, source: str, function: str, arn: str, topics: list[str], uuid: str
) -> LambdaError:
    """The refusal of a second mapping."""
    named = f', topics ("{",".join(topics)}")' if topics else ""
    text = kind.duplicate.format(source=source, function=function, arn=arn, topics=named, uuid=uuid)
    return LambdaError("ResourceConflictException", text)
