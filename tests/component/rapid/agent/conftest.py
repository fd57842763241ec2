"""An agent for each test, both ways of running it one after the other, and places that its processes can reach."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rapid.wire import Kind, fields
from tests.helpers.agents import Peer, unshare


@pytest.fixture(params=["plain", "init"])
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """An agent that has said hello."""
    peer = Peer(unshare() if request.param == "init" else [])
    try:
        assert fields(peer.until(Kind.HELLO)[0]) == {"sandbox": "box", "token": peer.token}
        yield peer
    finally:
        peer.close()


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that the functions' user can reach, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def meeting(public: Path) -> Path:
    """A named pipe: whoever opens it waits for the other side."""
    pipe = public / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    return pipe
