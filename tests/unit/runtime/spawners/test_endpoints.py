import hashlib
import json
from pathlib import Path

import pytest

from runtime.spawners import endpoints as module
from runtime.spawners.endpoints import Endpoint, endpoints


@pytest.fixture(autouse=True)
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own sockets are no part of these stories."""
    monkeypatch.setattr(module, "SYSTEM_SOCKETS", ())


def make_context(home: Path, name: str, url: str) -> Path:
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = home / ".docker" / "contexts" / "meta" / key
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": url}}}))
    return home / ".docker" / "contexts" / "tls" / key / "docker"


def test_an_explicit_address_stands_alone(tmp_path: Path) -> None:
    """Falling back from an address that someone gave would run functions where nobody expects them."""
    make_context(tmp_path, "colima", "unix:///colima.sock")
    found = endpoints("tcp://there:2375", {"HOME": str(tmp_path), "DOCKER_CONTEXT": "colima"})
    assert found == [Endpoint("tcp://there:2375", "setting docker_host")]


def test_an_explicit_address_takes_the_docker_command_s_certificates(tmp_path: Path) -> None:
    """DOCKER_TLS_VERIFY and DOCKER_CERT_PATH mean what they mean to the docker command."""
    [found] = endpoints("tcp://there:2376", {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"})
    assert found.certificates == Path("/certs")


def test_the_current_context_comes_first(tmp_path: Path) -> None:
    """The context chosen by `docker context use` precedes sockets."""
    make_context(tmp_path, "colima", "unix:///colima.sock")
    (tmp_path / ".docker" / "config.json").write_text('{"currentContext": "colima"}')
    (tmp_path / "docker.sock").touch()
    found = endpoints(None, {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)})
    assert [each.url for each in found] == ["unix:///colima.sock", f"unix://{tmp_path}/docker.sock"]


def test_the_rootless_sockets_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only sockets that exist are candidates, Docker's before Podman's."""
    system = tmp_path / "system.sock"
    system.touch()
    monkeypatch.setattr(
        module, "SYSTEM_SOCKETS", ((system, "Docker's socket"), (tmp_path / "none", "Podman's socket"))
    )
    (tmp_path / "podman").mkdir()
    (tmp_path / "docker.sock").touch()
    (tmp_path / "podman" / "podman.sock").touch()
    found = endpoints(None, {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)})
    assert [each.origin for each in found] == [
        "Docker's socket",
        "rootless Docker's socket",
        "rootless Podman's socket",
    ]


def test_a_context_s_certificates_are_found(tmp_path: Path) -> None:
    """A context keeps its TLS material beside it."""
    certificates = make_context(tmp_path, "far", "tcp://far:2376")
    certificates.mkdir(parents=True)
    [found] = endpoints(None, {"HOME": str(tmp_path), "DOCKER_CONTEXT": "far"})
    assert found == Endpoint("tcp://far:2376", "Docker context far", certificates)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"currentContext": "default"}', '{"currentContext": "gone"}']
)
def test_a_configuration_of_no_use_is_passed_over(tmp_path: Path, text: str) -> None:
    """Another program's broken or empty file is no error of ours."""
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(text)
    assert endpoints(None, {"HOME": str(tmp_path)}) == []
