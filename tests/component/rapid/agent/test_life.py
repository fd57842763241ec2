"""How the agent begins and how it ends: what it needs to come up, and that nothing outlives it."""

import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rapid.agent import address_of
from rapid.wire import Kind, frame, message
from tests.helpers.agents import AGENT, LIMIT, PERSISTENT, ROOT, Peer, unshare, wait_until


def test_imports_little() -> None:
    """Start-up is paid by every cold start: the agent loads no module that is known to be slow."""
    code = f"import sys; sys.path.append({str(ROOT)!r}); import rapid.agent; print(*sys.modules)"
    loaded = subprocess.run([*AGENT[:-1], code], capture_output=True, text=True, check=True, timeout=LIMIT)
    slow = {
        "typing",
        "pathlib",
        "subprocess",
        "asyncio",
        "ctypes",
        "tarfile",
        "dataclasses",
        "logging",
        "tempfile",
    }
    assert slow & set(loaded.stdout.split()) == set()


def test_nobody_listens() -> None:
    """An agent that cannot dial home ends at once and says why."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    env = {"BERTH_LINK": f"127.0.0.1:{port}", "BERTH_SANDBOX": "box", "BERTH_TOKEN": "token"}
    ended = subprocess.run(AGENT, env=env, capture_output=True, text=True, check=False, timeout=LIMIT)
    assert ended.returncode == 1
    assert "ConnectionRefusedError" in ended.stderr


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("172.18.0.1", "172.18.0.1"),
        ("fd00::1", "fd00::1"),
        ("localhost", "127.0.0.1"),
        ("no-such-name.invalid", "no-such-name.invalid"),
    ],
)
def test_names_are_looked_up_in_the_table_of_hosts(host: str, address: str) -> None:
    """The system's way would ask modules of the image."""
    assert address_of(host) == address


def test_a_place_that_is_to_be_open() -> None:
    """A new volume belongs to root: where it is told to, the agent lets everybody write to it."""
    with tempfile.TemporaryDirectory() as name:
        peer = Peer([], {"BERTH_OPEN": name})
        try:
            peer.until(Kind.HELLO)
            assert stat.S_IMODE(Path(name).stat().st_mode) == 0o1777
        finally:
            peer.close()


def _reset(peer: Peer) -> None:
    peer.link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.link.close()


def _leave_inside_an_archive(peer: Peer) -> None:
    peer.send(message(Kind.TREE, path=f"/tmp/{peer.token}"), frame(Kind.TREE_DATA, bytes(100)))
    peer.link.close()


def _stop_inside_an_archive(peer: Peer) -> None:
    made = Path(f"/tmp/{peer.token}")
    peer.send(message(Kind.TREE, path=str(made)))
    wait_until(made.is_dir)
    os.kill(peer.pid, signal.SIGTERM)


ENDS: dict[str, Callable[[Peer], None]] = {
    "the link is closed": lambda peer: peer.link.close(),
    "the link is reset": _reset,
    "SIGTERM": lambda peer: os.kill(peer.pid, signal.SIGTERM),
    "SIGINT": lambda peer: os.kill(peer.pid, signal.SIGINT),
    "the link ends inside an archive": _leave_inside_an_archive,
    "SIGTERM inside an archive": _stop_inside_an_archive,
}


@pytest.mark.parametrize("way", ENDS)
@pytest.mark.parametrize("kind", ["has daemonised", "ignores SIGTERM", "is stopped"])
def test_end(peer: Peer, way: str, kind: str) -> None:
    """However the end comes, every process is dead and the agent gone, without a complaint."""
    peer.shell(PERSISTENT[kind])
    peer.await_output(b"up")
    peer.await_life()
    ENDS[way](peer)
    assert peer.process.wait(LIMIT) == 0
    assert peer.alive() == []
    shutil.rmtree(f"/tmp/{peer.token}", ignore_errors=True)


HEARD_TOO_LATE = f"""
import ctypes, operator, select, signal, socket, sys
from functools import partial
sys.path.append({str(ROOT)!r})
from rapid.agent import Agent, main

def tree(agent, *told):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    socket.socket.recv = lambda *given: late(partial(recv, *given))
    select.select = lambda *given: late(partial(wait, *given))
    return receive_tree(agent, *told)

def late(call):
    # No step of Python's lies between the signal and the call: `map` makes both.
    socket.socket.recv, select.select = recv, wait
    return list(map(operator.call, (signalled, call)))[1]

nothing_blocked = ctypes.create_string_buffer(128)
signalled = partial(ctypes.CDLL(None).sigsuspend, nothing_blocked)
recv, wait, receive_tree = socket.socket.recv, select.select, Agent._receive_tree
Agent._receive_tree = tree
main()
"""


@pytest.mark.parametrize("prefix", [list, unshare], ids=["plain", "init"])
def test_sigterm_at_the_last_moment(prefix: Callable[[], list[str]]) -> None:
    """A signal that comes when the interpreter has looked for one, and before it waits for more of an archive, is heard."""
    peer = Peer(prefix(), agent=[*AGENT[:-1], HEARD_TOO_LATE])
    try:
        _stop_inside_an_archive(peer)
        assert peer.process.wait(LIMIT) == 0
    finally:
        peer.close()
        shutil.rmtree(f"/tmp/{peer.token}", ignore_errors=True)


def test_nonsense(peer: Peer) -> None:
    """A control plane that does not speak the protocol is left, and nothing stays behind."""
    peer.shell("echo up; sleep 1000")
    peer.await_output(b"up")
    peer.send(b"GET / HTTP/1.1\r\n\r\n")
    assert peer.process.wait(LIMIT) == 1
    assert peer.alive() == []
