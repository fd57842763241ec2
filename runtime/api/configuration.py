"""What callers configure: from request members to a `FunctionConfig`, with the rules that the model does not hold.

Create starts from AWS's defaults, update from the function as it is; the same members mean the same in both.
Layers arrive here already resolved.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from runtime.api.calls import not_implemented
from runtime.errors import invalid_parameter
from runtime.managed import DEFAULT_MEMORY_MB, check_managed
from runtime.model import (
    ZIP,
    FunctionConfig,
    ImageConfig,
    LayerReference,
    LoggingConfig,
    ManagedInstances,
)
from runtime.tenancy import check_features

ENVIRONMENT_LIMIT = 4096
RESERVED_KEYS = frozenset(
    {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    }
)
BLOCKED_RUNTIMES = frozenset(
    {
        "dotnetcore1.0",
        "dotnetcore2.0",
        "dotnetcore2.1",
        "dotnetcore3.1",
        "go1.x",
        "java8",
        "nodejs",
        "nodejs10.x",
        "nodejs12.x",
        "nodejs14.x",
        "nodejs4.3",
        "nodejs4.3-edge",
        "nodejs6.10",
        "nodejs8.10",
        "provided",
        "python2.7",
        "python3.6",
        "python3.7",
        "ruby2.5",
        "ruby2.7",
    }
)
_REFUSED = {
    # Members that would change what a function does: accepting them silently would mislead.
    "AcceleratorConfig": "accelerators (AcceleratorConfig)",
    "DurableConfig": "durable functions (DurableConfig)",
    "PublishTo": "versions of managed instances (PublishTo)",
    "RuntimeConfig": "custom runtimes by ARN (RuntimeConfig)",
}
_DECLARED = ("DeadLetterConfig", "FileSystemConfigs", "KMSKeyArn", "SnapStart", "VpcConfig")
"""Accepted and echoed, not acted upon; each given one replaces the earlier one whole."""
_EMPTY: dict[str, Any] = {"DeadLetterConfig": {"TargetArn": ""}, "FileSystemConfigs": [], "KMSKeyArn": ""}
"""The values that clear a declared member."""


def refuse_unimplemented(members: Mapping[str, Any]) -> None:
    """Refuse what Berth would otherwise ignore; a member that is false or empty asks for nothing."""
    for member, what in _REFUSED.items():
        if members.get(member):
            raise not_implemented(what)


def new_configuration(
    members: Mapping[str, Any], layers: tuple[LayerReference, ...], runtimes: tuple[str, ...]
) -> FunctionConfig:
    """The configuration of a function to be created."""
    package_type = members.get("PackageType", ZIP)
    if package_type == ZIP and not (members.get("Runtime") and members.get("Handler")):
        raise invalid_parameter(
            "Runtime and Handler are mandatory parameters for functions created with deployment packages."
        )
    tenancy = members.get("TenancyConfig") or {}
    config = FunctionConfig(
        role=members["Role"],
        layers=layers,
        package_type=package_type,
        tenant_isolation=tenancy.get("TenantIsolationMode"),
    )
    return changed_configuration(replace(config, architecture=architecture(members)), members, runtimes)


def architecture(members: Mapping[str, Any], default: str = "x86_64") -> str:
    given: list[str] = members.get("Architectures") or [default]
    return given[0]


def changed_configuration(
    config: FunctionConfig, members: Mapping[str, Any], runtimes: tuple[str, ...]
) -> FunctionConfig:
    """`config` with the given members replaced; `runtimes` are the identifiers that the service model knows."""
    _refuse_other_kind(config.package_type, members)
    if "Runtime" in members:
        check_runtime(members["Runtime"], runtimes)
    changes = {field: read(members[member]) for member, (field, read) in _FIELDS.items() if member in members}
    declared = dict(config.declared) | {name: members[name] for name in _DECLARED if name in members}
    kept = {name: value for name, value in declared.items() if value != _EMPTY.get(name)}
    changed = _on_capacity(replace(config, **changes, declared=kept), members)
    check_features(changed)
    check_managed(changed)
    return changed


def _on_capacity(config: FunctionConfig, members: Mapping[str, Any]) -> FunctionConfig:
    """Functions on a capacity provider log in JSON, for their lines have to be told apart by request."""
    if config.managed is None:
        return config
    memory = config.memory_size if "MemorySize" in members or not _is_new(members) else DEFAULT_MEMORY_MB
    logging = config.logging
    if logging.log_format != "JSON":
        logging = _logging({"LogFormat": "JSON", "LogGroup": logging.log_group})
    return replace(config, memory_size=memory, logging=logging)


def _is_new(members: Mapping[str, Any]) -> bool:
    return "Code" in members


def _refuse_other_kind(package_type: str, members: Mapping[str, Any]) -> None:
    """Refuse what the other kind of package has; a member that is empty asks for nothing."""
    if package_type == ZIP:
        if members.get("ImageConfig"):
            raise invalid_parameter(
                "Please don't provide ImageConfig when the intended function PackageType is Zip."
            )
        return
    if any(members.get(member) for member in ("Handler", "Runtime", "Layers")):
        raise invalid_parameter(
            "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image."
        )
    if members.get("SnapStart", {}).get("ApplyOn") == "PublishedVersions":
        raise invalid_parameter("ContainerImage is not supported for SnapStart enabled functions.")


def check_runtime(runtime: str, known: tuple[str, ...]) -> None:
    if runtime not in known:
        allowed = ", ".join(name for name in known if name not in BLOCKED_RUNTIMES)
        raise invalid_parameter(
            f"Value {runtime} at 'runtime' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{allowed}] or be a valid ARN"
        )
    if runtime in BLOCKED_RUNTIMES:
        raise invalid_parameter(
            f"The runtime parameter of {runtime} is no longer supported for creating or updating AWS Lambda "
            "functions. We recommend you use a supported runtime while creating or updating functions."
        )


def environment_variables(member: Mapping[str, Any]) -> dict[str, str]:
    """The variables of an `Environment`, under the rules that the model does not hold."""
    variables: dict[str, str] = member.get("Variables", {})
    if reserved := sorted(RESERVED_KEYS.intersection(variables)):
        raise invalid_parameter(
            "Lambda was unable to configure your environment variables because the environment variables you have "
            "provided contains reserved keys that are currently not supported for modification. "
            f"Reserved keys used in this request: {', '.join(reserved)}"
        )
    measured = orjson.dumps(variables)
    if len(measured) > ENVIRONMENT_LIMIT:
        raise invalid_parameter(
            "Lambda was unable to configure your environment variables because the environment variables you have "
            f"provided exceeded the 4KB limit. String measured: {measured.decode()}"
        )
    if any("\0" in value for value in variables.values()):
        # No process can be started with such a variable.
        raise invalid_parameter(
            "Lambda was unable to configure your environment variables: a value contains NUL."
        )
    return variables


def _logging(member: Mapping[str, Any]) -> LoggingConfig:
    """JSON logging has levels, INFO unless said otherwise; text has none."""
    log_format = member.get("LogFormat", "Text")
    if log_format == "Text" and {"ApplicationLogLevel", "SystemLogLevel"} & member.keys():
        raise invalid_parameter(
            'LogLevel is not supported when LogFormat is set to "Text". '
            'Remove LogLevel from your request or change the LogFormat to "JSON" and try again.'
        )
    level = "INFO" if log_format == "JSON" else None
    return LoggingConfig(
        log_format=log_format,
        application_log_level=member.get("ApplicationLogLevel", level),
        system_log_level=member.get("SystemLogLevel", level),
        log_group=member.get("LogGroup"),
    )


def _managed(member: Mapping[str, Any]) -> ManagedInstances:
    config = member["LambdaManagedInstancesCapacityProviderConfig"]
    return ManagedInstances(
        config["CapacityProviderArn"],
        config.get("PerExecutionEnvironmentMaxConcurrency"),
        config.get("ExecutionEnvironmentMemoryGiBPerVCpu"),
    )


def _image_config(member: Mapping[str, Any]) -> ImageConfig | None:
    """What is empty leaves it to the image."""
    config = ImageConfig(
        entry_point=tuple(member.get("EntryPoint") or ()) or None,
        command=tuple(member.get("Command") or ()) or None,
        working_directory=member.get("WorkingDirectory") or None,
    )
    if any("\0" in text for text in (*(config.entry_point or ()), *(config.command or ()))):
        raise invalid_parameter("ImageConfig: an argument contains NUL.")  # no process can be started with it
    return None if config == ImageConfig() else config


def _same(value: Any) -> Any:
    return value


_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "Role": ("role", _same),
    "Runtime": ("runtime", _same),
    "Handler": ("handler", _same),
    "Description": ("description", _same),
    "Timeout": ("timeout", _same),
    "MemorySize": ("memory_size", _same),
    "EphemeralStorage": ("ephemeral_storage", lambda member: member["Size"]),
    "Environment": ("environment", environment_variables),
    "ImageConfig": ("image_config", _image_config),
    "TracingConfig": ("tracing_mode", lambda member: member.get("Mode", "PassThrough")),
    "LoggingConfig": ("logging", _logging),
    "CapacityProviderConfig": ("managed", _managed),
}
"""Request member → field of FunctionConfig and how its value is read."""
