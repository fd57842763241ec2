"""Runtimes that do not come up: static code that fails, handlers that are not there, programs that cannot be started.

What fails ahead of an invocation is tried again inside it, and again inside the next; the client gets the reason then.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.helpers.desk import PARTY, Desk
from tests.helpers.languages import NODE, PYTHON, Language, everywhere, in_containers
from tests.helpers.platform_lines import platform_lines, twice

CRASHES = {
    "exits 0": "Runtime exited without providing a reason",
    "exits 3": "Runtime exited with error: exit status 3",
    "is killed": "Runtime exited with error: signal: killed",
    "segfaults": "Runtime exited with error: signal: segmentation fault",
}


@dataclass(frozen=True)
class Failed:
    """Two invocations of a function that does not come up, and what the platform wrote."""

    answers: list[Any]
    lines: list[str]


@pytest.fixture(scope="module")
def fail(berth: Any, language: Language, zip_of: Callable[..., bytes]) -> Callable[..., Failed]:
    """Deploys a function and invokes it twice."""

    def fail(what: str, code: str, **options: Any) -> Failed:
        name = re.sub(r"\W+", "-", f"{language}-{what}")
        language.deploy(berth, zip_of, name, code, **options)
        answers = [berth.invoke(name) for _ in range(2)]
        assert {answer.error for answer in answers} == {"Unhandled"}
        berth.client.delete_function(FunctionName=name)
        return Failed(answers, platform_lines(berth, name))

    return fail


@pytest.fixture(scope="module")
def endless(language: Language, fail: Callable[..., Failed]) -> Iterator[Future[Failed]]:
    """Static code that never ends. Begun before the other tests, because it takes until the platform's time is over."""
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(fail, "never ends", language.static["never ends"], Timeout=1)


@everywhere
@pytest.mark.parametrize("what", CRASHES)
def test_static_code_that_ends_the_process(
    language: Language, endless: Future[Failed], fail: Callable[..., Failed], what: str
) -> None:
    """The client learns how the process ended."""
    failed = fail(what, language.static[what])
    for answer in failed.answers:
        assert answer.payload == {
            "errorType": "Runtime.ExitError",
            "errorMessage": f"RequestId: {answer.request_id} Error: {CRASHES[what]}",
        }
    assert failed.lines == twice("Status: error Error Type: Runtime.ExitError")


@everywhere
def test_static_code_that_raises(language: Language, fail: Callable[..., Failed]) -> None:
    """The runtime's own document, which knows of no invocation."""
    failed = fail("raises", language.static["raises"])
    for answer in failed.answers:
        document = answer.payload
        assert document["errorMessage"] == "boom"
        if language is PYTHON:
            assert list(document) == ["errorMessage", "errorType", "requestId", "stackTrace"]
            assert (document["errorType"], document["requestId"]) == ("ValueError", "")
            assert any("app.py" in line for line in document["stackTrace"])
        else:
            assert list(document) == ["errorType", "errorMessage", "trace"]
            assert document["errorType"] == "RangeError"
            assert document["trace"][0] == "RangeError: boom"
            assert "\tundefined\tERROR\tUncaught Exception \t" in answer.log
    assert failed.lines == twice("Status: error Error Type: Runtime.Unknown")


@everywhere
@pytest.mark.parametrize(
    ("what", "error_type", "words"),
    [
        (
            "misses a module",
            "Runtime.ImportModuleError",
            {
                PYTHON: "Unable to import module 'app': No module named 'nosuchmodule'",
                NODE: "Error: Cannot find module 'nosuchmodule'\nRequire stack:\n- /var/task/app.js\n",
            },
        ),
        (
            "is malformed",
            "Runtime.UserCodeSyntaxError",
            {
                PYTHON: "Syntax error in module 'app': invalid syntax (app.py, line 1)",
                NODE: "SyntaxError: Unexpected token '{'",
            },
        ),
    ],
)
def test_code_that_cannot_be_loaded(
    language: Language, fail: Callable[..., Failed], what: str, error_type: str, words: Mapping[Language, str]
) -> None:
    """The runtime client says why."""
    failed = fail(what, language.static[what])
    for answer in failed.answers:
        assert answer.payload["errorType"] == error_type
        assert answer.payload["errorMessage"].startswith(words[language])
    assert failed.lines == twice(f"Status: error Error Type: {error_type}")


@everywhere
@pytest.mark.parametrize(
    ("handler", "error_type", "words"),
    [
        (
            "app.nosuch",
            "Runtime.HandlerNotFound",
            {
                PYTHON: "Handler 'nosuch' missing on module 'app'",
                NODE: "app.nosuch is undefined or not exported",
            },
        ),
        (
            "nosuch.handler",
            "Runtime.ImportModuleError",
            {
                PYTHON: "Unable to import module 'nosuch': No module named 'nosuch'",
                NODE: "Error: Cannot find module 'nosuch'\n",
            },
        ),
        (
            "nodot",
            "Runtime.MalformedHandlerName",
            {
                PYTHON: "Bad handler 'nodot': not enough values to unpack",
                NODE: "Bad handler",
            },
        ),
    ],
)
def test_a_wrong_handler_name(
    language: Language,
    fail: Callable[..., Failed],
    handler: str,
    error_type: str,
    words: Mapping[Language, str],
) -> None:
    """The runtime client's own words reach the client."""
    failed = fail(f"handler {handler}", language.idle, Handler=handler)
    for answer in failed.answers:
        assert answer.payload["errorType"] == error_type
        assert answer.payload["errorMessage"].startswith(words[language])
        if language is PYTHON:
            assert answer.payload["stackTrace"] == []
    assert failed.lines == twice(f"Status: error Error Type: {error_type}")


@everywhere
def test_an_exec_wrapper_that_is_missing(language: Language, fail: Callable[..., Failed]) -> None:
    """The script that starts the runtime cannot exec it, and ends as shells do."""
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/nosuch"}
    failed = fail("wrapper", language.idle, Environment={"Variables": variables})
    for answer in failed.answers:
        assert answer.payload == {
            "errorType": "Runtime.ExitError",
            "errorMessage": f"RequestId: {answer.request_id} Error: Runtime exited with error: exit status 127",
        }
    assert failed.lines == twice("Status: error Error Type: Runtime.ExitError")


@everywhere
def test_static_code_that_never_ends(endless: Future[Failed]) -> None:
    """Ten seconds ahead of the first invocation, then the function's timeout inside each."""
    failed = endless.result()
    for answer in failed.answers:
        assert answer.payload == {
            "errorType": "Sandbox.Timedout",
            "errorMessage": f"RequestId: {answer.request_id} Error: Task timed out after 1.00 seconds",
        }
    assert failed.lines == twice("Status: timeout")


SLOW = """
from party import Desk

Desk("runtime").tell("loading")

def handler(event, context):
    return "came up"
"""


@in_containers
def test_an_initialisation_that_is_too_slow_at_first(
    berth: Any, name: str, zip_of: Callable[..., bytes]
) -> None:
    """Its second attempt is inside the invocation, which waits for it and counts it as its own time."""
    berth.deploy("any", PYTHON.idle)  # so that the address is known
    with Desk(berth.function_host) as desk, ThreadPoolExecutor(1) as background:
        desk.hold("loading")
        variables = {"DESK": desk.address}
        code = zip_of({"app.py": SLOW, "party.py": PARTY})
        berth.deploy(name, code, Environment={"Variables": variables})
        answering = background.submit(berth.invoke, name)
        desk.hear("runtime", "loading", nth=2)
        desk.release("loading")
        answer = answering.result()
    assert answer.payload == "came up"
    assert "Init Duration" not in answer.log
    lines = ["INIT_START", "INIT_REPORT Phase: init Status: timeout", "START", "END", "REPORT"]
    assert platform_lines(berth, name) == lines
