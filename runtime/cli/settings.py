"""`berth settings`: the settings in force and where each comes from."""

import argparse

from runtime.cli.terminal import say, say_json, table
from runtime.settings import as_text, flags_of, load, markdown


def run(arguments: argparse.Namespace) -> int:
    if arguments.markdown:
        say(markdown().rstrip("\n"))
        return 0
    loaded = load(flags_of(arguments))
    rows = [(name, text, loaded.origins[name]) for name, text in as_text(loaded.settings).items()]
    if arguments.json:
        say_json({name: {"value": text or None, "origin": origin} for name, text, origin in rows})
    else:
        say(table(("SETTING", "VALUE", "FROM"), [(name, text or "-", origin) for name, text, origin in rows]))
    return 0
