"""The bytes that are sent in an SDK's name."""

import json
import re

from benchmarks.asking import Target
from benchmarks.load import body_of
from benchmarks.registering import creation, name_of
from benchmarks.sdk import PAYLOAD

URL = "http://127.0.0.1:3001"


def test_an_invocation_is_what_boto3_sends() -> None:
    """With path, host, a signature, and the payload as it is."""
    request = Target.at(URL, "echo").request()
    assert request.startswith(
        b"POST /2015-03-31/functions/echo/invocations HTTP/1.1\r\nHost: 127.0.0.1:3001\r\n"
    )
    assert b"\r\nAuthorization: AWS4-HMAC-SHA256 Credential=" in request
    assert body_of(request) == PAYLOAD


def test_a_creation_serves_for_others_as_well() -> None:
    """All names are of one length: with another name in its place the request is whole, and no other byte differs."""
    one, other = name_of("registered", 7), name_of("registered", 12345)
    request = creation(URL, one, b"zipped", 128)
    assert request.startswith(b"POST /2015-03-31/functions HTTP/1.1\r\n")
    assert request.count(one.encode()) == 1
    changed = request.replace(one.encode(), other.encode())
    body = body_of(changed)
    assert body is not None
    assert json.loads(body)["FunctionName"] == other
    length = re.search(rb"Content-Length: (\d+)", changed)
    assert length is not None
    assert int(length[1]) == len(body)


def test_a_get() -> None:
    """As short as can be."""
    assert (
        Target.at(URL, "").get("/x?Marker=y") == b"GET /x?Marker=y HTTP/1.1\r\nHost: 127.0.0.1:3001\r\n\r\n"
    )
