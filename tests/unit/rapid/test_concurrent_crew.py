"""How many environments of many invocations at once there are, and whom they serve."""

import asyncio
from typing import Any

import pytest

from rapid import concurrent_crew as module
from rapid import crew as basis
from rapid.concurrent_crew import ConcurrentCrew, InitialisationFailed
from rapid.crew import Closed
from rapid.exchange import Ticket
from rapid.invocation import Fault, Invocation, Outcome


class Member:
    """Takes invocations; they are answered by hand."""

    def __init__(self, yard: "Yard", number: int) -> None:
        self.yard, self.number = yard, number
        self.is_open = True

    def invoke(self, invocation: Invocation, limit: float, stream: object) -> Ticket:
        ticket = Ticket()
        self.yard.served.append((invocation.request_id, self.number))
        self.yard.tickets[invocation.request_id] = ticket
        return ticket

    def shut_down(self) -> None:
        self.yard.shut.append(self.number)
        self.yard.crew.ended(self.number)


class Yard:
    """A crew, and the hand of whoever makes its members."""

    def __init__(self, **options: Any) -> None:
        self.members: list[Member] = []
        self.served: list[tuple[str, int]] = []
        self.tickets: dict[str, Ticket] = {}
        self.shut: list[int] = []
        common = {"slots": 2, "most": 4, "at_once": 8, "room": lambda: True}
        self.crew = ConcurrentCrew(self.launch, **{**common, **options})

    async def launch(self, number: int) -> Member:
        self.members.append(Member(self, number))
        return self.members[-1]

    @property
    def launched(self) -> list[int]:
        return [member.number for member in self.members]

    def run(self, name: str) -> "asyncio.Task[Ticket]":
        invocation = Invocation(request_id=name, arn="arn", payload=b"{}", trace_id="Root=1")
        return asyncio.create_task(self.crew.run(invocation, 3))

    async def answer(self, name: str) -> None:
        self.tickets[name].respond(Outcome(b"{}"))
        await turn()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No grace."""
    monkeypatch.setattr(basis, "GRACE", 0)


async def turn() -> None:
    """Let everything happen that can: turns of the loop, no time."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_environment_serves_as_many_as_it_offers() -> None:
    """Five requests, two for each environment: three are launched, and the first one's places are taken in order."""
    yard = Yard()
    tasks = [yard.run(name) for name in "abcde"]
    await turn()
    assert yard.launched == [1, 2, 3]
    for number in (1, 1, 2, 3, 2):
        yard.crew.offer(number, 1)
    await asyncio.gather(*tasks)
    assert yard.served == [("a", 1), ("b", 1), ("c", 2), ("d", 3), ("e", 2)]
    assert yard.launched == [1, 2, 3]


async def test_a_place_that_is_withdrawn_is_not_given() -> None:
    """A worker has left: who comes then waits for another one."""
    yard = Yard(most=1)
    first = yard.run("a")
    await turn()
    yard.crew.offer(1, 2)
    await first
    yard.crew.offer(1, -1)
    waiting = yard.run("b")
    await turn()
    assert not waiting.done()
    yard.crew.offer(1, 1)
    await waiting
    assert yard.served == [("a", 1), ("b", 1)]


async def test_workers_that_do_not_come_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that has one worker only: the second request gets another environment."""
    monkeypatch.setattr(module, "STRAGGLERS", 0)
    launched = asyncio.Event()
    yard = Yard()
    first, second = yard.run("a"), yard.run("b")
    await turn()
    assert yard.launched == [1]
    launch = yard.crew._launch

    async def notice(number: int) -> Any:
        launched.set()
        return await launch(number)

    yard.crew._launch = notice
    yard.crew.offer(1, 1)
    await asyncio.wait_for(launched.wait(), 20)
    await turn()
    yard.crew.offer(2, 1)
    await asyncio.gather(first, second)
    assert yard.served == [("a", 1), ("b", 2)]


async def test_who_leaves_with_a_place_gives_it_back() -> None:
    """In the moment in which it was given."""
    yard = Yard(most=1)
    leaving = yard.run("a")
    await turn()
    yard.crew.offer(1, 1)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await yard.run("b")
    assert yard.served == [("b", 1)]


async def test_an_environment_at_its_end_gets_nothing() -> None:
    """Although it had offered places; another one is launched once it is gone."""
    yard = Yard(most=1)
    first = yard.run("a")
    await turn()
    yard.crew.offer(1, 2)
    await first
    yard.members[0].is_open = False
    waiting = yard.run("b")
    await turn()
    assert yard.served == [("a", 1)]
    yard.crew.ended(1)
    await turn()
    yard.crew.offer(1, 1)
    await waiting
    assert yard.served == [("a", 1), ("b", 1)]


async def test_a_failed_initialisation_is_told_to_those_who_waited_for_it() -> None:
    """As many as the environment would have served; the next one tries anew."""
    yard = Yard(most=1)
    tasks = [yard.run(name) for name in "abc"]
    await turn()
    yard.crew.ended(1, Fault("Runtime.ExitError", "no"))
    for task in tasks[:2]:
        with pytest.raises(InitialisationFailed, match="no"):
            await task
    await turn()
    assert yard.launched == [1, 1]
    yard.crew.offer(1, 2)
    await tasks[2]


async def test_an_environment_at_work_is_not_relieved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A free place beside an invocation is not idleness."""
    monkeypatch.setattr(basis, "IDLE_LIMIT", 0)
    yard = Yard()
    tasks = [yard.run(name) for name in "abc"]
    await turn()
    yard.crew.offer(1, 2)
    yard.crew.offer(2, 2)
    await asyncio.gather(*tasks)
    yard.crew._relieve(2)
    assert yard.shut == []
    await yard.answer("c")
    yard.crew._relieve(2)
    assert yard.shut == [2]


async def test_the_end() -> None:
    """Who waits is told, and so is who comes later."""
    yard = Yard()
    waiting = yard.run("a")
    await turn()
    await yard.crew.close()
    for task in (waiting, yard.run("b")):
        with pytest.raises(Closed):
            await task
