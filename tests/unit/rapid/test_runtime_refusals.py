"""What the Runtime API refuses: statuses and documents as AWS's own emulator writes them."""

import pytest

from rapid import errors


def test_illegal_transition() -> None:
    """A call out of order is answered 403 with both states named."""
    refusal = errors.illegal_transition("RuntimeResponseSentState", "InvocationResponse")
    assert refusal.status == 403
    assert refusal.body() == (
        b'{"errorMessage":"State transition from RuntimeResponseSentState to InvocationResponse failed for runtime. '
        b'Error: State transition is not allowed","errorType":"InvalidStateTransition"}'
    )


@pytest.mark.parametrize(
    ("refusal", "status", "body"),
    [
        (
            errors.INVALID_REQUEST_ID,
            400,
            b'{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}',
        ),
        (
            errors.too_large(errors.MAX_RESPONSE),
            413,
            (
                b'{"errorMessage":"Exceeded maximum allowed payload size (6291556 bytes).",'
                b'"errorType":"RequestEntityTooLarge"}'
            ),
        ),
        (
            errors.TRUNCATED,
            400,
            b'{"errorMessage":"HTTP request detected as truncated","errorType":"TruncatedHTTPRequest"}',
        ),
        (
            errors.INVALID_MODE,
            400,
            b'{"errorMessage":"Invalid function response mode","errorType":"InvalidFunctionResponseMode"}',
        ),
        (
            errors.INTERNAL,
            500,
            b'{"errorMessage":"Internal Server Error","errorType":"InternalServerError"}',
        ),
    ],
)
def test_refusal(refusal: errors.Refusal, status: int, body: bytes) -> None:
    """Each refusal has AWS's status, type and words."""
    assert (refusal.status, refusal.body()) == (status, body)


def test_accepted() -> None:
    """Every 202 has the same body, a newline at its end."""
    assert errors.ACCEPTED == b'{"status":"OK"}\n'
