"""Where a Docker engine may be listening: the explicit setting, the current Docker context, the well-known sockets.

Reads files and names candidates in order of preference. It connects to none of them and knows no SDK.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SYSTEM_SOCKETS = (
    (Path("/var/run/docker.sock"), "Docker's socket"),
    (Path("/run/podman/podman.sock"), "Podman's socket"),
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address at which an engine may answer."""

    url: str
    origin: str
    """For people: who named it."""
    certificates: Path | None = None
    """Directory of `ca.pem`, `cert.pem` and `key.pem` for an engine behind TLS."""


def endpoints(docker_host: str | None, environ: Mapping[str, str]) -> list[Endpoint]:
    """Candidates, best first. An explicit address stands alone: falling back from it would surprise."""
    if docker_host:
        return [Endpoint(docker_host, "setting docker_host", _certificates(environ))]
    return [*_context(environ), *_sockets(environ)]


def _certificates(environ: Mapping[str, str]) -> Path | None:
    """What the docker command understands too."""
    if not environ.get("DOCKER_TLS_VERIFY"):
        return None
    return Path(environ.get("DOCKER_CERT_PATH") or _config_dir(environ))


def _config_dir(environ: Mapping[str, str]) -> Path:
    configured = environ.get("DOCKER_CONFIG")
    return Path(configured) if configured else Path(environ.get("HOME", "/")) / ".docker"


def _context(environ: Mapping[str, str]) -> Iterator[Endpoint]:
    directory = _config_dir(environ)
    name = environ.get("DOCKER_CONTEXT") or _read(directory / "config.json").get("currentContext")
    if not name or name == "default":
        return
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = _read(directory / "contexts" / "meta" / key / "meta.json")
    url = meta.get("Endpoints", {}).get("docker", {}).get("Host")
    if url:
        certificates = directory / "contexts" / "tls" / key / "docker"
        yield Endpoint(url, f"Docker context {name}", certificates if certificates.is_dir() else None)


def _read(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is none: a broken file of another program is no error of ours."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _sockets(environ: Mapping[str, str]) -> Iterator[Endpoint]:
    private = environ.get("XDG_RUNTIME_DIR")
    places = list(SYSTEM_SOCKETS)
    if private:
        places[1:1] = [
            (Path(private) / "docker.sock", "rootless Docker's socket"),
            (Path(private) / "podman" / "podman.sock", "rootless Podman's socket"),
        ]
    for path, origin in places:
        if path.exists():
            yield Endpoint(f"unix://{path}", origin)
