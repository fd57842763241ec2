"""As many environments as there are parallel invocations; idle ones are reused; nothing sees old code."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MEETING = """
import os, time

def handler(event, context):
    time.sleep(event["seconds"])
    return os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
"""

TOGETHER = """
import os, urllib.request

def handler(event, context):
    urllib.request.urlopen(event["url"]).close()
    return os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
"""


def test_twenty_at_once(berth: Any, name: str) -> None:
    """Twenty parallel invocations run in twenty environments at the same time, and none fails."""
    berth.deploy(name, TOGETHER, Timeout=120)
    with barrier(berth, 20) as url:
        answers = berth.invoke_many(name, [{"url": url}] * 20)
    assert {answer.error for answer in answers} == {None}
    assert len({answer.payload for answer in answers}) == 20
    assert len(berth.environments(name)) == 20


@contextmanager
def barrier(berth: Any, parties: int) -> Iterator[str]:
    """An address that answers nobody before `parties` functions ask it at once."""
    gate = threading.Barrier(parties, timeout=100)

    class Gate(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            gate.wait()
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer((berth.function_host, 0), Gate) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{berth.function_host}:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_idle_environments_are_reused(berth: Any, name: str) -> None:
    """Ten invocations one after the other run in one environment."""
    berth.deploy(name, MEETING)
    streams = {berth.invoke(name, {"seconds": 0}).payload for _ in range(10)}
    assert len(streams) == 1


def test_the_most_recently_used_is_reused_first(berth: Any, name: str) -> None:
    """The environment that finished last serves the next invocation, so that the others age."""
    berth.deploy(name, MEETING)
    slow, _ = berth.invoke_many(name, [{"seconds": 3}, {"seconds": 0.5}])
    assert berth.invoke(name, {"seconds": 0}).payload == slow.payload


def test_no_invocation_sees_old_code_after_an_update(berth: Any, name: str) -> None:
    """Under load: whatever begins after an update has returned runs the new code."""
    code = "def handler(event, context): return {}"
    berth.deploy(name, code.format(0))
    current, stop, wrong = [0], threading.Event(), []

    def invoke() -> None:
        while not stop.is_set():
            least = current[0]
            got = berth.invoke(name).payload
            if got < least:
                wrong.append((least, got))

    threads = [threading.Thread(target=invoke) for _ in range(3)]
    for thread in threads:
        thread.start()
    waiter = berth.client.get_waiter("function_updated_v2")
    for number in range(1, 6):
        berth.update_code(name, code.format(number))
        current[0] = number
        waiter.wait(FunctionName=name)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert berth.invoke(name).payload == 5


def test_idle_environments_expire(new_berth: Callable[..., Any], name: str) -> None:
    """After the idle timeout the environment is gone, and the next invocation gets a new one."""
    berth = new_berth("process", "--idle-timeout", "0.2")
    berth.start()
    berth.deploy(name, MEETING)
    first = berth.invoke(name, {"seconds": 0}).payload
    berth.until(lambda: not berth.environments(name))
    assert berth.invoke(name, {"seconds": 0}).payload != first


def test_at_capacity_invocations_wait_their_turn(new_berth: Callable[..., Any], name: str) -> None:
    """With two environments allowed, six parallel invocations all succeed, two at a time."""
    berth = new_berth("process", "--max-environments", "2")
    berth.start()
    berth.deploy(name, MEETING)
    berth.deploy(f"{name}-other"[-60:].strip("-"), MEETING)
    berth.invoke(f"{name}-other"[-60:].strip("-"), {"seconds": 0})
    answers = berth.invoke_many(name, [{"seconds": 0.2}] * 6)
    assert {answer.error for answer in answers} == {None}
    assert len(berth.environments()) <= 2


def test_a_client_that_leaves_does_not_stop_the_function(berth: Any, name: str) -> None:
    """The invocation ends and is logged although nobody waits for it."""
    berth.deploy(name, "import time\ndef handler(event, context):\n    time.sleep(1)\n    print('went on')")
    berth.invoke(name)
    host, _, port = berth.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port))
    connection.request("POST", f"/2015-03-31/functions/{name}/invocations", json.dumps({}))
    connection.close()
    said = ["logs", name, "--data-dir", str(berth.data_dir)]
    berth.until(lambda: berth.run(*said).stdout.count("went on") == 2)
