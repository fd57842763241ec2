"""Traffic through weighted aliases, as deployments shift it: shares over many requests, by the header that tells.

Chance is seeded, so that a share that is out of bounds is so every time. Bounds are four standard deviations.
"""

import random
from collections.abc import Sequence
from http.client import HTTPConnection
from itertools import pairwise
from math import sqrt
from typing import Any

import pytest

PATH = "/2015-03-31/functions/f:prod/invocations"


@pytest.fixture(params=[1, 2])
async def prod(door: Any, request: pytest.FixtureRequest) -> Any:
    """A function with three versions, and an alias that leads to the first one."""
    door.invoker.draw = random.Random(request.param).random  # noqa: S311
    await door.published(3)
    await door.alias("prod", "1")
    return door


async def traffic(door: Any, count: int) -> list[str]:
    """The versions that so many requests, one after the other, were served by."""
    return list(await door.aside(_served, door.url, count))


def _served(url: str, count: int) -> Sequence[str]:
    connection = HTTPConnection(url.removeprefix("http://"), timeout=30)
    served = []
    for _ in range(count):
        connection.request("POST", PATH, b"{}")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"{}")
        served.append(response.headers["X-Amz-Executed-Version"])
    connection.close()
    return served


async def route(door: Any, version: str, **weights: float) -> None:
    named = {number.removeprefix("v"): weight for number, weight in weights.items()}
    await door.call(
        "update_alias",
        FunctionName="f",
        Name="prod",
        FunctionVersion=version,
        RoutingConfig={"AdditionalVersionWeights": named},
    )


def assert_share(served: Sequence[str], version: str, weight: float) -> None:
    expected, deviation = len(served) * weight, sqrt(len(served) * weight * (1 - weight))
    assert abs(served.count(version) - expected) <= 4 * deviation, (served.count(version), expected)


async def test_canary(prod: Any) -> None:
    """A tenth of a thousand requests meets the canary; then half; then all, by a routing that is cleared in words."""
    await route(prod, "1", v2=0.1)
    served = await traffic(prod, 1000)
    assert 60 <= served.count("2") <= 140
    assert set(served) == {"1", "2"}
    await route(prod, "1", v2=0.5)
    assert_share(await traffic(prod, 400), "2", 0.5)
    await route(prod, "2")
    assert set(await traffic(prod, 50)) == {"2"}


async def test_canary_named_the_other_way_round(prod: Any) -> None:
    """The new version first and nine tenths for the old one is the same split."""
    await route(prod, "2", v1=0.9)
    assert_share(await traffic(prod, 1000), "2", 0.1)


async def test_linear(prod: Any) -> None:
    """Tenth by tenth, each step has its share and the next one more."""
    counts = []
    for tenths in range(1, 10):
        await route(prod, "1", v2=tenths / 10)
        served = await traffic(prod, 300)
        assert_share(served, "2", tenths / 10)
        counts.append(served.count("2"))
    assert sum(after > before for before, after in pairwise(counts)) >= 7
    await route(prod, "2")
    assert set(await traffic(prod, 20)) == {"2"}


async def test_blue_green(prod: Any) -> None:
    """Green is there without traffic, under a weight of nothing too; one update switches all of it, another back."""
    await route(prod, "1", v2=0.0)
    assert set(await traffic(prod, 200)) == {"1"}
    await route(prod, "1", v2=1.0)
    assert set(await traffic(prod, 200)) == {"2"}
    await route(prod, "2")
    assert set(await traffic(prod, 50)) == {"2"}
    await route(prod, "1")
    assert set(await traffic(prod, 50)) == {"1"}


async def test_a_b(prod: Any) -> None:
    """Halves, drawn anew each time: nobody is stuck to a version, and the versions do not take turns."""
    await route(prod, "1", v2=0.5)
    served = await traffic(prod, 1000)
    assert_share(served, "2", 0.5)
    changes = sum(before != after for before, after in pairwise(served))
    assert abs(changes - 999 / 2) <= 4 * sqrt(999 / 4)


async def test_three_decimals(prod: Any) -> None:
    """A weight is as fine as it is given."""
    await route(prod, "1", v2=0.123)
    assert_share(await traffic(prod, 1000), "2", 0.123)


async def test_rollback(prod: Any) -> None:
    """From the middle of a canary back to the old version, and from a new one to the one before, at once."""
    await route(prod, "1", v2=0.5)
    await traffic(prod, 20)
    await route(prod, "1")
    assert set(await traffic(prod, 100)) == {"1"}
    await route(prod, "3")
    assert set(await traffic(prod, 20)) == {"3"}
    await prod.call("update_alias", FunctionName="f", Name="prod", FunctionVersion="2")
    assert set(await traffic(prod, 50)) == {"2"}


async def test_two_aliases(prod: Any) -> None:
    """Stages have routes of their own: what a canary does to one leaves the other alone."""
    await prod.alias("staging", "2")
    await route(prod, "1", v3=0.5)
    answers = [
        await prod.raw("POST", "/2015-03-31/functions/f/invocations?Qualifier=staging", b"{}")
        for _ in range(20)
    ]
    assert {headers["X-Amz-Executed-Version"] for _, headers, _ in answers} == {"2"}
    assert set(await traffic(prod, 50)) == {"1", "3"}
