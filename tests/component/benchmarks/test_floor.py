"""The floor, with a runtime that is played."""

import asyncio
import json
import sys

from benchmarks.asking import Target, answered
from benchmarks.programs import ended, first_line, started
from benchmarks.sdk import PAYLOAD

NEXT = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n"
RESPONSE = b"POST /2018-06-01/runtime/invocation/%b/response HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b"


async def _runtime(port: int, response: bytes) -> None:
    """Serves one invocation."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(NEXT)
    head = await reader.readuntil(b"\r\n\r\n")
    request_id = head.partition(b"Lambda-Runtime-Aws-Request-Id: ")[2].split(b"\r\n")[0]
    assert await reader.readexactly(len(PAYLOAD)) == PAYLOAD
    writer.write(RESPONSE % (request_id, len(response), response))
    assert b" 202 " in await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def test_functions_have_their_runtimes_to_themselves() -> None:
    """A request waits for a runtime of its own function, and passes none of another one."""
    process = await started(sys.executable, "-m", "benchmarks.floor", "127.0.0.1", "2")
    try:
        first, second = json.loads(await first_line(process, 60))
        doors = [Target("127.0.0.1", each["door"]) for each in (first, second)]
        async with asyncio.TaskGroup() as group:
            group.create_task(_runtime(first["api"], b"first"))
            group.create_task(_runtime(second["api"], b"second"))
            for door, expected in zip(doors, (b"first", b"second"), strict=True):
                group.create_task(answered(door, door.request(), expected))
    finally:
        await ended(process)
