"""`python -m rapid`, and `aws-lambda-rie` of the bundle: the emulator.

It listens before it imports what it serves with, which takes a fifth of a second: whoever comes meanwhile waits, and is
not refused.
"""

import gc
import os
import socket
import sys

from rapid.emulator_options import BACKLOG, Misused, Options, cannot_listen, parse


def main() -> None:
    """Run it, and exit with its status."""
    sys.exit(run())


def run() -> int:
    gc.disable()  # nothing that is imported becomes garbage
    try:
        environ = own_variables()
        options = parse(sys.argv[1:], environ, os.getcwd())  # noqa: PTH109  pathlib would take its time
        with _door(options) as door:
            from rapid.emulator import serve  # noqa: PLC0415  see above

            gc.enable()
            gc.freeze()
            return serve(options, environ, door)
    except Misused as reason:
        print(reason, file=sys.stdout if reason.status == 0 else sys.stderr)
        return reason.status


def _door(options: Options) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.door[0] else socket.AF_INET
    try:
        return socket.create_server(options.door, family=family, backlog=BACKLOG)
    except OSError as error:
        raise cannot_listen(options.door, error) from error


def own_variables() -> dict[str, str]:
    """The environment that this process was started with, whatever the interpreter and the bundle's start made of it."""
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123
            raw = file.read().split(b"\0")
    except OSError:
        return dict(os.environ)
    pairs = (os.fsdecode(each).partition("=") for each in raw if b"=" in each)
    place = os.path.dirname(os.path.dirname(sys.executable))  # noqa: PTH120
    hidden = os.path.exists(f"{place}/lib/ld.so")  # noqa: PTH110  see `images/bundle/start.c`
    return {f"L{name[1:]}" if hidden and name.startswith("_D_") else name: value for name, _, value in pairs}


if __name__ == "__main__":
    main()
