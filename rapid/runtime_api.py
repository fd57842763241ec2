"""The Runtime API of one environment: HTTP in, calls of `rapid.environment` out.

Routes, statuses and texts of API version 2018-06-01. It knows nothing of how the environment is supervised; who may
connect at all is the listener's business (`rapid.server`).
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from rapid import errors
from rapid.bodies import BodyBroken, BodyTooLong, read_body, read_piece
from rapid.connections import tail_of
from rapid.environment import Environment
from rapid.error_causes import HEADER as CAUSE_HEADER
from rapid.error_causes import cropped
from rapid.invocation import Outcome, too_large, truncated
from rapid.plain_text import plain
from rapid.responses import accept, answer, is_there, is_waiting, not_found, receiver, refuse
from rapid.runtime_calls import INVOCATION, PREFIX, RuntimeCalls, next_headers
from rapid.states import IllegalTransition, RuntimeCall, RuntimeState
from rapid.streams import Stream
from rapid.trailers import parse, posted_error

ERROR_TYPE_HEADER = "Lambda-Runtime-Function-Error-Type"
CAUSE_TYPE = "application/vnd.aws.lambda.error.cause+json"
MODE_HEADER = "Lambda-Runtime-Function-Response-Mode"

EXIT_PATIENCE = 0.2
"""Seconds that a response which broke off waits for the word that the runtime has ended, which says more."""

_KNOWN_ERROR_TYPE = re.compile(r"(Runtime|Function)\.[A-Z][a-zA-Z]+")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class RuntimeApi:
    """Serves one environment."""

    def __init__(self, environment: Environment, calls: RuntimeCalls | None = None) -> None:
        self._environment = environment
        self.calls = RuntimeCalls(environment) if calls is None else calls
        self._hears_init_error = False
        #: One is being read: state refuses a second response, but an init error changes it only when it is whole.
        self._routes: Mapping[tuple[str, str], Handler] = {
            ("GET", f"{INVOCATION}next"): self._next,
            ("POST", f"{PREFIX}/runtime/init/error"): self._init_error,
            ("GET", f"{PREFIX}/ping"): self._ping,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of the runtime. What it raises is `rapid.apis`'s to render."""
        return await self._handler(request)(request)

    def _handler(self, request: web.BaseRequest) -> Handler:
        path = request.path
        if path.startswith(INVOCATION) and request.method == "POST":
            if path.endswith("/response"):
                return self._response
            if path.endswith("/error"):
                return self._error
        return self._routes.get((request.method, path), not_found)

    async def _ping(self, _: web.BaseRequest) -> web.Response:
        return web.Response(text="pong")

    async def _next(self, request: web.BaseRequest) -> web.StreamResponse:
        delivery = await self.calls.ask_next(is_waiting(request))
        if is_there(request):
            self.calls.written(delivery, receiver(request))
        else:
            receiver(request).hang_up()
        return answer(request, next_headers(delivery), delivery.invocation.payload)

    async def _response(self, request: web.BaseRequest) -> web.StreamResponse:
        request_id = _request_id(request)
        stream = self._environment.begin_response(request_id, RuntimeCall.RESPONSE)
        mode = request.headers.get(MODE_HEADER)
        if mode == "streaming":
            outcome = await self._streamed(request, request_id, stream)
        elif mode is None:
            body = await self._body(request, request_id)
            outcome = Outcome(body, content_type=request.headers.get("Content-Type", "application/json"))
        else:
            self._environment.break_response(request_id)
            return refuse(errors.INVALID_MODE)
        self._environment.end_response(request_id, outcome)
        return accept(request)

    async def _streamed(self, request: web.BaseRequest, request_id: str, stream: Stream | None) -> Outcome:
        """A response in streaming mode: passed on while it comes if somebody wants that, else collected."""
        content_type = request.headers.get("Content-Type", "application/octet-stream")
        body, size = b"", None
        if stream is None:
            body = await self._body(request, request_id)
        else:
            size = await self._pass_on(request, request_id, stream, content_type)
        tail = tail_of(request)
        trailers = {} if tail is None else parse(tail)
        if trailers is None:  # longer than anything that was sent in good faith
            return truncated(request_id, size)
        if (error := posted_error(trailers)) is None:
            return Outcome(body, content_type=content_type, streamed=size)
        kind, document = error
        return Outcome(document, function_error=True, error_type=known_error_type(kind), streamed=size)

    async def _pass_on(
        self, request: web.BaseRequest, request_id: str, stream: Stream, content_type: str
    ) -> int:
        """The length of a body whose pieces have gone to the stream as they came.

        One that breaks off may be posted again as long as nothing has gone out.
        """
        try:
            if (request.content_length or 0) > errors.MAX_STREAM:
                raise BodyTooLong(errors.MAX_STREAM)
            while piece := await read_piece(request):
                stream.begin(content_type)
                left = errors.MAX_STREAM - stream.size
                await stream.write(piece[:left])
                if len(piece) > left:
                    raise BodyTooLong(errors.MAX_STREAM)
        except BodyTooLong as error:
            self._environment.end_response(request_id, too_large(error.limit, stream.size))
            raise
        except BodyBroken:
            if stream.size:
                self.calls.broken = (request_id, stream)
                await stream.ended(EXIT_PATIENCE)
                self.calls.broken = None
            self.calls.cut_off(request_id, stream)
            raise
        except BaseException:
            self.calls.cut_off(request_id, stream)
            raise
        return stream.size

    async def _error(self, request: web.BaseRequest) -> web.StreamResponse:
        request_id = _request_id(request)
        self._environment.begin_response(request_id, RuntimeCall.ERROR)
        body = await self._body(request, request_id)
        kind = known_error_type(request.headers.get(ERROR_TYPE_HEADER, ""))
        shown, cause = _client_error(request, body)
        outcome = Outcome(shown, function_error=True, error_type=kind, cause=cause)
        self._environment.end_response(request_id, outcome)
        return accept(request)

    async def _init_error(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._hears_init_error:  # bodies that never end would pile up
            raise IllegalTransition(RuntimeState.INIT_ERROR, RuntimeCall.INIT_ERROR.value)
        self._hears_init_error = True
        try:
            body = await read_body(request, errors.MAX_RESPONSE)
        finally:
            self._hears_init_error = False
        error_type = known_error_type(request.headers.get(ERROR_TYPE_HEADER, ""))
        shown, _ = _client_error(request, body)
        self._environment.init_error(error_type, shown)
        return accept(request)

    async def _body(self, request: web.BaseRequest, request_id: str) -> bytes:
        """The body of a result. One that is too long is the result; one that breaks off may be posted again."""
        try:
            return await read_body(request, errors.MAX_RESPONSE)
        except BodyTooLong:
            self._environment.end_response(request_id, too_large(errors.MAX_RESPONSE))
            raise
        except BaseException:
            self._environment.break_response(request_id)
            raise


def known_error_type(text: str) -> str:
    """An error type as platform logs show it: types outside the two families become `…Unknown`."""
    text = plain(text)
    if _KNOWN_ERROR_TYPE.search(text):
        return text
    return "Function.Unknown" if text.startswith("Function.") else "Runtime.Unknown"


def _client_error(request: web.BaseRequest, body: bytes) -> tuple[bytes, str | None]:
    """What the client sees of a posted error, and its cause: a header, or a part of the document that nobody sees."""
    if request.headers.get("Content-Type") != CAUSE_TYPE:
        return body, cropped(request.headers.get(CAUSE_HEADER, ""))
    cause = None
    try:
        document = json.loads(body)
        shown = {key: document[key] for key in ("errorMessage", "errorType", "stackTrace") if key in document}
        cause = cropped(json.dumps(document.get("errorCause")))
    except (ValueError, TypeError, AttributeError, RecursionError):
        shown = {"errorMessage": "Invalid error body"}
    return json.dumps(shown, separators=(",", ":")).encode(), cause


def _request_id(request: web.BaseRequest) -> str:
    return request.path[len(INVOCATION) :].rpartition("/")[0]
