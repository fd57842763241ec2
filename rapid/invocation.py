"""What goes into an execution environment and what comes out: values, no behaviour beyond making them."""

import json
import signal
from dataclasses import replace

from rapid.values import value


@value(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One event on its way to the runtime."""

    request_id: str
    arn: str
    """The function's ARN as invoked, with the qualifier if one was given."""
    payload: bytes
    trace_id: str
    content_type: str = "application/json"
    client_context: str | None = None
    """JSON text, already decoded from base64."""
    cognito_identity: str | None = None
    """JSON text."""
    tenant_id: str | None = None


@value(frozen=True, slots=True)
class Outcome:
    """What the client of an invocation gets."""

    payload: bytes
    """The response, or the error's document; empty where the response has been streamed."""
    function_error: bool = False
    content_type: str = "application/json"
    error_type: str | None = None
    """Of a function error, in the terms of logs."""
    streamed: int | None = None
    """Bytes of the response that have gone to the client before its end; None: it was not streamed."""
    cause: str | None = None
    """What the runtime said about a function error for X-Ray: JSON, cropped."""

    @property
    def size(self) -> int:
        """Bytes that the function has produced."""
        return len(self.payload) if self.streamed is None else self.streamed


@value(frozen=True, slots=True)
class ExitStatus:
    """How a process ended. `code` as a shell would see it, or minus the signal's number."""

    code: int
    out_of_memory: bool = False

    def text(self) -> str:
        """The words that Lambda uses for it."""
        if self.code == 0:
            return "Runtime exited without providing a reason"
        if self.code > 0:
            return f"Runtime exited with error: exit status {self.code}"
        return f"Runtime exited with error: signal: {_signal_text(-self.code)}"


def _signal_text(number: int) -> str:
    try:
        return (signal.strsignal(number) or f"signal {number}").lower()
    except ValueError:
        return f"signal {number}"


@value(frozen=True, slots=True)
class Fault:
    """Why an environment could not finish its work, in the terms of logs (`status`, `error_type`) and of the client.

    `payload` is set when the runtime posted an error itself: the client gets it as it is.
    `shown_type` is the type in logs where it differs from the client's.
    """

    error_type: str
    message: str
    status: str = "error"
    payload: bytes | None = None
    shown_type: str | None = None

    def outcome(self, request_id: str) -> Outcome:
        """What the client gets whose invocation met this fault."""
        if self.payload is not None:
            return Outcome(self.payload, function_error=True, error_type=self.error_type)
        body = {
            "errorType": self.error_type,
            "errorMessage": f"RequestId: {request_id} Error: {self.message}",
        }
        text = json.dumps(body, separators=(",", ":"))
        return Outcome(text.encode(), function_error=True, error_type=self.error_type)


def exited(status: ExitStatus) -> Fault:
    """The runtime's process ended although nobody asked it to."""
    shown = "Runtime.OutOfMemory" if status.out_of_memory else None
    return Fault("Runtime.ExitError", status.text(), shown_type=shown)


def extension_exited(status: ExitStatus) -> Fault:
    """An extension's process ended while it was needed."""
    text = "exit code 0" if status.code == 0 else status.text().removeprefix("Runtime exited with error: ")
    return Fault("Extension.Crash", text, shown_type="Runtime.OutOfMemory" if status.out_of_memory else None)


def timed_out(seconds: float) -> Fault:
    """The function's timeout passed."""
    return Fault("Sandbox.Timedout", f"Task timed out after {seconds:.2f} seconds", status="timeout")


def too_large(limit: int, streamed: int | None = None) -> Outcome:
    """The function's response exceeds `limit` bytes. Keys in the order that AWS sends."""
    text = f"Response payload size exceeded maximum allowed payload size ({limit} bytes)."
    body = {"errorMessage": text, "errorType": "Function.ResponseSizeTooLarge"}
    document = json.dumps(body, separators=(",", ":")).encode()
    return Outcome(document, function_error=True, error_type=body["errorType"], streamed=streamed)


def truncated(request_id: str, streamed: int | None) -> Outcome:
    """A streamed response was cut off after a part of it had gone to the client."""
    fault = Fault("Runtime.TruncatedResponse", "The response ended before it was whole")
    return replace(fault.outcome(request_id), streamed=streamed)
