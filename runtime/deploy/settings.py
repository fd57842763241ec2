"""What is configured beside functions, versions and aliases: concurrency, URLs, policies, event sources, … Pure.

A setting has a place (a function, version or alias) and is put there or taken off; a statement is part of a policy; an
event source mapping is a thing of its own. What they are to be is read here, as the API's members; it has numbers and
flags where templates have texts.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from runtime.deploy.errors import Path, TemplateError
from runtime.deploy.properties import Properties

CONCURRENCY, PROVISIONED, INVOCATIONS = (
    "ReservedConcurrentExecutions",
    "ProvisionedConcurrencyConfig",
    "EventInvokeConfig",
)
URL, SIGNING, RECURSION, RUNTIME = (
    "FunctionUrlConfig",
    "CodeSigningConfigArn",
    "RecursiveLoop",
    "RuntimeManagementConfig",
)
LATEST = "$LATEST"
STACK_TAG, ID_TAG = "berth:stack", "berth:logical-id"
"""Tags that tell whose something is."""
_WHOLE = {
    *("BatchSize", "ConcurrentExecutions", "MaxAge", "MaximumBatchingWindowInSeconds", "MaximumConcurrency"),
    *("MaximumEventAgeInSeconds", "MaximumPollers", "MaximumRecordAgeInSeconds", "MaximumRetryAttempts"),
    *("MinimumPollers", "ParallelizationFactor", "PerExecutionEnvironmentMaxConcurrency"),
    *("ProvisionedConcurrentExecutions", "ReservedConcurrentExecutions", "TumblingWindowInSeconds"),
}
_DECIMAL = {"ExecutionEnvironmentMemoryGiBPerVCpu", "StartingPositionTimestamp"}
_FLAGS = {"AllowCredentials", "BisectBatchOnFunctionError", "Enabled", "InvokedViaFunctionUrl"}
"""Members that are no texts, by their names: none of them is one thing here and another there."""
_WHOLE_FORM, _DECIMAL_FORM = re.compile(r"-?[0-9]{1,9}"), re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_STATEMENT_LIMIT = 100
_DIGEST = 12
"""Letters of a digest in a statement's identifier."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is put on a function, version or alias. `qualifier` is empty for the function itself."""

    kind: str
    function: str
    qualifier: str
    members: Mapping[str, Any]

    @property
    def place(self) -> tuple[str, str, str]:
        return self.kind, self.function, self.qualifier


@dataclass(frozen=True, slots=True)
class StatementWanted:
    """A statement in the policy of a function, version or alias, or of a layer version.

    Its identifier says whose it is and, by a digest, what it says: another statement is another identifier.
    """

    owner: str
    qualifier: str
    is_of_layer: bool
    mark: str
    members: Mapping[str, Any]

    @property
    def statement_id(self) -> str:
        return f"{self.mark}-{_digest(self.members)}"


@dataclass(frozen=True, slots=True)
class MappingWanted:
    """An event source mapping. It is found again by its tags."""

    members: Mapping[str, Any]
    tags: Mapping[str, str]

    @property
    def fixed(self) -> str:
        """A digest of what only another mapping could be: what cannot be updated, and which members are given."""
        return _digest([sorted(self.members), {name: self.members.get(name) for name in MAPPING_FIXED}])

    @property
    def whole(self) -> str:
        return _digest(self.members)


MAPPING_FIXED = (
    *("EventSourceArn", "SelfManagedEventSource", "StartingPosition", "StartingPositionTimestamp", "Topics"),
    *("Queues", "AmazonManagedKafkaEventSourceConfig", "SelfManagedKafkaEventSourceConfig"),
)
"""What UpdateEventSourceMapping does not take, or takes once."""


def is_statement_of(stack: str, statement_id: str) -> bool:
    """Whether a statement is one that a template of this stack has put."""
    return re.fullmatch(rf"{re.escape(stack)}-[A-Za-z0-9]+-[0-9a-f]{{{_DIGEST}}}", statement_id) is not None


def typed(value: Any, path: Path) -> Any:
    """A value with numbers and flags where the API has them."""
    if isinstance(value, Mapping):
        return {name: _leaf(name, each, (*path, name)) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [typed(each, (*path, str(index))) for index, each in enumerate(value)]
    return value


def _leaf(name: str, value: Any, path: Path) -> Any:
    if name in _WHOLE:
        return int(_matching(value, _WHOLE_FORM, "a whole number", path))
    if name in _DECIMAL:
        return float(_matching(value, _DECIMAL_FORM, "a number", path))
    if name in _FLAGS:
        if value not in ("true", "false"):
            raise TemplateError(f"{value!r} is neither true nor false", path)
        return value == "true"
    return typed(value, path)


def _matching(value: Any, form: re.Pattern[str], what: str, path: Path) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise TemplateError(f"{value!r} is not {what}", path)
    return value


def _digest(value: Any) -> str:
    return sha256(repr(_ordered(value)).encode()).hexdigest()[:_DIGEST]


def _ordered(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [(name, _ordered(value[name])) for name in sorted(value)]
    return [_ordered(each) for each in value] if isinstance(value, list) else value


def function_and_qualifier(given: str) -> tuple[str, str]:
    """The plain name, and the qualifier if there is one, of a name or an ARN, whole or partial."""
    parts = given.split(":")
    if "function" in parts[:-1]:
        parts = parts[parts.index("function") + 1 :]
    return parts[0], parts[1] if len(parts) > 1 else ""


def of_functions(properties: Properties, function: str) -> Iterator[Setting]:
    """What SAM's functions and CloudFormation's have in common."""
    for name in (CONCURRENCY, RECURSION, SIGNING):
        if properties.text(name):
            yield Setting(name, function, "", typed({name: properties.text(name)}, properties.path))
    yield from _runtime(properties, RUNTIME, function, LATEST)


def of_serverless(properties: Properties, function: str, alias: str) -> Iterator[Setting]:
    """What SAM makes further resources of: for the alias that it publishes, if it does."""
    yield from of_functions(properties, function)
    if properties.get(PROVISIONED) is not None and not alias:
        raise properties.wrong(PROVISIONED, "needs AutoPublishAlias: it is put on a published version")
    yield from of_published(properties, function, alias)
    if properties.get(INVOCATIONS) is not None:
        yield _invocations(properties.inner(INVOCATIONS), function, alias)
    if properties.get(URL) is not None:
        yield _url(properties.inner(URL), function, alias)


def of_published(properties: Properties, function: str, qualifier: str) -> Iterator[Setting]:
    """What versions and aliases have; a version's number may be still to come."""
    if properties.get(PROVISIONED) is not None:
        inner = properties.inner(PROVISIONED)
        inner.required("ProvisionedConcurrentExecutions")
        yield Setting(PROVISIONED, function, qualifier, typed(inner.values, inner.path))
    yield from _runtime(properties, "RuntimePolicy", function, qualifier)


def numbered(settings: tuple[Setting, ...], number: str) -> tuple[Setting, ...]:
    """Those of a version whose number is known now."""
    return tuple(replace(each, qualifier=number) for each in settings)


def _runtime(properties: Properties, name: str, function: str, qualifier: str) -> Iterator[Setting]:
    if properties.get(name) is not None:
        inner = properties.inner(name)
        members = {"UpdateRuntimeOn": inner.text("UpdateRuntimeOn", "Auto")}
        if arn := inner.text("RuntimeVersionArn"):
            members["RuntimeVersionArn"] = arn
        if members != {"UpdateRuntimeOn": "Auto"}:
            yield Setting(RUNTIME, function, qualifier, members)


def _invocations(properties: Properties, function: str, qualifier: str) -> Setting:
    members = {
        name: properties.get(name)
        for name in ("MaximumEventAgeInSeconds", "MaximumRetryAttempts")
        if properties.get(name) is not None
    }
    outcomes = properties.inner("DestinationConfig")
    destinations = {}
    for name in ("OnSuccess", "OnFailure"):
        if outcomes.get(name) is not None:
            inner = outcomes.inner(name)
            if not inner.text("Destination"):
                raise inner.wrong("Destination", "is missing: queues and topics are not made here")
            destinations[name] = {"Destination": inner.text("Destination")}
    given = typed(members, properties.path) | ({"DestinationConfig": destinations} if destinations else {})
    return Setting(INVOCATIONS, function, qualifier or LATEST, given)


def _url(properties: Properties, function: str, qualifier: str) -> Setting:
    return Setting(
        URL,
        function,
        qualifier,
        {
            "AuthType": properties.required("AuthType"),
            "InvokeMode": properties.text("InvokeMode", "BUFFERED"),
            "Cors": typed(properties.inner("Cors").values, (*properties.path, "Cors")),
        },
    )


def url_resource(properties: Properties) -> Setting:
    """`AWS::Lambda::Url`."""
    function, qualifier = function_and_qualifier(properties.required("TargetFunctionArn"))
    return _url(properties, function, properties.text("Qualifier") or qualifier)


def invocations_resource(properties: Properties) -> Setting:
    """`AWS::Lambda::EventInvokeConfig`."""
    function, qualifier = function_and_qualifier(properties.required("FunctionName"))
    return _invocations(properties, function, properties.text("Qualifier") or qualifier)


STATEMENT_MEMBERS = {
    *("Action", "EventSourceToken", "FunctionUrlAuthType", "InvokedViaFunctionUrl", "Principal"),
    *("PrincipalOrgID", "SourceAccount", "SourceArn"),
}
LAYER_STATEMENT_MEMBERS = {"Action", "OrganizationId", "Principal"}


def permission(properties: Properties, stack: str, logical_id: str) -> StatementWanted:
    """`AWS::Lambda::Permission`."""
    function, qualifier = function_and_qualifier(properties.required("FunctionName"))
    members = _members(properties, STATEMENT_MEMBERS, ("Action", "Principal"))
    return StatementWanted(function, qualifier, False, _mark(properties, stack, logical_id), members)


def layer_permission(properties: Properties, stack: str, logical_id: str) -> StatementWanted:
    """`AWS::Lambda::LayerVersionPermission`."""
    layer, _, number = properties.required("LayerVersionArn").rpartition(":")
    members = _members(properties, LAYER_STATEMENT_MEMBERS, ("Action", "Principal"))
    mark = _mark(properties, stack, logical_id)
    return StatementWanted(layer.rpartition(":")[2], number, True, mark, members)


def _members(properties: Properties, names: set[str], required: tuple[str, ...]) -> dict[str, Any]:
    for name in required:
        properties.required(name)
    members: dict[str, Any] = typed({name: properties.get(name) for name in sorted(names)}, properties.path)
    return members


def _mark(properties: Properties, stack: str, logical_id: str) -> str:
    mark = f"{stack}-{logical_id}"
    if len(mark) + _DIGEST >= _STATEMENT_LIMIT:
        raise TemplateError(f"{mark} is too long for a statement's identifier", properties.path)
    return mark


_RENAMED = {"KmsKeyArn": "KMSKeyArn"}
MAPPING_PROPERTIES = {
    *("AmazonManagedKafkaEventSourceConfig", "BatchSize", "BisectBatchOnFunctionError", "DestinationConfig"),
    *("DocumentDBEventSourceConfig", "Enabled", "EventSourceArn", "FilterCriteria", "FunctionName"),
    *("FunctionResponseTypes", "KmsKeyArn", "LoggingConfig", "MaximumBatchingWindowInSeconds"),
    *("MaximumRecordAgeInSeconds", "MaximumRetryAttempts", "MetricsConfig", "ParallelizationFactor"),
    *("ProvisionedPollerConfig", "Queues", "ScalingConfig", "SelfManagedEventSource"),
    *("SelfManagedKafkaEventSourceConfig", "SourceAccessConfigurations", "StartingPosition"),
    *("StartingPositionTimestamp", "Tags", "Topics", "TumblingWindowInSeconds"),
}


def event_source_mapping(properties: Properties, own_tags: Mapping[str, str]) -> MappingWanted:
    """`AWS::Lambda::EventSourceMapping`."""
    properties.required("FunctionName")
    given: dict[str, Any] = typed(
        {
            _RENAMED.get(name, name): value
            for name, value in properties.values.items()
            if name in MAPPING_PROPERTIES - {"Tags"}
        },
        properties.path,
    )
    if (
        servers := properties.inner("SelfManagedEventSource")
        .inner("Endpoints")
        .texts("KafkaBootstrapServers")
    ):
        given["SelfManagedEventSource"] = {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": servers}}
    return MappingWanted(given, properties.tags() | dict(own_tags))
