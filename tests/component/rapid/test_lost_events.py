"""Events whose readers die: which of them a sandbox that is lost gives back, or begins anew. Over real connections."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import pytest

from rapid import handovers
from rapid.invocation import ExitStatus, Invocation

NEXT = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n"
PLAIN = NEXT + b"\r\n"
UNUSUAL = NEXT + b"Expect: nothing\r\nX-Forwarded-For: me\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
"""One that goes the long way."""


class Case:
    """An environment with a runtime that asks for its next event by a connection of the test's own."""

    def __init__(self, house: Any, ask: bytes) -> None:
        self.house = house
        self.back: list[Invocation] = []
        house.environment._on_given_back = lambda invocation, _: self.back.append(invocation)
        self.runtime = socket.create_connection(("127.0.0.1", house.listener.port))
        self.runtime.setblocking(False)
        self._ask = ask

    async def asks(self) -> None:
        self.runtime.sendall(self._ask)
        await self.house.until(lambda: self.house.idle)

    async def reads(self, size: int = 1 << 16) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.runtime, size)

    async def written(self) -> None:
        """The event has reached the system's buffers, from which nobody has read it."""
        await self.house.until(lambda: _is_readable(self.runtime))

    async def ended(self) -> None:
        await self.house.until(lambda: self.house.ended)


def _is_readable(reader: socket.socket) -> bool:
    try:
        return bool(reader.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


@pytest.fixture(params=[PLAIN, UNUSUAL], ids=["plain", "unusual"])
async def case(request: pytest.FixtureRequest, house: Any) -> AsyncIterator[Case]:
    made = Case(house, request.param)
    with closing(made.runtime):
        await made.asks()
        yield made


async def test_unread(case: Case) -> None:
    """The sandbox is lost before its runtime has read the event: nobody has heard of it."""
    ticket = case.house.invoke()
    await case.written()
    case.house.environment.lost("killed")
    assert not case.house.ended
    case.runtime.close()
    await case.ended()
    assert [each.request_id for each in case.back] == ["r1"]
    assert not ticket.outcome.done()
    assert "END RequestId: r1" in case.house.log()


async def test_gone_before_the_sandbox(case: Case) -> None:
    """It makes no difference what is heard of first."""
    case.house.invoke()
    await case.written()
    case.runtime.close()
    await case.house.until(lambda: not case.house.listener._web.connections)
    case.house.environment.lost("killed")
    assert case.house.ended
    assert len(case.back) == 1


async def test_gone_before_the_event(case: Case) -> None:
    """The system knows already that the runtime is gone, and the loop does not: nothing is written to it."""
    case.runtime.close()
    ticket = case.house.invoke()
    case.house.environment.lost("killed")
    await case.ended()
    assert len(case.back) == 1
    assert not ticket.outcome.done()


async def test_read(case: Case) -> None:
    """A runtime that has read the event may have done anything: the client is told that it is lost."""
    ticket = case.house.invoke()
    await case.reads()
    case.house.environment.lost("killed")
    case.runtime.close()
    await case.ended()
    assert case.back == []
    assert ticket.outcome.result().error_type == "Sandbox.Failure"


async def test_read_in_part(case: Case) -> None:
    """Nobody runs on half an event."""
    case.house.invoke(b'"' + b"x" * 100_000 + b'"')
    await case.reads(100)
    case.house.environment.lost("killed")
    case.runtime.close()
    await case.ended()
    assert len(case.back) == 1


async def test_answered_and_lost(case: Case) -> None:
    """An answer that was sent before the end is the answer, though the sandbox's loss is heard of first."""
    ticket = case.house.invoke()
    await case.reads()
    head = b"POST /2018-06-01/runtime/invocation/r1/response HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
    case.runtime.sendall(head + b"42")
    case.house.environment.lost("killed")
    case.runtime.close()
    await case.ended()
    assert ticket.outcome.result().payload == b"42"


async def test_never_heard_of(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the end of the runtime is not told, as when a cable is cut, it counts as having read the event."""
    monkeypatch.setattr(handovers, "LOSS", 0.0)
    ticket = case.house.invoke()
    await case.written()
    case.house.environment.lost("cut off")
    await case.ended()
    assert case.back == []
    assert ticket.outcome.result().error_type == "Sandbox.Failure"


async def test_the_runtime_alone_ends_unread(case: Case) -> None:
    """The sandbox lives on: the invocation is the next runtime's in it."""
    ticket = case.house.invoke()
    await case.written()
    case.house.supervisor.observer.exited(case.house.supervisor.started[0], ExitStatus(-9))
    case.runtime.close()
    await case.house.until(lambda: len(case.house.supervisor.started) == 2)
    assert (await case.house.next()).body == b"{}"
    await case.house.respond(b"42")
    assert ticket.outcome.result().payload == b"42"
    await case.house.poll()
    assert case.house.log().count("START RequestId: r1") == 1
    assert case.back == []


async def test_the_runtime_alone_ends(case: Case) -> None:
    """A runtime that had read the event is told of as what it is."""
    ticket = case.house.invoke()
    await case.reads()
    case.runtime.close()
    case.house.supervisor.observer.exited(case.house.supervisor.started[0], ExitStatus(1))
    await case.house.until(ticket.outcome.done)
    assert ticket.outcome.result().error_type == "Runtime.ExitError"


async def test_its_children_hold_the_connection(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nobody tells that the runtime has not read the event, and it is not waited for long."""
    monkeypatch.setattr(handovers, "EXIT", 0.0)
    ticket = case.house.invoke()
    await case.written()
    case.house.supervisor.observer.exited(case.house.supervisor.started[0], ExitStatus(1))
    await case.house.until(ticket.outcome.done)
    assert ticket.outcome.result().error_type == "Runtime.ExitError"
