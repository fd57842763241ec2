"""Responses, read back by botocore's own parser, say what the result said."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from botocore.parsers import create_parser

from runtime.api.protocol import Protocol
from runtime.api.serialisation import Answer

PROTOCOL = Protocol()
EXAMPLES = {
    "string": "text",
    "integer": 7,
    "long": 2**40,
    "float": 0.5,
    "double": 0.25,
    "boolean": True,
    "blob": b"\x00bytes",
    "timestamp": datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
}


def example(shape: Any, depth: int = 0) -> Any:
    """Some value of a shape."""
    if shape.type_name == "structure":
        deep = depth < 4
        return {name: example(member, depth + 1) for name, member in shape.members.items()} if deep else {}
    if shape.type_name == "list":
        return [example(shape.member, depth + 1)]
    if shape.type_name == "map":
        return {"key": example(shape.value, depth + 1)}
    return EXAMPLES[shape.type_name]


def read(operation: Any, answer: Answer) -> dict[str, Any]:
    response = {"headers": answer.headers, "body": answer.body, "status_code": answer.status}
    found: dict[str, Any] = create_parser("rest-json").parse(response, operation.output_shape)
    del found["ResponseMetadata"]
    return found


WITH_OUTPUT = [
    name
    for name in PROTOCOL.operations
    if (shape := PROTOCOL.service.operation_model(name).output_shape) is not None
    and not any(member.serialization.get("eventstream") for member in shape.members.values())
    and name != "InvokeWithResponseStream"
]


@pytest.mark.parametrize("name", WITH_OUTPUT)
def test_round_trip(name: str) -> None:
    """Every output of the model comes through its wire form unchanged."""
    operation = PROTOCOL.service.operation_model(name)
    result = example(operation.output_shape)
    if "StatusCode" in operation.output_shape.members:
        result["StatusCode"] = 202
    answer = PROTOCOL.write(operation, result)
    seen = read(operation, answer)
    if name == "Invoke":
        seen["Payload"] = seen[
            "Payload"
        ].encode()  # a body that is a blob: botocore hands it to clients as a stream
    assert seen == result


def test_absent_members_are_left_out() -> None:
    """None means absent, at every depth."""
    operation = PROTOCOL.service.operation_model("GetFunction")
    result = {"Configuration": {"FunctionName": "f", "State": None}, "Tags": None}
    assert orjson.loads(PROTOCOL.write(operation, result).body) == {"Configuration": {"FunctionName": "f"}}


def test_status_is_the_models_or_the_results() -> None:
    """The model gives the status, unless a member carries it."""
    create = PROTOCOL.service.operation_model("CreateFunction")
    delete = PROTOCOL.service.operation_model("DeleteFunction")
    assert PROTOCOL.write(create, {}).status == 201
    answer = PROTOCOL.write(delete, {"StatusCode": 204})
    assert (answer.status, answer.body) == (204, b"")


def test_operation_without_output_has_no_body() -> None:
    """No output, no body."""
    operation = PROTOCOL.service.operation_model("DeleteLayerVersion")
    assert PROTOCOL.write(operation, {}) == Answer(204)


def test_unknown_member_is_a_bug() -> None:
    """A result with a member that the model lacks does not go out silently."""
    with pytest.raises(ValueError, match="no output members"):
        PROTOCOL.write(PROTOCOL.service.operation_model("ListFunctions"), {"Function": []})
