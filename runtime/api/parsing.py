"""From a request to an operation's input: every member fetched from where the service model says it travels.

Types are checked here (a wrong one is a SerializationException, as on AWS); whether a value is acceptable is
`runtime.api.validation`'s question. Members that the model does not know are ignored, JSON nulls are absent.
"""

import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import Any

import orjson
from botocore.model import OperationModel, Shape
from multidict import MultiMapping

from runtime.api import big_json
from runtime.errors import LambdaError

_INTEGER_BITS = {"integer": 31, "long": 63}
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_PADDING = ord("=")
_BASE64_CHUNK = 1 << 18
"""Large packages are decoded piece by piece, so that the event loop gets the interpreter in between."""


@dataclass(frozen=True, slots=True)
class RawRequest:
    """The parts of a request that hold members."""

    labels: Mapping[str, str]
    query: MultiMapping[str]
    headers: Mapping[str, str]
    body: bytes


def parse(operation: OperationModel, request: RawRequest) -> dict[str, Any]:
    """The operation's input members; absent ones are left out."""
    shape = operation.input_shape
    if shape is None:
        return {}
    document = _document(shape, request.body)
    found = ((name, _member(name, member, request, document)) for name, member in shape.members.items())
    return {name: value for name, value in found if value is not None} | _payload(shape, request.body)


def _document(shape: Shape, body: bytes) -> Mapping[str, Any]:
    """The JSON object that holds the members without a place of their own."""
    in_body = any("location" not in member.serialization for member in shape.members.values())
    if not in_body or "payload" in shape.serialization:
        return {}
    return _object(body)


def _object(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        document = big_json.loads(body)
    except orjson.JSONDecodeError as error:
        raise serialization_error(f"Could not parse request body into json: {error}") from None
    if not isinstance(document, dict):
        raise serialization_error("Could not parse request body into json: an object is expected")
    return document


def _payload(shape: Shape, body: bytes) -> dict[str, Any]:
    name = shape.serialization.get("payload")
    if name is None or not body:
        return {}
    member = shape.members[name]
    return {name: body if member.type_name == "blob" else from_json(member, _object(body))}


def _member(name: str, member: Shape, request: RawRequest, document: Mapping[str, Any]) -> Any:
    place = member.serialization.get("location")
    key = member.serialization.get("name", name)
    if place is None:
        value = document.get(key)
        return None if value is None else from_json(member, value)
    return _PLACES[place](member, key, request)


def _from_uri(member: Shape, key: str, request: RawRequest) -> Any:
    text = request.labels.get(key)
    return None if text is None else _from_text(member, text)


def _from_query(member: Shape, key: str, request: RawRequest) -> Any:
    if member.type_name == "map":
        return {name: request.query.getall(name) for name in request.query} or None
    if key not in request.query:
        return None
    if member.type_name == "list":
        return [_from_text(member.member, text) for text in request.query.getall(key)]
    return _from_text(member, request.query[key])


def _from_header(member: Shape, key: str, request: RawRequest) -> Any:
    text = request.headers.get(key)
    if text is None:
        return None
    if member.type_name == "timestamp":
        return _timestamp(text, parsedate_to_datetime)
    return _from_text(member, text)


def _from_headers(_member: Shape, prefix: str, request: RawRequest) -> dict[str, str]:
    lowered = prefix.lower()
    return {
        name[len(prefix) :]: value
        for name, value in request.headers.items()
        if name.lower().startswith(lowered)
    }


_PLACES: dict[str, Callable[[Shape, str, RawRequest], Any]] = {
    "uri": _from_uri,
    "querystring": _from_query,
    "header": _from_header,
    "headers": _from_headers,
}


def _from_text(shape: Shape, text: str) -> Any:
    """A member that travels as text: in the path, the query string or a header."""
    kind = shape.type_name
    if kind in _INTEGER_BITS:
        try:
            return _integer(shape, _whole(text))
        except ValueError:
            raise _unconvertible("STRING_VALUE", shape) from None
    if kind == "boolean":
        return text.lower() == "true"
    if kind == "timestamp":
        return _timestamp(text, datetime.fromisoformat)
    return text


def _whole(text: str) -> int:
    """Digits only: `int` by itself also takes underscores, spaces and other scripts' digits."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _timestamp(text: str, read: Callable[[str], datetime]) -> datetime:
    try:
        moment = read(text)
    except ValueError:
        raise serialization_error(f"'{text}' is not a timestamp") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def from_json(shape: Shape, value: Any) -> Any:
    """One JSON value as the model's type."""
    return _READERS[shape.type_name](shape, value)


def _structure(shape: Shape, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _unexpected(value)
    found = {}
    for name, member in shape.members.items():
        item = value.get(member.serialization.get("name", name))
        if item is not None:
            found[name] = from_json(member, item)
    return found


def _list(shape: Shape, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise serialization_error("Expected list or null")
    return [from_json(shape.member, item) for item in value if item is not None]


def _map(shape: Shape, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _unexpected(value)
    return {key: from_json(shape.value, item) for key, item in value.items() if item is not None}


def _string(shape: Shape, value: Any) -> str:
    if not isinstance(value, str):
        raise _unexpected(value, shape)
    return value


def _integer(shape: Shape, value: Any) -> int:
    if type(value) is not int or value.bit_length() > _INTEGER_BITS[shape.type_name]:
        raise _unexpected(value, shape)
    return value


def _number(shape: Shape, value: Any) -> float:
    if type(value) not in {int, float}:
        raise _unexpected(value, shape)
    return float(value)


def _boolean(shape: Shape, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _unexpected(value, shape)
    return value


def _blob(shape: Shape, value: Any) -> bytes:
    """Strict base64, from a string or from the text that `big_json` left where it was."""
    try:
        if isinstance(value, memoryview):
            return _decoded(value)
        return _decoded(memoryview(_string(shape, value).encode("ascii")))
    except (UnicodeEncodeError, binascii.Error):
        raise serialization_error("A blob is not valid base64") from None


def _decoded(encoded: memoryview) -> bytes:
    """Decode piece by piece: each piece has whole quadruples and so stands alone; only the last may be padded."""
    target = BytesIO()
    for start in range(0, len(encoded), _BASE64_CHUNK):
        piece = encoded[start : start + _BASE64_CHUNK]
        if piece[-1] == _PADDING and start + len(piece) < len(encoded):
            raise binascii.Error("padding inside")
        target.write(binascii.a2b_base64(piece, strict_mode=True))
    return target.getvalue()


def _json_timestamp(shape: Shape, value: Any) -> datetime:
    if isinstance(value, str):
        return _timestamp(value, datetime.fromisoformat)
    try:
        return datetime.fromtimestamp(_number(shape, value), UTC)
    except (OverflowError, OSError, ValueError):
        raise serialization_error(f"'{value}' is not a timestamp") from None


_READERS: dict[str, Callable[[Shape, Any], Any]] = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "integer": _integer,
    "long": _integer,
    "float": _number,
    "double": _number,
    "boolean": _boolean,
    "blob": _blob,
    "timestamp": _json_timestamp,
}


def serialization_error(message: str) -> LambdaError:
    return LambdaError("SerializationException", message)


def _unexpected(value: Any, shape: Shape | None = None) -> LambdaError:
    """AWS's texts for a value of the wrong JSON type."""
    if isinstance(value, list):
        return serialization_error("Start of list found where not expected")
    if isinstance(value, dict):
        return serialization_error("Start of structure or map found where not expected")
    return _unconvertible(_token(value), shape)


def _token(value: Any) -> str:
    if isinstance(value, bool):
        return "TRUE_VALUE" if value else "FALSE_VALUE"
    return "STRING_VALUE" if isinstance(value, str | memoryview) else "NUMBER_VALUE"


def _unconvertible(token: str, shape: Shape | None) -> LambdaError:
    if shape is None:
        return serialization_error(f"{token} found where a structure or map is expected")
    kind = shape.type_name.capitalize()
    article = "an" if kind == "Integer" else "a"
    return serialization_error(f"{token} can not be converted to {article} {kind}")
