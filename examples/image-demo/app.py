"""Greets by name."""

from typing import Any


def handler(event: dict[str, Any], _context: object) -> dict[str, str]:
    return {"greeting": f"Hello, {event.get('name', 'world')}!"}
