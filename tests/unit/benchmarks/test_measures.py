"""Pure parts of the measurements."""

import json
from dataclasses import replace

import pytest

from benchmarks.load import body_of, quantile
from benchmarks.measures.emulator import layers
from benchmarks.measures.run import FULL
from benchmarks.measures.turns import rotated
from benchmarks.programs import Failed


def test_peers_take_turns() -> None:
    """Each round begins with another one, and all come in each."""
    names = ["Berth", "RIE", "floor"]
    orders = [rotated(names, number) for number in range(4)]
    assert [order[0] for order in orders] == [*names, "Berth"]
    assert all(sorted(order) == sorted(names) for order in orders)
    assert rotated([], 5) == []


def test_layers_that_speak_of_a_place() -> None:
    """Others of the image do not count; an image that has none is not one without a size."""
    steps = {
        "COPY dir:1 in /var/rapid/": 17,
        "RUN ln -s /var/rapid/bin/x /x": 2,
        "RUN apt-get install pip": 99,
    }
    history = [json.dumps({"CreatedBy": step, "Size": str(size)}) for step, size in steps.items()]
    assert layers(history, "/var/rapid") == 19
    with pytest.raises(Failed, match="no layer"):
        layers(history[2:], "/var/rapid")


def test_quantiles() -> None:
    """Of nothing, of one, and of many."""
    assert quantile([], 0.5) == 0.0
    assert quantile([7.0], 0.99) == 7.0
    assert quantile([float(number) for number in range(101)], 0.95) == pytest.approx(95.0)


def test_an_answer_is_whole_with_its_last_byte() -> None:
    """Before that there is no body."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    assert [body_of(answer[:end]) for end in (10, 38, len(answer) - 1)] == [None, None, None]
    assert body_of(answer) == b"hello"


def test_fewer_rounds() -> None:
    """Two thirds of them where there is no target, a third for what takes long; at least one."""
    assert (FULL.rounds, FULL.some, FULL.few) == (9, 6, 3)
    once = replace(FULL, rounds=1)
    assert (once.some, once.few) == (1, 1)
