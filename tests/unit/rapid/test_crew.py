"""How many environments there are, and whom they serve."""

import asyncio
from typing import Any

import pytest

from rapid import crew as module
from rapid.crew import Closed, Crew, Overloaded
from rapid.exchange import Ticket
from rapid.invocation import Invocation


class Member:
    """Takes invocations and says nothing of them."""

    def __init__(self, yard: "Yard", number: int) -> None:
        self.yard, self.number = yard, number

    def invoke(self, invocation: Invocation, limit: float, stream: object) -> Ticket:
        self.yard.served.append((invocation.request_id, self.number))
        return Ticket()

    def shut_down(self) -> None:
        self.yard.shut.append(self.number)
        self.yard.crew.ended(self.number)


class Yard:
    """A crew, and the hand of whoever makes its members."""

    def __init__(self, **options: Any) -> None:
        self.launched: list[int] = []
        self.served: list[tuple[str, int]] = []
        self.shut: list[int] = []
        self.has_room = True
        self.failure: OSError | None = None
        self.crew = Crew(self.launch, **{"most": 4, "at_once": 8, "room": lambda: self.has_room, **options})

    async def launch(self, number: int) -> Member:
        self.launched.append(number)
        if self.failure:
            raise self.failure
        return Member(self, number)

    def run(self, name: str) -> "asyncio.Task[Ticket]":
        invocation = Invocation(request_id=name, arn="arn", payload=b"{}", trace_id="Root=1")
        return asyncio.create_task(self.crew.run(invocation, 3))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No grace."""
    monkeypatch.setattr(module, "GRACE", 0)


async def turn() -> None:
    """Let everything happen that can: turns of the loop, no time."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_first_request_launches_the_first_environment() -> None:
    """Not before there is one; the next one finds it idle."""
    yard = Yard()
    assert yard.launched == []
    first = yard.run("a")
    await turn()
    yard.crew.idle(1)
    await first
    yard.crew.idle(1)
    await yard.run("b")
    assert (yard.launched, yard.served) == ([1], [("a", 1), ("b", 1)])


async def test_requests_are_served_in_order_and_up_to_the_limit() -> None:
    """Five requests, four environments: the last one waits for the first that is free."""
    yard = Yard()
    tasks = [yard.run(name) for name in "abcde"]
    await turn()
    assert yard.launched == [1, 2, 3, 4]
    for number in (2, 1, 3, 4, 2):
        yard.crew.idle(number)
    await asyncio.gather(*tasks)
    assert yard.served == [("a", 2), ("b", 1), ("c", 3), ("d", 4), ("e", 2)]


async def test_where_memory_is_short_no_further_environment_is_launched() -> None:
    """The first one always is."""
    yard = Yard()
    yard.has_room = False
    tasks = [yard.run("a"), yard.run("b")]
    await turn()
    assert yard.launched == [1]
    yard.crew.idle(1)
    yard.crew.idle(1)
    await asyncio.gather(*tasks)


async def test_no_more_are_launched_at_a_time_than_is_said() -> None:
    """They would only slow each other down."""
    yard = Yard(at_once=2)
    tasks = [yard.run(name) for name in "abcd"]
    await turn()
    assert yard.launched == [1, 2]
    yard.crew.idle(1)
    await turn()
    assert yard.launched == [1, 2, 3]
    await yard.crew.close()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_leaves_waits_no_longer() -> None:
    """Neither before nor in the moment in which an environment becomes idle."""
    yard = Yard(most=1)
    leaving, given, last = yard.run("a"), yard.run("b"), yard.run("c")
    await turn()
    leaving.cancel()
    await turn()
    yard.crew.idle(1)
    given.cancel()
    await last
    assert yard.served == [("c", 1)]
    with pytest.raises(asyncio.CancelledError):
        await leaving
    with pytest.raises(asyncio.CancelledError):
        await given


async def test_a_queue_has_an_end() -> None:
    """Whoever comes later is told at once."""
    yard = Yard(most=1, longest_queue=1)
    waiting = yard.run("a")
    await turn()
    with pytest.raises(Overloaded):
        await yard.run("b")
    yard.crew.idle(1)
    await waiting


async def test_an_environment_that_cannot_be_made_fails_one_request() -> None:
    """Each request is one attempt."""
    yard = Yard()
    yard.failure = OSError("no port")
    with pytest.raises(OSError, match="no port"):
        await yard.run("a")
    yard.failure = None
    task = yard.run("b")
    await turn()
    yard.crew.idle(1)
    await task
    assert yard.launched == [1, 1]


async def test_what_is_idle_for_long_ends_but_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a later request launches another one."""
    monkeypatch.setattr(module, "IDLE_LIMIT", 0)
    yard = Yard()
    tasks = [yard.run("a"), yard.run("b")]
    await turn()
    yard.crew.idle(1)
    yard.crew.idle(2)
    await asyncio.gather(*tasks)
    yard.crew.idle(1)
    yard.crew.idle(2)
    await turn()
    assert len(yard.shut) == 1


async def test_closing_ends_all_and_tells_who_waits() -> None:
    """Nobody is left waiting."""
    yard = Yard(most=1)
    first, second = yard.run("a"), yard.run("b")
    await turn()
    yard.crew.idle(1)
    await first
    await yard.crew.close()
    assert yard.shut == [1]
    with pytest.raises(Closed):
        await second
    with pytest.raises(Closed):
        await yard.run("c")
