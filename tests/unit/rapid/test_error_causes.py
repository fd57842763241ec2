"""Causes of errors, as runtimes send them for X-Ray."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapid.error_causes import LIMIT, cropped

FRAME = {"path": "/var/task/app.py", "line": 3, "label": "handler"}
EXCEPTION = {"message": "no", "type": "ValueError", "stack": [FRAME] * 10}
CAUSE = {"working_directory": "/var/task", "exceptions": [EXCEPTION], "paths": ["/var/task/app.py"]}


def read(header: str) -> dict[str, Any]:
    text = cropped(header)
    assert text is not None
    assert len(text.encode()) <= LIMIT
    document: dict[str, Any] = json.loads(text)
    return document


def test_what_fits_is_kept() -> None:
    """All known members, and no others."""
    assert read(json.dumps(CAUSE | {"more": 1})) == CAUSE
    assert read(json.dumps(CAUSE | {"message": "m"})) == CAUSE | {"message": "m"}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        "null",
        '{"exceptions": {}}',
        '{"message": 1}',
        '{"paths": []}',
        "[" * 100_000,
    ],
)
def test_what_is_no_cause_is_ignored(header: str) -> None:
    assert cropped(header) is None


@pytest.mark.parametrize(("size", "kept"), [(1.1, 0.8), (1.5, 0.6), (2.2, 0.4), (4.5, 0.2), (20, 0)])
def test_long_causes_lose_exceptions_from_the_end(size: float, kept: float) -> None:
    """A fifth after the other, until the rest is short enough."""
    each = json.dumps(EXCEPTION, separators=(",", ":"))
    count = int(LIMIT * size / (len(each) + 1))
    exceptions = [EXCEPTION | {"message": str(number)} for number in range(count)]
    cause = read(json.dumps({"working_directory": "/", "exceptions": exceptions, "paths": ["/a"] * 100}))
    assert (cause["exceptions"] or []) == exceptions[: int(count * kept)]
    assert (cause["paths"] or []) == ["/a"] * int(100 * kept)


@given(st.text(max_size=200_000), st.text(max_size=200_000), st.lists(st.text(max_size=1000), max_size=200))
def test_it_is_always_short_enough(message: str, directory: str, paths: list[str]) -> None:
    """Whatever is in it."""
    text = cropped(json.dumps({"message": message, "working_directory": directory, "paths": paths}))
    assert text is None or len(text.encode()) <= LIMIT
