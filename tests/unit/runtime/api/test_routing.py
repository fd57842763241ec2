"""The routing table finds every operation of the model, and nothing else."""

import re
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest
from botocore.model import ServiceModel

from runtime.api.protocol import Protocol
from runtime.api.routing import Routes

PROTOCOL = Protocol()
VALUES = {"FunctionName": "arn:aws:lambda:us-east-1:123456789012:function:fn", "VersionNumber": "3"}


def request_of(operation: str) -> tuple[str, str, dict[str, str], dict[str, str]]:
    """Method, encoded path, query and labels of a request to an operation."""
    http = PROTOCOL.service.operation_model(operation).http
    template, _, query = http["requestUri"].partition("?")
    labels = {name: VALUES.get(name, f"a/b {name}") for name in re.findall(r"{(\w+)}", template)}
    path = re.sub(r"{(\w+)}", lambda found: quote(labels[found[1]], safe=""), template)
    return http["method"], path, dict(parse_qsl(query)), labels


@pytest.mark.parametrize("operation", PROTOCOL.operations)
@pytest.mark.parametrize("ending", ["", "/"])
def test_every_operation_is_found(operation: str, ending: str) -> None:
    """Encoded labels come out decoded, and a trailing slash makes no difference."""
    method, path, query, labels = request_of(operation)
    match = PROTOCOL.match(method, path + ending, query)
    assert match is not None
    assert match.operation.name == operation
    assert match.labels == labels


def test_query_constants_tell_operations_apart() -> None:
    """`find=LayerVersion` makes the difference between two operations on one path."""
    path = "/2018-10-31/layers"
    for query, expected in (
        ({}, "ListLayers"),
        ({"find": "LayerVersion"}, "GetLayerVersionByArn"),
        ({"find": "Other"}, "ListLayers"),
    ):
        match = PROTOCOL.match("GET", path, query)
        assert match is not None
        assert match.operation.name == expected


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", ""),
        ("GET", "/2015-03-31"),
        ("GET", "/2015-03-31/functions//configuration"),
        ("PATCH", "/2015-03-31/functions/fn"),
        ("GET", "/2015-03-31/functions/fn/nothing"),
        ("GET", "/2015-03-31/functions/fn/configuration/more"),
    ],
)
def test_other_requests_are_no_operation(method: str, path: str) -> None:
    """Unknown paths and methods match nothing."""
    assert PROTOCOL.match(method, path, {}) is None


def test_model_is_the_newest() -> None:
    """Of the API versions in the package the newest is used."""
    assert PROTOCOL.service.api_version == "2015-03-31"


def routes(**uris: str) -> Routes:
    operations: dict[str, Any] = {
        name: {"name": name, "http": {"method": "GET", "requestUri": uri}} for name, uri in uris.items()
    }
    return Routes(ServiceModel({"metadata": {}, "operations": operations, "shapes": {}}, "test"))


def test_greedy_label_takes_the_rest() -> None:
    """`{Key+}` takes all that is left, slashes included; shorter matches go first.

    Lambda's model has no such template today; the protocol has.
    """
    table = routes(Object="/b/{Bucket}/{Key+}", Bucket="/b/{Bucket}", Fixed="/b/{Bucket}/fixed")
    found = table.match("GET", "/b/x/a%20b/c", {})
    assert found is not None
    assert (found.operation.name, found.labels) == ("Object", {"Bucket": "x", "Key": "a b/c"})
    for path, name in (("/b/x", "Bucket"), ("/b/x/fixed", "Fixed"), ("/b/x/fixed/1", "Object")):
        found = table.match("GET", path, {})
        assert found is not None
        assert found.operation.name == name
