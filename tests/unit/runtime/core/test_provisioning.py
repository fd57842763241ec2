"""Wishes for environments, and how far they have come."""

import pytest

from runtime.core.provisioning import Place, Progress, Provisions, Status, split
from runtime.model import Alias, Scope

SCOPE = Scope("123456789012", "us-east-1")


def at(qualifier: str, function: str = "f") -> Place:
    return Place(SCOPE, function, qualifier)


class TestSplit:
    def test_one_version(self) -> None:
        """Without weights all are the version's."""
        assert split(5, alias()) == {"1": 5}

    @pytest.mark.parametrize(
        ("executions", "weight", "shares"),
        [
            (10, 0.1, {"1": 9, "2": 1}),
            (10, 0.25, {"1": 7, "2": 3}),
            (10, 0.01, {"1": 9, "2": 1}),
            (10, 0.99, {"1": 1, "2": 9}),
            (3, 0.5, {"1": 1, "2": 2}),
            (1, 0.4, {"1": 1}),
            (1, 0.6, {"2": 1}),
            (5, 0.0, {"1": 5}),
            (5, 1.0, {"2": 5}),
        ],
    )
    def test_by_weight(self, executions: int, weight: float, shares: dict[str, int]) -> None:
        """Two versions share by weight; where both are invoked and there is one for each, each has one."""
        assert split(executions, alias(weight)) == shares


def alias(weight: float | None = None) -> Alias:
    weights = {} if weight is None else {"2": weight}
    return Alias(scope=SCOPE, function="f", name="live", version="1", weights=weights, revision_id="r")


class Made:
    """Provisions, and what is made of them."""

    def __init__(self) -> None:
        self.provisions: Provisions[str] = Provisions()

    def wish(self, qualifier: str, *shares: tuple[str, int], revision: str = "r") -> dict[str, int]:
        return dict(self.provisions.wish(at(qualifier), revision, dict(shares)))

    def made(self, key: str, ready: int, failure: str | None = None) -> int:
        return self.provisions.made(SCOPE, "f", key, ready, failure)

    def progress(self, qualifier: str) -> Progress:
        return self.provisions.progress(at(qualifier))


@pytest.fixture
def made() -> Made:
    return Made()


def test_life(made: Made) -> None:
    """A wish is in progress until all are ready; then it is met; withdrawn, nothing is left of it."""
    assert made.progress("1") == Progress()
    assert made.wish("1", ("k", 2)) == {"k": 2}
    assert made.progress("1") == Progress(0, Status.IN_PROGRESS)
    assert made.made("k", 1) == 1
    assert made.progress("1") == Progress(1, Status.IN_PROGRESS)
    assert made.made("k", 2) == 2
    assert made.progress("1") == Progress(2, Status.READY)
    assert made.provisions.places(SCOPE, "f") == [at("1")]
    assert dict(made.provisions.withdraw(at("1"))) == {"k": 0}
    assert made.made("k", 2) == 0
    assert made.provisions.places(SCOPE, "f") == []
    assert repr(made.provisions) == "<Provisions of 0 functions>"


def test_more_than_wanted(made: Made) -> None:
    """Those too many are on their way out and are nobody's."""
    made.wish("1", ("k", 1))
    assert made.made("k", 3) == 1
    assert made.progress("1").ready == 1


def test_one_dies(made: Made) -> None:
    """A wish that was met stays so while what has died is replaced; there are fewer meanwhile."""
    made.wish("1", ("k", 2))
    made.made("k", 2)
    made.made("k", 1)
    assert made.progress("1") == Progress(1, Status.READY)


def test_failure(made: Made) -> None:
    """A failure is told as long as not all are ready, and until an attempt has succeeded."""
    made.wish("1", ("k", 2))
    made.made("k", 1, "why")
    assert made.progress("1") == Progress(1, Status.FAILED, "why")
    assert made.provisions.failure("k") == "why"
    made.made("k", 2, "why")
    assert made.progress("1") == Progress(2, Status.READY)
    made.made("k", 1, "again")
    assert made.progress("1") == Progress(1, Status.FAILED, "again")
    made.made("k", 1)
    assert made.progress("1") == Progress(1, Status.READY)
    assert made.provisions.failure("other") is None


def test_same_wish_again(made: Made) -> None:
    """It changes nothing; put anew it begins anew, and its failure is forgotten."""
    made.wish("1", ("k", 2))
    made.made("k", 0, "why")
    assert made.wish("1", ("k", 2)) == {}
    assert made.progress("1").status is Status.FAILED
    assert made.wish("1", ("k", 2), revision="s") == {"k": 2}
    assert made.progress("1") == Progress(0, Status.IN_PROGRESS)


def test_put_anew_when_all_are_there(made: Made) -> None:
    """Less than there is, or as much, is ready at once."""
    made.wish("1", ("k", 2))
    made.made("k", 2)
    made.wish("1", ("k", 1), revision="s")
    assert made.progress("1") == Progress(1, Status.READY)


def test_moves(made: Made) -> None:
    """An alias that leads elsewhere gives up what it had and is in progress again."""
    made.wish("live", ("one", 2))
    made.made("one", 2)
    assert made.wish("live", ("two", 2)) == {"one": 0, "two": 2}
    assert made.progress("live") == Progress(0, Status.IN_PROGRESS)
    assert made.wish("live", ("two", 1), ("three", 1)) == {"two": 1, "three": 1}
    made.made("two", 1)
    assert made.progress("live") == Progress(1, Status.IN_PROGRESS)
    made.made("three", 1)
    assert made.progress("live") == Progress(2, Status.READY)


def test_shared_environments(made: Made) -> None:
    """Two aliases that lead to one version have their environments of one kind; what is ready is given in order."""
    assert made.wish("b", ("k", 2)) == {"k": 2}
    assert made.wish("a", ("k", 1)) == {"k": 3}
    assert made.made("k", 2) == 2
    assert made.progress("a") == Progress(1, Status.READY)
    assert made.progress("b") == Progress(1, Status.IN_PROGRESS)
    assert dict(made.provisions.withdraw(at("a"))) == {"k": 2}
    assert made.progress("b").ready == 2


def test_functions_are_apart(made: Made) -> None:
    """Each has its own wishes."""
    made.wish("1", ("k", 1))
    made.provisions.wish(at("1", "g"), "r", {"l": 1})
    assert made.provisions.places(SCOPE, "g") == [at("1", "g")]
    made.made("k", 1)
    assert made.provisions.progress(at("1", "g")) == Progress(0, Status.IN_PROGRESS)
