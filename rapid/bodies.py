"""Bodies of requests from inside a sandbox, read so that they hold no more memory than they may."""

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import PayloadEncodingError

from rapid.connections import is_torn
from rapid.errors import BodyBroken, BodyTooLong

__all__ = ["BodyBroken", "BodyTooLong", "read_body", "read_piece"]

_BROKEN = (ConnectionError, PayloadEncodingError, web.RequestPayloadError)


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """A request's body. Raises `BodyTooLong` before much more than `limit` bytes are in memory, and `BodyBroken`."""
    if (request.content_length or 0) > limit:
        raise BodyTooLong(limit)
    try:
        body = await _read(request.content, limit)
    except _BROKEN as error:
        raise BodyBroken from error
    if is_torn(request):
        raise BodyBroken
    return body


async def read_piece(request: web.BaseRequest) -> bytes:
    """What has come of a request's body and was not read yet; empty at the end. Raises `BodyBroken`."""
    try:
        piece = await request.content.readany()
    except _BROKEN as error:
        raise BodyBroken from error
    if not piece and is_torn(request):
        raise BodyBroken
    return piece


async def _read(content: StreamReader, limit: int) -> bytes:
    first = await content.readany()
    if len(first) > limit:
        raise BodyTooLong(limit)
    if content.at_eof():
        return first
    parts = [first]
    size = len(first)
    while part := await content.readany():
        size += len(part)
        if size > limit:
            raise BodyTooLong(limit)
        parts.append(part)
    return b"".join(parts)
