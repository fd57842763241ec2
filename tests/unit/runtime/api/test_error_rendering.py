"""Errors on the wire: spelling, type, header."""

import orjson

from runtime.api.errors import render
from runtime.errors import LambdaError, not_found


def test_capital_message() -> None:
    """ResourceNotFoundException spells `Message`."""
    answer = render(not_found("Function not found: x"))
    assert answer.status == 404
    assert answer.headers == {"x-amzn-ErrorType": "ResourceNotFoundException"}
    assert orjson.loads(answer.body) == {"Type": "User", "Message": "Function not found: x"}


def test_throttle_has_reason_and_retry_after() -> None:
    """A throttled caller hears why, and when to come back."""
    error = LambdaError(
        "TooManyRequestsException", "Rate Exceeded.", reason="CallerRateLimitExceeded", retry_after=1
    )
    answer = render(error)
    assert answer.headers["Retry-After"] == "1"
    assert answer.body == b'{"Reason":"CallerRateLimitExceeded","Type":"User","message":"Rate Exceeded."}'


def test_front_door_errors_have_no_type() -> None:
    """A 413 is recorded with `Message` alone."""
    assert orjson.loads(render(LambdaError("RequestEntityTooLargeException", "big")).body) == {
        "Message": "big"
    }


def test_any_text_can_be_rendered() -> None:
    """What a caller sent in bytes that are no text comes back readable, not as a crash."""
    assert orjson.loads(render(not_found("x\udcff")).body)["Message"] == "x?"
