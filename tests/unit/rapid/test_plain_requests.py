"""Which heads can be read without an HTTP parser, and what they come to."""

import pytest

from rapid.plain_requests import LONGEST_HEAD, plain_head

LINE = b"POST /x HTTP/1.1"
HOST = b"Host: 10.0.0.1:80"


def request(*fields: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((LINE, *fields, b"", body))


def test_whole() -> None:
    """Line, length and type come out; the body begins behind the empty line."""
    data = request(HOST, b"CONTENT-length: 3", b"content-Type:  text/plain ", body=b"abc")
    head = plain_head(data)
    assert head is not None
    assert (head.line, data[head.begin :], head.size) == (LINE, b"abc", len(data))
    assert (head.fields.content_type, head.fields.is_harmless) == ("text/plain", True)


def test_without_body() -> None:
    """No length is a length of nothing, and no type is none."""
    data = request(HOST, b"Connection: Keep-Alive")
    head = plain_head(data)
    assert head is not None
    assert (head.size, head.fields.content_type, head.fields.is_harmless) == (len(data), None, True)


def test_missing_and_more() -> None:
    """The size is the request's, whatever of it is there or comes after it."""
    data = request(HOST, b"Content-Length: 10", body=b"abc")
    head = plain_head(data)
    assert head is not None
    assert head.size == len(data) + 7
    assert plain_head(data + b"x" * 20) == head


def test_unknown_field() -> None:
    """A field that not every client sends leaves the framing as it is, but is for somebody else to read."""
    head = plain_head(request(HOST, b"Lambda-Runtime-Function-Error-Type: Runtime.X", b"Content-Length: 2"))
    assert head is not None
    assert not head.fields.is_harmless
    assert head.fields.length == 2


def test_values() -> None:
    """Fields are found by their names in lower case; what is around a value is not part of it."""
    head = plain_head(request(HOST, b"X-Amz-Log-Type:   Tail", b"Empty:", b"a:b: c "))
    assert head is not None
    assert head.fields.values == {"host": "10.0.0.1:80", "x-amz-log-type": "Tail", "empty": "", "a": "b: c"}


@pytest.mark.parametrize(
    "fields",
    [
        (b"Transfer-Encoding: chunked",),
        (b"Expect: 100-continue",),
        (b"Upgrade: h2c",),
        (b"Trailer: a",),
        (b"Content-Encoding: gzip", b"Content-Length: 2"),
        (b"Connection: close",),
        (b"Proxy-Connection: close",),
        (b"Sec-WebSocket-Key1: 1",),
        (b"Connection: keep-alive, Upgrade",),
        (b"Content-Length: 1", b"Content-Length: 1"),
        (b"Content-Length: 1", b"content-length: 2"),
        (b"host: other",),
        (b"Content-Length: +1",),
        (b"Content-Length: 1_0",),
        (b"Content-Length: ",),
        (b"Content-Length: 9999999999",),
        (b"Content-Length : 1",),
        (b" Content-Length: 1",),
        (b"\tfolded: 1",),
        (b"no colon",),
        (b": 1",),
        (b"A(B): 1",),
        (b"A: 1\nContent-Length: 5",),
        (b"A: 1\rContent-Length: 5",),
        (b"A: 1\t",),
        (b"A: \xc3\xbc",),
        (b"A: \x00",),
        (b"A: \x7f",),
        tuple(b"A%d: 1" % number for number in range(24)),
        (b"A: " + b"x" * LONGEST_HEAD,),
    ],
)
def test_not_plain(fields: tuple[bytes, ...]) -> None:
    """What could be taken in two ways, or by nobody, is not read."""
    assert plain_head(request(HOST)) is not None
    assert plain_head(request(HOST, *fields)) is None


@pytest.mark.parametrize("data", [request(HOST)[:-1], request(b"Content-Length: 0"), b""])
def test_not_whole(data: bytes) -> None:
    """A head that is not there yet, or names no host."""
    assert plain_head(data) is None
