"""From bytes to lines and tails."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapid.buffering import MAX_LINE, TAIL, Lines, Tail


class TestLines:
    def test_whole(self) -> None:
        """Each line comes with its end; what has none waits."""
        lines = Lines()
        assert lines.feed(b"a\nb\nrest") == [b"a\n", b"b\n"]
        assert lines.feed(b" of it\n") == [b"rest of it\n"]
        assert lines.flush() == []

    def test_flush(self) -> None:
        """What waits comes when nothing more will."""
        lines = Lines()
        assert lines.feed(b"no end") == []
        assert lines.flush() == [b"no end"]
        assert lines.flush() == []

    def test_only_line_feeds(self) -> None:
        """A carriage return joins the lines of one event: runtimes write stack traces so."""
        assert Lines().feed(b"Error\r  at a\r\n\x0b\x0c\x85\n") == [b"Error\r  at a\r\n", b"\x0b\x0c\x85\n"]

    def test_empty_lines(self) -> None:
        """An empty line is a line; no bytes are none."""
        assert Lines().feed(b"\n\n") == [b"\n", b"\n"]
        assert Lines().feed(b"") == []

    @pytest.mark.parametrize("step", [1000, 65_536, MAX_LINE * 3])
    def test_long(self, step: int) -> None:
        """A line that is too long is cut, the same whether it has come whole or in pieces."""
        data = b"x" * (2 * MAX_LINE + 7) + b"\n"
        lines = Lines()
        found = [line for at in range(0, len(data), step) for line in lines.feed(data[at : at + step])]
        assert [len(line) for line in found] == [MAX_LINE, MAX_LINE, 8]
        assert b"".join(found) == data

    def test_exactly_as_long_as_allowed(self) -> None:
        """A line of the greatest length is one."""
        assert len(Lines().feed(b"x" * MAX_LINE + b"\n")) == 1

    @given(st.lists(st.binary(max_size=20)))
    def test_nothing_is_lost(self, pieces: list[bytes]) -> None:
        """Whatever comes in whatever pieces: the lines together are what came, one line feed at most in each."""
        lines = Lines()
        found = [line for piece in pieces for line in lines.feed(piece)] + lines.flush()
        assert b"".join(found) == b"".join(pieces)
        assert all(line and b"\n" not in line[:-1] for line in found)


class TestTail:
    @given(st.lists(st.integers(0, 3 * TAIL), max_size=8))
    def test_last_bytes(self, sizes: list[int]) -> None:
        """The last 4 KB, or all there is, in bounded memory."""
        tail, everything = Tail(), b""
        for number, size in enumerate(sizes):
            data = bytes([number]) * size
            tail.add(data)
            everything += data
            assert len(tail._kept) <= 2 * TAIL
        assert tail.content() == everything[-TAIL:]
