"""The values of an invocation, in the words that clients of Lambda see."""

import json
import signal

import pytest

from rapid.invocation import ExitStatus, Fault, Outcome, exited, timed_out, too_large, truncated

REQUEST = "8f6d2a1c-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "Runtime exited without providing a reason"),
        (1, "Runtime exited with error: exit status 1"),
        (127, "Runtime exited with error: exit status 127"),
        (-signal.SIGKILL, "Runtime exited with error: signal: killed"),
        (-signal.SIGSEGV, "Runtime exited with error: signal: segmentation fault"),
        (-signal.SIGTERM, "Runtime exited with error: signal: terminated"),
        (-signal.SIGABRT, "Runtime exited with error: signal: aborted"),
        (-250, "Runtime exited with error: signal: signal 250"),
    ],
)
def test_exit_texts(code: int, text: str) -> None:
    """An exit is told as AWS tells it: no reason, the status, or the signal's name."""
    assert ExitStatus(code).text() == text


def test_exit_fault() -> None:
    """The client of a crashed runtime gets `Runtime.ExitError`, keys in AWS's order."""
    outcome = exited(ExitStatus(1)).outcome(REQUEST)
    assert outcome == Outcome(
        b'{"errorType":"Runtime.ExitError",'
        b'"errorMessage":"RequestId: 8f6d2a1c-0000-4000-8000-000000000001 '
        b'Error: Runtime exited with error: exit status 1"}',
        function_error=True,
        error_type="Runtime.ExitError",
    )


def test_out_of_memory_is_for_logs_only() -> None:
    """Logs name a kill for memory; the client sees the signal."""
    fault = exited(ExitStatus(-9, out_of_memory=True))
    assert (fault.status, fault.shown_type, fault.error_type) == (
        "error",
        "Runtime.OutOfMemory",
        "Runtime.ExitError",
    )
    assert b"signal: killed" in fault.outcome(REQUEST).payload


@pytest.mark.parametrize(("seconds", "text"), [(1, "1.00"), (3.0, "3.00"), (900, "900.00"), (0.125, "0.12")])
def test_timeout(seconds: float, text: str) -> None:
    """A timeout names its seconds with two decimals and has the status `timeout`."""
    fault = timed_out(seconds)
    body = json.loads(fault.outcome(REQUEST).payload)
    assert fault.status == "timeout"
    assert body == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {REQUEST} Error: Task timed out after {text} seconds",
    }


def test_posted_error_passes_unchanged() -> None:
    """An error that the runtime posted itself reaches the client byte for byte."""
    fault = Fault("Runtime.ImportModuleError", "", payload=b'{ "any" : "thing" }')
    expected = Outcome(b'{ "any" : "thing" }', function_error=True, error_type="Runtime.ImportModuleError")
    assert fault.outcome(REQUEST) == expected


def test_empty_posted_error() -> None:
    """An empty posted error is still the runtime's own and passes as it is."""
    assert Fault("Runtime.Unknown", "", payload=b"").outcome(REQUEST).payload == b""


def test_too_large() -> None:
    """A response over the limit becomes a function error, keys in AWS's order."""
    assert too_large(6291556) == Outcome(
        b'{"errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes).",'
        b'"errorType":"Function.ResponseSizeTooLarge"}',
        function_error=True,
        error_type="Function.ResponseSizeTooLarge",
    )


def test_truncated() -> None:
    """A stream that was cut off is a function error; what had gone out counts as produced."""
    outcome = truncated(REQUEST, 7)
    assert json.loads(outcome.payload) == {
        "errorType": "Runtime.TruncatedResponse",
        "errorMessage": f"RequestId: {REQUEST} Error: The response ended before it was whole",
    }
    assert (outcome.function_error, outcome.error_type, outcome.size) == (
        True,
        "Runtime.TruncatedResponse",
        7,
    )


def test_size() -> None:
    """What the function has produced is its payload, or what has been streamed of it."""
    assert Outcome(b"12345").size == 5
    assert Outcome(b"", streamed=12).size == 12
    assert too_large(9, 9).size == 9
