"""The link's wire format: what the control plane and the agent inside a sandbox say to each other.

One TCP connection, opened by the agent. Either side sends frames: a header (payload length as big-endian u32, kind as
u8), then the payload. Payloads of rare kinds are JSON objects; the three that occur in every invocation are packed.

Order is meaning: output frames that precede an `EXITED` or a `SETTLED` frame were written before it.

A **tunnel** is a TCP connection from the control plane to a listener inside the sandbox, carried by the link. Each
direction has a window, so neither side ever holds more of it than `WINDOW` bytes and a slow end holds up nobody else.

Pure and standard library only: this module is imported by the agent, where every import costs start-up time.
"""

from __future__ import annotations

import json
import struct
from enum import IntEnum

TYPE_CHECKING = False  # `typing` itself would cost a cold start 3 ms
if TYPE_CHECKING:
    from typing import Any

HEADER = struct.Struct("!IB")
MAX_PAYLOAD = 1 << 20
"""Longest payload that a reader accepts; nobody sends more than `CHUNK` bytes of data in one frame."""
CHUNK = 1 << 16

MOST_NAMES = 64
"""Names in one `LISTED`: a directory may hold more than a frame, and nobody needs to know them all."""

OUTPUT_HEADER = struct.Struct("!HB")
SETTLED_PAYLOAD = struct.Struct("!IQ")
TOKEN = struct.Struct("!I")

MOST_TUNNELS = 16
"""Tunnels that an agent keeps open at a time: ten extensions can subscribe to telemetry."""
WINDOW = 1 << 16
"""Bytes that may be on their way through a tunnel, in each direction, before the far end has taken them."""
TUNNEL = struct.Struct("!I")
CREDIT = struct.Struct("!II")


class Kind(IntEnum):
    """Frame kinds; the comment gives the payload."""

    # agent to control plane
    HELLO = 1  # {sandbox, token}: the first frame on every link
    STARTED = 2  # {process, pid}
    NOT_STARTED = 3  # {process, stage: "exec" | "chdir" | "fork", error: text}
    OUTPUT = 4  # process u16, stream u8 (1 stdout, 2 stderr), bytes
    EXITED = 5  # {process, status: exit code, or minus the signal; out_of_memory: bool}
    SETTLED = 6  # token u32, peak memory in bytes u64: all output written so far has been sent
    CLEARED = 7  # like SETTLED, and no process of the function is left
    TREE_DONE = 8  # {path, error: text or null}
    LISTED = 9  # {path, names}: of its entries that are not directories, sorted, the first `MOST_NAMES`
    DIALLED = 10  # {tunnel, error: text or null}
    RECEIVED = 11  # tunnel u32, bytes: what the listener at a tunnel's end wrote
    SENT = 12  # tunnel u32, count u32: bytes that the listener's socket has taken
    HUNG_UP = 13  # tunnel u32: the listener has closed the connection, or it broke

    # control plane to agent
    START = 32  # {process, argv, env, cwd, log_fd: number or null; as this descriptor it gets its stdout once more,
    # log_desk: its workers can fetch streams of their own, files: how many it may have open}; the first of argv is a
    # path, or a `first_of` paths
    SETTLE = 33  # token u32
    CLEAR = 34  # token u32: kill every process, then answer CLEARED
    FREEZE = 35  # empty
    THAW = 36  # empty
    SIGNAL = 37  # {process, number}: to the process's group
    TREE = 38  # {path}: TREE_DATA frames with one tar archive follow, then TREE_END
    TREE_DATA = 39  # bytes
    TREE_END = 40  # empty
    LIST = 42  # {path}: what is in a directory; nothing where there is none that can be read
    DIAL = (
        43  # {tunnel, port}: connect to a listener on the sandbox's loopback interface; a number is used once
    )
    SEND = 44  # tunnel u32, bytes for the listener
    TAKEN = 45  # tunnel u32, count u32: bytes of `RECEIVED` frames that are no longer held
    HANG_UP = 46  # tunnel u32: close it; what the listener has not taken is dropped


class WireError(Exception):
    """The peer does not speak this protocol."""


def first_of(*places: str) -> str:
    """A program that is looked for in several places, as argv names it: no path begins with the colon that marks it."""
    return "".join(f":{place}" for place in places)


def frame(kind: Kind, payload: bytes = b"") -> bytes:
    """One frame, ready to be written in one call (small separate writes cost 40 ms on a TCP connection)."""
    return HEADER.pack(len(payload), kind) + payload


def message(kind: Kind, **fields: Any) -> bytes:
    """One frame with a JSON payload."""
    return frame(kind, json.dumps(fields, separators=(",", ":")).encode())


def fields(payload: bytes) -> dict[str, Any]:
    """The members of a JSON payload."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError) as error:  # nesting without end comes from whoever can dial the link
        raise WireError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise WireError("not a JSON object")
    return value


class Frames:
    """Cuts a byte stream into frames. Bytes in by `feed`, whole frames out."""

    def __init__(self) -> None:
        self._rest = bytearray()
        """The beginning of a frame."""

    def feed(self, data: bytes) -> list[tuple[Kind, bytes]]:
        """The frames that `data` completes. Raises `WireError` on an unknown kind or an over-long payload."""
        buffer: bytes | bytearray = data  # whole frames, most times
        if self._rest:
            self._rest += data
            buffer = self._rest
        found: list[tuple[Kind, bytes]] = []
        start, size = 0, len(buffer)
        while size - start >= HEADER.size:
            length, number = HEADER.unpack_from(buffer, start)
            if length > MAX_PAYLOAD:
                raise WireError(f"a payload of {length} bytes")
            end = start + HEADER.size + length
            if size < end:
                break
            kind = _KINDS.get(number)
            if kind is None:
                raise WireError(f"unknown frame kind {number}")
            found.append((kind, bytes(buffer[start + HEADER.size : end])))
            start = end
        if buffer is self._rest:
            del self._rest[:start]
        elif start < size:
            self._rest += data[start:]
        return found


_KINDS = {kind.value: kind for kind in Kind}
