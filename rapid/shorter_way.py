"""A shorter way past the HTTP server: who answers plain requests there, and whom.

It knows no server, and so costs nobody its import.
"""

from asyncio import Transport
from typing import Protocol

from rapid.partings import Receiver
from rapid.plain_requests import FieldsReader, PlainHead


class Peer(Receiver, Protocol):
    """The connection that a request comes from."""

    @property
    def transport(self) -> Transport | None: ...

    def is_waiting(self) -> bool:
        """Whether the other side still waits for an answer, as far as has been noticed."""
        ...

    def answer(self, data: bytes) -> None:
        """The one answer to a request."""
        ...

    def hang_up(self) -> None:
        """There will be no answer."""
        ...


class ShorterWay(Protocol):
    """Whoever answers plain requests."""

    @property
    def read_fields(self) -> FieldsReader:
        """How their fields are read."""
        ...

    def take(self, head: PlainHead, body: bytes, peer: Peer) -> bool:
        """Answer the request now or later. False: nothing was done, it is to go the long way."""
        ...
