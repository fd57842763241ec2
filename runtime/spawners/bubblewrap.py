"""What a sandbox looks like under bubblewrap: the command line that makes one.

A read-only root of the host's programs, private `/tmp` and process numbers, the host's network. The kernel is shared
without a filter for system calls: weaker than a container. Pure but for looking at what the host has.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.spawners.base import SandboxSpec
from runtime.spawners.common import AGENT_PLACE
from runtime.spawners.limits import Cell

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC = (
    "alternatives", "ca-certificates", "crypto-policies", "gai.conf", "host.conf", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "os-release", "pki", "protocols", "resolv.conf",
    "services", "ssl", "timezone",
)  # fmt: skip
"""What programs need to resolve names, check certificates and tell the time; the rest of `/etc` is the host's own."""
CAPABILITIES = ("CAP_KILL", "CAP_SETUID", "CAP_SETGID")
"""What the agent needs to start functions as their user, and to end them."""
OCCUPIED = ("/opt", "/var/task", "/var/runtime", AGENT_PLACE, "/var/lang")
"""Places with a meaning inside; an interpreter that lives below one of them cannot be shown there too."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Directories of the host that all sandboxes show."""

    runtime: Path
    """At `/var/runtime`: the bootstrap."""
    agent: Path
    """At `/var/rapid`."""
    lang: Path
    """At `/var/lang`: the interpreter's names, where layers expect them."""
    etc: Path
    """`passwd`, `group` and `hosts`."""
    prefixes: tuple[Path, ...]
    """Where the interpreter and its packages are, shown in place."""


def interpreter_prefixes() -> tuple[Path, ...]:
    """The directories that this interpreter needs beyond the system's own."""
    wanted = (Path(sys.base_prefix), Path(sys.prefix), Path(os.path.realpath(sys.executable)).parent.parent)
    missing = [path for path in dict.fromkeys(wanted) if not path.is_relative_to("/usr")]
    return tuple(
        path for path in missing if not any(path != other and path.is_relative_to(other) for other in missing)
    )


def obstacle(prefixes: Sequence[Path]) -> str | None:
    """Why this interpreter cannot be shown inside."""
    for path in prefixes:
        if any(path.is_relative_to(place) for place in OCCUPIED):
            return f"the interpreter lives in {path}, where sandboxes have something else"
    return None


def command(spec: SandboxSpec, shared: Shared, cell: Cell, agent: Sequence[str]) -> list[str]:
    """The program and arguments of one sandbox, the agent its process number 1.

    The environment is the caller's to give: unlike arguments it is not for every user of the host to read.
    """
    return [
        "bwrap",
        *_separation(),
        *_system(shared),
        *_places(spec, shared),
        *(["--ro-bind", str(cell.memory), cell.shown_at] if cell.memory and cell.shown_at else []),
        "--remount-ro",
        "/",
        "--chdir",
        "/",
        "--",
        *agent,
    ]


def _separation() -> list[str]:
    options = [
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--as-pid-1",
        "--die-with-parent",
        "--new-session",
    ]
    if os.geteuid() != 0:
        return [*options, "--unshare-user"]
    options += ["--cap-drop", "ALL"]
    return [*options, *(word for name in CAPABILITIES for word in ("--cap-add", name))]


def _system(shared: Shared) -> list[str]:
    words: list[str] = []
    for name in SYSTEM:
        place = Path(name)
        if place.is_symlink():
            words += ["--symlink", str(place.readlink()), name]
        elif place.is_dir():
            words += ["--ro-bind", name, name]
    words += ["--perms", "0755", "--dir", "/etc"]
    for name in ETC:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for name in ("passwd", "group", "hosts"):
        words += ["--ro-bind", str(shared.etc / name), f"/etc/{name}"]
    return [*words, "--proc", "/proc", "--dev", "/dev"]


def _places(spec: SandboxSpec, shared: Shared) -> list[str]:
    size = str(spec.ephemeral_storage_mb << 20)
    words = ["--perms", "1777", "--size", size, "--tmpfs", "/tmp"]  # noqa: S108  the sandbox's own
    for place, tree in (("/var/task", spec.task_root), ("/opt", spec.opt)):
        shown = ["--ro-bind", str(tree), place] if tree else ["--perms", "0755", "--tmpfs", place]
        words += [*_parents(place), *shown]
    places = {shared.runtime: "/var/runtime", shared.agent: AGENT_PLACE, shared.lang: "/var/lang"}
    places |= {prefix: str(prefix) for prefix in shared.prefixes}
    for source, place in places.items():
        words += [*_parents(place), "--ro-bind", str(source), place]
    return words


def _parents(place: str) -> list[str]:
    """Made by hand: those that bubblewrap makes by itself are closed to the functions' user."""
    parents = [str(parent) for parent in reversed(Path(place).parents)][1:]
    return [word for parent in parents for word in ("--perms", "0755", "--dir", parent)]
