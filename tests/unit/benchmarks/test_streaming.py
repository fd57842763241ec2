"""Which chunks of a streamed response have arrived."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.streaming import Arrivals
from rapid.event_stream import invoke_complete, payload_chunks

SIZE = 32
CHUNKS = [b"%020d%b" % (number, bytes(SIZE - 20)) for number in range(12)]


@given(st.lists(st.integers(1, SIZE * len(CHUNKS))), st.lists(st.integers(1, 2000)))
def test_chunks_are_found_however_they_were_cut(events: list[int], pieces: list[int]) -> None:
    """Events may hold several, or parts of them, and so may what is read at once: each comes once and in order."""
    text = b"".join(CHUNKS)
    stream = b"".join(each for part in _cut(text, events) for each in payload_chunks(part))
    stream += invoke_complete(None, b"", None)
    arrivals = Arrivals(SIZE)
    found = [written for piece in _cut(stream, pieces) for written in arrivals.add(piece)]
    assert found == list(range(12))


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = [*sorted({each for each in places if each < len(data)}), len(data)]
    return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
