"""The cause of an error as runtimes describe it for X-Ray, and how it is cropped. Pure.

Clients send it in `Lambda-Runtime-Function-XRay-Error-Cause`: a JSON document with the exceptions, their stacks and the
files involved. What is longer than X-Ray takes loses exceptions and paths from the end, step by step, and in the end
all of them; what is no such document is ignored.
"""

import json
from typing import Any

HEADER = "Lambda-Runtime-Function-XRay-Error-Cause"
LIMIT = 64 * 1024
"""Bytes of a cause (AWS's emulator: MaxErrorCauseSizeBytes)."""
FACTORS = (0.8, 0.6, 0.4, 0.2)
"""What is kept of the lists, one after the other, until the rest is short enough."""
TEXT = (LIMIT - 4096) // 2
"""Bytes of each of the two texts, where nothing but them is left."""

_LISTS = ("exceptions", "paths")
_TEXTS = ("working_directory", "message")


def cropped(header: str) -> str | None:
    """The cause as it can be passed on; None where there is none."""
    try:
        document = json.loads(header)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    cause = _known(document)
    if cause is None or not any(cause.values()):
        return None
    candidates = [cause, *(_lists_by(cause, factor) for factor in FACTORS), _texts_only(cause)]
    return next(text for text in map(_text, candidates) if len(text.encode()) <= LIMIT)


def _known(document: dict[str, Any]) -> dict[str, Any] | None:
    """The members that a cause has; None where one has the wrong type."""
    cause: dict[str, Any] = {}
    for names, kind in ((_TEXTS, str), (_LISTS, list)):
        for name in names:
            value = document.get(name)
            cause[name] = kind() if value is None else value
            if not isinstance(cause[name], kind):
                return None
    return cause


def _lists_by(cause: dict[str, Any], factor: float) -> dict[str, Any]:
    return cause | {name: cause[name][: int(len(cause[name]) * factor)] for name in _LISTS}


def _texts_only(cause: dict[str, Any]) -> dict[str, Any]:
    return {name: _cut(cause[name]) for name in _TEXTS} | dict.fromkeys(_LISTS)


def _cut(text: str) -> str:
    """So short that it has `TEXT` bytes as JSON, escapes included."""
    text = text[:TEXT]
    while (length := len(json.dumps(text))) > TEXT:
        text = text[: len(text) * TEXT // length]
    return text


def _text(cause: dict[str, Any]) -> str:
    return json.dumps(
        {name: value for name, value in cause.items() if value or name != "message"}, separators=(",", ":")
    )
