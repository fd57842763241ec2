"""The `berth` command: from arguments to an exit code.

Exit codes: 0 fine; 1 the function failed, or something essential is missing; 2 refused or misused, with one line that
says what to do; 130 interrupted; 141 the reader of the output has left. Which commands there are is `runtime.cli.parser`'s
matter; what each does is in the module of its name, which is imported only when it runs.
"""

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from runtime.cli.parser import make_parser
from runtime.cli.terminal import CliError
from runtime.setting_kinds import SettingsError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code; expected failures become one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no UTF-8 gets question marks
    try:
        return _run(arguments)
    except SystemExit as leaving:  # argparse, after help or an error
        return int(leaving.code or 0)
    except (CliError, SettingsError) as error:
        print(f"berth: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Python flushes stdout once more when it exits; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(arguments: Sequence[str] | None) -> int:
    parsed = make_parser().parse_args(arguments)
    code: int = import_module(f"runtime.cli.{parsed.command}").run(parsed)
    sys.stdout.flush()
    return code
