"""What is known of events on their way when the sandbox is lost. Readers are futures of the test's own."""

import asyncio
from asyncio import Future

import pytest

from rapid.handovers import Handovers


class Reader:
    """Somebody who is gone when the test says so."""

    def __init__(self) -> None:
        self.future: Future[bool] = asyncio.get_running_loop().create_future()

    def parted(self) -> Future[bool]:
        return self.future

    def goes(self, *, unread: bool) -> None:
        self.future.set_result(unread)


class Case:
    """Events, and what is told of them."""

    def __init__(self) -> None:
        self.handovers = Handovers()
        self.told: list[set[str]] = []

    def written(self, name: str) -> Reader:
        reader = Reader()
        self.handovers.given(name)
        self.handovers.written(name, reader)
        return reader

    def lose(self, limit: float = 60) -> None:
        self.handovers.when_known(lambda unread: self.told.append(set(unread)), limit)


@pytest.fixture
async def case() -> Case:
    return Case()


async def turn() -> None:
    await asyncio.sleep(0)


async def test_nothing(case: Case) -> None:
    """Where nothing is on its way, that is told at once."""
    case.lose()
    assert case.told == [set()]


async def test_not_written(case: Case) -> None:
    """What nobody was there for has not been read."""
    case.handovers.given("a")
    case.lose()
    assert case.told == [{"a"}]


@pytest.mark.parametrize("unread", [True, False])
async def test_gone_before(case: Case, *, unread: bool) -> None:
    """A reader whose end is known already is not waited for."""
    case.written("a").goes(unread=unread)
    case.lose()
    assert case.told == [{"a"} if unread else set()]


async def test_gone_after(case: Case) -> None:
    """All readers are waited for, and it is told once."""
    first, second = case.written("a"), case.written("b")
    case.lose()
    first.goes(unread=True)
    await turn()
    assert case.told == []
    second.goes(unread=False)
    await turn()
    assert case.told == [{"a"}]


async def test_never_gone(case: Case) -> None:
    """A reader whose end nobody tells of counts as one that has read; others' is known. And that was that."""
    first, second = case.written("a"), case.written("b")
    case.lose(limit=0)
    second.goes(unread=True)
    while not case.told:
        await turn()
    first.goes(unread=True)
    await turn()
    assert case.told == [{"b"}]


async def test_answered(case: Case) -> None:
    """A runtime that speaks of an event has read it."""
    case.written("a")
    case.handovers.read("a")
    case.lose()
    assert case.told == [set()]


async def test_answered_while_waited_for(case: Case) -> None:
    """So it is when the answer was still to be heard."""
    reader = case.written("a")
    case.lose()
    case.handovers.read("a")
    reader.goes(unread=True)
    await turn()
    assert case.told == [set()]


async def test_asked_again(case: Case) -> None:
    """Whoever asks again may have read what he was sent first, so the second copy says nothing."""
    case.written("a")
    case.written("a").goes(unread=True)
    case.lose()
    assert case.told == [set()]


async def test_asked_again_in_vain(case: Case) -> None:
    """An event that was given to nobody can still be written for the first time."""
    case.handovers.given("a")
    case.written("a").goes(unread=True)
    case.lose()
    assert case.told == [{"a"}]


async def test_over(case: Case) -> None:
    """What is over is not spoken of, whatever comes late."""
    reader = case.written("a")
    case.handovers.over("a")
    case.handovers.over("a")
    case.handovers.read("a")
    case.handovers.written("a", reader)
    case.lose()
    assert case.told == [set()]
