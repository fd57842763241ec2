"""Identifiers as `uuid` makes them."""

import re
import uuid

from rapid.identifiers import new_uuid, random_hex


def test_uuids() -> None:
    """Of version 4 and its variant, each another."""
    made = [new_uuid() for _ in range(1000)]
    assert len(set(made)) == 1000
    for text in made:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)


def test_every_free_bit_is_random() -> None:
    """Of the others there are six."""
    numbers = [uuid.UUID(new_uuid()).int for _ in range(500)]
    ever, always = 0, (1 << 128) - 1
    for number in numbers:
        ever |= number
        always &= number
    assert (ever & ~always).bit_count() == 122


def test_hex() -> None:
    """So many digits."""
    assert re.fullmatch("[0-9a-f]{24}", random_hex(24))
    assert random_hex(16) != random_hex(16)
