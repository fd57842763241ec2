"""Where an alias leads: to which version, and under which environment variables. Pure.

A weighted alias is decided anew for each invocation by a draw that the caller brings, a number from 0 up to but not
including 1. Nothing is remembered between draws, so shares hold in the long run only, as on AWS.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from runtime.model import Alias, FunctionVersion


def choose(alias: Alias, draw: float) -> str:
    """The version that serves an invocation of the alias."""
    for version, weight in alias.weights.items():
        if draw < weight:
            return version
    return alias.version


def as_run_by(alias: Alias, version: FunctionVersion) -> FunctionVersion:
    """The version as it runs for the alias: the alias's variables win over its own.

    Its revision is one of both, for it is neither's alone.
    """
    if not alias.environment:
        return version
    merged = {**(version.config.environment or {}), **alias.environment}
    # In one order, so that aliases that say the same share environments.
    config = replace(version.config, environment=dict(sorted(merged.items())))
    return replace(version, config=config, revision_id=f"{version.revision_id} {alias.revision_id}")


def ways_to_run(version: FunctionVersion, aliases: Iterable[Alias]) -> Iterator[FunctionVersion]:
    """The version as it may be run now: by itself, and by each of its function's aliases that lead to it."""
    yield version
    for alias in aliases:
        if alias.environment and version.version in alias.versions:
            yield as_run_by(alias, version)
