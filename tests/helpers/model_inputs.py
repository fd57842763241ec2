"""Inputs for Lambda's operations, made from the service model itself: the least valid ones."""

from collections.abc import Mapping
from typing import Any

from botocore.model import Shape
from botocore.session import Session

from runtime.api.validation import OVERRIDES

SERVICE = Session().get_service_model("lambda")
"""As clients know it: without what Berth adds."""
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f"
VALID = {
    # By shape: texts that satisfy its pattern.
    "Alias": "live",
    "Arn": "arn:aws:sqs:us-east-1:123456789012:queue",
    "CapacityProviderArn": "arn:aws:lambda:us-east-1:123456789012:capacity-provider:p",
    "CodeSigningConfigArn": "arn:aws:lambda:us-east-1:123456789012:code-signing-config:csc-00000000000000000",
    "DurableExecutionArn": f"{FUNCTION}:1/durable-execution/name/id",
    "LayerPermissionAllowedAction": "lambda:GetLayerVersion",
    "LayerPermissionAllowedPrincipal": "123456789012",
    "LayerVersionArn": "arn:aws:lambda:us-east-1:123456789012:layer:l:1",
    "Action": "lambda:InvokeFunction",
    "OrganizationId": "o-1234567890",
    "PolicyResourceArn": FUNCTION,
    "PrincipalOrgID": "o-1234567890",
    "RoleArn": "arn:aws:iam::123456789012:role/r",
    "SourceOwner": "123456789012",
    "SubnetId": "subnet-1234abcd",
    "TaggableResource": FUNCTION,
    "UUIDString": "12345678-1234-1234-1234-123456789012",
}
Params = dict[str, Any]


def bounds(shape: Shape) -> Mapping[str, Any]:
    return {**shape.metadata, **OVERRIDES.get(shape.name, {})}


def valid(shape: Shape) -> Any:
    """The least value that satisfies the model."""
    kind, least = shape.type_name, bounds(shape).get("min", 0)
    if kind == "structure":
        return {name: valid(shape.members[name]) for name in shape.required_members}
    if kind == "list":
        return [valid(shape.member)] * least
    if kind == "map":
        return {valid(shape.key): valid(shape.value)} if least else {}
    if kind == "string":
        return VALID.get(shape.name) or (shape.enum[0] if shape.enum else "1" * max(1, least))
    if kind == "blob":
        return b"{}"
    return {"boolean": False, "timestamp": 1}.get(kind, max(least, 1))


def least_input(name: str) -> Params:
    """An empty list cannot travel in a query string, so one there has an item."""
    shape = SERVICE.operation_model(name).input_shape
    params: Params = {} if shape is None else valid(shape)
    return {
        key: value if value != [] else [valid(shape.members[key].member)] for key, value in params.items()
    }
