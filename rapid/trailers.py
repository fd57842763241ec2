"""What comes behind the last chunk of a chunked body: the trailer section, found in the body's end as it was sent.

It knows nothing of where the bytes come from; see `rapid.connections`. The meaning of two trailers is here too: that
a function failed after its response had begun.
"""

import base64
import binascii
import re
from collections.abc import Mapping

from rapid import errors

LIMIT = 256 * 1024
"""Bytes from the end of a body that are looked at; a longer section is not found."""
ERROR_TYPE = "lambda-runtime-function-error-type"
ERROR_BODY = "lambda-runtime-function-error-body"

_LAST_CHUNK = re.compile(rb"\r\n0+(?:;[^\r\n]*)?(?=\r\n)")
_UNREADABLE = "Invalid error body"


def parse(tail: bytes) -> Mapping[str, str] | None:
    """The trailers at the end of a body, names in lower case. None where no last chunk is among these bytes.

    The last thing that looks like a last chunk is one: what data looks like does not matter, because data comes
    before it, and no line of trailers looks like that.
    """
    start = None
    for match in _LAST_CHUNK.finditer(tail):
        start = match.end() + 2
    if start is None:
        return None
    section, _, _ = (b"\r\n" + tail[start:]).partition(b"\r\n\r\n")
    lines = (line.partition(b":") for line in section.split(b"\r\n") if line)
    return {_text(name).lower(): _text(value) for name, _, value in lines}


def posted_error(trailers: Mapping[str, str]) -> tuple[str, bytes] | None:
    """Type and document of the error that trailers tell of."""
    kind, body = trailers.get(ERROR_TYPE, ""), trailers.get(ERROR_BODY, "")
    if not kind and not body:
        return None
    try:
        document = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):  # a ValueError where it is not ASCII
        document = b""
    return kind, document or errors.document(_UNREADABLE, kind or "Runtime.Unknown")


def _text(data: bytes) -> str:
    return data.strip(b" \t").decode("latin-1")
