"""What the Runtime API refuses, as one table: error type, status, text.

The rows are those of AWS's own emulator of the API, which runtime clients are tested against.
"""

import json
from dataclasses import dataclass

MAX_RESPONSE = 6 * 1024 * 1024 + 100
"""Longest buffered response of a function, in bytes."""

ACCEPTED = b'{"status":"OK"}\n'
"""Body of every 202."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One way in which the Runtime API says no."""

    status: int
    error_type: str
    message: str

    def body(self) -> bytes:
        return document(self.message, self.error_type)


INVALID_REQUEST_ID = Refusal(400, "InvalidRequestID", "Invalid request ID")
TRUNCATED = Refusal(400, "TruncatedHTTPRequest", "HTTP request detected as truncated")
TOO_LARGE = Refusal(
    413, "RequestEntityTooLarge", f"Exceeded maximum allowed payload size ({MAX_RESPONSE} bytes)."
)
INVALID_MODE = Refusal(400, "InvalidFunctionResponseMode", "Invalid function response mode")
INTERNAL = Refusal(500, "InternalServerError", "Internal Server Error")


def illegal_transition(current: str, target: str) -> Refusal:
    """The refusal of a call that the runtime's state does not allow."""
    text = f"State transition from {current} to {target} failed for runtime."
    return Refusal(403, "InvalidStateTransition", f"{text} Error: State transition is not allowed")


def document(message: str, error_type: str) -> bytes:
    """An error as the Runtime API writes it."""
    return json.dumps({"errorMessage": message, "errorType": error_type}, separators=(",", ":")).encode()
