"""A shorter way for the two calls that every invocation consists of: `next`, and a response that is there at once.

An HTTP server makes a request's objects, a task and several turns of the event loop of each, which together take longer
than the calls themselves do. Here they are answered in the turn in which they come. Only calls in the plainest form come
this way; it decides nothing, and answers as the long way (`rapid.apis`) does.
"""

import re
from asyncio import Future
from collections.abc import Callable

from rapid import errors
from rapid.exchange import Delivery
from rapid.partings import is_listening
from rapid.plain_answers import ready, ready_acceptance, ready_refusal
from rapid.plain_requests import PlainHead, remembered_fields
from rapid.runtime_calls import INVOCATION, RuntimeCalls, next_headers
from rapid.shorter_way import Peer

_NEXT = f"GET {INVOCATION}next HTTP/1.1".encode()
_RESPONSE = re.compile(rf"POST {INVOCATION}([0-9A-Za-z-]{{1,64}})/response HTTP/1\.1".encode())


class Shortcut:
    """Of one environment. `refusal` is the way in which the long way says no to what was raised by a call."""

    read_fields = staticmethod(remembered_fields)

    def __init__(self, api: RuntimeCalls, refusal: Callable[[str, Exception], errors.Refusal]) -> None:
        self._api = api
        self._refusal = refusal

    def take(self, head: PlainHead, body: bytes, peer: Peer) -> bool:
        """Answer the call now or later, if it is one of the two and nothing about it is unusual."""
        if not head.fields.is_harmless:
            return False
        if head.line == _NEXT and not body:
            self._next(peer)
            return True
        found = _RESPONSE.fullmatch(head.line)
        if found is None or len(body) > errors.MAX_RESPONSE:
            return False
        self._response(found[1].decode(), body, head.fields.content_type, peer)
        return True

    def _next(self, peer: Peer) -> None:
        try:
            pending = self._api.ask_next(peer.is_waiting)
        except Exception as error:  # noqa: BLE001  as in the long way: whoever called is answered, the log has the reason
            peer.answer(ready_refusal(self._refusal("next", error)))
        else:
            pending.add_done_callback(lambda delivery: self._deliver(delivery, peer))

    def _response(self, request_id: str, body: bytes, content_type: str | None, peer: Peer) -> None:
        try:
            self._api.take_response(request_id, body, content_type)
        except Exception as error:  # noqa: BLE001  as above
            peer.answer(ready_refusal(self._refusal("response", error)))
        else:
            peer.answer(ready_acceptance())

    def _deliver(self, pending: Future[Delivery], peer: Peer) -> None:
        if pending.cancelled():
            peer.hang_up()
            return
        if not is_listening(peer.transport):
            return
        delivery = pending.result()
        self._api.written(delivery, peer)
        try:
            answer = ready(200, next_headers(delivery), delivery.invocation.payload)
        except ValueError as error:
            answer = ready_refusal(self._refusal("next", error))
        peer.answer(answer)
