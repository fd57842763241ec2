"""The managed Python runtime, made of the interpreter that runs Berth.

Lays out in a directory of its own what images carry elsewhere: the agent, the bootstrap, the interpreter's usual
names. The one runtime that can be had this way is the one whose version this interpreter has.
"""

import importlib.util
import os
import py_compile
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import rapid
from rapid.agent import FILES
from rapid.spawning import GROUP, USER
from rapid.subscriptions import HOSTS
from runtime.image_facts import Serving
from runtime.image_table import image_sources
from runtime.spawners.base import SpawnerError

IDENTIFIER = f"python{sys.version_info.major}.{sys.version_info.minor}"
"""The runtime that this interpreter can serve."""
PROBE_LIMIT = 30.0

BOOTSTRAP = """\
#!/bin/sh
# Starts the managed Python runtime on the interpreter that runs Berth. AWS_LAMBDA_EXEC_WRAPPER, where set, gets the
# real command as its arguments and has to exec it; one that is missing ends this with status 127, as on AWS.
{path}exec ${{AWS_LAMBDA_EXEC_WRAPPER:+"$AWS_LAMBDA_EXEC_WRAPPER"}} {python} "$LAMBDA_RUNTIME_DIR/bootstrap.py"
"""
NAME = """\
#!/bin/sh
exec {python} "$@"
"""


def require(runtime: str) -> None:
    """Raise `SpawnerError` for a runtime that this interpreter cannot serve."""
    if runtime != IDENTIFIER:
        raise SpawnerError(
            f"{runtime or 'this kind of function'} cannot run here: local processes run on Berth's own "
            f"interpreter and serve {IDENTIFIER} only; other runtimes need a Docker engine (`make engine`)"
        )


class NoImages:
    """Stands where images would: there is nothing to build, and one runtime that can be had."""

    async def ensure(
        self,
        runtime: str,
        progress: Callable[[str], None],  # noqa: ARG002
        *,
        processor: str | None = None,  # noqa: ARG002
    ) -> Serving:
        require(runtime)
        return Serving("")

    async def existing(self, runtime: str) -> str | None:
        return "" if runtime == IDENTIFIER else None


def lay_out(place: Path) -> None:
    """Make the directories `agent`, `runtime`, `lang` and `etc` below an empty place. Blocking."""
    for name in ("agent/rapid", "runtime", "lang/bin", "etc"):
        (place / name).mkdir(parents=True)
    _agent(place / "agent/rapid")
    bootstrap(place / "runtime", "/var/lang/bin/python3")
    for name in ("python", "python3", IDENTIFIER):
        _program(place / "lang/bin" / name, NAME.format(python=shlex.quote(sys.executable)))
    user, group = (USER, GROUP) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    (place / "etc/passwd").write_text(
        f"root:x:0:0:root:/root:/bin/sh\nsbx_user1051:x:{user}:{group}::/tmp:/usr/sbin/nologin\n"
    )
    (place / "etc/group").write_text(f"root:x:0:\nsbx_user1051:x:{group}:\n")
    (place / "etc/hosts").write_text(f"{_hosts()}\n127.0.0.1 {' '.join(HOSTS)}\n")
    _open_up(place)


def bootstrap(place: Path, python: str = sys.executable, opt: Path | None = None) -> None:
    """Fill a runtime directory. Where layers are not at `/opt`, they are put on the module search path from here."""
    path = ""
    if opt is not None:
        layers = f"{opt}/python/lib/{IDENTIFIER}/site-packages:{opt}/python"
        path = f'PYTHONPATH={shlex.quote(layers)}"${{PYTHONPATH:+:$PYTHONPATH}}"; export PYTHONPATH\n'
    _program(place / "bootstrap", BOOTSTRAP.format(path=path, python=shlex.quote(python)))
    target = place / "bootstrap.py"
    shutil.copyfile(image_sources() / "python/bootstrap.py", target)
    target.chmod(0o644)


def check_client() -> None:
    """Raises `SpawnerError` where the runtime client is not installed."""
    if importlib.util.find_spec("awslambdaric") is None:
        raise SpawnerError(
            "functions cannot run as local processes, because this Python has no `awslambdaric`: "
            "install it (`pip install 'berth[process]'`), or make a Docker engine available (`make engine`)"
        )


def check_reach(*needed: Path) -> None:
    """Without a sandbox of its own, the functions' user has to reach everything. Raises `SpawnerError`. Blocking."""
    code = f"import awslambdaric, os; raise SystemExit([p for p in {[str(path) for path in needed]} if not os.access(p, 4)])"
    try:
        tried = subprocess.run(
            [sys.executable, "-B", "-c", code],
            user=USER, group=GROUP, extra_groups=[], cwd="/", env={}, capture_output=True, text=True, check=False,
            timeout=PROBE_LIMIT,
        )  # fmt: skip
        reason = tried.stderr.strip().rpartition("\n")[2] if tried.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if reason:
        raise SpawnerError(
            f"functions cannot run as local processes, because their user ({USER}) cannot reach what they need "
            f"({reason}): install bubblewrap, or make a Docker engine available (`make engine`)"
        )


def _agent(place: Path) -> None:
    """Compiled once: sources are not looked at again when the agent starts."""
    source = Path(rapid.__file__).parent
    for name in FILES:
        shutil.copyfile(source / name, place / name)
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(place / name), doraise=True, invalidation_mode=mode)


def _hosts() -> str:
    """The names that this machine gives to addresses by itself."""
    try:
        return Path("/etc/hosts").read_text(errors="replace")
    except OSError:
        return ""


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _open_up(place: Path) -> None:
    """Whatever our own umask is, functions have to read this."""
    for path in (place, *place.rglob("*")):
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if executable else 0o644)
