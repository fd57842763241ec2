"""`berth doctor`: the findings of `runtime.diagnosis`, for people."""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import asdict

from runtime.cli.terminal import say, say_json
from runtime.diagnosis import Finding, diagnose
from runtime.settings import flags_of, load


def run(arguments: argparse.Namespace) -> int:
    findings = asyncio.run(diagnose(load(flags_of(arguments)).settings))
    missing = [each for each in findings if each.essential and not each.ok]
    if arguments.json:
        say_json([asdict(each) for each in findings])
    else:
        _report(findings)
        say(
            f"{len(missing)} of them essential: Berth cannot work here."
            if missing
            else "Berth can work here."
        )
    return 1 if missing else 0


def _report(findings: Sequence[Finding]) -> None:
    width = max(len(each.name) for each in findings)
    for each in findings:
        sign = "✔" if each.ok else "✘" if each.essential else "!"
        say(f"{sign} {each.name.ljust(width)}  {each.detail}")
        if each.advice:
            say(f"  {' ' * width}  → {each.advice}")
