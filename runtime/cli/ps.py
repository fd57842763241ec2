"""`berth ps`: execution environments, the functions that have none, and what stands by."""

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from runtime.cli.client import connect
from runtime.cli.terminal import duration, megabytes, say, say_json, table

HEADS = (
    *("FUNCTION", "VERSION", "STATE", "FOR", "RUNTIME", "AGE", "IDLE"),
    *("INVOCATIONS", "MEMORY PEAK", "ENVIRONMENT"),
)
Row = Mapping[str, Any]


def run(arguments: argparse.Namespace) -> int:
    document = connect(arguments).get_json("/_berth/ps")
    if arguments.json:
        say_json(document)
        return 0
    if rows := [*_environments(document), *_others(document)]:
        say(table(HEADS, rows))
    else:
        say("no functions yet; create one with: aws lambda create-function")
    if standbys := document.get("standbys"):  # not of a Berth from before there were any
        say(_standbys(standbys))
    return 0


def _standbys(standbys: Iterable[Row]) -> str:
    """One line: they are alike."""
    counts = Counter(each["runtime"] for each in standbys)
    return "standby: " + ", ".join(f"{count} {runtime}" for runtime, count in sorted(counts.items()))


def _environments(document: Row) -> Iterable[tuple[str, ...]]:
    regions = _regions(document)
    for each in sorted(
        document["environments"], key=lambda each: (each["function"], each["version"], -each["age"])
    ):
        yield (
            _name(each, regions),
            each["version"],
            each["state"],
            each["purpose"] or "-",
            each["runtime"] or "-",
            duration(each["age"]),
            duration(each["idle"]),
            str(each["invocations"]),
            megabytes(each["memory_peak"]),
            each["environment"],
        )


def _others(document: Row) -> Iterable[tuple[str, ...]]:
    """Functions without an environment, with their own state unless it is the usual one."""
    regions = _regions(document)
    for each in document["functions"]:
        if not each["environments"]:
            state = "-" if each["state"] == "Active" else each["state"]
            yield (_name(each, regions), "-", state, "-", each["runtime"] or "-", *["-"] * 5)


def _regions(document: Row) -> set[tuple[str, str]]:
    return {(each["account"], each["region"]) for each in [*document["environments"], *document["functions"]]}


def _name(row: Row, regions: set[tuple[str, str]]) -> str:
    """The function's name, with the tenant if there is one, and account and region where there are several."""
    name: str = row["function"]
    if tenant := row.get("tenant"):
        name += f" [{tenant}]"
    return f"{name} ({row['account']} {row['region']})" if len(regions) > 1 else name
