"""Who may connect to the APIs of an environment: its own sandbox, and that with so many connections at the most."""

import logging
from asyncio import Transport

logger = logging.getLogger(__name__)

CONNECTIONS = 64
"""Open at a time. A runtime and its extensions hold a handful; further ones are hung up on."""


class Admission:
    """`peer` is the address that may connect."""

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self._has_refused = False

    def __call__(self, transport: Transport, others: int) -> bool:
        """Takes the connection and how many there are already."""
        peer = (transport.get_extra_info("peername") or [""])[0]  # none where it has hung up already
        if peer != self._peer:
            self._refuse(f"{peer}, whose environment is another one's")
        elif others >= CONNECTIONS:
            self._refuse(f"{peer}, which holds {others} already")
        else:
            return True
        return False

    def _refuse(self, whom: str) -> None:
        """Said once: who is refused must not be able to fill the log."""
        if not self._has_refused:
            logger.warning("refused a connection to the Runtime API of %s from %s", self._peer, whom)
        self._has_refused = True
