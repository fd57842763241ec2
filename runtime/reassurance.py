"""Long work that says nothing for a while: somebody says for it that it goes on. What the work is, is not known here."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

Progress = Callable[[str], None]

SILENCE = 30.0
"""Seconds after which whoever waits begins to wonder."""


@asynccontextmanager
async def reassuring(what: str, tell: Progress, silence: float = SILENCE) -> AsyncIterator[Progress]:
    """Around the work, which tells its progress to what this gives. `what` follows "still "."""
    loop = asyncio.get_running_loop()
    began = last = loop.time()

    def heard(line: str) -> None:
        nonlocal last
        last = loop.time()
        tell(line)

    async def remind() -> None:
        while True:
            await asyncio.sleep(last + silence - loop.time())
            if loop.time() - last >= silence:
                heard(f"still {what} after {(loop.time() - began) / 60:.1f} minutes")

    reminding = asyncio.create_task(remind())
    try:
        yield heard
    finally:
        reminding.cancel()
        await asyncio.wait({reminding})
