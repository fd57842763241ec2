import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.logfiles import LogEvent, decode, encode, safe_name, shown_name

HOSTILE = [
    "",
    ".",
    "..",
    "../../etc/passwd",
    "a\0b",
    "/",
    "~",
    "~/x",
    ".hidden",
    "a\nb",
    "ü" * 300,
    "a" * 5000,
    "\ud800",
]


def test_line_is_time_and_text() -> None:
    """A line begins with the ISO time to the millisecond, then the text as it is."""
    assert (
        encode(1_704_067_200_007, b"START RequestId: 1") == b"2024-01-01T00:00:00.007Z START RequestId: 1\n"
    )


@given(timestamp=st.integers(0, 4_000_000_000_000), text=st.text())
def test_line_reads_back_as_written(timestamp: int, text: str) -> None:
    """Whatever the text holds, an event is one line and comes back whole."""
    line = encode(timestamp, text.encode())
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    assert decode(line[:-1], "s") == LogEvent(timestamp, "s", text)


def test_backslashes_and_breaks_are_told_apart() -> None:
    """A backslash followed by an n is not a line feed."""
    event = decode(encode(0, b"C:\\new\r\nC:\\\\")[:-1], "s")
    assert event is not None
    assert event.text == "C:\\new\r\nC:\\\\"


def test_bytes_that_are_no_utf8_are_shown_as_replacement() -> None:
    """Binary output does no harm to the reader."""
    event = decode(encode(0, b"\xff\xfe ok")[:-1], "s")
    assert event is not None
    assert event.text == "\ufffd\ufffd ok"


@pytest.mark.parametrize(
    "line", [b"", b"2024", b"not a time text", b"2024-01-01T00:00:00.000Z", b"2024-01-01 text", b"\xff x"]
)
def test_foreign_line_is_no_event(line: bytes) -> None:
    """A torn or foreign line is told from an event."""
    assert decode(line, "s") is None


@pytest.mark.parametrize(
    ("name", "file_name"),
    [
        ("/aws/lambda/hello", "+aws+lambda+hello"),
        ("2024/01/31/[$LATEST]0af3", "2024+01+31+[$LATEST]0af3"),
        ("a+b/c", "a%2Bb+c"),
        ("..", "%2E."),
        ("", "~"),
    ],
)
def test_name_stays_readable(name: str, file_name: str) -> None:
    """AWS's names are readable in a directory listing."""
    assert safe_name(name) == file_name


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_name_is_one_harmless_file_name(name: str) -> None:
    """No name leaves its directory, hides, breaks a system call or is too long."""
    found = safe_name(name)
    assert found
    assert not found.startswith(".")
    assert not set(found) & {"/", "\0", "\n"}
    assert len(found.encode()) <= 240


@given(st.lists(st.text(max_size=300), min_size=2, max_size=2, unique=True))
def test_different_names_have_different_files(names: list[str]) -> None:
    """Two names never share a file."""
    first, second = map(safe_name, names)
    assert first != second


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_short_name_can_be_shown_again(name: str) -> None:
    """A reader sees the stream's own name."""
    assert shown_name(safe_name(name)) == name
