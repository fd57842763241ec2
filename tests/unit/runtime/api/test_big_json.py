"""Packages in JSON are found and set aside without being parsed."""

import base64
import secrets
from typing import Any

import orjson
import pytest

from runtime.api.big_json import loads
from runtime.api.parsing import from_json
from runtime.api.protocol import load_service
from runtime.errors import LambdaError

DATA = secrets.token_bytes(200_000)
TEXT = base64.b64encode(DATA).decode()


def plain(value: Any) -> Any:
    """A document with every view as the text that it is."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.tobytes().decode() if isinstance(value, memoryview) else value


@pytest.mark.parametrize(
    "document",
    [
        {"ZipFile": TEXT},
        {"FunctionName": "f", "Code": {"ZipFile": TEXT}, "Timeout": 3},
        {"Description": '"ZipFile":"x"', "Code": {"ZipFile": TEXT}},
        {"Description": "ZipFile", "Content": {"ZipFile": TEXT}},
        {"List": [{"ZipFile": TEXT}, None, True]},
        {"Tags": {"ZipFile": "small"}, "Code": {"ZipFile": TEXT}},
        {"Other": TEXT},
        {"ZipFile": ""},
    ],
)
@pytest.mark.parametrize("options", [0, orjson.OPT_INDENT_2])
def test_documents_are_the_same(document: Any, options: int) -> None:
    """Whatever the layout, the document is what a parser would have made of it."""
    assert plain(loads(orjson.dumps(document, option=options))) == document


def test_large_package_is_not_copied() -> None:
    """The package's text comes as a view and decodes to the package."""
    found = loads(orjson.dumps({"ZipFile": TEXT}))["ZipFile"]
    assert isinstance(found, memoryview)
    assert from_json(load_service().shape_for("Blob"), found) == DATA


def test_escaped_slashes() -> None:
    """Encoders that escape slashes are understood too."""
    body = orjson.dumps({"ZipFile": TEXT}).replace(b"/", b"\\/")
    assert loads(body) == {"ZipFile": TEXT}


@pytest.mark.parametrize("tail", [b"", b"}}", b"garbage"])
def test_malformed_documents(tail: bytes) -> None:
    """What is no JSON stays no JSON."""
    with pytest.raises(orjson.JSONDecodeError):
        loads(b'{"ZipFile": "' + TEXT.encode() + b'"' + tail)
    with pytest.raises(orjson.JSONDecodeError):
        loads(b'{"ZipFile": "' + TEXT.encode() + tail)


def test_large_text_that_is_no_base64() -> None:
    """Raw bytes in the place of base64 are refused when decoded."""
    found = loads(b'{"ZipFile": "' + b"\xff" * 100_000 + b'"}')["ZipFile"]
    with pytest.raises(LambdaError, match="not valid base64"):
        from_json(load_service().shape_for("Blob"), found)


def test_package_where_a_text_is_expected() -> None:
    """A package in another member's place is a string there, and refused where none fits."""
    found = loads(orjson.dumps({"ZipFile": TEXT}))["ZipFile"]
    with pytest.raises(LambdaError, match="STRING_VALUE can not be converted"):
        from_json(load_service().shape_for("Integer"), found)
