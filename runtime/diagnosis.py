"""What a machine offers to Berth: findings for `berth doctor`, each with advice where something is missing.

The checks here need no engine; those about the engine belong to `runtime.spawners.engine_findings`, whose
`diagnose` is asked last. Checks look only: nothing is left behind and nothing of a running Berth is touched.
"""

import errno
import importlib.util
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtime import instance
from runtime.settings import Settings

ENOUGH_DISK = 2 * 1024**3
"""A runtime image and its base take about half of this."""
LEAST_DISK = 200 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. Without an essential one nothing works; without another something works less well."""

    name: str
    ok: bool
    essential: bool
    detail: str
    """What was found, in a few words."""
    advice: str | None = None
    """What to do about it; None where nothing is to be done."""


async def diagnose(settings: Settings) -> list[Finding]:
    """All findings, in the order in which a person would look."""
    findings = local_findings(settings)
    if settings.spawner != "process":
        from runtime.spawners import engine_findings  # noqa: PLC0415 -- the engine's library is slow to import

        findings += await engine_findings.diagnose(settings)
    return findings


def local_findings(settings: Settings) -> list[Finding]:
    """The findings that need no engine."""
    checks: list[Callable[[Settings], Finding]] = [data_directory, port, disk_space]
    if settings.spawner != "docker":
        checks += [bubblewrap, runtime_client]
    return [check(settings) for check in checks]


def data_directory(settings: Settings) -> Finding:
    """Whether files can be made in the data directory, or it itself where it does not exist yet."""
    existing = nearest_existing(settings.data_dir)
    name, advice = (
        "data directory",
        "choose another one with --data-dir or BERTH_DATA_DIR, or change its permissions",
    )
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        detail = f"{settings.data_dir} cannot be written: {error.strerror}"
        return Finding(name=name, ok=False, essential=True, detail=detail, advice=advice)
    made = "" if existing == settings.data_dir else ", will be made"
    return Finding(name=name, ok=True, essential=True, detail=f"{settings.data_dir}{made}")


def port(settings: Settings) -> Finding:
    """Whether the address of the REST API is free, or Berth's already."""
    where = f"{settings.host}:{settings.port}"
    if (state := instance.running(settings.data_dir)) is not None:
        return Finding(
            name="port", ok=True, essential=True, detail=f"Berth runs at {state.url} (pid {state.pid})"
        )
    try:
        _bind(settings.host, settings.port)
    except OSError as error:
        advice = "choose another one with --host and --port"
        if error.errno == errno.EADDRINUSE:
            advice = f"stop what listens on port {settings.port}, or choose another one with --port"
        detail = f"{where} cannot be used: {error.strerror}"
        return Finding(name="port", ok=False, essential=True, detail=detail, advice=advice)
    return Finding(name="port", ok=True, essential=True, detail=f"{where} is free")


def disk_space(settings: Settings) -> Finding:
    """Whether the data directory has room for code, logs and layers."""
    free = shutil.disk_usage(nearest_existing(settings.data_dir)).free
    return Finding(
        name="disk space",
        ok=free >= ENOUGH_DISK,
        essential=free < LEAST_DISK,
        detail=f"{free / 1024**3:.1f} GiB free at {settings.data_dir}",
        advice=None if free >= ENOUGH_DISK else "make room, or move the data with --data-dir",
    )


def bubblewrap(settings: Settings) -> Finding:  # noqa: ARG001 -- checks are alike
    """Whether functions of the process spawner can be kept apart from the rest of the machine."""
    found = shutil.which("bwrap")
    return Finding(
        name="bubblewrap",
        ok=found is not None,
        essential=False,
        detail=found or "no bwrap command: functions of the process spawner are not isolated",
        advice=None if found else "install the package bubblewrap, or use Docker",
    )


def runtime_client(settings: Settings) -> Finding:
    """Whether the process spawner has a Python runtime client to run functions with."""
    found = importlib.util.find_spec("awslambdaric") is not None
    return Finding(
        name="runtime client",
        ok=found,
        essential=settings.spawner == "process",
        detail="awslambdaric is installed"
        if found
        else "no awslambdaric: the process spawner cannot run Python",
        advice=None if found else "pip install 'berth[process]'",
    )


def nearest_existing(path: Path) -> Path:
    """The path, or the nearest directory above it that exists."""
    return next(each for each in (path, *path.parents) if each.exists())


def _bind(host: str, number: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        if os.name == "posix":  # as servers do, so that connections just closed are no obstacle
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
