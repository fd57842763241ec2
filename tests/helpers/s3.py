"""A small server that speaks as much of S3 as reading objects takes: path-style GetObject and its errors.

Runs in the test's own loop, over a socket; what misbehaves is an object that says so.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from aiohttp import web

TEXTS = {
    "AccessDenied": (403, "Access Denied"),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "InvalidAccessKeyId": (403, "The AWS Access Key Id you provided does not exist in our records."),
    "NoSuchBucket": (404, "The specified bucket does not exist"),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchVersion": (404, "The specified version does not exist."),
}


@dataclass(frozen=True)
class Broken:
    """An object that is sent as long as this many bytes, and of which less comes; or one without an end."""

    announced: int | None
    sent: bytes
    then: str = "hang up"
    """Or `wait`, or `repeat`."""


@dataclass
class Bucket:
    """Objects by key; a version is part of it after a `?`."""

    objects: dict[str, bytes | Broken] = field(default_factory=dict)
    refusal: str | None = None


@dataclass
class S3:
    """The server. `asked` are the requests as they came."""

    url: str = ""
    buckets: dict[str, Bucket] = field(default_factory=dict)
    asked: list[web.BaseRequest] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    """The paths that were asked for, and `hang up`."""
    stuck: list[asyncio.Event] = field(default_factory=list)
    """One for each object that has stopped to come; it ends when its event is set."""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def put(self, bucket: str, key: str, content: bytes | Broken) -> None:
        self.buckets.setdefault(bucket, Bucket()).objects[key] = content

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that stuck objects change."""
        async with self.changed, asyncio.timeout(20):
            await self.changed.wait_for(condition)

    def hang_up(self) -> None:
        """On everyone whose object has stopped to come."""
        self.order.append("hang up")
        for each in self.stuck:
            each.set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request)
        self.order.append(request.path)
        name, _, key = request.path.removeprefix("/").partition("/")
        bucket = self.buckets.get(name)
        if bucket is None:
            return error("NoSuchBucket")
        if bucket.refusal is not None:
            return error(bucket.refusal)
        version = request.query.get("versionId")
        found = bucket.objects.get(key if version is None else f"{key}?{version}")
        if found is None:
            return error("NoSuchKey" if version is None else "NoSuchVersion")
        if isinstance(found, Broken):
            return await self._misbehave(request, found)
        return web.Response(body=found, headers={"ETag": '"0"'})

    async def _misbehave(self, request: web.BaseRequest, broken: Broken) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = broken.announced
        await response.prepare(request)
        try:
            await response.write(broken.sent)
            while broken.then == "repeat":
                await response.write(broken.sent)
            if broken.then == "wait":
                self.stuck.append(goes_on := asyncio.Event())
                async with self.changed:
                    self.changed.notify_all()
                await goes_on.wait()
        except ConnectionError:
            return response
        assert request.transport is not None
        request.transport.abort()
        return response


def error(code: str) -> web.Response:
    status, text = TEXTS[code]
    document = f"<Error><Code>{code}</Code><Message>{escape(text)}</Message><RequestId>1</RequestId></Error>"
    return web.Response(status=status, body=document.encode(), content_type="application/xml")


@asynccontextmanager
async def serving_s3() -> AsyncIterator[S3]:
    """A server on a free port of loopback."""
    s3 = S3()
    server = web.Server(s3.handle, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    s3.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield s3
    finally:
        listener.close()
        server.pre_shutdown()
        await server.shutdown(0.1)
