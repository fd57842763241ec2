#!/usr/bin/env python3
"""Finds a container engine; where none answers, installs and starts Docker's on Debian and Ubuntu.

Standard library only, so that it runs before anything is installed. Exit status 0: an engine answers. 3: none does,
and the last lines say what to do; callers may go on without (`spawner=process`).
"""
# ruff: noqa: T201

import grp
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.dont_write_bytecode = True  # `sudo make engine` would leave files of root's in the checkout

from runtime.spawners.endpoints import Endpoint, endpoints  # noqa: E402

NO_ENGINE = 3
DEFAULT_SOCKET = "unix:///var/run/docker.sock"
LOG = Path("/var/log/dockerd.log")
PID_FILES = {
    "dockerd": Path("/var/run/docker.pid"),
    "containerd": Path("/var/run/docker/containerd/containerd.pid"),
}
SYSTEMD = Path("/run/systemd/system")
APPARMOR = Path("/sys/module/apparmor/parameters/enabled")
PATIENCE = 60.0
"""Seconds that a freshly started engine gets until it answers."""
PAUSE = 0.2
SECOND = 10.0
"""Seconds more when ours ended: the package may have started one by itself, and that one is still on its way."""


class Stuck(Exception):
    """Nothing more can be done here; the text says what a person can do."""


def main(environ: Mapping[str, str]) -> int:
    host = environ.get("DOCKER_HOST")
    try:
        if not announce(host, environ):
            if host not in (None, "", DEFAULT_SOCKET):
                raise Stuck(
                    f"DOCKER_HOST is {host}, where no engine answers: correct it, or unset it to use another one."
                )
            install_and_start(environ)
            announce(host, environ)
            advise(environ.get("SUDO_USER"))
    except Stuck as stuck:
        print(f"No container engine: {stuck}")
        print(
            "Berth runs without one too, with weaker isolation: set spawner=process (BERTH_SPAWNER=process)."
        )
        return NO_ENGINE
    return 0


def announce(host: str | None, environ: Mapping[str, str]) -> bool:
    """Say which engine answers, if one does."""
    for endpoint in endpoints(host, environ):
        try:
            version = ask(endpoint)
        except PermissionError:
            raise Stuck(
                f"{endpoint.url} may not be opened by this user. Add the user to the group of that socket "
                "(sudo usermod -aG docker $USER, then log in again), or use a rootless engine."
            ) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            print(f"{endpoint.origin}: {endpoint.url} does not answer ({error})")
        else:
            print(f"{endpoint.origin}: engine {version} answers at {endpoint.url}")
            return True
    return False


def ask(endpoint: Endpoint) -> str:
    """The version of the engine at an endpoint."""
    connection = connect(endpoint)
    try:
        connection.request("GET", "/version")
        return str(json.loads(connection.getresponse().read())["Version"])
    except KeyError:
        raise ValueError("what answers there is no engine") from None
    finally:
        connection.close()


def connect(endpoint: Endpoint) -> http.client.HTTPConnection:
    url = urlsplit(endpoint.url)
    if url.scheme == "unix":
        return UnixConnection(url.path)
    if url.scheme not in ("tcp", "http", "https") or not url.hostname:
        raise ValueError("only unix and tcp addresses are understood")
    if endpoint.certificates:
        context = ssl.create_default_context(cafile=str(endpoint.certificates / "ca.pem"))
        context.load_cert_chain(endpoint.certificates / "cert.pem", endpoint.certificates / "key.pem")
        return http.client.HTTPSConnection(url.hostname, url.port or 2376, timeout=5, context=context)
    return http.client.HTTPConnection(url.hostname, url.port or 2375, timeout=5)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=5)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def install_and_start(environ: Mapping[str, str]) -> None:
    if os.geteuid() != 0:
        raise Stuck(
            "installing or starting one takes root. Run `sudo make engine`, or start Docker or Podman "
            "(podman system service -t 0), or set DOCKER_HOST to an engine elsewhere."
        )
    if shutil.which("dockerd") is None:
        install(environ)
    if SYSTEMD.is_dir():
        run(["systemctl", "start", "docker"])
        wait_until_it_answers(None)
    else:
        start()


def install(environ: Mapping[str, str]) -> None:
    if shutil.which("apt-get") is None:
        raise Stuck(
            "this script installs Docker on Debian and Ubuntu only. Install Docker or Podman as your system does it "
            "(https://docs.docker.com/engine/install/), then run it again."
        )
    quiet = {**environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update"], quiet)
    packages = ["docker.io", "ca-certificates", "xz-utils"]
    if is_offered("docker-cli"):  # newer suites keep the command apart
        packages.append("docker-cli")
    if confines() and shutil.which("apparmor_parser") is None:
        packages.append("apparmor")
    if not SYSTEMD.is_dir() and not has_cgroups():
        packages.append("cgroupfs-mount")
    # No terminal of its own for dpkg, which would draw counters on it.
    install = ["apt-get", "install", "-y", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0"]
    run([*install, *packages], quiet)


def is_offered(package: str) -> bool:
    """Whether this system has such a package."""
    command = ["apt-cache", "show", "--quiet=2", package]
    try:
        return subprocess.run(command, check=False, capture_output=True).stdout != b""
    except FileNotFoundError:
        return False


def confines() -> bool:
    """Whether the kernel has AppArmor on: the engine starts no container then without a program that loads profiles."""
    try:
        return APPARMOR.read_text().startswith("Y")
    except OSError:
        return False


def advise(user: str | None) -> None:
    """Tell who called us by `sudo` what is left to do: the engine's socket belongs to a group."""
    if user is None:
        return
    try:
        owners = grp.getgrgid(Path(urlsplit(DEFAULT_SOCKET).path).stat().st_gid)
    except (OSError, KeyError):
        return
    if owners.gr_gid and user != "root" and user not in owners.gr_mem:
        print(
            f"{user} is not yet in the group {owners.gr_name}, which may use it: "
            f"run `sudo usermod -aG {owners.gr_name} {user}`, then log in again."
        )


def has_cgroups() -> bool:
    root = Path("/sys/fs/cgroup")
    return (root / "cgroup.controllers").exists() or (root / "memory").is_dir()


def forget_the_killed(name: str, pid_file: Path) -> None:
    """Remove what a killed process left. Docker looks only whether its number is in use, by whomever, and gives up."""
    try:
        number = int(pid_file.read_text())
    except (OSError, ValueError):
        return
    try:
        lives = Path(f"/proc/{number}/comm").read_text().strip() == name
    except OSError:
        lives = False
    if not lives:
        pid_file.unlink(missing_ok=True)


def start() -> None:
    """Start the engine in the background where nothing manages services; it outlives this script."""
    for name, pid_file in PID_FILES.items():
        forget_the_killed(name, pid_file)
    program = shutil.which("dockerd") or "/usr/sbin/dockerd"
    mount = shutil.which("cgroupfs-mount")
    if mount and not has_cgroups():
        run([mount])
    print(f"starting {program}, log in {LOG}", flush=True)
    with LOG.open("ab") as log:
        engine = subprocess.Popen(
            [program], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    wait_until_it_answers(engine)


def wait_until_it_answers(engine: "subprocess.Popen[bytes] | None") -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if answers():
            return
        if engine is not None and engine.poll() is not None:
            deadline = min(deadline, time.monotonic() + SECOND)
            engine = None
        time.sleep(PAUSE)
    if SYSTEMD.is_dir():
        raise Stuck("Docker was started but does not answer. `journalctl --unit docker` says why.")
    raise Stuck(f"Docker was started but does not answer. {LOG} ends with:\n{last_lines(LOG)}")


def answers() -> bool:
    try:
        ask(Endpoint(DEFAULT_SOCKET, "Docker's socket"))
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return True


def last_lines(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-10:]) if path.exists() else "(nothing)"


def run(command: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
    """Run a command whose output is the progress that people see."""
    print("$ " + " ".join(command), flush=True)
    try:
        subprocess.run(command, check=True, env=environ)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        why = f"exit status {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else error
        raise Stuck(f"`{' '.join(command)}` failed ({why}).") from None


if __name__ == "__main__":
    sys.exit(main(os.environ))
