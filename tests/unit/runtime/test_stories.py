"""Whose story is meant, and how many are kept."""

import pytest

from runtime import stories as stories_module
from runtime.stories import Stories, Story


def story(environment: str, *lines: str) -> Story:
    return Story(environment=environment, function="f", version="1", tell=lambda: list(lines))


def names(found: list[Story]) -> list[str]:
    return [each.environment for each in found]


def test_find() -> None:
    """The beginning of an identifier finds all that begin so; the whole of it one alone."""
    stories = Stories()
    for each in ("ab", "abc", "b"):
        stories.begin(story(each))
    assert names(stories.find("a")) == ["ab", "abc"]
    assert names(stories.find("abc")) == ["abc"]
    assert names(stories.find("ab")) == ["ab"]
    assert names(stories.find("c")) == []


def test_a_living_story_goes_on() -> None:
    """It is told when it is asked for; at the end it stands still."""
    lines = ["begun"]
    stories = Stories()
    stories.begin(Story(environment="a", function="f", version="1", tell=lambda: list(lines)))
    [living] = stories.find("a")
    lines.append("more")
    assert (living.tell(), living.ended) == (["begun", "more"], None)
    stories.end("a")
    lines.append("not part of it")
    [ended] = stories.find("a")
    assert list(ended.tell()) == ["begun", "more"]
    assert ended.ended is not None


def test_the_last_ended_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The living come first, then the ended, the last ended first, so many and no more."""
    monkeypatch.setattr(stories_module, "ENDED", 2)
    stories = Stories()
    for each in ("a", "b", "c", "d"):
        stories.begin(story(each))
    for each in ("a", "b", "c"):
        stories.end(each)
    assert names(stories.all()) == ["d", "c", "b"]
