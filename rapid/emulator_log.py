"""What the emulator writes: the function's log on stdout, and what it says itself on stderr, as AWS's emulator does."""

import logging
import os
import sys
import time

from rapid.log_format import LogFormat
from rapid.platform_events import milliseconds
from rapid.records import InitReport, InitRuntimeDone, InitStart, Record, RuntimeDone, Start

logger = logging.getLogger("rapid")

logging.addLevelName(5, "TRACE")


class Format(logging.Formatter):
    """`26 Nov 2026 03:00:25,622 [INFO] (rapid) …`."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802  theirs
        return f"{time.strftime('%d %b %Y %H:%M:%S', time.gmtime(record.created))},{int(record.msecs):03d}"


def log_to_stderr(level: int) -> None:
    """Send what anybody logs here to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Format("%(asctime)s [%(levelname)s] (rapid) %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


def write(event: bytes) -> None:
    """Write an event of the function's log, whole lines only; waits while nobody reads."""
    data = event if event.endswith(b"\n") else event + b"\n"
    while data:
        try:
            data = data[os.write(1, data) :]
        except BlockingIOError:
            time.sleep(0.001)  # stdout is not ours to make blocking
        except BrokenPipeError:
            return  # nobody reads, and the function is not to end for it


class EmulatorFormat(LogFormat):
    """Lambda's format, but that the log of a container has no INIT_START line. What happens is told on stderr too."""

    def platform(self, record: Record, now: float, offset: float = 0.0) -> list[bytes]:
        if logger.isEnabledFor(logging.INFO):
            _tell(record)
        if isinstance(record, InitStart) and not self.json:
            return []
        return super().platform(record, now, offset)


def _tell(record: Record) -> None:
    match record:
        case InitStart():
            logger.info("INIT START(type: %s, phase: %s)", record.initialization_type, record.phase)
        case InitRuntimeDone():
            logger.info("INIT RTDONE(status: %s)", record.status)
        case InitReport():
            logger.info("INIT REPORT(durationMs: %s)", milliseconds(record.duration))
        case Start():
            logger.info("INVOKE START(requestId: %s)", record.request_id)
        case RuntimeDone():
            logger.info(
                "INVOKE RTDONE(status: %s, produced bytes: %d, duration: %sms)",
                record.status, record.produced or 0, milliseconds(record.duration),
            )  # fmt: skip
