"""`berth up`: start the control plane, in the foreground or in the background."""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from urllib.parse import urlsplit

from runtime import __version__, instance
from runtime.cli.client import Client, command_for, find
from runtime.cli.launch import LaunchError, launch
from runtime.cli.terminal import CliError, note, say
from runtime.proxies import exceptions_for
from runtime.settings import Loaded, Settings, as_arguments, as_text, flags_of, load
from runtime.spawners.base import SpawnerError

LOG_NAME = "berth.log"
START_LIMIT = 120.0
FUNCTIONS_LOGGER = "berth.functions"


def run(arguments: argparse.Namespace) -> int:
    flags = flags_of(arguments)
    loaded = load(flags)
    settings = loaded.settings
    if instance.owner(settings.data_dir) is not None:
        return _already(loaded)
    if arguments.detach:
        return _detached(settings, as_arguments(flags))
    return _foreground(settings, arguments.ready_fd)


def _already(loaded: Loaded) -> int:
    """One is running: fine unless it contradicts what is asked for."""
    state = find(loaded.settings.data_dir)
    running = Client(state.url).get_json("/_berth/settings")
    wanted = {name: text for name, text in as_text(loaded.settings).items() if loaded.asked_for(name)}
    others = [
        f"{name} is {running.get(name) or 'unset'}, not {text or 'unset'}"
        for name, text in wanted.items()
        if running.get(name) != text
    ]
    if others:
        stop = command_for(loaded.settings.data_dir, "berth down")
        raise CliError(
            f"Berth runs at {state.url} with other settings ({'; '.join(others)}); stop it first: {stop}"
        )
    say(f"Berth is already running at {state.url} (pid {state.pid})")
    return 0


def _detached(settings: Settings, arguments: list[str]) -> int:
    log = settings.data_dir / LOG_NAME
    command = [sys.executable, "-m", "runtime.cli", "up", *arguments]
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        process, url = launch(command, log, START_LIMIT)
    except OSError as error:
        raise CliError(f"cannot start in {settings.data_dir}: {error.strerror}; see: berth doctor") from None
    except LaunchError as error:
        for line in error.last_lines:
            note(f"  | {line}")
        raise CliError(f"{error}; its log is {log}, and `berth doctor` may know more") from None
    stop = command_for(settings.data_dir, "berth down")
    health = Client(url).get_json("/health")
    say(_report(settings, url, health.get("spawner"), f"{stop}  # pid {process.pid}"))
    return 0


def _foreground(settings: Settings, ready_fd: int | None) -> int:
    _log_to_stderr(settings, functions=ready_fd is None)
    # Only this command needs the control plane, whose import takes longer than most commands run.
    serve: Callable[..., int] = import_module("runtime.app").run
    refused: type[Exception] = import_module("runtime.store.errors").StoreError
    try:
        return serve(settings, ready=lambda url: _ready(settings, url, ready_fd))
    except instance.AlreadyRunning as error:
        raise CliError(f"{error}; stop it first: {command_for(settings.data_dir, 'berth down')}") from None
    except (OSError, SpawnerError) as error:
        raise CliError(f"cannot start: {_reason(error)}; see: berth doctor") from None
    except refused as error:
        raise CliError(f"cannot start with {settings.data_dir}: {error}") from None


def _reason(error: OSError | SpawnerError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _ready(settings: Settings, url: str, ready_fd: int | None) -> None:
    with suppress(BrokenPipeError):  # who waits for this has left; Berth has not
        if ready_fd is not None:
            os.write(ready_fd, url.encode() + b"\n")
            os.close(ready_fd)
            return
        say(_report(settings, url, None, "Ctrl-C"))
        sys.stdout.flush()


def _report(settings: Settings, url: str, spawner: str | None, stop: str) -> str:
    lines = [
        f"Berth {__version__} is up",
        f"  address   {url}",
        f"  spawner   {spawner or settings.spawner}",
        f"  data      {settings.data_dir}",
        f"  stop      {stop}",
        "",
        "Any AWS client works with it, with any credentials:",
        f"  export AWS_ENDPOINT_URL={url}",
        # Some SDKs read the one variable, botocore and version 1 of the CLI only the other.
        f"  export AWS_REGION={settings.region} AWS_DEFAULT_REGION={settings.region}",
        "  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test",
        "  aws lambda list-functions",
    ]
    if (exceptions := exceptions_for(urlsplit(url).hostname or "")) is not None:
        lines.insert(-1, f"  export NO_PROXY={exceptions} no_proxy={exceptions}")
    if settings.host not in ("127.0.0.1", "::1", "localhost"):
        lines += ["", f"Whoever reaches {settings.host}:{settings.port} can run code on this machine."]
    return "\n".join(lines)


def _log_to_stderr(settings: Settings, *, functions: bool) -> None:
    """Berth's own log; and, on a terminal, what functions log. In the background that is in files anyway."""
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    if functions:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(group)s | %(message)s"))
        logger = logging.getLogger(FUNCTIONS_LOGGER)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
