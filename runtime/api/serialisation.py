"""From an operation's result to a response: status, headers and body where the service model wants them.

Members that are None are left out. A member that the model does not know is our own mistake and raises.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Any

import orjson
from botocore.model import OperationModel, Shape


@dataclass(slots=True)
class Answer:
    """A response before it meets an HTTP server."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def serialise(operation: OperationModel, result: Mapping[str, Any]) -> Answer:
    answer = Answer(operation.http.get("responseCode", 200))
    shape = operation.output_shape
    if shape is None:
        return answer
    if unknown := result.keys() - shape.members.keys():
        raise ValueError(f"{operation.name} has no output members {sorted(unknown)}")
    document = _placed(shape, result, answer)
    if (payload := shape.serialization.get("payload")) is not None:
        answer.body = _payload(shape.members[payload], result.get(payload))
    elif answer.status != 204:
        answer.body = orjson.dumps(document)
    return answer


def _placed(shape: Shape, result: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    """Put header and status members in place; return what belongs into the body."""
    document = {}
    for name, value in result.items():
        if value is None:
            continue
        member = shape.members[name]
        place, key = member.serialization.get("location"), member.serialization.get("name", name)
        if place == "statusCode":
            answer.status = value
        elif place == "header":
            answer.headers[key] = _header(member, value)
        elif place == "headers":
            answer.headers |= {f"{key}{item}": text for item, text in value.items()}
        else:
            document[key] = to_json(member, value)
    return document


def _payload(shape: Shape, value: Any) -> bytes:
    if value is None:
        return b""
    return bytes(value) if shape.type_name == "blob" else orjson.dumps(to_json(shape, value))


def _header(shape: Shape, value: Any) -> str:
    if shape.type_name == "timestamp":
        return format_datetime(value, usegmt=True)
    if shape.type_name == "boolean":
        return "true" if value else "false"
    return str(value)


def to_json(shape: Shape, value: Any) -> Any:
    """One value of the model's type as JSON knows it."""
    write = _WRITERS.get(shape.type_name)
    return value if write is None else write(shape, value)


def _structure(shape: Shape, value: Mapping[str, Any]) -> dict[str, Any]:
    document = {}
    for name, item in value.items():
        member = shape.members[name]
        if item is not None:
            document[member.serialization.get("name", name)] = to_json(member, item)
    return document


def _list(shape: Shape, value: list[Any]) -> list[Any]:
    return [to_json(shape.member, item) for item in value]


def _map(shape: Shape, value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: to_json(shape.value, item) for key, item in value.items()}


def _blob(_shape: Shape, value: bytes) -> str:
    return base64.b64encode(value).decode()


def _timestamp(shape: Shape, value: datetime) -> float | str:
    if shape.serialization.get("timestampFormat") == "iso8601":
        return value.isoformat().replace("+00:00", "Z")
    return round(value.timestamp(), 3)


_WRITERS: dict[str, Callable[[Shape, Any], Any]] = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "blob": _blob,
    "timestamp": _timestamp,
}
