"""What has to be changed so that a function is as wanted: compared with what the API tells of it. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from runtime.deploy.wanted import DEFAULTS, AliasWanted, FunctionWanted

_OF_CODE = "Architectures"
"""The one member of the configuration that UpdateFunctionCode changes."""


def create_members(wanted: FunctionWanted) -> dict[str, Any]:
    """The configuration for CreateFunction: what is Lambda's default goes without saying."""
    return {
        name: value
        for name, value in (*wanted.configuration.items(), *wanted.fixed.items())
        if name not in DEFAULTS or value != DEFAULTS[name]
    }


def fixed_difference(wanted: FunctionWanted, told: Mapping[str, Any]) -> str | None:
    """The first member that is not as wanted, and that nothing changes once the function is there."""
    if wanted.fixed.get("TenancyConfig") != told.get("TenancyConfig"):
        return "TenancyConfig"
    if ("CapacityProviderConfig" in wanted.configuration) != ("CapacityProviderConfig" in told):
        return "CapacityProviderConfig"
    return None


def changed_members(wanted: FunctionWanted, told: Mapping[str, Any]) -> dict[str, Any]:
    """The members for UpdateFunctionConfiguration; `told` is the API's FunctionConfiguration."""
    return {
        name: value
        for name, value in wanted.configuration.items()
        if name != _OF_CODE and _shown(name, value, wanted.name) != _told(name, told)
    }


def code_differs(wanted: FunctionWanted, sha256: str | None, told: Mapping[str, Any]) -> bool:
    return bool(sha256 != told["CodeSha256"] or wanted.configuration[_OF_CODE] != _told(_OF_CODE, told))


def same_function(one: Mapping[str, Any], other: Mapping[str, Any], *, but: frozenset[str]) -> bool:
    """Whether two of the API's FunctionConfigurations run the same code in the same way."""
    names = (
        {"CapacityProviderConfig", "CodeSha256", "Handler", "ImageConfig", "Role", "Runtime"}
        | DEFAULTS.keys()
    ) - but
    return all(_told(name, one) == _told(name, other) for name in names)


def alias_differs(wanted: AliasWanted, told: Mapping[str, Any]) -> bool:
    weights = told.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
    return (wanted.version, wanted.description, wanted.weights) != (
        told["FunctionVersion"],
        told.get("Description", ""),
        weights,
    )


def _shown(name: str, value: Any, function: str) -> Any:
    """A wanted member as the API will tell it."""
    if name != "LoggingConfig":
        return value
    level = {"ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO"} if value["LogFormat"] == "JSON" else {}
    return {"LogGroup": f"/aws/lambda/{function}"} | level | value


def _told(name: str, told: Mapping[str, Any]) -> Any:
    """A member as the API tells it, in the shape of a wanted one; what is not told has its default."""
    value = told.get(name, DEFAULTS.get(name))
    if name == "ImageConfig":
        return told.get("ImageConfigResponse", {}).get("ImageConfig", {})
    if name == "Layers":
        return [layer["Arn"] for layer in told.get(name, [])]
    if name == "SnapStart":
        return {"ApplyOn": value["ApplyOn"]}
    return value


def former_members(names: Iterable[str], told: Mapping[str, Any]) -> dict[str, Any]:
    """Members for UpdateFunctionConfiguration that bring back what the API told."""
    return {name: _former(name, told) for name in names}


def _former(name: str, told: Mapping[str, Any]) -> Any:
    value = _told(name, told)
    if name != "LoggingConfig":
        return value
    usual = f"/aws/lambda/{told['FunctionName']}"
    return {key: each for key, each in value.items() if (key, each) != ("LogGroup", usual)}
