"""How the API's settings are read, put and taken off: one table, and the calls that it stands for."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runtime.deploy.service import MISSING, Service, ServiceError
from runtime.deploy.settings import (
    CONCURRENCY,
    INVOCATIONS,
    LATEST,
    PROVISIONED,
    RECURSION,
    RUNTIME,
    SIGNING,
    URL,
    Setting,
    function_and_qualifier,
)

Members = Mapping[str, Any]
Shown = Callable[[Members], "Members | None"]
_ABSENT = {MISSING, "ProvisionedConcurrencyConfigNotFoundException"}


@dataclass(frozen=True, slots=True)
class _Kind:
    """Operations by their names in snake case; `shown` has an answer's members as they are put, None if nothing is set."""

    get: str
    put: str
    shown: Shown
    delete: str | None = None
    usual: Members | None = None
    """What is put where there is nothing that deletes it."""
    listing: tuple[str, str] | None = None
    """Which operation lists them all, and the key of its list; without, only one place is looked at."""
    place: str = ""
    """The qualifier of that place."""
    create: str | None = None


def _concurrency(told: Members) -> Members | None:
    return _only(told, "ReservedConcurrentExecutions")


def _provisioned(told: Members) -> Members:
    return {"ProvisionedConcurrentExecutions": told["RequestedProvisionedConcurrentExecutions"]}


def _invocations(told: Members) -> Members:
    names = ("MaximumRetryAttempts", "MaximumEventAgeInSeconds")
    shown: dict[str, Any] = {name: told[name] for name in names if told.get(name) is not None}
    outcomes = told.get("DestinationConfig") or {}
    if destinations := {name: dict(each) for name, each in outcomes.items() if each.get("Destination")}:
        shown["DestinationConfig"] = destinations
    return shown


def _url(told: Members) -> Members:
    return {
        "AuthType": told["AuthType"],
        "InvokeMode": told.get("InvokeMode", "BUFFERED"),
        "Cors": told.get("Cors") or {},
    }


def _signing(told: Members) -> Members | None:
    return _only(told, "CodeSigningConfigArn")


def _recursion(told: Members) -> Members | None:
    return None if told["RecursiveLoop"] == "Terminate" else _only(told, "RecursiveLoop")


def _runtime(told: Members) -> Members | None:
    names = ("UpdateRuntimeOn", "RuntimeVersionArn")
    shown = {name: told[name] for name in names if told.get(name)}
    return None if shown == {"UpdateRuntimeOn": "Auto"} else shown


def _only(told: Members, name: str) -> Members | None:
    return {name: told[name]} if told.get(name) is not None else None


_KINDS = {
    CONCURRENCY: _Kind(
        "get_function_concurrency", "put_function_concurrency", _concurrency, "delete_function_concurrency"
    ),
    PROVISIONED: _Kind(
        "get_provisioned_concurrency_config",
        "put_provisioned_concurrency_config",
        _provisioned,
        "delete_provisioned_concurrency_config",
        listing=("list_provisioned_concurrency_configs", "ProvisionedConcurrencyConfigs"),
    ),
    INVOCATIONS: _Kind(
        "get_function_event_invoke_config",
        "put_function_event_invoke_config",
        _invocations,
        "delete_function_event_invoke_config",
        listing=("list_function_event_invoke_configs", "FunctionEventInvokeConfigs"),
    ),
    URL: _Kind(
        "get_function_url_config",
        "update_function_url_config",
        _url,
        "delete_function_url_config",
        listing=("list_function_url_configs", "FunctionUrlConfigs"),
        create="create_function_url_config",
    ),
    SIGNING: _Kind(
        "get_function_code_signing_config",
        "put_function_code_signing_config",
        _signing,
        "delete_function_code_signing_config",
    ),
    RECURSION: _Kind(
        "get_function_recursion_config",
        "put_function_recursion_config",
        _recursion,
        usual={"RecursiveLoop": "Terminate"},
    ),
    RUNTIME: _Kind(
        "get_runtime_management_config",
        "put_runtime_management_config",
        _runtime,
        usual={"UpdateRuntimeOn": "Auto"},
        place=LATEST,
    ),
}


def told(service: Service, kind: str, function: str, qualifier: str) -> Members | None:
    """A setting as the API has it; None where it has none, or no such function."""
    answer = answered(service, kind, function, qualifier)
    return None if answer is None else _KINDS[kind].shown(answer)


def answered(service: Service, kind: str, function: str, qualifier: str) -> Members | None:
    try:
        return service.call(_KINDS[kind].get, **_at(function, qualifier))
    except ServiceError as error:
        if error.code in _ABSENT:
            return None
        raise


def put(service: Service, setting: Setting, *, is_there: bool) -> Members:
    kind = _KINDS[setting.kind]
    operation = kind.put if is_there or kind.create is None else kind.create
    return service.call(operation, **_at(setting.function, setting.qualifier), **setting.members)


def take_off(service: Service, kind: str, function: str, qualifier: str) -> None:
    found = _KINDS[kind]
    if found.delete is None:
        service.call(found.put, **_at(function, qualifier), **(found.usual or {}))
    else:
        service.call(found.delete, **_at(function, qualifier))


def all_of(service: Service, function: str) -> Iterator[Setting]:
    """Every setting that a function, its versions and its aliases have."""
    for name, kind in _KINDS.items():
        if kind.listing is None:
            members = told(service, name, function, kind.place)
            if members is not None:
                yield Setting(name, function, kind.place, members)
            continue
        for each in service.listed(*kind.listing, FunctionName=function):
            _, qualifier = function_and_qualifier(each["FunctionArn"])
            yield Setting(name, function, qualifier, kind.shown(each) or {})


def _at(function: str, qualifier: str) -> dict[str, str]:
    return {"FunctionName": function} | ({"Qualifier": qualifier} if qualifier else {})
