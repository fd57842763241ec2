"""`berth invoke`: one synchronous invocation through Lambda's own API."""

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runtime.cli.client import Answer, connect, credentials, refusal
from runtime.cli.terminal import CliError, note, say_json
from runtime.readable import readable


def run(arguments: argparse.Namespace) -> int:
    body = payload(arguments.payload)
    query = f"?Qualifier={quote(arguments.qualifier, safe='')}" if arguments.qualifier else ""
    path = f"/2015-03-31/functions/{quote(arguments.function, safe='')}/invocations{query}"
    headers = {"X-Amz-Log-Type": "Tail", "Authorization": credentials(arguments)}
    if arguments.tenant_id is not None:
        headers["X-Amz-Tenant-Id"] = arguments.tenant_id
    answer = connect(arguments).request("POST", path, body, headers, patient=True)
    if answer.status != 200:
        raise CliError(refusal(answer))
    show(answer, as_json=arguments.json, tail=arguments.tail)
    return 1 if _header(answer, "X-Amz-Function-Error") else 0


def payload(text: str | None) -> bytes:
    """An event from the command line: JSON, `@FILE`, or `-` for stdin."""
    if text is None:
        return b""
    if text == "-":
        return sys.stdin.buffer.read()
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_bytes()
        except OSError as error:
            raise CliError(f"--payload: cannot read {text[1:]}: {error.strerror}") from None
    try:
        json.loads(text)
    except ValueError:
        raise CliError(
            f"--payload: {text!r} is not JSON (a text needs quotes of its own; a file is @FILE)"
        ) from None
    return text.encode()


def show(answer: Answer, *, as_json: bool, tail: bool) -> None:
    """The answer on stdout, the end of the log on stderr."""
    log = base64.b64decode(_header(answer, "X-Amz-Log-Result") or "")
    if as_json:
        say_json(_document(answer, log))
        return
    if tail and log:
        note(readable(log.decode(errors="replace")).rstrip("\n"))
    sys.stdout.flush()
    sys.stdout.buffer.write(answer.body.removesuffix(b"\n") + b"\n")


def _document(answer: Answer, log: bytes) -> dict[str, Any]:
    try:
        payload = json.loads(answer.body)
    except ValueError:
        payload = answer.body.decode(errors="replace")
    return {
        "function_error": _header(answer, "X-Amz-Function-Error"),
        "executed_version": _header(answer, "X-Amz-Executed-Version"),
        "request_id": _header(answer, "x-amzn-RequestId"),
        "payload": payload,
        "log": log.decode(errors="replace"),
    }


def _header(answer: Answer, name: str) -> str | None:
    return next((value for key, value in answer.headers.items() if key.lower() == name.lower()), None)
