"""What commands say and how it looks: lines, tables, durations, sizes. Knows nothing of what they mean."""

import json
import sys
from collections.abc import Sequence
from typing import Any


class CliError(Exception):
    """An expected failure; the text says in one line what is wrong and what to do."""


def say(text: str = "") -> None:
    """A line of the answer."""
    print(text)  # noqa: T201


def note(text: str) -> None:
    """A line beside the answer, on stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def say_json(document: Any) -> None:
    """The answer, for machines."""
    say(json.dumps(document, indent=2, ensure_ascii=False))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under their heads, columns two spaces apart."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in (heads, *rows)
    )
    return "\n".join(line.rstrip() for line in lines)


def duration(seconds: float | None) -> str:
    """`850ms`, `12s`, `3m 5s`, `2h 10m`, `4d 1h`; a dash for None."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f}ms"
    whole = int(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size}{unit} {rest}{smaller}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"


def megabytes(size: int | None) -> str:
    """A size in MB as Lambda counts them; a dash where nothing is known."""
    return f"{-(-size // 1024**2)} MB" if size else "-"
