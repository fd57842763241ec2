"""The answer to requests that are meant for another AWS service than those that Berth is.

Where one endpoint is set for all services, everything that a script asks of CloudWatch or S3 arrives here too. Each is
refused in the words of its own protocol, so that its client shows the reason instead of failing to read the answer.
It knows nothing of what these services do.
"""

import re
from collections.abc import Mapping
from xml.sax.saxutils import escape

import orjson

from runtime.api.serialisation import Answer
from runtime.neighbours import VARIABLE, variable

OURS = frozenset({"lambda", "sts"})
"""The services that Berth answers for, by the names that requests are signed for."""
_CLIENTS = {"monitoring": "cloudwatch", "states": "stepfunctions", "execute-api": "apigateway"}
"""Services whose clients are not called as their requests are signed."""
_JSON = "application/x-amz-json-"
_NAME = re.compile(r"[a-z0-9-]{1,63}")


def refuse_other(service: str, headers: Mapping[str, str], request_id: str) -> Answer:
    """The refusal of a request that is signed for `service`."""
    text = _text(service)
    kind = headers.get("Content-Type", "").lower()
    if kind.startswith(_JSON):
        version = "1.0" if kind == f"{_JSON}1.0" else "1.1"
        answered = {"Content-Type": f"{_JSON}{version}"}
        return Answer(400, answered, _json("UnknownOperationException", text))
    if kind.startswith("application/x-www-form-urlencoded"):
        document = f"<ErrorResponse>{_error('InvalidAction', text)}<RequestId>{request_id}</RequestId></ErrorResponse>"
        return Answer(400, {"Content-Type": "text/xml"}, document.encode())
    if service == "s3":
        return Answer(400, {"Content-Type": "application/xml"}, _error("NotImplemented", text).encode())
    code = "UnknownOperationException"
    return Answer(404, {"x-amzn-ErrorType": code}, _json(code, text))


def _text(service: str) -> str:
    name = _CLIENTS.get(service, service)
    if not _NAME.fullmatch(name):
        return "Berth answers for Lambda and STS only."
    return (
        f"Berth answers for Lambda and STS, not for {name}: "
        f"set {variable(name)} to where {name} is, or {VARIABLE}_LAMBDA instead of {VARIABLE}."
    )


def _json(code: str, text: str) -> bytes:
    return orjson.dumps({"__type": code, "message": text})


def _error(code: str, text: str) -> str:
    return f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(text)}</Message></Error>"
