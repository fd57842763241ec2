"""Managed instances: functions whose environments serve many invocations at once, on a capacity provider. Pure.

A capacity provider stands for this machine here; what it says about networks and instances is kept, nothing more.
"""

from runtime.errors import invalid_parameter
from runtime.model import FunctionConfig

DEFAULT_MEMORY_MB = 2048
_DEFAULT_GIB_PER_VCPU = 2.0
_PER_VCPU = (("nodejs", 64), ("python", 16), ("java", 32), ("dotnet", 32))
"""Invocations at once for each virtual CPU, unless the function says otherwise."""
_OTHERS_PER_VCPU = 1
_RUNTIMES = ("python3.13", "python3.14", "nodejs22.x", "nodejs24.x", "provided.al2023")
_RUNTIMES_TEXT = "Python 3.13 and later, Node.js 22 and later, provided.al2023"


def concurrency(config: FunctionConfig) -> int:
    """How many invocations an environment of the function may serve at once."""
    managed = config.managed
    if managed is None:
        return 1
    if managed.max_concurrency is not None:
        return managed.max_concurrency
    vcpus = max(1, int(config.memory_size / 1024 / (managed.memory_per_vcpu or _DEFAULT_GIB_PER_VCPU)))
    runtime = config.runtime or ""
    each = next((count for family, count in _PER_VCPU if runtime.startswith(family)), _OTHERS_PER_VCPU)
    return each * vcpus


def check_managed(config: FunctionConfig) -> None:
    """Raise `LambdaError` where a function on a capacity provider is configured as it cannot be."""
    if config.managed is None:
        return
    if config.runtime is not None and config.runtime not in _RUNTIMES:
        raise invalid_parameter(
            f"The runtime {config.runtime} is not supported for functions with CapacityProviderConfig. "
            f"Supported are: {_RUNTIMES_TEXT}."
        )
    if config.snap_starts:
        raise invalid_parameter("SnapStart is not supported for functions with CapacityProviderConfig.")
    if config.isolates_tenants:
        raise invalid_parameter("TenancyConfig is not supported for functions with CapacityProviderConfig.")
