"""What must hold while many clients invoke: updates, and sandboxes that die at random."""

import random
import select
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

from runtime.spawners import local_processes
from tests.integration.conftest import Berth

CLIENTS = 6
UPDATES = 5

NUMBERED = """
import os

def handler(event, context):
    return [{number}, os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]]
"""
ECHO = "def handler(event, context): return event\n"


@contextmanager
def crowd(work: "threading.Event") -> Iterator[ThreadPoolExecutor]:
    """Threads for clients who go on until `work` is set, which it is in any case at the end."""
    with ThreadPoolExecutor(CLIENTS) as threads:
        try:
            yield threads
        finally:
            work.set()


def test_updates(berth: Berth, name: str) -> None:
    """
    1. Clients invoke in tight loops; each notes which update had been answered when it asked.
    2. The code is updated again and again.
    Result: nobody sees code older than that, and in the end only environments of the last one are left.
    """
    berth.deploy(name, NUMBERED.format(number=0))
    over = threading.Event()
    answered = 0

    def client() -> list[tuple[int, int, str]]:
        seen = []
        while not over.is_set():
            asked = answered
            seen.append((asked, *berth.invoke(name).payload))
        return seen

    with crowd(over) as threads:
        clients = [threads.submit(client) for _ in range(CLIENTS)]
        for number in range(1, UPDATES + 1):
            berth.until(lambda: berth.is_busy(name))
            berth.update_code(name, NUMBERED.format(number=number))
            answered = number
        over.set()
        seen = [call for each in clients for call in each.result()]
    assert [(asked, number) for asked, number, _ in seen if number < asked] == []
    assert berth.invoke(name).payload[0] == UPDATES
    old = {stream for _, number, stream in seen if number < UPDATES}
    berth.until(lambda: not any(each["log_stream"] in old for each in berth.environments(name)))


def test_deaths(berth: Berth, name: str) -> None:
    """
    1. Clients invoke in tight loops.
    2. Sandboxes are killed at random.
    Result: every invocation is answered; what is lost had been begun, and what was idle costs nobody anything.
    """
    berth.deploy(name, ECHO)
    berth.invoke(name)
    over = threading.Event()
    draw = random.Random(3)  # noqa: S311  a test must be repeatable

    def client(number: int) -> tuple[int, int]:
        turn = lost = 0
        while not over.is_set():
            turn += 1
            answer = berth.invoke(name, [number, turn])
            if answer.error:
                assert "Sandbox.Failure" in answer.payload["errorType"]
                lost += 1
            else:
                assert answer.payload == [number, turn]
        return turn, lost

    with crowd(over) as threads:
        clients = [threads.submit(client, number) for number in range(CLIENTS)]
        for _ in range(8):
            berth.until(lambda: ready(berth, name))
            for victim in draw.sample(there := ready(berth, name), min(1, len(there))):
                kill(berth, victim["reference"])
        over.set()
        results = [each.result() for each in clients]
    assert sum(lost for _, lost in results) <= 8
    assert berth.invoke(name, "after").payload == "after"


def test_a_dead_one_is_passed_over(berth: Berth, name: str) -> None:
    """A sandbox that is killed while it is idle costs the next invocation nothing but a launch."""
    berth.deploy(name, ECHO)
    for turn in range(3):
        assert berth.invoke(name, turn).payload == turn
        for each in berth.environments(name):
            kill(berth, each["reference"])


def test_death_before_the_event_is_read(berth: Berth, name: str) -> None:
    """
    1. A sandbox stops in its tracks while it is idle, and an invocation is given to it.
    2. It is killed.
    Result: its runtime has not read the event, so the invocation begins anew in another sandbox.
    """
    berth.deploy(name, ECHO)
    berth.invoke(name)
    [first] = berth.environments(name)
    berth.until(lambda: berth.environments(name)[0]["state"] == "idle")
    pause(berth, first["reference"])
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(berth.invoke, name, "here")
        berth.until(lambda: berth.is_busy(name))
        kill(berth, first["reference"])
        assert asked.result().payload == "here"
    [second] = berth.environments(name)
    assert second["log_stream"] != first["log_stream"]


def ready(berth: Berth, name: str) -> list[dict[str, Any]]:
    """Environments that have come up: one that dies before is tried again only so often."""
    return [each for each in berth.environments(name) if each["state"] != "initialising"]


def kill(berth: Berth, reference: str) -> None:
    """From outside, as by an operator or the kernel: none of it is left after this. One that has ended is as good."""
    if berth.spawner == "docker":
        subprocess.run(["docker", "kill", reference], check=False, capture_output=True)
        return
    with opened(int(reference)) as fds:
        for fd in fds[:1]:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        for fd in fds:  # the others die of the first one's death, a little later
            assert select.select([fd], [], [], 10)[0]


def pause(berth: Berth, reference: str) -> None:
    """From here on nothing in the sandbox runs, and nobody is told."""
    if berth.spawner == "docker":
        subprocess.run(["docker", "pause", reference], check=True, capture_output=True)
        return
    with opened(int(reference)) as fds:
        for fd in fds:
            signal.pidfd_send_signal(fd, signal.SIGSTOP)


@contextmanager
def opened(root: int) -> Iterator[list[int]]:
    """Descriptors of a process and those below it, if it is there."""
    first = local_processes.of(root)
    with ExitStack() as opening:
        everyone = [first, *local_processes.descendants(root)] if first else []
        fds = [opening.enter_context(each.opened()) for each in everyone]
        yield [fd for fd in fds if fd is not None]
