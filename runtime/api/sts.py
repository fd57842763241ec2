"""As much of STS as tools ask of a Lambda endpoint: GetCallerIdentity, in the query protocol's XML."""

from collections.abc import Mapping
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from runtime.api.identity import Identity
from runtime.api.serialisation import Answer

_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_CONTENT_TYPE = "text/xml"


def parameters(query: Mapping[str, str], body: bytes) -> dict[str, str]:
    """The query protocol's parameters: from a form body, else from the query string."""
    return dict(query) | dict(parse_qsl(body.decode("utf-8", "replace")))


def answer(params: Mapping[str, str], identity: Identity, request_id: str) -> Answer:
    action = params.get("Action", "")
    if action == "GetCallerIdentity":
        return _caller_identity(identity, request_id)
    return _invalid_action(action, request_id)


def _caller_identity(identity: Identity, request_id: str) -> Answer:
    account = identity.scope.account
    return _xml(
        200,
        f'<GetCallerIdentityResponse xmlns="{_NAMESPACE}"><GetCallerIdentityResult>'
        f"<Arn>arn:aws:iam::{account}:root</Arn><UserId>{escape(identity.access_key or account)}</UserId>"
        f"<Account>{account}</Account></GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>",
    )


def _invalid_action(action: str, request_id: str) -> Answer:
    text = f"Could not find operation {action}: of STS, Berth answers GetCallerIdentity."
    return _xml(
        400,
        f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>Sender</Type><Code>InvalidAction</Code>'
        f"<Message>{escape(text)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>",
    )


def _xml(status: int, document: str) -> Answer:
    return Answer(status, {"Content-Type": _CONTENT_TYPE}, document.encode("utf-8", "replace"))
