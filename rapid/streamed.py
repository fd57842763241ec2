"""An invocation whose response is taken as it comes, whether the function streams it or not.

What doors that stream are given. Knows nothing of HTTP or of the event stream's format.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

from rapid.exchange import Ticket
from rapid.invocation import Outcome
from rapid.streams import Stream

UNHANDLED = "Unhandled"
_BROKEN_OFF = {
    "Runtime.ExitError": "Runtime.TruncatedResponse",
    "Runtime.TruncatedResponse": "Runtime.TruncatedResponse",
    "Function.ResponseSizeTooLarge": "Function.ResponseSizeTooLarge",
    "Sandbox.Timedout": "Sandbox.Timedout",
    "Sandbox.Failure": "Sandbox.Failure",
}
#: Error type to error code, where a part of the response is with the client already.


class Bucket(Protocol):
    """What keeps a stream to a rate."""

    def take(self, amount: float, now: float) -> float:
        """The seconds to wait after so many bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Ending:
    """How it ended. `error_code` is None where the function succeeded; `error_details` is the error's document."""

    error_code: str | None
    error_details: bytes
    log_tail: bytes


class Streamed:
    """`start`, then `read` until it gives nothing, then `end`; `leave` at any time, and in any case."""

    def __init__(
        self,
        ticket: Ticket,
        stream: Stream,
        *,
        executed_version: str,
        trace_id: str,
        bucket: Bucket | None = None,
    ) -> None:
        self.executed_version = executed_version
        self.trace_id = trace_id
        self._ticket = ticket
        self._stream = stream
        self._bucket = bucket
        self._gave_payload = False
        #: The part of the response that was not streamed has been read.

    async def start(self) -> str:
        """Wait for the response's first byte, or for its end; its content type."""
        await self._stream.started()
        return self._stream.content_type or (await self._outcome()).content_type

    async def read(self) -> bytes:
        """The next piece, as soon as the rate allows; nothing at the end."""
        piece = await self._stream.read() or await self._buffered()
        if piece and self._bucket is not None:
            pause = self._bucket.take(len(piece), time.monotonic())
            if pause:
                await asyncio.sleep(pause)
        return piece

    async def end(self, *, tail: bool) -> Ending:
        """How it ended; with `tail`, not before the log of it is whole."""
        outcome = await self._outcome()
        log_tail = b""
        if tail:
            await asyncio.wait([self._ticket.completed])
            log_tail = self._ticket.tail.content()
        if not outcome.function_error:
            return Ending(None, b"", log_tail)
        code = _BROKEN_OFF.get(outcome.error_type or "", UNHANDLED) if self._stream.size else UNHANDLED
        return Ending(code, outcome.payload, log_tail)

    def leave(self) -> None:
        """The client is gone, or has everything. The function is not stopped by it."""
        self._stream.leave()

    async def _buffered(self) -> bytes:
        """A response that came in one piece, once."""
        if self._gave_payload:
            return b""
        self._gave_payload = True
        outcome = await self._outcome()
        return b"" if outcome.function_error else outcome.payload

    async def _outcome(self) -> Outcome:
        await asyncio.wait([self._ticket.outcome])  # a caller that is cancelled cancels no future of others
        return self._ticket.outcome.result()
