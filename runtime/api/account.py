"""What an account may have in a region, and what it has."""

from collections.abc import Mapping
from typing import Any

from runtime.api.calls import Call, Operation, Services
from runtime.api.packages import ZIPPED_LIMIT
from runtime.zips import MAX_UNZIPPED

TOTAL_CODE_SIZE = 80_530_636_800
"""AWS's 75 GB; not held against anything here."""


async def get_account_settings(services: Services, call: Call) -> Mapping[str, Any]:
    catalog, scope = services.store.catalog, call.scope
    functions = catalog.functions(scope)
    versions = (version for latest in functions for version in catalog.versions(scope, latest.name))
    layers = (layer for name in catalog.layers(scope) for layer in catalog.layer_versions(scope, name))
    limits = services.limits(scope)
    used = sum(version.code.size for version in versions) + sum(layer.code.size for layer in layers)
    return {
        "AccountLimit": {
            "TotalCodeSize": TOTAL_CODE_SIZE,
            "CodeSizeUnzipped": MAX_UNZIPPED,
            "CodeSizeZipped": ZIPPED_LIMIT,
            "ConcurrentExecutions": limits.account,
            "UnreservedConcurrentExecutions": limits.unreserved,
        },
        "AccountUsage": {"TotalCodeSize": used, "FunctionCount": len(functions)},
    }


OPERATIONS: dict[str, Operation] = {"GetAccountSettings": get_account_settings}
