"""Amazon's event stream format, as far as the response of InvokeWithResponseStream needs it: values in, bytes out.

A message is a prelude (lengths, and their checksum), headers, a payload, and a checksum of all of it.
"""

import base64
import struct
from collections.abc import Iterator
from zlib import crc32

import orjson

CHUNK = 1024 * 1024
"""Longest payload of one message that is made here, in bytes; botocore takes 24 MiB, the oldest versions of it 16."""
DETAILS = 256 * 1024
"""Longest text of an error, in characters: functions write it, and one of a character may take six bytes."""

_LENGTHS = struct.Struct("!II")
_CRC = struct.Struct("!I")
_STRING = 7
"""Type of a header's value: text, behind its length in 16 bits."""
_AROUND = _LENGTHS.size + 2 * _CRC.size


def payload_chunks(data: bytes) -> Iterator[bytes]:
    """Messages with a part of the response each; usually one."""
    if len(data) <= CHUNK:
        yield _message(_PAYLOAD_CHUNK, data)
        return
    for start in range(0, len(data), CHUNK):
        yield _message(_PAYLOAD_CHUNK, data[start : start + CHUNK])


def invoke_complete(error_code: str | None, error_details: bytes, log_tail: bytes | None) -> bytes:
    """The last message. `log_tail` is None where the log was not asked for."""
    members = {}
    if error_code is not None:
        members["ErrorCode"] = error_code
        members["ErrorDetails"] = error_details.decode(errors="replace")[:DETAILS]
    if log_tail is not None:
        members["LogResult"] = base64.b64encode(log_tail).decode()
    return _message(_INVOKE_COMPLETE, orjson.dumps(members))


def _headers(event_type: str, content_type: str) -> bytes:
    pairs = {":message-type": "event", ":event-type": event_type, ":content-type": content_type}
    return b"".join(_header(name.encode(), value.encode()) for name, value in pairs.items())


def _header(name: bytes, value: bytes) -> bytes:
    return struct.pack(f"!B{len(name)}sBH", len(name), name, _STRING, len(value)) + value


def _message(headers: bytes, payload: bytes) -> bytes:
    prelude = _LENGTHS.pack(_AROUND + len(headers) + len(payload), len(headers))
    head = prelude + _CRC.pack(crc32(prelude)) + headers
    return b"".join((head, payload, _CRC.pack(crc32(payload, crc32(head)))))


_PAYLOAD_CHUNK = _headers("PayloadChunk", "application/octet-stream")
_INVOKE_COMPLETE = _headers("InvokeComplete", "application/json")
