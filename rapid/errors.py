"""What the Runtime API and the Extensions API refuse, as one table: error type, status, text.

The rows are those of AWS's own emulator of the APIs, which runtime clients are tested against.
"""

import json
from dataclasses import dataclass

MAX_RESPONSE = 6 * 1024 * 1024 + 100
"""Longest buffered response of a function, in bytes."""

MAX_STREAM = 200 * 1024 * 1024
"""Longest streamed response, in bytes (Lambda quotas: 200 MB)."""

MAX_EXTENSION_BODY = 256 * 1024
"""Longest body that an extension may send, in bytes. Real ones are a list of two events, or one error."""

ACCEPTED = b'{"status":"OK"}\n'
"""Body of every 202."""


class BodyTooLong(Exception):
    """A body exceeds the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes")
        self.limit = limit


class BodyBroken(Exception):
    """A body ended before it was whole."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One way in which an API says no."""

    status: int
    error_type: str
    message: str

    def body(self) -> bytes:
        return document(self.message, self.error_type)


def too_large(limit: int) -> Refusal:
    """A body is longer than `limit` bytes."""
    return Refusal(413, "RequestEntityTooLarge", f"Exceeded maximum allowed payload size ({limit} bytes).")


TOO_LATE = Refusal(410, "InvokeTimeout", "Invoke timeout")
INVALID_REQUEST_ID = Refusal(400, "InvalidRequestID", "Invalid request ID")
TRUNCATED = Refusal(400, "TruncatedHTTPRequest", "HTTP request detected as truncated")
INVALID_MODE = Refusal(400, "InvalidFunctionResponseMode", "Invalid function response mode")
NOT_AUTHORIZED = Refusal(403, "Unauthorized", "cannot get credentials for the provided token")
INTERNAL = Refusal(500, "InternalServerError", "Internal Server Error")


def illegal_transition(current: str, target: str) -> Refusal:
    """The refusal of a call that the runtime's state does not allow."""
    text = f"State transition from {current} to {target} failed for runtime."
    return Refusal(403, "InvalidStateTransition", f"{text} Error: State transition is not allowed")


def document(message: str, error_type: str) -> bytes:
    """An error as the Runtime API writes it."""
    return json.dumps({"errorMessage": message, "errorType": error_type}, separators=(",", ":")).encode()


# The Extensions API's own. The documentation also lists 400 for bad input; AWS's emulator answers 403.

EMPTY_EXTENSION_NAME = Refusal(403, "Extension.InvalidExtensionName", "Empty extension name")
REGISTRATION_CLOSED = Refusal(403, "Extension.RegistrationClosed", "Extension registration closed already")
NAME_REGISTERED = Refusal(
    403, "Extension.InvalidExtensionState", "Extension with this name already registered"
)
TOO_MANY_EXTENSIONS = Refusal(403, "Extension.TooManyExtensions", "Extension limit (10) reached")
MISSING_IDENTIFIER = Refusal(
    403, "Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header"
)
INVALID_IDENTIFIER = Refusal(
    403, "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier"
)
UNKNOWN_IDENTIFIER = Refusal(
    403, "Extension.UnknownExtensionIdentifier", "Unknown Lambda-Extension-Identifier"
)
MISSING_ERROR_TYPE = Refusal(403, "Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found")


def unknown_extension(identifier: str) -> Refusal:
    """Nobody has registered under the identifier that an `event/next` or a subscription names."""
    return Refusal(403, "Extension.UnknownExtensionIdentifier", f"Unknown extension {identifier}")


def invalid_request_format(text: str) -> Refusal:
    """The body of a registration cannot be read."""
    return Refusal(403, "InvalidRequestFormat", text)


def invalid_event_type(event: str, reason: str) -> Refusal:
    """A registration subscribes to what it cannot have."""
    return Refusal(403, "Extension.InvalidEventType", f"{event}: {reason}")


def illegal_extension_transition(name: str, current: str, target: str) -> Refusal:
    """An extension's state does not allow its call."""
    text = f"State transition from {current} to {target} failed for extension {name}."
    return Refusal(403, "Extension.InvalidExtensionState", f"{text} Error: State transition is not allowed")


# The Telemetry API's and the Logs API's own.

TELEMETRY_CLOSED = Refusal(
    403, "Telemetry.SubscriptionClosed", "Telemetry API subscription is closed already"
)
LOGS_CLOSED = Refusal(403, "Logs.SubscriptionClosed", "Logs API subscription is closed already")


def invalid_subscription(api: str, text: str) -> Refusal:
    """A subscription asks for what cannot be. `api` is `Telemetry` or `Logs`."""
    return Refusal(400, "Logs.ValidationError" if api == "Logs" else "ValidationError", text)


def subscribed_elsewhere(name: str, api: str) -> Refusal:
    """An extension that has subscribed to the other one of the two APIs asks for this one."""
    other = "Telemetry" if api == "Logs" else "Logs"
    return invalid_subscription(api, f"extension {name} has subscribed to the {other} API already")
