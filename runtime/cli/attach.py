"""`berth attach`: a process on this machine, in a debugger perhaps, becomes the runtime of a function.

As long as the command runs, invocations of the version go to that process. What it has to know are environment
variables: they are shown, or given to a command.
"""

import argparse
import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from contextlib import closing
from urllib.parse import urlencode

from runtime.cli.client import connect
from runtime.cli.terminal import CliError, note, say
from runtime.settings import flags_of, load


def run(arguments: argparse.Namespace) -> int:
    settings = load(flags_of(arguments)).settings
    question = {
        "function": arguments.function,
        "account": settings.account_id,
        "region": settings.region,
        "port": arguments.port,
        **({"qualifier": arguments.qualifier} if arguments.qualifier else {}),
    }
    with closing(connect(arguments).lines(f"/_berth/guest?{urlencode(question)}")) as lines:
        invitation = json.loads(next(lines, b"{}"))
        if not invitation:
            raise CliError("Berth hung up before it had said anything")
        variables = {**invitation["variables"], "LAMBDA_TASK_ROOT": os.getcwd()}  # noqa: PTH109
        name = f"{invitation['function']}:{invitation['version']}"
        if arguments.arguments:
            return _under(variables, arguments.arguments)
        for variable, value in sorted(variables.items()):
            say(f"export {variable}={shlex.quote(value)}")
        note(f"invocations of {name} wait for a process with these variables; Ctrl-C ends it")
        for _ in lines:  # nothing more comes: it waits for the end
            continue
        raise CliError("Berth has ended")


def _under(variables: Mapping[str, str], command: list[str]) -> int:
    """Run a command with the variables; its exit code, as a shell would have it."""
    try:
        code = subprocess.run(command, env={**os.environ, **variables}, check=False).returncode
    except OSError as error:
        raise CliError(f"{command[0]}: {error.strerror}") from None
    return code if code >= 0 else 128 - code
