"""Answers of an HTTP server as bytes, for connections that are kept: head and body in one piece.

It knows nothing of the server that they are for, and so costs nobody its import.
"""

import time
from collections.abc import Mapping
from http import HTTPStatus

from rapid import errors

JSON = {"Content-Type": "application/json"}

_STATUS_LINES = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n" for each in HTTPStatus}
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def ready(status: int, headers: Mapping[str, str], body: bytes, *, behind: str = "") -> bytes:
    """An answer with a body; `behind`: header lines that come last.

    Raises ValueError where a value would end its line: headers carry what clients sent.
    """
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise ValueError("a header's value has a line end in it")
    head = f"{_STATUS_LINES[status]}{lines}Content-Length: {len(body)}\r\nDate: {_date()}\r\n{behind}\r\n"
    return head.encode() + body


def ready_acceptance() -> bytes:
    """What was sent has been taken."""
    date = _date()
    if date is not _Accepted.date:
        _Accepted.date, _Accepted.answer = date, ready(202, JSON, errors.ACCEPTED)
    return _Accepted.answer


def ready_refusal(refusal: errors.Refusal) -> bytes:
    return ready(refusal.status, JSON, refusal.body())


class _Accepted:
    """The same answer to every response, made once for each date."""

    date = ""
    answer = b""


class _Clock:
    """The date as headers show it, formatted once a second."""

    second = 0
    text = ""


def _date() -> str:
    now = int(time.time())
    if now != _Clock.second:
        _Clock.second, _Clock.text = now, http_date(now)
    return _Clock.text


def http_date(now: float) -> str:
    """`Thu, 26 Nov 2026 03:00:25 GMT`. The standard library's would bring all that it has for mail."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(now)
    return f"{_DAYS[weekday]}, {day:02d} {_MONTHS[month - 1]} {year:04d} {hour:02d}:{minute:02d}:{second:02d} GMT"
