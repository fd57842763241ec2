"""`berth doctor`: the findings of `runtime.diagnosis`, for people; and whether a running Berth is ready, for machines."""

import argparse
import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from runtime.cli.client import Client, find
from runtime.cli.terminal import CliError, say, say_json
from runtime.diagnosis import Finding, diagnose
from runtime.settings import Settings, client_url, flags_of, load

READY = "function_host"
"""`/health` has it from when functions can be run."""
HOPELESS = "unavailable"
"""What `/health` calls a spawner that will never run anything."""
PAUSE = 0.2
"""Seconds between two questions whether it is ready."""


def run(arguments: argparse.Namespace) -> int:
    settings = load(flags_of(arguments)).settings
    if arguments.ready:
        return _ready(settings, arguments.wait, json=arguments.json)
    findings = asyncio.run(diagnose(settings))
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


def _ready(settings: Settings, wait: float, *, json: bool) -> int:
    """0 if it can run functions by now, 1 if it cannot yet, or not at all."""
    url, health = _awaited(settings, time.monotonic() + wait)
    ready = READY in health
    if json:
        say_json({"ready": ready, **health})
    else:
        say(f"Berth at {url} {'is ready' if ready else 'is not ready'}: {health.get('spawner')}")
    return 0 if ready else 1


def _awaited(settings: Settings, deadline: float) -> tuple[str, Mapping[str, Any]]:
    """The address of the running Berth, and what it says of itself once it is ready, or at the deadline."""
    while True:
        late = time.monotonic() >= deadline
        try:
            client = Client(client_url(None) or find(settings.data_dir).url)
            health = client.get_json("/health")
            if late or READY in health or health.get("spawner") == HOPELESS:
                return client.url, health
        except CliError:
            if late:
                raise
        time.sleep(PAUSE)


def _report(findings: Sequence[Finding]) -> None:
    width = max(len(each.name) for each in findings)
    for each in findings:
        sign = "✔" if each.ok else "✘" if each.essential else "!"
        say(f"{sign} {each.name.ljust(width)}  {each.detail}")
        if each.advice:
            say(f"  {' ' * width}  → {each.advice}")
