"""Between invocations nothing of a function runs, and everything goes on at the next one: threads, timers, child
processes, connections.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.helpers.desk import NODE_PARTY, PARTY, Desk
from tests.helpers.languages import NODE, PYTHON, Language, everywhere

TICKING = {
    PYTHON: """
import subprocess, sys, threading, time
from party import Desk

runs = 0

def tick(who):
    desk = Desk(who)
    while True:
        desk.tell("tick")
        time.sleep(0.01)

if __name__ == "__main__":
    tick("child")
threading.Thread(target=tick, args=["self"], daemon=True).start()
subprocess.Popen([sys.executable, __file__], start_new_session=True)
desk = Desk("handler")

def handler(event, context):
    global runs
    runs += 1
    desk.tell("handling")
    return runs
""",
    NODE: """
const { spawn } = require("node:child_process");
const { Desk } = require("./party.js");

const tick = (who) => {
  const desk = new Desk(who);
  setInterval(() => desk.tell("tick"), 10);
};

if (require.main === module) {
  tick("child");
} else {
  tick("self");
  spawn(process.execPath, [__filename], { detached: true });
}

const desk = new Desk("handler");
let runs = 0;

exports.handler = async () => {
  runs += 1;
  await desk.tell("handling");
  return runs;
};
""",
}
"""Ticks in its own process, beside the handler, and in a child that is in a session of its own."""

CLOCK = """
import time
from party import Desk

def handler(event, context):
    desk = Desk("clock")
    for _ in range(50):
        desk.tell("tick")
        time.sleep(0.01)
    desk.tell("round")
"""
"""Another function, whose ticks say how much time has gone by."""


@pytest.fixture
def desk(berth: Any, name: str) -> Iterator[Desk]:
    berth.deploy(f"any-{name}"[:60], PYTHON.idle)  # so that the address is known
    with Desk(berth.function_host) as opened:
        yield opened


@everywhere
def test_nothing_runs_between_invocations(
    berth: Any, language: Language, name: str, desk: Desk, zip_of: Callable[..., bytes]
) -> None:
    """Whole rounds of a clock go by without a tick; then the same processes go on, over the same connections."""
    party = {PYTHON: ("party.py", PARTY), NODE: ("party.js", NODE_PARTY)}[language]
    options: dict[str, Any] = {"Environment": {"Variables": {"DESK": desk.address}}}
    berth.deploy(f"clock-{name}"[:60], zip_of({"app.py": CLOCK, "party.py": PARTY}), **options)
    berth.deploy(
        name, zip_of(dict([(language.file, TICKING[language]), party])), Runtime=language.runtime, **options
    )

    def is_silent() -> bool:
        began = len(desk.order)
        berth.invoke(f"clock-{name}"[:60])
        seen = desk.order[began:]
        return all(each.startswith("clock ") for each in seen[seen.index("clock tick") :])

    with ThreadPoolExecutor(1) as background:
        for run in (1, 2, 3):
            desk.hold("handling")
            answering = background.submit(berth.invoke, name)
            desk.hear("handler", "handling", nth=run)
            for who in ("self", "child"):
                desk.hear(who, "tick", nth=desk.order.count(f"{who} tick") + 3)
            desk.release("handling")
            assert answering.result().payload == run
            berth.until(is_silent)
    assert not {"self gone", "child gone", "handler gone"} & set(desk.order)
