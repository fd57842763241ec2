"""Which function versions run on which capacity provider, and the rules for that."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from runtime.api.calls import Services
from runtime.errors import LambdaError, invalid_parameter
from runtime.model import CapacityProvider, FunctionConfig, FunctionVersion, Scope

VERSIONS_LIMIT = 100
"""Function versions on one capacity provider."""


@asynccontextmanager
async def on_provider(
    services: Services, scope: Scope, config: FunctionConfig, *, adds: int = 1
) -> AsyncIterator[None]:
    """Around the write of a function: the capacity provider that it names is there, and takes so many versions more.

    Raises `LambdaError`.
    """
    if config.managed is None:
        yield
        return
    arn = config.managed.capacity_provider
    async with services.deciding:
        found = services.store.catalog.attachment(CapacityProvider, scope, arn.rpartition(":")[2])
        if found is None or found.arn != arn:
            raise invalid_parameter(f"The capacity provider {arn} does not exist.")
        if adds and sum(1 for _ in users_of(services, scope, arn)) + adds > VERSIONS_LIMIT:
            raise LambdaError(
                "FunctionVersionsPerCapacityProviderLimitExceededException",
                f"The capacity provider {arn} has its maximum of {VERSIONS_LIMIT} function versions.",
            )
        yield


def users_of(services: Services, scope: Scope, arn: str) -> Iterator[FunctionVersion]:
    """Versions on the provider, in the order of lists."""
    catalog = services.store.catalog
    for latest in catalog.functions(scope):
        for version in catalog.versions(scope, latest.name):
            if version.config.managed is not None and version.config.managed.capacity_provider == arn:
                yield version
