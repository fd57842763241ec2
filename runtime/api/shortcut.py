"""A shorter way for plain invocations: without the HTTP server's request objects, its two tasks and its turns of the loop.

What `rapid.shortcut` is for the runtime's side, this is for the clients': it takes requests in the form in which SDKs and
the AWS CLI send an Invoke that waits for its result. Decisions and answers are those of the long way
(`runtime.api.server`), by the same parts in the same order.
"""

import asyncio
import re
from collections.abc import Callable
from functools import partial

from multidict import CIMultiDict, MultiDict

from rapid.identifiers import new_uuid
from rapid.plain_requests import PlainHead, read_fields
from rapid.shorter_way import Peer
from runtime.api.answers import plain, refusal_of
from runtime.api.browsers import refuse_browsers
from runtime.api.identity import Identifier
from runtime.api.invoke import Call, InvokeDoor, result_bytes
from runtime.invoker import InvokeRequest, InvokeResult

_LINE = re.compile(
    rb"(POST /2015-03-31/functions/([0-9A-Za-z_.:$%-]{1,300})/invocations/?"
    rb"(?:\?Qualifier=((?:\$|%24)LATEST|[0-9A-Za-z_-]{1,128}))?) HTTP/1\.1"
)
_NO_QUERY: MultiDict[str] = MultiDict()

_Refuse = Callable[[Exception], None]


class InvokeShortcut:
    """Of one door: who asks is `identities`' to say."""

    read_fields = staticmethod(read_fields)  # no two signed requests have the same

    def __init__(self, door: InvokeDoor, identities: Identifier) -> None:
        self._door = door
        self._identities = identities

    def take(self, head: PlainHead, body: bytes, peer: Peer) -> bool:
        """Answer the request now or later, if it is an invocation that waits for its result."""
        found = _LINE.fullmatch(head.line)
        headers = CIMultiDict(head.fields.values)
        if found is None or headers.get("X-Amz-Invocation-Type", "RequestResponse") != "RequestResponse":
            return False
        what, name, qualifier = found.groups()
        query = MultiDict(Qualifier=qualifier.decode().replace("%24", "$")) if qualifier else _NO_QUERY
        request_id = new_uuid()
        refuse = partial(_refuse, peer, what, request_id)
        try:
            refuse_browsers(headers, peer.transport)
            scope = self._identities.of(headers, query).scope
            call = Call(headers, scope, name.decode(), query, request_id)
            _, asked = self._door.reader.read_whole(call, body)
            self._door.invoker.start(asked, lambda result: _answer(result, asked, peer, refuse))
        except Exception as error:  # noqa: BLE001  as in the long way
            refuse(error)
        return True


def _answer(result: Callable[[], InvokeResult], asked: InvokeRequest, peer: Peer, refuse: _Refuse) -> None:
    try:
        answer = result_bytes(result(), asked)
    except asyncio.CancelledError:
        peer.hang_up()
    except Exception as error:  # noqa: BLE001  as in the long way
        refuse(error)
    else:
        peer.answer(answer)


def _refuse(peer: Peer, what: bytes, request_id: str, error: Exception) -> None:
    answer = refusal_of(error, what.decode(), request_id, has_left=not peer.is_waiting())
    peer.answer(plain(answer, request_id))
