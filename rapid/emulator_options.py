"""What the emulator is told: by its command line and variables, as AWS's emulator is told it. Pure but for looking up
programs in the file system. It imports little: until it has been read nobody listens.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ON_DEMAND, MANAGED = "on-demand", "lambda-managed-instances"
"""Initialization types, as `rapid.records` has them."""
PLACES = ("/var/task/bootstrap", "/opt/bootstrap", "/var/runtime/bootstrap")
"""Where a runtime is looked for if no command names it."""
BACKLOG = 4096
"""Connections that may wait at the door."""
CONCURRENCY = "AWS_LAMBDA_MAX_CONCURRENCY"
"""The variable that asks for environments of many invocations at once; runtime clients read it too."""
LEVELS = {
    "trace": 5,
    "debug": 10,
    "info": 20,
    "warn": 30,
    "warning": 30,
    "error": 40,
    "fatal": 50,
    "panic": 50,
}
"""Names of log levels, and the numbers of `logging`."""

USAGE = """\
aws-lambda-rie [OPTIONS] [COMMAND [ARGUMENT…] [HANDLER]]

Runs a Lambda function in its container: COMMAND is the program that speaks the Runtime API (without one, the first of
/var/task/bootstrap, /opt/bootstrap and /var/runtime/bootstrap that is there), HANDLER the last of its arguments.

  --runtime-interface-emulator-address HOST:PORT
                               where invocations are taken (default 0.0.0.0:8080)
  --runtime-api-address HOST:PORT
                               where the first environment has its Runtime API (default 127.0.0.1:9001)
  --log-level LEVEL            of what the emulator itself says: trace, debug, info (default), warn, error, fatal, panic;
                               also LOG_LEVEL
  --max-environments NUMBER    environments at a time, for parallel requests (default: eight for each processor, as far
                               as memory allows); also BERTH_MAX_ENVIRONMENTS
  --cors ORIGIN                let web pages of this origin invoke, * for all; also BERTH_CORS
  --enable-init-caching        taken and ignored: there is no snapshot here

Variables: AWS_LAMBDA_FUNCTION_NAME, _VERSION, _TIMEOUT (seconds, default 300), _MEMORY_SIZE (MB, default 3008), _HANDLER;
AWS_LAMBDA_MAX_CONCURRENCY: invocations at once in one environment, as on managed instances (default: one at a time).
"""

_VALUED = {
    "--log-level": "log_level",
    "--runtime-api-address": "api",
    "--runtime-interface-emulator-address": "door",
    "--max-environments": "most",
    "--cors": "cors",
}


class Misused(Exception):
    """The emulator cannot start as it was told to. `status` is the exit status that says so."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`timeout` in seconds, `memory_size` in MB."""

    argv: Sequence[str]
    """The runtime's program, as a path, and its arguments."""
    handler: str
    cwd: str
    name: str
    version: str
    timeout: int
    memory_size: int
    door: tuple[str, int]
    api: tuple[str, int]
    log_level: int
    most: int | None
    """Environments at a time; None where memory and processors decide."""
    concurrency: int | None
    """Invocations at once in one environment, as on managed instances; None for one at a time."""
    cors: str | None
    json_logs: bool


def parse(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    cwd: str,
    find: Callable[[str, str | None], str | None] | None = None,
) -> Options:
    """Raises `Misused`. What is no option of ours begins the command, as with AWS's emulator."""
    values, command = _flags(arguments)
    argv = list(command)
    if argv:
        argv[0] = _program(argv[0], environ.get("PATH"), find or _which)
    else:
        argv, cwd = [_bootstrap()], environ.get("LAMBDA_TASK_ROOT", "/var/task")
    default = environ.get("AWS_LAMBDA_FUNCTION_HANDLER") or environ.get("_HANDLER") or ""
    slots = environ.get(CONCURRENCY)
    most = values.get("most") or environ.get("BERTH_MAX_ENVIRONMENTS")
    return Options(
        argv=argv,
        handler=command[-1] if len(command) > 1 else default,
        cwd=cwd,
        name=environ.get("AWS_LAMBDA_FUNCTION_NAME") or "test_function",
        version=environ.get("AWS_LAMBDA_FUNCTION_VERSION") or "$LATEST",
        timeout=_number("AWS_LAMBDA_FUNCTION_TIMEOUT", environ.get("AWS_LAMBDA_FUNCTION_TIMEOUT") or "300", 10**6),
        memory_size=_number(
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE") or "3008", 10**6
        ),
        door=_address("--runtime-interface-emulator-address", values.get("door", "0.0.0.0:8080")),
        api=_address("--runtime-api-address", values.get("api", "127.0.0.1:9001")),
        log_level=_level(values.get("log_level") or environ.get("LOG_LEVEL") or "info"),
        most=_number("--max-environments", most, 10**4) if most else None,
        concurrency=_number(CONCURRENCY, slots, 10**4) if slots else None,
        cors=values.get("cors") or environ.get("BERTH_CORS") or None,
        json_logs=environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON",
    )  # fmt: skip


def _flags(arguments: Sequence[str]) -> tuple[dict[str, str], Sequence[str]]:
    """The options in front, by what they set, and the rest."""
    values: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name, equals, value = rest[0].partition("=")
        if name in ("-h", "--help"):
            raise Misused(USAGE.rstrip(), 0)
        if name in _VALUED and not equals and len(rest) < 2:
            raise Misused(f"{name} needs a value\n\n{USAGE}")
        if name in _VALUED:
            values[_VALUED[name]] = value if equals else rest.pop(1)
        elif name != "--enable-init-caching":
            break
        del rest[0]
    return values, rest[1:] if rest[:1] == ["--"] else rest


def _which(name: str, path: str | None) -> str | None:
    import shutil  # noqa: PLC0415  only where a command is named

    return shutil.which(name, path=path)


def _program(name: str, path: str | None, find: Callable[[str, str | None], str | None]) -> str:
    found = find(name, path)
    if found is not None:
        return found
    if os.path.exists(name):  # noqa: PTH110
        raise Misused(f"{name} cannot be executed", 126)
    where = "" if "/" in name else " in $PATH"
    raise Misused(f"the runtime's program, {name}, is not there{where}", 127)


def _bootstrap() -> str:
    """The first place counts that has a file, whether it can be executed or not."""
    for place in PLACES:
        if os.path.isfile(place):  # noqa: PTH113
            if os.access(place, os.X_OK):
                return place
            raise Misused(f"{place} cannot be executed: its mode lacks that (chmod 755)", 126)
    raise Misused(f"Couldn't find valid bootstrap(s): [{' '.join(PLACES)}]", 127)


def _number(name: str, text: str, most: int) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) <= most:
        return int(text)
    raise Misused(f"{name} has to be a whole number above 0, not {text!r}")


def _address(name: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if colon and port.isascii() and port.isdigit() and int(port) < 65536:
        return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)
    raise Misused(f"{name} has to be HOST:PORT, not {text!r}")


def cannot_listen(address: tuple[str, int], error: OSError) -> Misused:
    return Misused(f"cannot listen on {address[0]}:{address[1]}: {os.strerror(error.errno or 0)}", 1)


def _level(name: str) -> int:
    try:
        return LEVELS[name.lower()]
    except KeyError:
        raise Misused(f"the log level has to be one of {', '.join(LEVELS)}, not {name!r}") from None


def variables(options: Options, environ: Mapping[str, str]) -> dict[str, str]:
    """The runtime's environment but for the address of its Runtime API: the container's, and what Lambda has beside it."""
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    defaults = {
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
    }
    reserved = {
        "AWS_LAMBDA_FUNCTION_NAME": options.name,
        "AWS_LAMBDA_FUNCTION_VERSION": options.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(options.memory_size),
        "AWS_LAMBDA_INITIALIZATION_TYPE": MANAGED if options.concurrency else ON_DEMAND,
        "AWS_LAMBDA_LOG_GROUP_NAME": environ.get("AWS_LAMBDA_LOG_GROUP_NAME") or "/aws/lambda/Functions",
        "AWS_LAMBDA_LOG_STREAM_NAME": environ.get("AWS_LAMBDA_LOG_STREAM_NAME") or "$LATEST",
    }
    handler = {"_HANDLER": options.handler} if options.handler else {}
    never_empty = {*defaults, CONCURRENCY}
    return {**defaults, **{name: value for name, value in environ.items() if value or name not in never_empty},
            **reserved, **handler}  # fmt: skip
