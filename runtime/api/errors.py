"""A LambdaError as a response: the one place where errors become bytes."""

from typing import Any

import orjson

from runtime.api.serialisation import Answer
from runtime.errors import LambdaError


def render(error: LambdaError) -> Answer:
    """Status, `x-amzn-ErrorType` and the JSON document, with members spelt as AWS spells them for this error."""
    document: dict[str, Any] = {
        "Reason": error.reason,
        "Type": error.type,
        error.row.text: _printable(error.message),
    }
    headers = {"x-amzn-ErrorType": error.code}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    body = orjson.dumps({name: value for name, value in document.items() if value is not None})
    return Answer(error.status, headers, body)


def _printable(text: str) -> str:
    """Texts echo what callers sent, and headers may carry bytes that are no UTF-8."""
    return text.encode("utf-8", "replace").decode()
