"""Objects in S3, or in what speaks its protocol, read whole: within a limit of size, in limited time, a few at once.

Credentials are found as the AWS CLI finds them; where there are none, an endpoint that the settings name is asked without.
AWS's SDK does the work, in threads that nobody waits for when Berth ends. It knows nothing of packages or of Lambda's
errors.
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from runtime.neighbours import is_loopback

LIMIT = 120.0
"""Seconds in which an object must be there."""
PARALLEL = 2
"""Objects read at once: each may be as large as a package may be, and is kept in memory."""
CONNECT_LIMIT = 5
READ_LIMIT = 15
"""Seconds between two signs of life from the other side."""
ATTEMPTS = 2
_CHUNK = 1 << 20


class ObjectRefused(Exception):
    """The other side answered with an error."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.status = status
        self.code = code
        self.text = text


class ObjectUnreachable(Exception):
    """No answer; the text says why, and what to do about it."""


class ObjectTooLarge(Exception):
    """It is larger than was allowed; it has not been read to its end."""


@dataclass(frozen=True, slots=True)
class ObjectName:
    bucket: str
    key: str
    version: str | None = None


class Objects:
    """One client for all. `endpoint` is None where AWS itself is meant."""

    def __init__(self, endpoint: str | None, region: str) -> None:
        self._endpoint = endpoint
        self._region = region
        self._client: Any = None
        self._room = asyncio.Semaphore(PARALLEL)
        #: A place in it is a thread's until it ends, also when nobody waits for its object any more.

    def __repr__(self) -> str:
        return f"<Objects at {self._endpoint or 'AWS'}>"

    async def read(self, name: ObjectName, limit: int) -> bytes:
        """The object's bytes. Raises `ObjectRefused`, `ObjectUnreachable`, `ObjectTooLarge`."""
        try:
            async with asyncio.timeout(LIMIT):
                await self._room.acquire()
                return await self._started(name, limit)
        except TimeoutError:
            raise _too_slow() from None

    def _started(self, name: ObjectName, limit: int) -> asyncio.Future[bytes]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()

        def work() -> None:
            outcome: bytes | Exception
            try:
                outcome = self._read(name, limit)
            except Exception as error:  # noqa: BLE001 -- belongs to whoever waits
                outcome = error
            with suppress(RuntimeError):  # the loop has ended, and Berth with it
                loop.call_soon_threadsafe(self._finish, future, outcome)

        Thread(target=work, name=f"s3 {name.key}", daemon=True).start()
        return future

    def _finish(self, future: asyncio.Future[bytes], outcome: bytes | Exception) -> None:
        self._room.release()
        if future.done():  # nobody waits any more
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    # In a thread

    def _read(self, name: ObjectName, limit: int) -> bytes:
        deadline = time.monotonic() + LIMIT
        version = {} if name.version is None else {"VersionId": name.version}
        try:
            if self._client is None:
                self._client = self._connect()
            answer = self._client.get_object(Bucket=name.bucket, Key=name.key, **version)
            return _whole(answer, limit, deadline)
        except ClientError as error:
            said = error.response.get("Error", {})
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            raise ObjectRefused(status, str(said.get("Code", "")), str(said.get("Message", ""))) from error
        except BotoCoreError as error:
            raise ObjectUnreachable(f"S3 cannot be read: {error}") from error

    def _connect(self) -> Any:
        session = botocore.session.Session()
        signed = session.get_credentials() is not None
        if not signed and self._endpoint is None:
            raise ObjectUnreachable(
                "S3 cannot be read: Berth found no AWS credentials and was given no other endpoint. Set "
                "aws_endpoint_url (s3=URL) to what serves S3's protocol, or give Berth's process credentials as for "
                "the AWS CLI."
            )
        return session.create_client(
            "s3",
            region_name=self._region,
            endpoint_url=self._endpoint,
            config=self._configuration(signed=signed),
        )

    def _configuration(self, *, signed: bool) -> Config:
        elsewhere = self._endpoint is not None
        near = is_loopback(urlsplit(self._endpoint or "").hostname or "")
        return Config(
            signature_version=None if signed else UNSIGNED,
            connect_timeout=CONNECT_LIMIT,
            read_timeout=READ_LIMIT,
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
            s3={"addressing_style": "path" if elsewhere else "auto"},
            proxies={} if near else None,
            response_checksum_validation="when_required",
            ignore_configured_endpoint_urls=True,  # they lead to Berth in many a shell; the settings decide
        )


def _whole(answer: Any, limit: int, deadline: float) -> bytes:
    body = answer["Body"]
    try:
        if answer.get("ContentLength", 0) > limit:
            raise ObjectTooLarge
        whole = BytesIO()
        while piece := body.read(_CHUNK):
            whole.write(piece)
            if whole.tell() > limit:
                raise ObjectTooLarge
            if time.monotonic() > deadline:
                raise _too_slow()
        return whole.getvalue()
    finally:
        body.close()


def _too_slow() -> ObjectUnreachable:
    return ObjectUnreachable(f"S3 cannot be read: the object was not there within {LIMIT:.0f} s")
