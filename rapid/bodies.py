"""Bodies of requests from inside a sandbox, read so that they hold no more memory than they may."""

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import PayloadEncodingError


class BodyTooLong(Exception):
    """A body exceeds the limit."""


class BodyBroken(Exception):
    """A body ended before it was whole."""


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """A request's body. Raises `BodyTooLong` before much more than `limit` bytes are in memory, and `BodyBroken`."""
    if (request.content_length or 0) > limit:
        raise BodyTooLong
    try:
        return await _read(request.content, limit)
    except (ConnectionError, PayloadEncodingError, web.RequestPayloadError) as error:
        raise BodyBroken from error


async def _read(content: StreamReader, limit: int) -> bytes:
    first = await content.readany()
    if content.at_eof():
        return first
    parts = [first]
    size = len(first)
    while part := await content.readany():
        size += len(part)
        if size > limit:
            raise BodyTooLong
        parts.append(part)
    return b"".join(parts)
