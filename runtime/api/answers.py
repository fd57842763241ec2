"""What the REST door answers, on its way to the client: as a response of aiohttp's, or as the bytes that one would be."""

import logging

from aiohttp import web
from aiohttp.http import SERVER_SOFTWARE

from rapid.plain_answers import ready
from runtime.api.errors import render
from runtime.api.serialisation import Answer
from runtime.errors import LambdaError
from runtime.files import StorageFull

_log = logging.getLogger("runtime.api.server")


def response(answer: Answer, request_id: str) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, headers=_headers(answer, request_id))


def plain(answer: Answer, request_id: str) -> bytes:
    """The same for a kept connection."""
    return ready(
        answer.status, _headers(answer, request_id), answer.body, behind=f"Server: {SERVER_SOFTWARE}\r\n"
    )


def refusal_of(error: Exception, what: str, request_id: str, *, has_left: bool) -> Answer:
    """The answer to a request that failed; `what` it was, and whether its client `has_left`, is for the log."""
    if isinstance(error, LambdaError):
        return render(error)
    if isinstance(error, StorageFull):
        return render(LambdaError("CodeStorageExceededException", str(error)))
    if isinstance(error, ConnectionError) and has_left:
        _log.debug("The client of %s left", what)
    else:
        _log.error("%s (request %s) failed", what, request_id, exc_info=error)
    text = f"Berth failed to answer; its log says why, under request id {request_id}."
    return render(LambdaError("ServiceException", text))


def _headers(answer: Answer, request_id: str) -> dict[str, str]:
    return {"Content-Type": "application/json", "x-amzn-RequestId": request_id, **answer.headers}
