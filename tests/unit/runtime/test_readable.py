"""Functions' words on a terminal."""

import pytest

from runtime.readable import readable


def test_carriage_returns_are_line_breaks() -> None:
    """Tracebacks, which runtimes join with carriage returns, do not overwrite themselves on a terminal."""
    assert readable("a\rb\r\nc\n") == "a\nb\nc\n"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", "^[[2J^[]0;title^G"),
        ("back\b\x7f", "back^H^?"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202edef", "abc\\u202edef"),
        ("one\u2028two", "one\\u2028two"),
    ],
    ids=["escape sequences", "deletions", "8-bit sequences", "reversals", "line separators"],
)
def test_control_characters_are_shown(written: str, shown: str) -> None:
    """What a function writes cannot steer the terminal of whoever reads its log."""
    assert readable(written) == shown


@pytest.mark.parametrize(
    "text", ["", "plain", "tab\there", "Grüße, 世界 🐍", "no\u00a0break", "\U0001f468\u200d\U0001f469"]
)
def test_text_stays(text: str) -> None:
    """Everything that is meant to be read is as it was."""
    assert readable(text) == text
