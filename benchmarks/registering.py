"""Functions in numbers, over the REST API: what boto3 would send for one of them, with another name each time."""

import asyncio
import json
from collections.abc import Iterator, Sequence

from benchmarks.asking import Target, answer
from benchmarks.bench import RUNTIME
from benchmarks.plane import Berth
from benchmarks.programs import Failed
from benchmarks.sdk import recorded

CONNECTIONS = 8
MOST = 100_000


async def register(plane: Berth, prefix: str, count: int, zipped: bytes, memory_mb: int) -> Sequence[Target]:
    """So many functions, each ready to be invoked. Raises `Failed`."""
    names = [name_of(prefix, number) for number in range(count)]
    template = creation(plane.url, names[0], zipped, memory_mb)
    left = iter(names)
    connections = (_some(plane.target(), template, names[0], left) for _ in range(CONNECTIONS))
    async with asyncio.TaskGroup() as group:
        for each in connections:
            group.create_task(each)
    return [plane.target(name) for name in names]


def name_of(prefix: str, number: int) -> str:
    """All names with a prefix have one length, so that one's request is the others' but for the name."""
    assert 0 <= number < MOST
    return f"{prefix}-{number:05d}"


def creation(url: str, name: str, zipped: bytes, memory_mb: int) -> bytes:
    """The bytes of a CreateFunction."""
    return recorded(
        url,
        "CreateFunction",
        FunctionName=name,
        Runtime=RUNTIME,
        Role="arn:aws:iam::123456789012:role/benchmark",
        Handler="app.handler",
        Code={"ZipFile": zipped},
        MemorySize=memory_mb,
        Timeout=60,
    )


async def _some(door: Target, template: bytes, placeholder: str, names: Iterator[str]) -> None:
    """Over one connection, as many of them as it gets to."""
    reader, writer = await asyncio.open_connection(door.host, door.port)
    try:
        created = []
        for name in names:
            writer.write(template.replace(placeholder.encode(), name.encode()))
            await _state(reader, 201)
            created.append(name)
        for name in created:  # most have long become active
            state = "Pending"
            while state == "Pending":
                writer.write(door.get(f"/2015-03-31/functions/{name}/configuration"))
                state = await _state(reader, 200)
            if state != "Active":
                raise Failed(f"{name} is {state}")
    finally:
        writer.close()


async def _state(reader: asyncio.StreamReader, expected: int) -> str:
    status, body = await answer(reader)
    if status != expected:
        raise Failed(f"a function in numbers was answered {status}: {body[:200].decode(errors='replace')}")
    return str(json.loads(body)["State"])
