"""Reading JSON that carries a package: the base64 text is cut out and parsed around.

A JSON parser holds the interpreter for as long as it runs, for a package of 50 MB long enough to be felt by every
invocation meanwhile. The text of `ZipFile` needs no parsing: its end is the next quote.
"""

import re
import secrets
from typing import Any

import orjson

_WORTHWHILE = 1 << 16
"""Shorter bodies are parsed as they are."""
_MEMBER = re.compile(rb'"ZipFile"\s{0,100}:\s{0,100}"')


def loads(body: bytes) -> Any:
    """As `orjson.loads`, but a large `ZipFile` comes as a memoryview of its text."""
    if len(body) < _WORTHWHILE or (span := _package(body)) is None:
        return orjson.loads(body)
    start, end = span
    token = secrets.token_hex()
    document = orjson.loads(body[:start] + token.encode() + body[end:])
    return _restored(document, token, memoryview(body)[start:end])


def _package(body: bytes) -> tuple[int, int] | None:
    """Where the text of a large package begins and ends; None if there is none, or one with escapes in it."""
    member = _MEMBER.search(body)
    if member is None:
        return None
    start = member.end()
    end = body.find(b'"', start)
    if end - start < _WORTHWHILE or body.find(b"\\", start, end) >= 0:
        return None
    return start, end


def _restored(value: Any, token: str, text: memoryview) -> Any:
    if isinstance(value, dict):
        return {key: _restored(item, token, text) for key, item in value.items()}
    if isinstance(value, list):
        return [_restored(item, token, text) for item in value]
    return text if value == token else value
