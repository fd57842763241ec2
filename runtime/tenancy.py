"""Tenant isolation: environments of such a function serve one tenant each, which the caller names. Pure.

The rules of AWS: who has to name a tenant and who must not, and what cannot go together with tenants.
"""

from runtime.errors import invalid_parameter
from runtime.model import FunctionConfig


def check_tenant(config: FunctionConfig, tenant: str | None) -> None:
    """Raise `LambdaError` where an invocation names no tenant and must, or names one and must not."""
    if config.isolates_tenants and tenant is None:
        raise invalid_parameter(
            "The invoked function is enabled with tenancy configuration. "
            "Add a valid tenant ID in your request and try again."
        )
    if tenant is not None and not config.isolates_tenants:
        raise invalid_parameter(
            "The invoked function is not enabled with tenancy configuration. "
            "Remove the tenant ID from your request and try again."
        )


def refuse_tenants(config: FunctionConfig, feature: str) -> None:
    """Raise `LambdaError` where the function isolates tenants, which `feature` cannot do."""
    if config.isolates_tenants:
        raise invalid_parameter(f"{feature} is not supported for functions with tenant isolation mode.")


def check_features(config: FunctionConfig) -> None:
    """Raise `LambdaError` where the configuration itself asks for tenants and for what cannot go with them."""
    if config.snap_starts:
        refuse_tenants(config, "SnapStart")
