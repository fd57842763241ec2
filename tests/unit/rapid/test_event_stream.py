"""The event stream as botocore's own parser reads it."""

import base64
import json
from collections.abc import Iterable
from typing import Any

from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from rapid.event_stream import CHUNK, DETAILS, invoke_complete, payload_chunks


def parsed(pieces: Iterable[bytes]) -> list[tuple[dict[str, Any], bytes]]:
    """Headers and payload of each message; the parser checks both checksums."""
    buffer, found = EventStreamBuffer(), []
    for piece in pieces:
        buffer.add_data(piece)
        found += [(message.headers, message.payload) for message in buffer]
    return found


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.integers(1, 50))
def test_any_cut(chunks: list[bytes], size: int) -> None:
    """Messages come out as they went in, wherever the network cuts them."""
    sent = b"".join(message for chunk in chunks for message in payload_chunks(chunk))
    sent += invoke_complete(None, b"", None)
    messages = parsed(sent[start : start + size] for start in range(0, len(sent), size))
    assert [payload for _, payload in messages] == [*chunks, b"{}"]


def test_payload_chunk() -> None:
    """A chunk is the payload of its message, with the headers that the protocol asks for."""
    assert parsed(payload_chunks(b"\x00data")) == [
        (
            {
                ":message-type": "event",
                ":event-type": "PayloadChunk",
                ":content-type": "application/octet-stream",
            },
            b"\x00data",
        )
    ]


def test_long_payload() -> None:
    """A long payload is several chunks, none longer than SDKs accept."""
    data = bytes(range(256)) * (CHUNK // 128) + b"end"
    payloads = [payload for _, payload in parsed(payload_chunks(data))]
    assert b"".join(payloads) == data
    assert [len(payload) for payload in payloads] == [CHUNK, CHUNK, 3]


def test_invoke_complete() -> None:
    """The last message is JSON with the members that there are."""
    ((headers, payload),) = parsed([invoke_complete("Unhandled", b'{"errorMessage":"\xff"}', b"END\n")])
    assert headers[":event-type"] == "InvokeComplete"
    assert headers[":content-type"] == "application/json"
    assert json.loads(payload) == {
        "ErrorCode": "Unhandled",
        "ErrorDetails": '{"errorMessage":"\ufffd"}',
        "LogResult": base64.b64encode(b"END\n").decode(),
    }


def test_details_have_a_limit() -> None:
    """However long the text of an error, and whatever is in it, clients can read the message."""
    ((_, payload),) = parsed([invoke_complete("Unhandled", b"\x01" * 6_000_000, None)])
    assert json.loads(payload)["ErrorDetails"] == "\x01" * DETAILS
