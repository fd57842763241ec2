"""Names under which the loopback interface may be asked for."""

import pytest

from runtime.api.browsers import is_local_name


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
