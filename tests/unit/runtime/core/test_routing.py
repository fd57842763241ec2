"""Where aliases lead."""

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.routing import as_run_by, choose, ways_to_run
from runtime.model import Alias, Code, FunctionConfig, FunctionVersion, Scope

SCOPE = Scope("123456789012", "us-east-1")
ALIAS = Alias(scope=SCOPE, function="f", name="live", version="1", revision_id="a")
VERSION = FunctionVersion(
    scope=SCOPE,
    name="f",
    version="1",
    config=FunctionConfig(role="r", environment={"A": "1", "B": "2"}),
    code=Code("0" * 64, 1, 1),
    revision_id="v",
    last_modified="",
)


@pytest.mark.parametrize(
    ("weight", "draw", "version"),
    [
        (0.1, 0.0, "2"),
        (0.1, 0.0999, "2"),
        (0.1, 0.1, "1"),
        (0.1, 0.9999, "1"),
        (0.0, 0.0, "1"),
        (1.0, 0.9999, "2"),
    ],
)
def test_weight(weight: float, draw: float, version: str) -> None:
    """Draws below the weight go to the second version, so that weight 0 gives it none and weight 1 all."""
    assert choose(replace(ALIAS, weights={"2": weight}), draw) == version


@given(st.floats(0, 1, exclude_max=True))
def test_without_weights(draw: float) -> None:
    """An alias without weights leads to its version whatever is drawn."""
    assert choose(ALIAS, draw) == "1"


@pytest.mark.parametrize("weight", [0.01, 0.1, 0.5, 0.75])
def test_shares_in_the_long_run(weight: float) -> None:
    """Of many draws the second version gets its share, to within four standard deviations, and no pattern shows."""
    draws, chance = 100_000, random.Random(7)  # noqa: S311
    alias = replace(ALIAS, weights={"2": weight})
    chosen = [choose(alias, chance.random()) for _ in range(draws)]
    assert abs(Counter(chosen)["2"] - draws * weight) < 4 * sqrt(draws * weight * (1 - weight))
    pairs = Counter(pairwise(chosen))
    both = weight * weight
    assert abs(pairs["2", "2"] - draws * both) < 5 * sqrt(draws * both)


def test_variables_of_the_alias_win() -> None:
    """They are laid over the version's; all else is the version's own."""
    way = as_run_by(replace(ALIAS, environment={"B": "alias", "C": "3"}), VERSION)
    assert way.config.environment == {"A": "1", "B": "alias", "C": "3"}
    assert replace(way, config=VERSION.config, revision_id="v") == VERSION
    assert way.revision_id != VERSION.revision_id


def test_version_without_variables() -> None:
    """A version that never had variables gets the alias's."""
    bare = replace(VERSION, config=FunctionConfig(role="r"))
    assert as_run_by(replace(ALIAS, environment={"C": "3"}), bare).config.environment == {"C": "3"}


@pytest.mark.parametrize("environment", [None, {}])
def test_nothing_to_lay_over(environment: dict[str, str] | None) -> None:
    """An alias without variables runs the version itself."""
    assert as_run_by(replace(ALIAS, environment=environment), VERSION) is VERSION


def test_ways_to_run() -> None:
    """A version runs by itself, and by each alias with variables that leads to it, as its second version too."""
    dev = replace(ALIAS, name="dev", environment={"S": "dev"})
    canary = replace(ALIAS, name="canary", version="2", weights={"1": 0.1}, environment={"S": "canary"})
    other = replace(ALIAS, name="other", version="2", environment={"S": "other"})
    found = list(ways_to_run(VERSION, [ALIAS, dev, canary, other]))
    assert [(way.config.environment or {}).get("S") for way in found] == [None, "dev", "canary"]
