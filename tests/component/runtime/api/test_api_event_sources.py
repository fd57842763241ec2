"""Event source mappings, through boto3."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from runtime.model import EventSourceMapping, Scope

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f"
INVALID, MISSING = "InvalidParameterValueException", "ResourceNotFoundException"
QUEUE = "arn:aws:sqs:us-east-1:123456789012:queue"
STREAM = "arn:aws:kinesis:us-east-1:123456789012:stream/s"
TABLE = "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/2024-01-01T00:00:00.000"
CLUSTER = "arn:aws:kafka:us-east-1:123456789012:cluster/c/12345678-1234-1234-1234-123456789012-1"
BROKER = "arn:aws:mq:us-east-1:123456789012:broker:b:b-12345678-1234-1234-1234-123456789012"
DOCUMENTS = "arn:aws:rds:us-east-1:123456789012:cluster:docs"
UNKNOWN = "12345678-1234-1234-1234-123456789012"
ACCESS = [{"Type": "BASIC_AUTH", "URI": "arn:aws:secretsmanager:us-east-1:123456789012:secret:s"}]
SELF_MANAGED = {"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["a:9092", "b:9092"]}}}
NOT_POLLED = "Berth does not poll event sources yet: the mapping is kept as it was asked for, enabled."
STREAMED = {
    "BatchSize": 100,
    "BisectBatchOnFunctionError": False,
    "DestinationConfig": {"OnFailure": {}},
    "FunctionResponseTypes": [],
    "LastProcessingResult": "No records processed",
    "MaximumBatchingWindowInSeconds": 0,
    "MaximumRecordAgeInSeconds": -1,
    "MaximumRetryAttempts": -1,
    "ParallelizationFactor": 1,
    "StartingPosition": "LATEST",
    "TumblingWindowInSeconds": 0,
}
SOURCES: dict[str, Mapping[str, Any]] = {
    "queue": {"EventSourceArn": QUEUE},
    "stream": {"EventSourceArn": STREAM, "StartingPosition": "LATEST"},
    "table": {"EventSourceArn": TABLE, "StartingPosition": "LATEST"},
    "cluster": {"EventSourceArn": CLUSTER, "StartingPosition": "LATEST", "Topics": ["t1"]},
    "brokers": {
        **SELF_MANAGED,
        "StartingPosition": "TRIM_HORIZON",
        "Topics": ["t1"],
        "SourceAccessConfigurations": ACCESS,
    },
    "broker": {"EventSourceArn": BROKER, "Queues": ["q"], "SourceAccessConfigurations": ACCESS},
    "documents": {
        "EventSourceArn": DOCUMENTS,
        "StartingPosition": "LATEST",
        "DocumentDBEventSourceConfig": {"DatabaseName": "d"},
        "SourceAccessConfigurations": ACCESS,
    },
}


async def create(door: Any, source: str = "queue", /, **params: Any) -> Any:
    members = {"FunctionName": "f", **SOURCES[source], **params}
    return await door.call("create_event_source_mapping", **members)


async def refused(door: Any, source: str = "queue", /, **params: Any) -> tuple[int, str, str]:
    members = {"FunctionName": "f", **SOURCES[source], **params}
    refusal: tuple[int, str, str] = await door.refused("create_event_source_mapping", **members)
    return refusal


def settings_of(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """What a mapping says of itself, without what is the same for all or new each time."""
    common = {"ResponseMetadata", "UUID", "EventSourceMappingArn", "FunctionArn", "LastModified"}
    return {name: value for name, value in mapping.items() if name not in common}


async def test_life_of_a_mapping(door: Any) -> None:
    """Created, read, updated, listed, deleted; it says that it does not poll."""
    await door.created()
    made = await create(door)
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 202
    uuid = made["UUID"]
    assert made["FunctionArn"] == FUNCTION
    assert made["EventSourceMappingArn"] == (
        f"arn:aws:lambda:us-east-1:123456789012:event-source-mapping:{uuid}"
    )
    assert abs(made["LastModified"] - datetime.now(UTC)) < timedelta(minutes=1)
    expected = {
        "BatchSize": 10,
        "EventSourceArn": QUEUE,
        "FunctionResponseTypes": [],
        "MaximumBatchingWindowInSeconds": 0,
        "State": "Disabled",
        "StateTransitionReason": NOT_POLLED,
    }
    assert settings_of(made) == expected
    assert settings_of(await door.call("get_event_source_mapping", UUID=uuid)) == expected
    updated = await door.call(
        "update_event_source_mapping",
        UUID=uuid,
        Enabled=False,
        BatchSize=5,
        ScalingConfig={"MaximumConcurrency": 2},
        FilterCriteria={"Filters": [{"Pattern": '{"body": {"kind": ["a"]}}'}]},
    )
    assert updated["ResponseMetadata"]["HTTPStatusCode"] == 202
    expected |= {
        "BatchSize": 5,
        "ScalingConfig": {"MaximumConcurrency": 2},
        "FilterCriteria": {"Filters": [{"Pattern": '{"body": {"kind": ["a"]}}'}]},
        "StateTransitionReason": "USER_INITIATED",
    }
    assert settings_of(updated) == expected
    cleared = await door.call("update_event_source_mapping", UUID=uuid, ScalingConfig={}, FilterCriteria={})
    assert cleared.keys() & {"ScalingConfig", "FilterCriteria"} == set()
    (listed,) = (await door.call("list_event_source_mappings"))["EventSourceMappings"]
    assert settings_of(listed) == settings_of(cleared)
    deleted = await door.call("delete_event_source_mapping", UUID=uuid)
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert (deleted["UUID"], deleted["State"]) == (uuid, "Deleting")
    for operation in ("get", "update", "delete"):
        gone = (404, MISSING, "The resource you requested does not exist.")
        assert await door.refused(f"{operation}_event_source_mapping", UUID=uuid) == gone


@pytest.mark.parametrize("source", ["stream", "table"])
async def test_streams(door: Any, source: str) -> None:
    """Streams have retries and windows, with AWS's defaults."""
    await door.created()
    made = await create(door, source)
    state = {"State": "Disabled", "StateTransitionReason": NOT_POLLED}
    assert settings_of(made) == STREAMED | state | {"EventSourceArn": SOURCES[source]["EventSourceArn"]}
    failure = {"OnFailure": {"Destination": QUEUE}}
    changed = await door.call(
        "update_event_source_mapping",
        UUID=made["UUID"],
        Enabled=False,
        DestinationConfig=failure,
        MaximumRetryAttempts=0,
        MaximumRecordAgeInSeconds=60,
    )
    assert changed["DestinationConfig"] == failure
    assert changed["StateTransitionReason"] == "User action"


@pytest.mark.parametrize("source", ["cluster", "brokers", "broker", "documents"])
async def test_other_sources(door: Any, source: str) -> None:
    """Kafka, MQ and DocumentDB mappings show what they were given."""
    await door.created()
    made = await create(door, source)
    assert made["BatchSize"] == 100
    assert SOURCES[source].items() <= made.items()
    name = {
        "cluster": "AmazonManagedKafkaEventSourceConfig",
        "brokers": "SelfManagedKafkaEventSourceConfig",
    }.get(source)
    if name:
        assert len(made[name]["ConsumerGroupId"]) == 36
        chosen = await create(door, source, Topics=["t2"], **{name: {"ConsumerGroupId": "mine"}})
        assert chosen[name] == {"ConsumerGroupId": "mine"}
    assert ("EventSourceArn" in made) == (source != "brokers")
    got = await door.call("get_event_source_mapping", UUID=made["UUID"])
    assert settings_of(got) == settings_of(made)


async def test_from_a_moment(door: Any) -> None:
    """A stream can be read from a moment on, which is shown again."""
    await door.created()
    moment = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    params = {"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": moment}
    made = await create(door, "stream", **params)
    assert made["StartingPositionTimestamp"] == moment


async def test_mappings_outlive_their_function(door: Any) -> None:
    """As on AWS: deleting the function leaves the mapping."""
    await door.created()
    uuid = (await create(door))["UUID"]
    await door.call("delete_function", FunctionName="f")
    assert (await door.call("get_event_source_mapping", UUID=uuid.upper()))["UUID"] == uuid


@pytest.mark.parametrize("qualifier", ["$LATEST", "1", "live"])
async def test_mappings_of_qualifiers(door: Any, qualifier: str) -> None:
    """A mapping keeps the qualifier that it was made for; each has one of its own."""
    await door.published()
    await door.alias()
    uuid = (await create(door))["UUID"]
    made = await create(door, FunctionName=f"f:{qualifier}")
    assert made["FunctionArn"] == f"{FUNCTION}:{qualifier}"
    listed = await door.call("list_event_source_mappings", FunctionName=f"f:{qualifier}")
    assert [each["UUID"] for each in listed["EventSourceMappings"]] == [made["UUID"]]
    moved = await door.refused("update_event_source_mapping", UUID=made["UUID"], FunctionName="f")
    assert moved[2].endswith(uuid)


async def test_a_page_holds_a_hundred_mappings(door: Any) -> None:
    """Whatever is asked for; of other lists it holds fifty."""
    await door.created()
    await create(door)
    scope = Scope("123456789012", "us-east-1")
    [first] = door.store.catalog.attachments(EventSourceMapping, scope)
    for number in range(100):
        other = replace(first, owner=f"{number:08d}-0000-0000-0000-000000000000", source=f"{QUEUE}{number}")
        await door.store.attach(other)
    for params in ({}, {"MaxItems": 10_000}):
        page = await door.call("list_event_source_mappings", **params)
        assert len(page["EventSourceMappings"]) == 100
        rest = await door.call("list_event_source_mappings", Marker=page["NextMarker"])
        assert (len(rest["EventSourceMappings"]), "NextMarker" in rest) == (1, False)


async def test_lists_of_mappings(door: Any) -> None:
    """By function, by source, and in pages."""
    await door.created()
    await door.created("g")
    queue = (await create(door))["UUID"]
    stream = (await create(door, "stream"))["UUID"]
    other = (await create(door, FunctionName="g"))["UUID"]

    async def listed(**params: Any) -> set[str]:
        found = await door.call("list_event_source_mappings", **params)
        return {mapping["UUID"] for mapping in found["EventSourceMappings"]}

    assert await listed() == {queue, stream, other}
    assert await listed(FunctionName=FUNCTION) == {queue, stream}
    assert await listed(EventSourceArn=QUEUE) == {queue, other}
    assert await listed(EventSourceArn=QUEUE, FunctionName="g") == {other}
    assert await listed(FunctionName="none") == set()
    page = await door.call("list_event_source_mappings", MaxItems=2)
    rest = await listed(Marker=page["NextMarker"])
    assert {mapping["UUID"] for mapping in page["EventSourceMappings"]} | rest == {queue, stream, other}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "queue",
            (
                f'An event source mapping with SQS arn (" {QUEUE} ") and function (" f ") already exists. '
                "Please update or delete the existing mapping with UUID {}"
            ),
        ),
        (
            "stream",
            (
                f'The event source arn (" {STREAM} ") and function (" f ") provided mapping already exists. '
                "Please update or delete the existing mapping with UUID {}"
            ),
        ),
        (
            "cluster",
            (
                f'An event source mapping with event source ("{CLUSTER}"), function ("{FUNCTION}"), topics ("t1") '
                "already exists. Please update or delete the existing mapping with UUID {}"
            ),
        ),
        (
            "brokers",
            (
                f'An event source mapping with event source ("a:9092,b:9092"), function ("{FUNCTION}"), topics ("t1") '
                "already exists. Please update or delete the existing mapping with UUID {}"
            ),
        ),
    ],
)
async def test_duplicates(door: Any, source: str, text: str) -> None:
    """One source has one mapping for each function; neither create nor update makes a second."""
    await door.created()
    await door.created("g")
    uuid = (await create(door, source))["UUID"]
    assert await refused(door, source) == (409, "ResourceConflictException", text.format(uuid))
    other = (await create(door, source, FunctionName="g"))["UUID"]
    params = {"UUID": other, "FunctionName": "f"}
    duplicate = await door.refused("update_event_source_mapping", **params)
    assert duplicate == (409, "ResourceConflictException", text.format(uuid))
    assert (await door.call("get_event_source_mapping", UUID=other))["FunctionArn"] == f"{FUNCTION[:-1]}g"


async def test_creating_together(door: Any) -> None:
    """Of many callers that make the same mapping, one does."""
    await door.created()
    client = door.client()
    outcomes = await asyncio.gather(
        *(
            door.aside(client.create_event_source_mapping, FunctionName="f", EventSourceArn=QUEUE)
            for _ in range(12)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, ClientError) for outcome in outcomes) == 11
    assert len((await door.call("list_event_source_mappings"))["EventSourceMappings"]) == 1


NULL_POSITION = (
    "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: "
    "Member must not be null."
)
UNSUPPORTED = "Unsupported {} parameter for given event source mapping type."


@pytest.mark.parametrize(
    ("source", "params", "text"),
    [
        ("queue", {"FunctionName": "none"}, "Function does not exist"),
        ("queue", {"FunctionName": "f:no"}, "Function does not exist"),
        ("queue", {"EventSourceArn": None}, "Unrecognized event source."),
        ("queue", {"EventSourceArn": "arn:aws:s3:::bucket"}, "Unrecognized event source."),
        ("queue", SELF_MANAGED, "Unrecognized event source."),
        (
            "queue",
            {"StartingPosition": "LATEST"},
            "StartingPosition is not valid for SQS event sources.",
        ),
        ("queue", {"DestinationConfig": {}}, UNSUPPORTED.format("DestinationConfig")),
        ("queue", {"ParallelizationFactor": 2}, UNSUPPORTED.format("'parallelizationFactor'")),
        ("queue", {"MaximumRetryAttempts": 1}, UNSUPPORTED.format("'maximumRetryAttempts'")),
        ("stream", {"ScalingConfig": {"MaximumConcurrency": 2}}, UNSUPPORTED.format("'scalingConfig'")),
        (
            "stream",
            {"DestinationConfig": {"OnSuccess": {"Destination": QUEUE}}},
            UNSUPPORTED.format("DestinationConfig"),
        ),
        (
            "queue",
            {"BatchSize": 11},
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10",
        ),
        (
            "queue",
            {"EventSourceArn": f"{QUEUE}.fifo", "MaximumBatchingWindowInSeconds": 1},
            "Batching window is not supported for FIFO queues",
        ),
        (
            "queue",
            {"EventSourceArn": f"{QUEUE}.fifo", "BatchSize": 11},
            "Batch size must be at most 10 for FIFO queues",
        ),
        (
            "queue",
            {"EventSourceArn": QUEUE.replace("us-east-1", "eu-west-1")},
            "The event source is in region eu-west-1; it is expected to be in region us-east-1.",
        ),
        (
            "queue",
            {"FilterCriteria": {"Filters": [{"Pattern": "{"}]}},
            "Invalid filter pattern definition.",
        ),
        ("stream", {"StartingPosition": None}, NULL_POSITION),
        (
            "table",
            {"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 1},
            f"Unsupported starting position for arn type: {TABLE}",
        ),
        (
            "stream",
            {"StartingPositionTimestamp": 1},
            "Timestamp only valid with StartingPosition AT_TIMESTAMP",
        ),
        (
            "stream",
            {"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": -1},
            (
                "Received Exception while reading from provided stream. "
                "class java.lang.Long can not be converted to a Timestamp"
            ),
        ),
        (
            "stream",
            {"StartingPosition": "AT_TIMESTAMP"},
            "StartingPosition AT_TIMESTAMP requires a StartingPositionTimestamp",
        ),
        (
            "stream",
            {"MaximumRecordAgeInSeconds": 59},
            "MaximumRecordAgeInSeconds is 59: it must be -1 or at least 60",
        ),
        ("cluster", {"Topics": None}, "Required 'topics' parameter is missing."),
        (
            "brokers",
            {"SourceAccessConfigurations": None},
            "Required 'sourceAccessConfigurations' parameter is missing.",
        ),
        ("broker", {"Queues": None}, "Required 'queues' parameter is missing."),
        (
            "queue",
            {"Tags": {"aws:x": ""}},
            "aws: prefixed tag key names are not allowed for external use.",
        ),
    ],
)
async def test_bad_mappings(door: Any, source: str, params: dict[str, Any], text: str) -> None:
    """What a source's kind does not allow is refused; nothing is kept of it."""
    await door.created()
    members = {**SOURCES[source], "FunctionName": "f", **params}
    given = {name: value for name, value in members.items() if value is not None}
    assert await door.refused("create_event_source_mapping", **given) == (400, INVALID, text)
    assert (await door.call("list_event_source_mappings"))["EventSourceMappings"] == []


async def test_bad_updates(door: Any) -> None:
    """The same rules hold for changes; a refused one changes nothing."""
    await door.created()
    made = await create(door)
    for params in (
        {"BatchSize": 11},
        {"ParallelizationFactor": 2},
        {"FunctionName": "none"},
        {"FilterCriteria": {"Filters": [{"Pattern": "[]"}]}},
    ):
        refusal = await door.refused("update_event_source_mapping", UUID=made["UUID"], **params)
        assert refusal[:2] == (400, INVALID)
    got = await door.call("get_event_source_mapping", UUID=made["UUID"])
    assert settings_of(got) == settings_of(made)
    big = {"BatchSize": 11, "MaximumBatchingWindowInSeconds": 1}
    assert (await door.call("update_event_source_mapping", UUID=made["UUID"], **big))["BatchSize"] == 11
