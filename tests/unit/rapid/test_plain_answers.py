"""Answers as bytes."""

from email.utils import formatdate

import pytest

from rapid.plain_answers import http_date, ready


@pytest.mark.parametrize("now", [0, 951_782_399, 951_782_400, 1_709_251_199, 1_795_676_425, 4_102_444_800])
def test_dates(now: int) -> None:
    """As the standard library writes them, leap days and all."""
    assert http_date(now) == formatdate(now, usegmt=True)


def test_an_answer() -> None:
    """In one piece: line, headers, length, date, body."""
    head, _, body = ready(200, {"A": "b"}, b"body").partition(b"\r\n\r\n")
    assert body == b"body"
    assert head.startswith(b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 4\r\nDate: ")


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\r\nX: y"])
def test_a_line_end_in_a_header(value: str) -> None:
    """Would begin another one."""
    with pytest.raises(ValueError, match="line end"):
        ready(200, {"A": value}, b"")
