"""Inside the sandbox: a socket where the workers of one runtime fetch streams of their own for what they write.

Workers that shared a pipe would cut each other's lines to pieces. It only hands out connections; reading from them is the
agent's business. Standard library only, and imported only where a runtime has workers.
"""

import os
import select
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Poll(Protocol):
        """Says when a descriptor can be read; `select.epoll`, for one."""

        def register(self, fd: int, eventmask: int, /) -> None: ...
        def unregister(self, fd: int, /) -> None: ...


VARIABLE = "_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET"
"""Where runtime clients learn of it."""
FIRST_STREAM, LAST_STREAM = 3, 255
"""Numbers of streams that come from here; 1 and 2 are the process's own."""
MOST = 512
"""Connections at a time: each takes a descriptor of the agent's. Others wait until one is closed."""


class LogDesk:
    """See the module's text. `name` tells it from others of this process."""

    def __init__(self, poll: "Poll", name: str) -> None:
        self.path = f"/tmp/.log-{os.getpid()}-{name}"  # noqa: S108  the sandbox's own
        self._poll = poll
        self._open = 0
        self._last = LAST_STREAM
        try:
            os.unlink(self.path)  # of a runtime before this one
        except OSError:
            pass  # there is none; what else is wrong `bind` will say
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        os.chmod(self.path, 0o666)
        self._listener.listen(128)
        self._listener.setblocking(False)
        poll.register(self._listener.fileno(), select.EPOLLIN)

    def fileno(self) -> int:
        return self._listener.fileno()

    def accept(self) -> "tuple[int, int] | None":
        """A connection's descriptor and the number of its stream; None where nobody came after all."""
        if self._open == MOST:
            return None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return None
        connection.setblocking(False)
        self._open += 1
        if self._open == MOST:
            self._poll.unregister(self._listener.fileno())
        self._last = FIRST_STREAM if self._last == LAST_STREAM else self._last + 1
        return connection.detach(), self._last

    def closed(self) -> None:
        """A connection is closed: there is room for another one."""
        if self._open == MOST:
            self._poll.register(self._listener.fileno(), select.EPOLLIN)
        self._open -= 1

    def close(self) -> None:
        """The runtime is gone."""
        if self._open < MOST:
            self._poll.unregister(self._listener.fileno())
        self._listener.close()
        try:
            os.unlink(self.path)
        except OSError:
            pass  # the function may have done so
