"""The HTTP server behind the emulator's door, for whatever is not plain (`rapid.porch`). Imported when that comes."""

import asyncio
import logging
from asyncio import Transport
from collections.abc import Callable

from rapid.invoke_calls import InvokeCalls
from rapid.invoke_door import InvokeDoor
from rapid.server import OwnDoor

_unheard = logging.getLogger("rapid.http")
_unheard.setLevel(logging.CRITICAL)
#: aiohttp writes a traceback for each malformed request.

LINGER = 0.1
"""Seconds that requests under way get to end by themselves."""


class InvokeServer:
    """From its making to `close`."""

    def __init__(
        self, calls: InvokeCalls, admit: Callable[[Transport, int], bool], keep_alive: float
    ) -> None:
        self._door = InvokeDoor(calls)
        self._web = OwnDoor(
            self._door.handle,
            access_log=None,
            logger=_unheard,
            keepalive_timeout=keep_alive,
            auto_decompress=False,
        )
        self._web.admit = admit

    def protocol(self) -> asyncio.Protocol:
        """For a connection that somebody else has taken."""
        return self._web()

    async def forget_events(self) -> None:
        await self._door.close()

    async def close(self) -> None:
        await self._web.shutdown(LINGER)
