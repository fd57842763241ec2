"""Bodies that are there all at once, or not: how they come changes nothing."""

import asyncio
from typing import Any

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from rapid.bodies import BodyTooLong, read_body

LIMIT = 10


async def request(*pieces: bytes) -> web.BaseRequest:
    """A request without a length, whose body has arrived in these pieces before anybody reads it."""
    loop = asyncio.get_running_loop()
    content = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    for piece in pieces:
        content.feed_data(piece)
    content.feed_eof()
    made: Any = make_mocked_request("POST", "/", headers={"Transfer-Encoding": "chunked"}, payload=content)
    return made  # type: ignore[no-any-return]


@pytest.mark.parametrize("pieces", [(b"x" * 10,), (b"x" * 4, b"x" * 6), (b"",), ()])
async def test_up_to_the_limit(pieces: tuple[bytes, ...]) -> None:
    """It is read whole."""
    assert await read_body(await request(*pieces), LIMIT) == b"".join(pieces)


@pytest.mark.parametrize("pieces", [(b"x" * 11,), (b"x" * 10, b"x"), (b"x", b"x" * 10)])
async def test_beyond(pieces: tuple[bytes, ...]) -> None:
    """It is refused, also where all of it is there at the first look."""
    with pytest.raises(BodyTooLong):
        await read_body(await request(*pieces), LIMIT)
