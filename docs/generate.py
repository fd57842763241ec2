"""Writes the parts of the documentation that follow from the code; a test fails when they are out of date.

python docs/generate.py           write them
python docs/generate.py --check   say which are out of date (exit status 1)
"""

import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from rapid.states import EXTENSION_MOVES, RUNTIME_MOVES, TURNS, ExtensionCall, RuntimeCall
from runtime.api.protocol import Protocol
from runtime.api.server import IMPLEMENTED, refusal
from runtime.settings import markdown

DOCS = Path(__file__).parent
BEGIN, END = "<!-- generated: {} -->", "<!-- end of generated: {} -->"


def operations() -> str:
    """Every operation of Lambda's service model, and how Berth answers it."""
    service = Protocol().service
    rows = ["| operation | Berth |", "|---|---|"]
    for name in sorted(service.operation_names):
        refused = f"refused: `{refusal(service.operation_model(name)).code}`"
        rows.append(f"| {name} | {'implemented' if name in IMPLEMENTED else refused} |")
    done = sum(name in IMPLEMENTED for name in service.operation_names)
    return f"{done} of the {len(service.operation_names)} operations are implemented.\n\n" + "\n".join(rows)


def diagram(table: Mapping[Any, Mapping[Any, Any]], calls: type[Enum] | None = None) -> str:
    """A table of `rapid.states` as a Mermaid diagram; what a party calls is told from what the platform does."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {next(iter(table)).name}"]
    for state, moves in table.items():
        lines.append(f"    {state.name} : {state.value}")
        labels: dict[Any, list[str]] = {}
        for move, after in moves.items():
            is_call = calls is not None and isinstance(move, calls)
            labels.setdefault(after, []).append(f"{move.name}()" if is_call else str(move.value))
        lines += [f"    {state.name} --> {after.name} : {', '.join(each)}" for after, each in labels.items()]
    lines += [f"    {state.name} --> [*]" for state, moves in table.items() if not moves]
    return "\n".join([*lines, "```"])


PARTS = {
    "compatibility.md": [("operations", operations)],
    "settings.md": [("settings", markdown)],
    "lifecycle.md": [
        ("phases", lambda: diagram(TURNS)),
        ("runtime", lambda: diagram(RUNTIME_MOVES, RuntimeCall)),
        ("extension", lambda: diagram(EXTENSION_MOVES, ExtensionCall)),
    ],
}


def rendered(name: str) -> str:
    """The page as it should be."""
    page = (DOCS / name).read_text()
    for part, make in PARTS[name]:
        begin, end = BEGIN.format(part), END.format(part)
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}\n\n{make().strip()}\n\n{end}{after}"
    return page


def outdated() -> list[str]:
    """The pages that differ from what the code says."""
    return [name for name in PARTS if (DOCS / name).read_text() != rendered(name)]


def main() -> int:
    stale = outdated()
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"docs/{name} is out of date: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(rendered(name))
        print(f"wrote docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
