"""The tables of what may follow what, held against themselves."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pytest

from rapid.states import (
    EXTENSION_MOVES,
    RUNTIME_MOVES,
    TURNS,
    ExtensionCall,
    ExtensionState,
    IllegalTransition,
    Phase,
    RuntimeCall,
    RuntimeState,
    Turn,
    target,
)

TABLES: list[tuple[type[StrEnum], Mapping[Any, Mapping[Any, Any]]]] = [
    (Phase, TURNS),
    (RuntimeState, RUNTIME_MOVES),
    (ExtensionState, EXTENSION_MOVES),
]


@pytest.mark.parametrize(("states", "table"), TABLES, ids=lambda each: getattr(each, "__name__", "table"))
def test_tables_are_whole(states: type[StrEnum], table: Mapping[Any, Mapping[Any, Any]]) -> None:
    """Every state has a row, every state can be reached from the first, and no move leads out of the table."""
    assert list(table) == list(states)
    reached = {next(iter(table))}
    for _ in table:
        reached |= {after for state in reached for after in table[state].values()}
    assert reached == set(states)


def test_every_phase_comes_to_an_end() -> None:
    """Whatever an environment is doing, the loss of its sandbox ends it, and a shutdown leads there."""
    for phase, turns in TURNS.items():
        if phase is not Phase.ENDED:
            assert turns[Turn.LOST] is Phase.ENDED
            assert turns[Turn.END_ASKED] in (Phase.STOPPING, Phase.CLEARING)


def test_calls_lead_to_the_states_that_refusals_name() -> None:
    """AWS names the target of a refused call; where the call is accepted, that is where it leads."""
    exceptions = {
        (RuntimeState.RUNNING, RuntimeCall.NEXT),  # the same event once more
        (RuntimeState.RESTORING, RuntimeCall.INIT_ERROR),
    }
    for state, moves in RUNTIME_MOVES.items():
        for move, after in moves.items():
            if isinstance(move, RuntimeCall) and (state, move) not in exceptions:
                assert after == move.value
    for row in EXTENSION_MOVES.values():
        for each, then in row.items():
            if isinstance(each, ExtensionCall):
                assert then == each.value


def test_targets() -> None:
    """A move that a table does not have is refused with both names."""
    assert target(TURNS, Phase.COLD, Turn.BEGAN) is Phase.INIT
    with pytest.raises(IllegalTransition) as refused:
        target(RUNTIME_MOVES, RuntimeState.READY, RuntimeCall.RESPONSE)
    assert (refused.value.current, refused.value.target) == ("Ready", "InvocationResponse")
