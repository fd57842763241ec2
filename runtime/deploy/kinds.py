"""The types of resources that are deployed, and which of their properties are read: a table. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from runtime.deploy.properties import Properties
from runtime.deploy.settings import (
    ID_TAG,
    LAYER_STATEMENT_MEMBERS,
    MAPPING_PROPERTIES,
    STACK_TAG,
    STATEMENT_MEMBERS,
    MappingWanted,
    Setting,
    StatementWanted,
    event_source_mapping,
    invocations_resource,
    layer_permission,
    permission,
    url_resource,
)
from runtime.deploy.wanted import (
    Reading,
    Wanted,
    alias,
    lambda_function,
    lambda_layer,
    serverless_function,
    serverless_layer,
    version,
)


def _setting(read: Callable[[Properties], Setting]) -> Callable[[Reading], Setting]:
    return lambda reading: read(reading.properties)


def _statement(
    read: Callable[[Properties, str, str], StatementWanted],
) -> Callable[[Reading], StatementWanted]:
    return lambda reading: read(reading.properties, reading.stack.name, reading.logical_id)


def _mapping(reading: Reading) -> MappingWanted:
    return event_source_mapping(
        reading.properties, {STACK_TAG: reading.stack.name, ID_TAG: reading.logical_id}
    )


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of resources that is deployed."""

    read: Callable[[Reading], Wanted]
    properties: frozenset[str]
    """What is read. The others are not even worked out: they may need what is not done here."""


_OF_FUNCTIONS = {
    *("Architectures", "Description", "Environment", "EphemeralStorage", "FunctionName", "Handler"),
    *("ImageConfig", "KmsKeyArn", "Layers", "LoggingConfig", "MemorySize", "PackageType", "Role", "Runtime"),
    *("SnapStart", "Tags", "Timeout"),
    *("CapacityProviderConfig", "CodeSigningConfigArn", "RecursiveLoop", "ReservedConcurrentExecutions"),
    *("RuntimeManagementConfig", "TenancyConfig"),
}
_OF_SERVERLESS = {
    *("AutoPublishAlias", "CodeUri", "DeadLetterQueue", "ImageUri", "InlineCode", "Tracing"),
    *("EventInvokeConfig", "FunctionUrlConfig", "ProvisionedConcurrencyConfig"),
}
_OF_LAYERS = {"CompatibleArchitectures", "CompatibleRuntimes", "Description", "LayerName", "LicenseInfo"}
_OF_ALIASES = {
    *("Description", "FunctionName", "FunctionVersion", "Name", "ProvisionedConcurrencyConfig"),
    "RoutingConfig",
}
_OF_VERSIONS = {"Description", "FunctionName", "ProvisionedConcurrencyConfig", "RuntimePolicy"}
_OF_URLS = {"AuthType", "Cors", "InvokeMode", "Qualifier", "TargetFunctionArn"}
_OF_INVOCATIONS = {
    *("DestinationConfig", "FunctionName", "MaximumEventAgeInSeconds", "MaximumRetryAttempts", "Qualifier")
}
KINDS = {
    "AWS::Lambda::Alias": Kind(alias, frozenset(_OF_ALIASES)),
    "AWS::Lambda::Function": Kind(
        lambda_function, frozenset(_OF_FUNCTIONS | {"Code", "DeadLetterConfig", "TracingConfig"})
    ),
    "AWS::Lambda::EventInvokeConfig": Kind(_setting(invocations_resource), frozenset(_OF_INVOCATIONS)),
    "AWS::Lambda::EventSourceMapping": Kind(_mapping, frozenset(MAPPING_PROPERTIES)),
    "AWS::Lambda::LayerVersion": Kind(lambda_layer, frozenset(_OF_LAYERS | {"Content"})),
    "AWS::Lambda::LayerVersionPermission": Kind(
        _statement(layer_permission), frozenset(LAYER_STATEMENT_MEMBERS | {"LayerVersionArn"})
    ),
    "AWS::Lambda::Permission": Kind(_statement(permission), frozenset(STATEMENT_MEMBERS | {"FunctionName"})),
    "AWS::Lambda::Url": Kind(_setting(url_resource), frozenset(_OF_URLS)),
    "AWS::Lambda::Version": Kind(version, frozenset(_OF_VERSIONS)),
    "AWS::Serverless::Function": Kind(serverless_function, frozenset(_OF_FUNCTIONS | _OF_SERVERLESS)),
    "AWS::Serverless::LayerVersion": Kind(serverless_layer, frozenset(_OF_LAYERS | {"ContentUri"})),
}
METADATA = ("DockerBuildArgs", "DockerBuildTarget", "DockerContext", "DockerTag", "Dockerfile")
"""What is read of a resource's metadata: how `sam build` makes an image."""
MUST_EXIST = {"CapacityProviderConfig", "CodeSigningConfigArn"}
"""Properties that a placeholder cannot serve: what they name must be there."""
SILENT = {
    # What concerns permissions only, or asks for nothing that could be done otherwise here.
    *("AssumeRolePolicyDocument", "AutoPublishAliasAllProperties", "AutoPublishCodeSha256", "CodeSha256"),
    *("PermissionsBoundary", "Policies", "PropagateTags", "RetentionPolicy", "RolePath"),
}
"""Properties that nobody is told of when they are left out."""
