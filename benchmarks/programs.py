"""Other programs, and what they say. None outlives who started it."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable
from typing import TypeVar


class Failed(Exception):
    """A peer or a measurement that did not come about; the text says why."""


T = TypeVar("T")


async def output(*command: str, stdin: bytes = b"") -> str:
    """A program's output. Raises `Failed`."""
    return await outcome(await started(*command), stdin)


async def python(module: str, *arguments: str, stdin: bytes = b"") -> str:
    """The same of one of these modules."""
    return await output(sys.executable, "-m", module, *arguments, stdin=stdin)


async def started(*command: str) -> Process:
    """A program with pipes. It does not hear of Ctrl-C, which is ours: it ends when it is told to."""
    try:
        return await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
        )
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from None


async def outcome(process: Process, stdin: bytes = b"") -> str:
    """What it has said when it has ended; it is told that nothing follows `stdin`. Raises `Failed`."""
    try:
        out, err = await process.communicate(stdin)
    finally:
        await ended(process)
    if process.returncode:
        said = (err or out).decode(errors="replace").strip()[-400:]
        raise Failed(f"a program ended with {process.returncode}: {said}")
    return out.decode()


async def ended(process: Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


async def finished(work: Awaitable[T]) -> T:
    """Wait for something to its end, when cancelled as well: what it makes is there before all is removed."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def first_line(process: Process, seconds: float) -> bytes:
    """Raises `Failed`."""
    line = b""
    if process.stdout:
        line = await asyncio.wait_for(process.stdout.readline(), seconds)
    if not line:
        raise Failed("a process ended without a word")
    return line
