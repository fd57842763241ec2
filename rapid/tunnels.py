"""Tunnels, the sandbox's end: connections from the control plane to listeners inside, carried by the link.

Part of the agent and loaded when the first tunnel is dialled, so that functions without subscribers to telemetry pay
nothing for it. Standard library only.

Listeners are a function's, thus hostile: nothing here waits for one. Sockets do not block, what has not been sent is
bounded by the control plane's window, and what comes back is read only as far as ours allows. How long a connection
may take to be made is the control plane's to decide: it hangs up.
"""

from __future__ import annotations

import errno
import os
import select
import socket

from rapid.wire import CREDIT, MOST_TUNNELS, TUNNEL, WINDOW, Kind, fields, frame, message

TYPE_CHECKING = False  # `typing` itself would cost a cold start 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable

PIECE = 1 << 14
"""Bytes that one reading takes."""


class Tunnels:
    """All tunnels of one agent. Their sockets are in the agent's own poll."""

    def __init__(self, poll: select.epoll, send: Callable[[bytes], None]) -> None:
        self._poll = poll
        self._send = send
        self._by_number: dict[int, Connection] = {}
        self._by_fd: dict[int, Connection] = {}

    def obey(self, kind: Kind, payload: bytes) -> None:
        """Do what the control plane says about a tunnel, unless it has been hung up meanwhile."""
        if kind is Kind.DIAL:
            self._dial(**fields(payload))
        elif connection := self._by_number.get(TUNNEL.unpack_from(payload)[0]):
            self._obey(connection, kind, payload)

    def _obey(self, connection: Connection, kind: Kind, payload: bytes) -> None:
        if kind is Kind.SEND:
            connection.unsent += payload[TUNNEL.size :]
            self._write(connection)
        elif kind is Kind.TAKEN:
            connection.credit += CREDIT.unpack(payload)[1]
            connection.watch()
        elif kind is Kind.HANG_UP:
            self._forget(connection)

    def _dial(self, tunnel: int, port: int) -> None:
        if len(self._by_number) >= MOST_TUNNELS:
            self._send(message(Kind.DIALLED, tunnel=tunnel, error="too many tunnels"))
            return
        try:
            connection = Connection(tunnel, self._poll)
        except OSError as error:
            self._send(message(Kind.DIALLED, tunnel=tunnel, error=_text(error.errno)))
            return
        self._by_number[tunnel] = self._by_fd[connection.fd] = connection
        self._dialled(connection, connection.socket.connect_ex(("127.0.0.1", port)))

    def ready(self, fd: int, events: int) -> None:
        """A descriptor is ready; it may be that of a tunnel that is gone."""
        connection = self._by_fd.get(fd)
        if connection is None:
            return
        if not connection.connected:
            self._dialled(connection, connection.outcome())
            return
        if connection.unsent and events & ~select.EPOLLIN:
            self._write(connection)
        if connection.credit and events & ~select.EPOLLOUT and connection.fd in self._by_fd:
            self._read(connection)

    def _dialled(self, connection: Connection, code: int) -> None:
        if code == errno.EINPROGRESS:
            connection.watch()
            return
        error = _text(code) if code else None
        self._send(message(Kind.DIALLED, tunnel=connection.number, error=error))
        if error is not None:
            self._forget(connection)
            return
        connection.connected = True
        connection.watch()

    def _write(self, connection: Connection) -> None:
        if not connection.connected:
            return
        try:
            count = connection.socket.send(connection.unsent)
        except BlockingIOError:
            count = 0
        except OSError:  # it does not listen any more, but may have said something before
            connection.broken = True
            connection.unsent.clear()
            connection.watch()
            return
        if count:
            del connection.unsent[:count]
            self._send(frame(Kind.SENT, CREDIT.pack(connection.number, count)))
        connection.watch()

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(min(PIECE, connection.credit))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hung_up(connection)
            return
        connection.credit -= len(data)
        self._send(frame(Kind.RECEIVED, TUNNEL.pack(connection.number) + data))
        connection.watch()

    def _hung_up(self, connection: Connection) -> None:
        self._forget(connection)
        self._send(frame(Kind.HUNG_UP, TUNNEL.pack(connection.number)))

    def _forget(self, connection: Connection) -> None:
        del self._by_number[connection.number]
        del self._by_fd[connection.fd]
        connection.close()


class Connection:
    """One socket, and what is on its way through it."""

    __slots__ = (
        "_poll",
        "_watched",
        "broken",
        "connected",
        "credit",
        "fd",
        "number",
        "socket",
        "unsent",
    )

    def __init__(self, number: int, poll: select.epoll) -> None:
        self.number = number
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fd = self.socket.fileno()
        self.connected = False
        self.broken = False
        """It takes nothing any more."""
        self.unsent = bytearray()
        self.credit = WINDOW
        """Bytes that the control plane can still hold."""
        self._poll = poll
        self._watched = 0

    def watch(self) -> None:
        """Have the poll look for what can be done now, and for nothing else: a broken socket is always ready."""
        if not self.connected:
            wanted = select.EPOLLOUT
        else:
            wanted = select.EPOLLIN if self.credit else 0
            wanted |= select.EPOLLOUT if self.unsent and not self.broken else 0
        if wanted == self._watched:
            return
        if not self._watched:
            self._poll.register(self.fd, wanted)
        elif wanted:
            self._poll.modify(self.fd, wanted)
        else:
            self._poll.unregister(self.fd)
        self._watched = wanted

    def outcome(self) -> int:
        """The error code of connecting: 0, or `EINPROGRESS` where the poll spoke of an earlier owner of our number."""
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            return code
        try:
            self.socket.getpeername()
        except OSError:
            return errno.EINPROGRESS
        return 0

    def close(self) -> None:
        if self._watched:
            self._poll.unregister(self.fd)
        self.socket.close()


def _text(code: int | None) -> str:
    return os.strerror(code or 0).lower()
