"""What the platform writes into a function's log, reduced to what tests compare."""

import json
import re
from typing import Any

LINE = re.compile(r"(INIT_START|INIT_REPORT|START|END|REPORT) ")


def messages(berth: Any, name: str) -> list[str]:
    """All of a function's log."""
    shown = berth.run("logs", name, "--json", "--limit", "1000", "--data-dir", str(berth.data_dir)).stdout
    return [json.loads(line)["message"] for line in shown.splitlines()]


def platform_lines(berth: Any, name: str) -> list[str]:
    """The platform's lines of a function's log, each as its kind and what it says of the outcome."""
    return [
        " ".join([kind[1], *re.findall(r"(?:Phase|Status|Error Type): \S+", message)])
        for message in messages(berth, name)
        if (kind := LINE.match(message))
    ]


def twice(status: str) -> list[str]:
    """The lines of two invocations without a successful initialisation."""
    invocation = [f"INIT_REPORT Phase: invoke {status}", "START", "END", f"REPORT {status}"]
    return ["INIT_START", f"INIT_REPORT Phase: init {status}", *invocation, *invocation]
