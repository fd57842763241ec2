"""Random identifiers: what `uuid` makes, without what it brings."""

import os

_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def new_uuid() -> str:
    """A UUID of version 4, as text."""
    text = os.urandom(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}"


def random_hex(digits: int) -> str:
    """So many digits, an even number."""
    return os.urandom(digits // 2).hex()
