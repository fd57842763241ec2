"""What functions wrote, as a terminal may show it.

A carriage return is where the text goes on in a new line, as runtimes mean it. Every other control character is shown
in place of being obeyed: an escape sequence could retitle the terminal, hide lines or write into its clipboard.
It knows nothing of where the text comes from; files and JSON keep what was written.
"""

import unicodedata

_OBEYED = "\n\t"
_INVISIBLE = frozenset({"Cc", "Zl", "Zp"})
"""Unicode categories: control characters, separators of lines and paragraphs."""
_TURNING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
"""Unicode's bidirectional classes that turn round what stands beside them."""


def readable(text: str) -> str:
    """The text with real line ends and, of what would steer the terminal, a visible form."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    if lines.isprintable():
        return lines
    return "".join([each if each.isprintable() or each in _OBEYED else _shown(each) for each in lines])


def _shown(character: str) -> str:
    r"""`^[` as terminals and pagers write it; `\x9b` or `\u202e` where that has no form."""
    number = ord(character)
    if unicodedata.category(character) in _INVISIBLE and number < 0x80:
        return "^" + chr(number ^ 0x40)
    if unicodedata.category(character) in _INVISIBLE or unicodedata.bidirectional(character) in _TURNING:
        return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
    return character
