"""`berth rekey`: functions' environment variables get another key.

A next key is laid beside the one in use; the store, when it opens, encrypts everything with it and puts it in the place
of the former. Where Berth runs, that is when it starts next.
"""

import argparse
import asyncio

from runtime.cli.terminal import CliError, say
from runtime.instance import AlreadyRunning, acquire
from runtime.settings import Settings, flags_of, load
from runtime.store import Store
from runtime.store.errors import StoreError
from runtime.store.vault import KEY_NAME, make_next_key, next_key


def run(arguments: argparse.Namespace) -> int:
    settings = load(flags_of(arguments)).settings
    key = settings.key_file or settings.data_dir / "store" / KEY_NAME
    try:
        if not key.exists():
            raise CliError(f"there is no key at {key}: one is made when Berth first starts")
        make_next_key(key)
    except (StoreError, OSError) as error:
        raise CliError(f"no next key can be laid at {next_key(key)}: {error}") from None
    try:
        with acquire(settings.data_dir):
            asyncio.run(_reopen(settings))
    except AlreadyRunning:
        say(f"a next key is at {next_key(key)}; it takes its place when Berth starts next")
    except StoreError as error:
        raise CliError(str(error)) from None
    else:
        say(f"environment variables are encrypted with another key now: {key}")
    return 0


async def _reopen(settings: Settings) -> None:
    store = await Store.open(settings.data_dir, settings.key_file)
    await store.close()
