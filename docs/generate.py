"""Writes the parts of the documentation that follow from the code; a test fails when they are out of date.

python docs/generate.py           write them
python docs/generate.py --check   say which are out of date (exit status 1)
"""

import sys
from pathlib import Path

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


PARTS = {
    "compatibility.md": ("operations", operations),
    "settings.md": ("settings", markdown),
}


def rendered(name: str) -> str:
    """The page as it should be."""
    part, make = PARTS[name]
    begin, end = BEGIN.format(part), END.format(part)
    before, _, rest = (DOCS / name).read_text().partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{make().strip()}\n\n{end}{after}"


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
