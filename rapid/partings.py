"""How the other side of a connection goes, as the system tells it.

When a process ends, however it does, its connections are closed for it, and the system says on each of them whether all
that had come there had been read: where something had not, the connection is reset, else it ends in order. (RFC 1122,
4.2.2.13.) So whoever sent something last can know whether it was read whole. What was sent is not known here.
"""

import asyncio
import select
from asyncio import Future, Transport
from typing import Protocol

_GONE = getattr(select, "POLLRDHUP", select.POLLHUP)
"""The latter where the system does not tell the end of what comes in from that of the connection."""


class Receiver(Protocol):
    """Whoever something was sent to."""

    def parted(self) -> Future[bool]:
        """Done when he is gone, whether by then he had not read all that was sent to him. Not known counts as read."""
        ...


class Parting:
    """Of one connection. Its protocol tells `ends` and `over` of what it hears itself."""

    __slots__ = ("_future", "_is_over", "_is_reset")

    def __init__(self) -> None:
        self._is_over = False
        self._is_reset = False
        self._future: Future[bool] | None = None

    def ends(self, transport: Transport | None) -> None:
        """Nothing more comes.

        What was on its way to somebody who went in order, having read all that there was before, has come back as a
        reset behind his end, or has not been written yet.
        """
        if transport is not None:
            is_back = bool(_told(transport) & select.POLLERR)
            self._is_reset = self._is_reset or is_back or transport.get_write_buffer_size() > 0

    def over(self, error: BaseException | None) -> None:
        """The connection is lost."""
        self._is_over = True
        self._is_reset = self._is_reset or isinstance(error, ConnectionError)
        if self._future is not None and not self._future.done():
            self._future.set_result(self._is_reset)

    def known(self) -> Future[bool]:
        """See `Receiver.parted`."""
        if self._future is None or self._future.cancelled():
            self._future = asyncio.get_running_loop().create_future()
            if self._is_over:
                self._future.set_result(self._is_reset)
        return self._future


def is_listening(transport: Transport | None) -> bool:
    """Whether there is somebody to send to. The loop may not have noticed yet that there is not."""
    return transport is not None and not transport.is_closing() and not _told(transport) & ~select.POLLIN


def _told(transport: Transport) -> int:
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), _GONE)
    return next((events for _, events in poll.poll(0)), 0)
