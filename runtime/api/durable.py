"""What there is to say about durable executions: no function is durable here (CreateFunction refuses `DurableConfig`), so
none has any.
"""

from collections.abc import Mapping
from typing import Any

from runtime.api.calls import Call, Operation, Services
from runtime.api.paging import page
from runtime.api.targets import existing_target


async def list_durable_executions_by_function(services: Services, call: Call) -> Mapping[str, Any]:
    existing_target(services, call)
    nothing: list[str] = []
    page(nothing, str, call.params.get("Marker"), call.params.get("MaxItems"))  # a marker may be none of ours
    return {"DurableExecutions": nothing}


OPERATIONS: dict[str, Operation] = {
    "ListDurableExecutionsByFunction": list_durable_executions_by_function,
}
