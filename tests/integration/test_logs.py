"""What a function writes, from its processes to the log: whole, in order, one event for one record."""

import json
import re
from typing import Any

import pytest

from runtime.logfiles import decode


def messages(berth: Any, name: str) -> list[str]:
    log = berth.run("logs", name, "--json", "--limit", "3000", "--data-dir", str(berth.data_dir)).stdout
    return [json.loads(line)["message"] for line in log.splitlines()]


def own(found: list[str]) -> list[str]:
    """The function's events: those between the first START and its END."""
    start = next(number for number, text in enumerate(found) if text.startswith("START "))
    end = next(number for number, text in enumerate(found) if text.startswith("END "))
    return found[start + 1 : end]


def test_an_error_is_one_event(berth: Any, name: str) -> None:
    """With its stack trace, line by line; the tail of the invocation has the same."""
    berth.deploy(name, "def handler(event, context):\n    raise ValueError('boom\\nand more')")
    answer = berth.invoke(name)
    assert answer.error == "Unhandled"
    [error] = own(messages(berth, name))
    assert error.splitlines()[:3] == [
        "[ERROR] ValueError: boom",
        "and more",
        "Traceback (most recent call last):",
    ]
    assert "\r" not in error
    assert f"{error}\nEND RequestId: {answer.request_id}\n" in answer.log


def test_printed_and_logged_are_in_order(berth: Any, name: str) -> None:
    """Lines and records share one order, and a record is one event whatever lines it has."""
    code = """
import logging, sys
logger = logging.getLogger()
def handler(event, context):
    for number in range(200):
        print("printed", number)
        logger.error("logged %d\\n  more\\n", number)
    sys.stdout.write("be")
    logger.error("in between")
    print("fore")
"""
    berth.deploy(name, code)
    berth.invoke(name)
    found = [re.sub(r"^\[ERROR\]\t\S+\t\S+\t", "", text) for text in own(messages(berth, name))]
    expected = [text for n in range(200) for text in (f"printed {n}", f"logged {n}\n  more\n")]
    assert [text.removesuffix("\n") for text in found] == [
        text.removesuffix("\n") for text in [*expected, "in between", "before"]
    ]


def test_children_share_the_log(berth: Any, name: str) -> None:
    """Children that inherit the descriptor of records, that do not, and one that stays, do no harm."""
    code = """
import logging, os, subprocess, sys
logger = logging.getLogger()
def handler(event, context):
    os.system("echo by a shell")
    subprocess.run(["echo", "by a program"])
    child = os.fork()
    if not child:
        logger.error("by a fork")
        os._exit(0)
    os.waitpid(child, 0)
    if event.get("stay"):
        os.system("sleep 1000 >/dev/null 2>&1 &")
    logger.error("by the handler")
    if event.get("exit"):
        sys.exit(3)
"""
    berth.deploy(name, code)
    assert berth.invoke(name, {"stay": True}).error is None
    assert berth.invoke(name, {"exit": True}).error == "Unhandled"
    assert berth.invoke(name).error is None
    said = [
        text.split("\t")[-1].strip()
        for text in messages(berth, name)
        if " by a" in f" {text}" or "\tby " in text
    ]
    assert said == ["by a shell", "by a program", "by a fork", "by the handler"] * 3


@pytest.mark.parametrize("wrapper", ['#!/bin/sh\nexec "$@"\n', '#!/bin/bash\nexec 3>/tmp/three\n"$@"\n'])
def test_exec_wrapper(berth: Any, name: str, zip_of: Any, wrapper: str) -> None:
    """A wrapper in between hands the descriptor on."""
    package = zip_of(
        {"app.py": "def handler(event, context):\n    raise ValueError('boom')", "wrap": wrapper},
        {"wrap": 0o755},
    )
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrap"}
    berth.deploy(name, package, Environment={"Variables": variables})
    berth.invoke(name)
    [error] = own(messages(berth, name))
    assert error.startswith("[ERROR] ValueError: boom\nTraceback")


def test_a_flood_arrives_whole(berth: Any, name: str) -> None:
    """50,000 numbered events of two threads: none is lost, none torn, each thread's are in order."""
    code = """
import logging, os, threading
logger = logging.getLogger()
logger.setLevel(logging.INFO)
FILL = "x" * 60

def write():
    for number in range(25_000):
        os.write(1, f"written {number} {FILL}\\n".encode())

def log():
    for number in range(25_000):
        logger.info("logged %d %s", number, FILL)

def handler(event, context):
    threads = [threading.Thread(target=write), threading.Thread(target=log)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
    berth.deploy(name, code, Timeout=120)
    assert berth.invoke(name).error is None
    group = f"+aws+lambda+{name}"
    [path] = (berth.data_dir / "logs").glob(f"*/*/{group}/*.log")
    berth.until(lambda: b"REPORT RequestId" in path.read_bytes()[-1000:])
    events = [decode(line, "") for line in path.read_bytes().splitlines()]
    found = [event.text for event in events if event]
    ours = [text for text in found if "x" * 60 in text]
    for kind in ("written", "logged"):
        numbers = [
            int(match[1]) for text in ours if (match := re.search(rf"(?:^|\t){kind} (\d+) x{{60}}\n?$", text))
        ]
        assert numbers == list(range(25_000))
    assert len(ours) == 50_000
