"""What environments have been through: of those there are, and of the last that have ended.

A story is lines for people, kept by the environment itself while it lives (bounded, as `rapid` sees to). This module
finds the one that a person means by the beginning of an identifier; it does not know what the lines say.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

ENDED = 100
"""Stories of ended environments that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One environment's. `ended` in seconds of the Unix epoch; None while it lives."""

    environment: str
    function: str
    version: str
    tell: Callable[[], Sequence[str]]
    ended: float | None = None


class Stories:
    """All that can be told."""

    def __init__(self) -> None:
        self._living: dict[str, Story] = {}
        self._ended: deque[Story] = deque(maxlen=ENDED)

    def begin(self, story: Story) -> None:
        """An environment lives."""
        self._living[story.environment] = story

    def end(self, environment: str) -> None:
        """It does no longer; what it has to tell now is kept for a while."""
        story = self._living.pop(environment)
        lines = tuple(story.tell())
        self._ended.append(replace(story, tell=lambda: lines, ended=time.time()))

    def all(self) -> list[Story]:
        """The living, then the ended, the last ended first."""
        return [*self._living.values(), *reversed(self._ended)]

    def find(self, beginning: str) -> list[Story]:
        """Those whose identifiers begin so; the one alone that is called exactly so."""
        found = [each for each in self.all() if each.environment.startswith(beginning)]
        return next(([each] for each in found if each.environment == beginning), found)
