"""`berth story`: what an execution environment has been through."""

import argparse
from urllib.parse import urlencode

from runtime.cli.client import connect
from runtime.cli.terminal import say, say_json
from runtime.readable import readable


def run(arguments: argparse.Namespace) -> int:
    question = urlencode({"environment": arguments.environment})
    document = connect(arguments).get_json(f"/_berth/story?{question}")
    if arguments.json:
        say_json(document)
    else:
        for line in document["lines"]:
            say(readable(line))
    return 0
