"""Events out of a stream of lines and frames."""

import itertools
import struct
from collections.abc import Sequence

import pytest
from awslambdaric.lambda_runtime_log_utils import _JSON_FRAME_TYPES, _TEXT_FRAME_TYPES
from hypothesis import given
from hypothesis import strategies as st

from rapid.buffering import MAX_LINE
from rapid.log_format import Level
from rapid.log_frames import MAX_MESSAGE, LogEvent, LogEvents

TEXT, JSON = 0xA55A0003, 0xA55A0002
HEADER = struct.Struct("!IIQ")
NOW = 0x00060B0B0B0B0B0B
"""In 2023; not a line feed among its bytes."""


def frame(message: bytes, level: int = 0, form: int = TEXT) -> bytes:
    return HEADER.pack(form | level << 2, len(message), NOW) + message


def fed(events: LogEvents, data: bytes, *cuts: int) -> list[LogEvent]:
    """Feed the data in the pieces that the cuts make of it."""
    edges = [0, *sorted(cuts), len(data)]
    return [event for start, end in itertools.pairwise(edges) for event in events.feed(data[start:end])]


def texts(events: Sequence[LogEvent]) -> list[bytes]:
    return [text for text, _ in events]


@pytest.fixture
def events() -> LogEvents:
    return LogEvents(framed=True)


class TestFrames:
    def test_a_frame_is_one_event(self, events: LogEvents) -> None:
        """Whatever line feeds it holds; it gets one at its end unless it has one."""
        assert events.feed(frame(b"Error\n  at a\n  at b") + frame(b"next\n")) == [
            (b"Error\n  at a\n  at b\n", Level.INFO),
            (b"next\n", Level.INFO),
        ]

    def test_text_around_frames(self, events: LogEvents) -> None:
        """It goes on line by line; a line that a frame interrupts waits for its rest."""
        data = b"one\ntw" + frame(b"framed") + b"o\n" + frame(b"") + b"three\n"
        assert texts(events.feed(data)) == [b"one\n", b"framed\n", b"two\n", b"\n", b"three\n"]

    @pytest.mark.parametrize(
        ("number", "level"),
        [(0, "INFO"), (1, "TRACE"), (2, "DEBUG"), (3, "INFO"), (4, "WARN"), (5, "ERROR"), (6, "FATAL")],
    )
    @pytest.mark.parametrize("form", [TEXT, JSON])
    def test_levels(self, events: LogEvents, form: int, number: int, level: str) -> None:
        """The kind says the level; none counts as INFO."""
        assert events.feed(frame(b"x", number, form)) == [(b"x\n", Level[level])]

    @pytest.mark.parametrize("kind", [*_TEXT_FRAME_TYPES.items(), *_JSON_FRAME_TYPES.items()])
    def test_the_python_clients_kinds(self, events: LogEvents, kind: tuple[int, bytes]) -> None:
        """Every kind that the real client writes is known."""
        urgency, begun = kind
        [(text, level)] = events.feed(begun + frame(b"x")[4:])
        names = {0: "INFO", 10: "DEBUG", 20: "INFO", 30: "WARN", 40: "ERROR", 50: "FATAL"}
        assert (text, level.name) == (b"x\n", names[urgency])

    @pytest.mark.parametrize("extra", [0, 1, 2, MAX_LINE])
    @pytest.mark.parametrize("end", [b"", b"\n"])
    @pytest.mark.parametrize("step", [4096, 10 * MAX_LINE])
    def test_a_long_message_is_cut_like_a_line(
        self, events: LogEvents, extra: int, end: bytes, step: int
    ) -> None:
        """Into events of `MAX_LINE` bytes, its level with each; memory is bounded meanwhile."""
        data = frame(b"x" * (MAX_LINE + extra) + end, 5)
        found: list[LogEvent] = []
        for at in range(0, len(data), step):
            found += events.feed(data[at : at + step])
            assert events._frame is None or len(events._frame.message) <= MAX_LINE + 1
        assert [len(text.removesuffix(b"\n")) for text, _ in found] == [MAX_LINE, extra][: 1 + bool(extra)]
        assert {level for _, level in found} == {Level.ERROR}
        assert b"".join(texts(found)) == b"x" * (MAX_LINE + extra) + b"\n"


class TestNoFrames:
    def test_other_streams(self) -> None:
        """Where there are no frames, their bytes are text."""
        data = frame(b"a\nb")
        events = LogEvents()
        assert texts(events.feed(data)) + texts(events.flush()) == [data[:-1], b"b"]

    @pytest.mark.parametrize(
        "header",
        [
            HEADER.pack(0xA55A0001, 3, NOW),
            HEADER.pack(0xA55A0004, 3, NOW),
            HEADER.pack(0xA55A001E, 3, NOW),
            HEADER.pack(0xA55A0103, 3, NOW),
            HEADER.pack(TEXT, MAX_MESSAGE + 1, NOW),
            HEADER.pack(TEXT, 0xFFFFFFFF, NOW),
            b"\xa5\xa5\xa5Z",
        ],
    )
    def test_what_no_client_writes_is_text(self, events: LogEvents, header: bytes) -> None:
        """A kind or a length that cannot be; and a header behind it is found."""
        data = header + b"abc\n" + frame(b"a\nb")
        assert texts(events.feed(data)) == [header + b"abc\n", b"a\nb\n"]

    def test_impossible_headers_wait_for_nothing(self, events: LogEvents) -> None:
        """As soon as a header cannot become one, its line is on its way."""
        assert texts(events.feed(b"\xa5\x5a\x00\x00\n")) == [b"\xa5\x5a\x00\x00\n"]
        assert texts(events.feed(b"\xa5\n")) == [b"\xa5\n"]
        assert texts(events.feed(HEADER.pack(TEXT, 1 << 30, NOW)[:8] + b"\n"))

    @pytest.mark.parametrize("left", [1, 3, 4, 8, 15, 16, 18])
    def test_a_frame_that_never_becomes_whole(self, events: LogEvents, left: int) -> None:
        """It is text in the end, every byte of it."""
        data = b"be" + frame(b"a\nb\nc")[:left]
        assert texts(events.feed(data)) == []
        assert b"".join(texts(events.flush())) == data
        assert texts(events.feed(b"line\n")) == [b"line\n"]

    def test_a_frame_is_spared_once(self, events: LogEvents) -> None:
        """A drain of the pipes may come while a frame is being written; the next one will not wait for it again."""
        data = frame(b"a\nb")
        events.feed(data[:17])
        assert events.flush(final=False) == []
        assert texts(events.feed(data[17:])) == [b"a\nb\n"]
        events.feed(data[:17])
        assert events.flush(final=False) == []
        assert b"".join(texts(events.flush(final=False))) == data[:17]

    def test_the_last_part_of_a_long_frame(self, events: LogEvents) -> None:
        """What has been an event is not repeated when the rest is given up."""
        data = frame(b"x" * (2 * MAX_LINE))
        found = events.feed(data[:-1])
        assert b"".join(texts(found + events.flush())) == data[16:-1]


PIECES = st.one_of(
    st.binary(max_size=12),
    st.text(st.sampled_from("ab\n契"), max_size=12).map(lambda text: text.encode()),
    st.builds(frame, st.binary(max_size=30), st.integers(0, 6), st.sampled_from([TEXT, JSON])),
    st.builds(frame, st.just(frame(b"inner")), st.integers(0, 7)),
    st.sampled_from([frame(b"cut off")[:n] for n in (1, 2, 3, 4, 7, 8, 12, 16, 19)]),
)


class TestProperties:
    @given(st.lists(PIECES, max_size=6).map(b"".join), st.lists(st.integers(0, 200), max_size=8))
    def test_cuts_do_not_matter(self, data: bytes, cuts: list[int]) -> None:
        """Any cut of the byte stream gives the same events."""
        whole, cut = LogEvents(framed=True), LogEvents(framed=True)
        expected = fed(whole, data)
        assert fed(cut, data, *(min(each, len(data)) for each in cuts)) == expected
        assert whole.flush() == cut.flush()

    @given(st.lists(st.integers(0, 2 * MAX_LINE), max_size=3), st.integers(4000, MAX_LINE + 5))
    def test_cuts_do_not_matter_to_long_ones(self, sizes: list[int], step: int) -> None:
        """Nor where messages and lines have to be cut."""
        data = b"".join(frame(b"f" * size + b"\n" * (size % 2)) + b"t" * size + b"\n" for size in sizes)
        whole, cut = LogEvents(framed=True), LogEvents(framed=True)
        assert fed(cut, data, *range(0, len(data), step)) == fed(whole, data)
        assert whole.flush() == cut.flush() == []

    @given(st.lists(st.tuples(st.booleans(), st.text("ab\n契", max_size=20)), max_size=8))
    def test_what_is_written_is_what_comes(self, written: list[tuple[bool, str]]) -> None:
        """Frames come whole and in order among the lines, and no byte is lost or made up."""
        events = LogEvents(framed=True)
        data = b"".join(frame(text.encode()) if framed else text.encode() for framed, text in written)
        found = texts(events.feed(data) + events.flush())
        lines = iter(found)
        for framed, text in written:
            if framed:
                wanted = text.encode().removesuffix(b"\n") + b"\n"
                assert any(each == wanted for each in lines)
        assert sum(map(len, found)) == sum(
            len(text.encode().removesuffix(b"\n")) + 1 if framed else len(text.encode())
            for framed, text in written
        )
