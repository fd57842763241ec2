"""Reading request bodies under AWS's limits: refused early by their stated length, else as soon as they exceed it."""

from io import BytesIO

from aiohttp import web

from runtime.errors import LambdaError

PACKAGE_LIMIT = 70_167_211
"""Of a request that carries a zip in base64."""
INVOKE_LIMIT = 6_291_456
OTHER_LIMIT = 6_291_456
"""No figure of AWS's is known; nothing else that a caller configures comes near it."""
_LIMITS = {
    "CreateFunction": PACKAGE_LIMIT,
    "PublishLayerVersion": PACKAGE_LIMIT,
    "UpdateFunctionCode": PACKAGE_LIMIT,
}


def limit_of(operation: str) -> int:
    return _LIMITS.get(operation, OTHER_LIMIT)


async def read_body(request: web.BaseRequest, limit: int, operation: str) -> bytes:
    """The whole body; `operation` as AWS names it in the refusal."""
    try:
        return await _read(request, limit, operation)
    except (ConnectionError, web.RequestPayloadError):
        raise LambdaError("SerializationException", "The request body did not arrive whole.") from None


async def _read(request: web.BaseRequest, limit: int, operation: str) -> bytes:
    if (request.content_length or 0) > limit:
        raise _too_large(limit, operation)
    if not request.can_read_body:
        return b""
    if "Expect" in request.headers:
        await _invite(request)
    first = await request.content.readany()
    if len(first) > limit:
        raise _too_large(limit, operation)
    return first if request.content.at_eof() else await _rest(request, first, limit, operation)


async def _rest(request: web.BaseRequest, first: bytes, limit: int, operation: str) -> bytes:
    """What comes in several pieces. A BytesIO grows in place, where joining would copy everything at once."""
    whole = BytesIO()
    whole.write(first)
    async for piece in request.content.iter_any():
        if whole.tell() + len(piece) > limit:
            raise _too_large(limit, operation)
        whole.write(piece)
    return whole.getvalue()


async def _invite(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to send the body. It must not count as part of the response."""
    if request.headers["Expect"].lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


def _too_large(limit: int, operation: str) -> LambdaError:
    return LambdaError(
        "RequestEntityTooLargeException",
        f"Request must be smaller than {limit} bytes for the {operation} operation",
    )
