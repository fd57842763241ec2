"""The link's wire format: whatever the cuts in the stream, the frames come out whole and in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapid.wire import (
    CREDIT,
    HEADER,
    MAX_PAYLOAD,
    MOST_NAMES,
    OUTPUT_HEADER,
    SETTLED_PAYLOAD,
    TOKEN,
    TUNNEL,
    Frames,
    Kind,
    WireError,
    fields,
    frame,
    message,
)

KINDS = st.sampled_from(list(Kind))
FRAMES = st.lists(st.tuples(KINDS, st.binary(max_size=300)), max_size=12)


def test_layout() -> None:
    """A frame is the payload's length as big-endian u32, the kind as u8, the payload."""
    assert frame(Kind.SETTLE, b"abcd") == b"\x00\x00\x00\x04\x21abcd"
    assert frame(Kind.FREEZE) == b"\x00\x00\x00\x00\x23"


def test_packed_payloads() -> None:
    """The payloads of every invocation have fixed layouts, without padding."""
    assert OUTPUT_HEADER.pack(3, 2) == b"\x00\x03\x02"
    assert TOKEN.pack(7) == b"\x00\x00\x00\x07"
    assert SETTLED_PAYLOAD.pack(7, 1) == b"\x00\x00\x00\x07" + bytes(7) + b"\x01"
    assert TUNNEL.pack(7) == b"\x00\x00\x00\x07"
    assert CREDIT.pack(7, 1) == b"\x00\x00\x00\x07\x00\x00\x00\x01"


def test_kind_numbers_tell_the_direction() -> None:
    """What agents say is below 32, what they are told is from 32 on."""
    said_by_agents = {kind for kind in Kind if kind < 32}
    assert said_by_agents == {
        Kind.HELLO,
        Kind.STARTED,
        Kind.NOT_STARTED,
        Kind.OUTPUT,
        Kind.EXITED,
        Kind.SETTLED,
        Kind.CLEARED,
        Kind.TREE_DONE,
        Kind.LISTED,
        Kind.DIALLED,
        Kind.RECEIVED,
        Kind.SENT,
        Kind.HUNG_UP,
    }


def test_numbers_do_not_change() -> None:
    """An image may carry an agent that is older than its control plane: a kind keeps its number."""
    assert (Kind.LISTED, Kind.SIGNAL, Kind.LIST) == (9, 37, 42)
    assert (Kind.DIALLED, Kind.HUNG_UP, Kind.DIAL, Kind.HANG_UP) == (10, 13, 43, 46)
    assert len(frame(Kind.LIST)) == HEADER.size


def test_listing_fits_a_frame() -> None:
    """As many names as there may be, of the longest there are and the costliest to write, are one frame."""
    names = ["\udcff" * 255] * MOST_NAMES
    [(kind, payload)] = Frames().feed(message(Kind.LISTED, path="/opt/extensions", names=names))
    assert (kind, fields(payload)["names"]) == (Kind.LISTED, names)


@given(FRAMES, st.data())
def test_any_cut(sent: list[tuple[Kind, bytes]], data: st.DataObject) -> None:
    """Frames survive a stream that is cut anywhere."""
    stream = b"".join(frame(kind, payload) for kind, payload in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    frames = Frames()
    heard = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        heard += frames.feed(stream[start:end])
    assert heard == sent


def test_byte_by_byte() -> None:
    """A frame comes out with its last byte and not before."""
    frames = Frames()
    whole = frame(Kind.OUTPUT, b"hello")
    assert [frames.feed(whole[at : at + 1]) for at in range(len(whole) - 1)] == [[]] * (len(whole) - 1)
    assert frames.feed(whole[-1:]) == [(Kind.OUTPUT, b"hello")]


def test_message_round_trip() -> None:
    """A JSON payload gives back its members, any text in them."""
    sent = {"process": 1, "argv": ["/bin/sh", "ü\n\0"], "error": None}
    [(kind, payload)] = Frames().feed(message(Kind.START, **sent))
    assert (kind, fields(payload)) == (Kind.START, sent)


def test_longest_payload() -> None:
    """A payload of the greatest allowed length passes; one byte more is refused by its header alone."""
    [(_, payload)] = Frames().feed(frame(Kind.TREE_DATA, bytes(MAX_PAYLOAD)))
    assert len(payload) == MAX_PAYLOAD
    with pytest.raises(WireError, match="a payload of 1048577 bytes"):
        Frames().feed(HEADER.pack(MAX_PAYLOAD + 1, Kind.TREE_DATA))


def test_unknown_kind() -> None:
    """A kind that this version does not know is no frame."""
    with pytest.raises(WireError, match="unknown frame kind 99"):
        Frames().feed(HEADER.pack(0, 99))


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"\xff\xfe{}", b"[1]", b'"text"', b"null", b"[" * 100_000, b'{"a":' * 100_000]
)
def test_fields_that_are_none(payload: bytes) -> None:
    """What is not a JSON object is refused as such, however it is broken."""
    with pytest.raises(WireError, match=r"not (a )?JSON"):
        fields(payload)
