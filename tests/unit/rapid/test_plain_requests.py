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
    data = request(b"Content-Length: 10", body=b"abc")
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


@pytest.mark.parametrize(
    "data",
    [
        request(HOST)[:-1],
        request(b"Transfer-Encoding: chunked"),
        request(b"Expect: 100-continue"),
        request(b"Upgrade: h2c"),
        request(b"Trailer: a"),
        request(b"Content-Encoding: gzip", b"Content-Length: 2"),
        request(b"Connection: close"),
        request(b"Connection: keep-alive, Upgrade"),
        request(b"Content-Length: 1", b"Content-Length: 1"),
        request(b"Content-Length: 1", b"content-length: 2"),
        request(b"Content-Length: +1"),
        request(b"Content-Length: 1_0"),
        request(b"Content-Length: "),
        request(b"Content-Length: 9999999999"),
        request(b"Content-Length : 1"),
        request(b" Content-Length: 1"),
        request(HOST, b"\tfolded: 1"),
        request(b"no colon"),
        request(b"A: 1\nContent-Length: 5"),
        request(b"A: 1\rContent-Length: 5"),
        request(b"A: \xc3\xbc"),
        request(b"A: \x00"),
        request(*(b"A%d: 1" % number for number in range(17))),
        request(b"A: " + b"x" * LONGEST_HEAD),
        b"",
    ],
)
def test_not_plain(data: bytes) -> None:
    """What is not whole, or could be taken in two ways, is not read."""
    assert plain_head(data) is None
