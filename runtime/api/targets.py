"""The function, version or alias that something is attached to: what a request's name and qualifier mean.

The one place that decides whether a qualifier leads to something.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from runtime.api.calls import Call, Services
from runtime.api.function_lookup import UNQUALIFIED_ONLY, asked_name
from runtime.errors import LambdaError, invalid_parameter, not_found
from runtime.model import LATEST, Alias, FunctionVersion, Scope
from runtime.names import function_arn, function_missing
from runtime.store import Catalog
from runtime.tenancy import refuse_tenants

_ALIAS = re.compile(r"(?![0-9]+$)[a-zA-Z0-9-_]+")


@dataclass(frozen=True, slots=True)
class Target:
    """A function as a request names it; a qualifier that was not given is None."""

    scope: Scope
    name: str
    qualifier: str | None = None

    @property
    def arn(self) -> str:
        return function_arn(self.scope, self.name, self.qualifier)

    @property
    def unqualified(self) -> "Target":
        return Target(self.scope, self.name)

    @property
    def is_alias(self) -> bool:
        return self.qualifier is not None and _ALIAS.fullmatch(self.qualifier) is not None


def asked_target(call: Call) -> Target:
    """What the request names, whether it exists or not."""
    asked = asked_name(call)
    return Target(call.scope, asked.name, asked.qualifier)


def subject(catalog: Catalog, target: Target) -> FunctionVersion | Alias | None:
    """The version or alias that the target leads to; the function by itself is its `$LATEST`."""
    if target.is_alias:
        return catalog.alias(target.scope, target.name, target.qualifier or "")
    return catalog.function(target.scope, target.name, target.qualifier or LATEST)


def exists(catalog: Catalog, target: Target) -> bool:
    return subject(catalog, target) is not None


def target_missing(target: Target) -> LambdaError:
    """As AWS words it where a policy or provisioned concurrency is asked for."""
    if target.is_alias:
        return not_found(f"Cannot find alias arn: {target.arn}")
    return function_missing(target.scope, target.name, target.qualifier)


def existing_target(
    services: Services, call: Call, missing: Callable[[Target], LambdaError] = target_missing
) -> Target:
    """The function, version or alias, which must exist."""
    target = asked_target(call)
    if not exists(services.store.catalog, target):
        raise missing(target)
    return target


def shared_target(
    services: Services, call: Call, feature: str, missing: Callable[[Target], LambdaError] = target_missing
) -> Target:
    """As `existing_target`, of a function that serves everybody alike: `feature` knows no tenants."""
    target = existing_target(services, call, missing)
    if latest := services.store.catalog.function(target.scope, target.name):
        refuse_tenants(latest.config, feature)
    return target


def existing_function(
    services: Services, call: Call, missing: Callable[[Target], LambdaError] = target_missing
) -> Target:
    """A function as a whole: a qualifier is refused, `$LATEST` included."""
    target = asked_target(call)
    if target.qualifier is not None:
        raise invalid_parameter(UNQUALIFIED_ONLY)
    return existing_target(services, call, missing)
