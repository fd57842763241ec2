"""What a run found out: figures beside those of peers, and what failed; as a table for people, as JSON for machines."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LONGEST_REASON = 300
COLUMNS = ("Berth", "RIE", "floor", "x RIE", "x floor", "target")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity: a value for each peer, in `unit`.

    `ratios` says how many times Berth's value is the peer's, taken within rounds where there were rounds.
    """

    name: str
    unit: str
    values: Mapping[str, float]
    ratios: Mapping[str, float]
    target: str = ""


@dataclass(slots=True)
class Findings:
    """What a run has found out so far."""

    machine: Mapping[str, str] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _failed: Counter[str] = field(default_factory=Counter)
    _examples: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, unit: str, rounds: Mapping[str, Sequence[float]], target: str = "") -> None:
        """A quantity measured in rounds; a peer's sequence is empty when it failed."""
        values = {peer: statistics.median(each) for peer, each in rounds.items() if each}
        mine = rounds.get("Berth", ())
        ratios = {
            peer: statistics.median(ratio for ratio in _ratios(mine, each))
            for peer, each in rounds.items()
            if peer != "Berth" and _ratios(mine, each)
        }
        self.figures.append(Figure(name, unit, values, ratios, target))

    def note(self, text: str) -> None:
        self.notes.append(text)

    def fail(self, what: str, reason: str, times: int = 1) -> None:
        """Something failed, perhaps not for the first time: of its reasons one is told, and how often."""
        self._failed[what] += times
        self._examples.setdefault(what, _brief(reason))

    @property
    def failures(self) -> list[str]:
        """A line each."""
        return [
            f"{what}: {self._examples[what]}"
            if times == 1
            else f"{what}: {times} times, e.g. {self._examples[what]}"
            for what, times in self._failed.items()
        ]

    def document(self) -> dict[str, Any]:
        return {
            "machine": dict(self.machine),
            "figures": [
                {
                    "name": each.name,
                    "unit": each.unit,
                    "values": dict(each.values),
                    "ratios": dict(each.ratios),
                    "target": each.target,
                }
                for each in self.figures
            ],
            "notes": self.notes,
            "failures": self.failures,
        }

    def table(self) -> str:
        """For people."""
        lines = [f"{name}: {text}" for name, text in self.machine.items()]
        rows = [("", *COLUMNS), *(_row(each) for each in self.figures)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines += ["", *("  ".join(_aligned(row, widths)).rstrip() for row in rows)]
        lines += ["", *(f"note: {each}" for each in self.notes)]
        lines += [f"FAILED: {each}" for each in self.failures]
        return "\n".join(lines)


def _brief(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 1]}…"


def _ratios(mine: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(mine, theirs, strict=False) if b]


def _row(figure: Figure) -> tuple[str, ...]:
    values = [_number(figure.values.get(peer)) for peer in COLUMNS[:3]]
    ratios = [_number(figure.ratios.get(peer)) for peer in COLUMNS[1:3]]
    return f"{figure.name}, {figure.unit}", *values, *ratios, figure.target


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    last = len(row) - 1
    return [
        cell.ljust(width) if index in (0, last) else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
