"""Members are fetched from where they travel, and have the type that the model gives them."""

import base64
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from botocore.model import ServiceModel
from multidict import CIMultiDict, MultiDict

from runtime.api.parsing import RawRequest, from_json, parse
from runtime.api.protocol import load_service
from runtime.errors import LambdaError

SERVICE = load_service()


def request(
    body: bytes = b"",
    *,
    labels: dict[str, str] | None = None,
    query: list[tuple[str, str]] | None = None,
    headers: dict[str, str] | None = None,
) -> RawRequest:
    return RawRequest(labels or {}, MultiDict(query or []), CIMultiDict(headers or {}), body)


def parsed(operation: str, raw: RawRequest) -> dict[str, Any]:
    return parse(SERVICE.operation_model(operation), raw)


def refused(operation: str, raw: RawRequest) -> str:
    with pytest.raises(LambdaError) as error:
        parsed(operation, raw)
    assert (error.value.code, error.value.status) == ("SerializationException", 400)
    return error.value.message


def test_each_member_from_its_place() -> None:
    """Path, query string, headers and payload all carry members of one input."""
    raw = request(
        b'{"x": 1}',
        labels={"FunctionName": "fn"},
        query=[("Qualifier", "prod")],
        headers={"x-amz-invocation-type": "Event"},
    )
    assert parsed("Invoke", raw) == {
        "FunctionName": "fn",
        "Qualifier": "prod",
        "InvocationType": "Event",
        "Payload": b'{"x": 1}',
    }


def test_body_members_are_typed() -> None:
    """JSON members come out as the model's types; nulls and unknown members are absent."""
    document = {
        "FunctionName": "fn",
        "Timeout": 5,
        "Publish": False,
        "Code": {"ZipFile": base64.b64encode(b"zip").decode()},
        "Environment": {"Variables": {"A": "1", "B": None}},
        "Layers": ["a", None, "b"],
        "Description": None,
        "Unknown": 1,
    }
    assert parsed("CreateFunction", request(orjson.dumps(document))) == {
        "FunctionName": "fn",
        "Timeout": 5,
        "Publish": False,
        "Code": {"ZipFile": b"zip"},
        "Environment": {"Variables": {"A": "1"}},
        "Layers": ["a", "b"],
    }


def test_lists_numbers_and_moments_in_the_query() -> None:
    """Query strings carry lists by repetition, numbers, booleans and ISO timestamps."""
    assert parsed("UntagResource", request(query=[("tagKeys", "a"), ("tagKeys", "b")]))["TagKeys"] == [
        "a",
        "b",
    ]
    assert parsed("ListFunctions", request(query=[("MaxItems", "7")])) == {"MaxItems": 7}
    found = parsed(
        "ListDurableExecutionsByFunction",
        request(query=[("ReverseOrder", "true"), ("StartedAfter", "2026-01-02T03:04:05Z")]),
    )
    assert found["ReverseOrder"] is True
    assert found["StartedAfter"] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_structured_payload() -> None:
    """A payload member that is a structure is the body's JSON object."""
    raw = request(b'{"ErrorMessage": "no"}', labels={"CallbackId": "1"})
    assert parsed("SendDurableExecutionCallbackFailure", raw)["Error"] == {"ErrorMessage": "no"}


def test_empty_body_is_an_empty_object() -> None:
    """An operation whose members are all optional may come without a body."""
    assert parsed("UpdateFunctionConfiguration", request(labels={"FunctionName": "fn"})) == {
        "FunctionName": "fn"
    }


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"Timeout": "5"}, "STRING_VALUE can not be converted to an Integer"),
        ({"Timeout": 5.5}, "NUMBER_VALUE can not be converted to an Integer"),
        ({"Timeout": True}, "TRUE_VALUE can not be converted to an Integer"),
        ({"Timeout": 2**31}, "NUMBER_VALUE can not be converted to an Integer"),
        ({"Description": 5}, "NUMBER_VALUE can not be converted to a String"),
        ({"Description": False}, "FALSE_VALUE can not be converted to a String"),
        ({"Description": ["x"]}, "Start of list found where not expected"),
        ({"Description": {}}, "Start of structure or map found where not expected"),
        ({"Publish": "true"}, "STRING_VALUE can not be converted to a Boolean"),
        ({"Layers": "x"}, "Expected list or null"),
        ({"Code": "x"}, "STRING_VALUE found where a structure or map is expected"),
        ({"Tags": []}, "Start of list found where not expected"),
        ({"Code": {"ZipFile": "no base64!"}}, "A blob is not valid base64"),
        ({"Code": {"ZipFile": "é"}}, "A blob is not valid base64"),
        (
            {
                "CapacityProviderConfig": {
                    "LambdaManagedInstancesCapacityProviderConfig": {
                        "ExecutionEnvironmentMemoryGiBPerVCpu": "2"
                    }
                }
            },
            "STRING_VALUE can not be converted to a Double",
        ),
    ],
)
def test_wrong_types_are_refused(document: dict[str, Any], message: str) -> None:
    """A value of the wrong JSON type is a SerializationException that says what was found."""
    assert refused("CreateFunction", request(orjson.dumps(document))) == message


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff", b"{} {}", b"null"])
def test_bodies_that_are_no_object(body: bytes) -> None:
    """Malformed JSON and JSON other than an object are refused."""
    assert refused("CreateFunction", request(body)).startswith("Could not parse request body into json: ")


@pytest.mark.parametrize("text", ["x", "1_0", " 1", "", "\u0661", "9" * 30, str(2**31)])
def test_numbers_in_the_query_are_plain(text: str) -> None:
    """Only plain digits that fit the type are a number."""
    assert "converted to an Integer" in refused("ListFunctions", request(query=[("MaxItems", text)]))


def test_bad_moment_in_the_query() -> None:
    """A timestamp that is none is refused."""
    raw = request(query=[("StartedAfter", "yesterday")])
    assert refused("ListDurableExecutionsByFunction", raw) == "'yesterday' is not a timestamp"


def test_large_blobs_survive_decoding_in_pieces() -> None:
    """A blob longer than one piece comes out whole; padding in the middle is an error as anywhere."""
    shape = SERVICE.shape_for("Blob")
    data = bytes(range(256)) * 3000
    encoded = base64.b64encode(data).decode()
    assert from_json(shape, encoded) == data
    broken = encoded[: (1 << 18) - 1] + "=" + encoded[1 << 18 :]
    with pytest.raises(LambdaError, match="base64"):
        from_json(shape, broken)


def test_moments_in_json() -> None:
    """A JSON timestamp is a number of seconds or an ISO text."""
    shape = SERVICE.shape_for("Date")
    expected = datetime(2026, 1, 2, tzinfo=UTC)
    assert from_json(shape, expected.timestamp()) == from_json(shape, "2026-01-02T00:00:00Z") == expected
    wrong: Any
    for wrong in (1e300, "never", []):
        with pytest.raises(LambdaError):
            from_json(shape, wrong)


def service_with(**members: dict[str, Any]) -> ServiceModel:
    """A model with one operation `Op` whose input has these members."""
    shapes = {
        "String": {"type": "string"},
        "Moment": {"type": "timestamp"},
        "Strings": {"type": "map", "key": {"shape": "String"}, "value": {"shape": "String"}},
        "Input": {"type": "structure", "members": members},
    }
    operation = {"name": "Op", "http": {"method": "GET", "requestUri": "/"}, "input": {"shape": "Input"}}
    return ServiceModel({"metadata": {}, "operations": {"Op": operation}, "shapes": shapes}, "test")


def test_prefixed_headers_query_maps_and_header_moments() -> None:
    """Places that Lambda's model does not use today, but the protocol has."""
    service = service_with(
        Meta={"shape": "Strings", "location": "headers", "locationName": "X-Meta-"},
        Rest={"shape": "Strings", "location": "querystring", "locationName": "Rest"},
        Since={"shape": "Moment", "location": "header", "locationName": "If-Modified-Since"},
    )
    raw = request(
        query=[("q", "1"), ("q", "2")],
        headers={"x-meta-one": "1", "Other": "2", "If-Modified-Since": "Fri, 02 Jan 2026 00:00:00 GMT"},
    )
    assert parse(service.operation_model("Op"), raw) == {
        "Meta": {"one": "1"},
        "Rest": {"q": ["1", "2"]},
        "Since": datetime(2026, 1, 2, tzinfo=UTC),
    }


def test_operation_without_input() -> None:
    """An operation that takes nothing gets nothing."""
    service = service_with()
    service.operation_model("Op")
    del service._service_description["operations"]["Op"]["input"]
    assert parse(service.operation_model("Op"), request(b"ignored")) == {}
