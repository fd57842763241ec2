"""Trailers, found behind the last chunk of a body as it was sent."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapid.trailers import ERROR_BODY, ERROR_TYPE, parse, posted_error

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n"


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    return chunks + b"0\r\n" + trailers + b"\r\n"


@pytest.mark.parametrize(
    ("tail", "found"),
    [
        (HEAD + chunked(), {}),
        (HEAD + chunked(b"data"), {}),
        (HEAD + chunked(b"data", trailers=b"A: 1\r\nb:\t 2 \r\n"), {"a": "1", "b": "2"}),
        (chunked(b"data", trailers=b"A: x:y\r\n"), {"a": "x:y"}),
        (chunked(b"data", trailers=b"A:\r\n"), {"a": ""}),
        (chunked(b"data").replace(b"0\r\n", b"000;last=yes\r\n") + b"rest", {}),
        (chunked(b"data", trailers=b"A: 1\r\nA: 2\r\n") + b"GET / HTTP/1.1\r\nHost: y\r\n\r\n", {"a": "2"}),
        (chunked(b"data", trailers=b"A: \xff\r\n"), {"a": "ÿ"}),
        (b"4\r\nda", None),
        (b"", None),
        (b"a long value without its beginning\r\nB: 2\r\n\r\n", None),
    ],
)
def test_parse(tail: bytes, found: dict[str, str] | None) -> None:
    """Names are in lower case, white space around values is not theirs, what follows the section is not read."""
    assert parse(tail) == found


@given(
    st.lists(
        st.binary(max_size=40) | st.sampled_from([b"0\r\n", b"\r\n0\r\n\r\n", b"\r\n0\r\nA: no\r\n\r\n"])
    ),
    st.booleans(),
)
def test_data_is_no_trailer(pieces: list[bytes], fails: bool) -> None:
    """Data that looks like the end of a body is data, wherever the pieces are cut."""
    tail = HEAD + chunked(*pieces, trailers=b"A: yes\r\n" if fails else b"")
    assert parse(tail) == ({"a": "yes"} if fails else {})


def test_posted_error() -> None:
    """An error is a type in plain text and a document in base64."""
    document = json.dumps({"errorType": "E", "errorMessage": "ä"}).encode()
    trailers = {ERROR_TYPE: "Function.E", ERROR_BODY: base64.b64encode(document).decode()}
    assert posted_error(trailers) == ("Function.E", document)


@pytest.mark.parametrize("trailers", [{}, {"other": "1"}, {ERROR_TYPE: "", ERROR_BODY: ""}])
def test_no_error(trailers: dict[str, str]) -> None:
    """Announced trailers that are not sent, or are empty, tell of success."""
    assert posted_error(trailers) is None


@pytest.mark.parametrize("body", ["", "no base64!", "ÿÿÿÿ", "abc"])
def test_unreadable_error(body: str) -> None:
    """A document that cannot be read is replaced; its type stays."""
    found = posted_error({ERROR_TYPE: "Function.E", ERROR_BODY: body})
    assert found == ("Function.E", b'{"errorMessage":"Invalid error body","errorType":"Function.E"}')


def test_error_without_a_type() -> None:
    """A document alone is an error too."""
    assert posted_error({ERROR_BODY: base64.b64encode(b"{}").decode()}) == ("", b"{}")
