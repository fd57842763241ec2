"""Records as the documents that AWS shows: FunctionConfiguration with its parts, AliasConfiguration.

Pure: a record goes in, the model's output members come out. AWS's casing begins here.
"""

import base64
from collections.abc import Mapping
from typing import Any

from runtime.model import (
    LATEST,
    Alias,
    Code,
    FunctionVersion,
    ImageCode,
    ImageConfig,
    LoggingConfig,
    ManagedInstances,
    State,
)
from runtime.names import function_arn, runtime_version_arn

_ECHOED = ("DeadLetterConfig", "KMSKeyArn", "FileSystemConfigs")
"""Members of `FunctionConfig.declared` that responses repeat as they were given."""


def code_sha256(code: Code | ImageCode) -> str:
    """`CodeSha256`: a package's digest in base64, an image's in hexadecimal."""
    if isinstance(code, ImageCode):
        return code.digest
    return base64.b64encode(bytes.fromhex(code.digest)).decode()


def function_configuration(record: FunctionVersion, qualifier: str | None = None) -> dict[str, Any]:
    """The whole FunctionConfiguration; `qualifier` is what the ARN ends with."""
    return listed_configuration(record, qualifier) | _state(record) | _runtime_version(record)


def listed_configuration(record: FunctionVersion, qualifier: str | None = None) -> dict[str, Any]:
    """A FunctionConfiguration as lists show it: without state and runtime version."""
    config = record.config
    return {
        "FunctionName": record.name,
        "FunctionArn": function_arn(record.scope, record.name, qualifier),
        "Runtime": config.runtime,
        "Role": config.role,
        "Handler": config.handler,
        "CodeSize": record.code.size,
        "CodeSha256": code_sha256(record.code),
        "Description": config.description,
        "Timeout": config.timeout,
        "MemorySize": config.memory_size,
        "LastModified": record.last_modified,
        "Version": record.version,
        "RevisionId": record.revision_id,
        "PackageType": config.package_type,
        "ImageConfigResponse": _image_config(config.image_config),
        "Architectures": [config.architecture],
        "EphemeralStorage": {"Size": config.ephemeral_storage},
        "TracingConfig": {"Mode": config.tracing_mode},
        "SnapStart": _snap_start(record),
        "LoggingConfig": _logging(config.logging, record.name),
        "Environment": _environment(config.environment),
        "Layers": _layers(record),
        "VpcConfig": _vpc(config.declared),
        "TenancyConfig": _tenancy(config.tenant_isolation),
        "CapacityProviderConfig": _managed(config.managed),
    } | {name: config.declared.get(name) for name in _ECHOED}


def alias_configuration(alias: Alias) -> dict[str, Any]:
    """The AliasConfiguration, without what is Berth's own."""
    return {
        "AliasArn": alias.arn,
        "Name": alias.name,
        "FunctionVersion": alias.version,
        "Description": alias.description,
        "RoutingConfig": {"AdditionalVersionWeights": alias.weights} if alias.weights else None,
        "RevisionId": alias.revision_id,
    }


def _state(record: FunctionVersion) -> dict[str, Any]:
    return {
        "State": record.state,
        "StateReason": record.state_reason,
        "StateReasonCode": record.state_reason_code,
        "LastUpdateStatus": record.last_update_status,
        "LastUpdateStatusReason": record.last_update_status_reason,
        "LastUpdateStatusReasonCode": record.last_update_status_reason_code,
    }


def _runtime_version(record: FunctionVersion) -> dict[str, Any]:
    if record.config.runtime is None:
        return {}
    arn = runtime_version_arn(record.scope.region, record.config.runtime)
    return {"RuntimeVersionConfig": {"RuntimeVersionArn": arn}}


def _snap_start(record: FunctionVersion) -> dict[str, Any]:
    """On for a published version once it is active: its snapshot is said to exist from then on."""
    on = record.config.snap_starts and record.version != LATEST and record.state is State.ACTIVE
    return {
        "ApplyOn": "PublishedVersions" if record.config.snap_starts else "None",
        "OptimizationStatus": "On" if on else "Off",
    }


def _tenancy(mode: str | None) -> dict[str, Any] | None:
    return {"TenantIsolationMode": mode} if mode else None


def _managed(managed: ManagedInstances | None) -> dict[str, Any] | None:
    if managed is None:
        return None
    return {
        "LambdaManagedInstancesCapacityProviderConfig": {
            "CapacityProviderArn": managed.capacity_provider,
            "PerExecutionEnvironmentMaxConcurrency": managed.max_concurrency,
            "ExecutionEnvironmentMemoryGiBPerVCpu": managed.memory_per_vcpu,
        }
    }


def _logging(logging: LoggingConfig, function: str) -> dict[str, Any]:
    return {
        "LogFormat": logging.log_format,
        "ApplicationLogLevel": logging.application_log_level,
        "SystemLogLevel": logging.system_log_level,
        "LogGroup": logging.log_group or f"/aws/lambda/{function}",
    }


def _image_config(config: ImageConfig | None) -> dict[str, Any] | None:
    if config is None:
        return None
    members = {
        "EntryPoint": config.entry_point,
        "Command": config.command,
        "WorkingDirectory": config.working_directory,
    }
    return {"ImageConfig": members}


def _environment(variables: Mapping[str, str] | None) -> dict[str, Any] | None:
    return None if variables is None else {"Variables": variables}


def _layers(record: FunctionVersion) -> list[dict[str, Any]] | None:
    layers = [{"Arn": layer.arn, "CodeSize": layer.code.size} for layer in record.config.layers]
    return layers or None


def _vpc(declared: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was declared; no network stands behind it, so only an empty one has a `VpcId`: none."""
    asked = declared.get("VpcConfig")
    if asked is None:
        return None
    shown = {"SubnetIds": [], "SecurityGroupIds": [], "Ipv6AllowedForDualStack": False} | asked
    return shown if shown["SubnetIds"] else {**shown, "VpcId": ""}
