"""Random identifiers: what `uuid` makes, without what it brings."""

import os

_VERSION, _VARIANT = 4 << 76, 2 << 62
_FREE = (1 << 128) - 1 ^ 0xF << 76 ^ 3 << 62


def new_uuid() -> str:
    """A UUID of version 4, as text."""
    number = int.from_bytes(os.urandom(16)) & _FREE | _VERSION | _VARIANT
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def random_hex(digits: int) -> str:
    """So many digits, an even number."""
    return os.urandom(digits // 2).hex()
