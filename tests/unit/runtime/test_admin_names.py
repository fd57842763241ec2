import pytest

from runtime.admin import is_local_name, is_loopback


@pytest.mark.parametrize(
    "header",
    [
        "127.0.0.1:3001",
        "192.168.1.5",
        "[::1]:3001",
        "localhost",
        "localhost:3001",
        "berth:3001",
        "api.localhost:1",
        "host.docker.internal:3001",
        "",
    ],
)
def test_addresses_and_private_names_are_local(header: str) -> None:
    """What public DNS cannot define is a local name."""
    assert is_local_name(header)


@pytest.mark.parametrize(
    "header", ["evil.example", "evil.example:3001", "127.0.0.1.evil.example:3001", "localhost.evil.example"]
)
def test_public_names_are_not_local(header: str) -> None:
    """A name that somebody can register is not local, whatever it resolves to."""
    assert not is_local_name(header)


def test_loopback_addresses_are_told_from_others() -> None:
    """Only a Berth that listens on the loopback interface is picky about names."""
    assert [
        is_loopback(host)
        for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.1", "berth.example")
    ] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
