"""`berth logs`: what a function logged, and what it logs."""

import argparse
import json
import sys
from datetime import UTC, datetime
from urllib.parse import urlencode

from runtime.cli.client import connect
from runtime.cli.terminal import say
from runtime.readable import readable
from runtime.settings import flags_of, load


def run(arguments: argparse.Namespace) -> int:
    settings = load(flags_of(arguments)).settings
    question = {
        "function": arguments.function,
        "account": settings.account_id,
        "region": settings.region,
        "limit": arguments.limit,
        **({"follow": "1"} if arguments.follow else {}),
    }
    for line in connect(arguments).lines(f"/_berth/logs?{urlencode(question)}"):
        say(line.decode().rstrip("\n") if arguments.json else _readable(line))
        if arguments.follow:
            sys.stdout.flush()
    return 0


def _readable(line: bytes) -> str:
    event = json.loads(line)
    moment = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).isoformat(timespec="milliseconds")
    return f"{moment.removesuffix('+00:00')}Z {readable(event['message'])}"
