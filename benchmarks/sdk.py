"""What an unmodified SDK sends, and how long it takes to send it.

`recorded` lets boto3 shape and sign one request and keeps the bytes, to be sent again and again.
As a program it measures boto3 itself: `python -m benchmarks.sdk ENDPOINT FUNCTION SECONDS`.
"""

import json
import sys
import time
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore import xform_name
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config

from benchmarks.load import quantile

PAYLOAD = b'{"message": "hello", "numbers": [1, 2, 3]}'


def client(endpoint: str) -> Any:
    """boto3's client, without retries, which would hide errors, and without proxies: all is on this machine."""
    return boto3.client(
        "lambda",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key="benchmarks",  # noqa: S106  nobody checks it
        config=Config(retries={"total_max_attempts": 1}, read_timeout=120, proxies={}),
    )


def recorded(endpoint: str, operation: str, **parameters: Any) -> bytes:
    """The bytes of the request that the client's method for an operation would send."""
    seen: list[AWSPreparedRequest] = []

    def before_send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        seen.append(request)
        return AWSResponse(request.url, 204, {}, None)  # in place of sending it

    sdk = client(endpoint)
    sdk.meta.events.register(f"before-send.lambda.{operation}", before_send)
    with suppress(AttributeError):  # the answer above has no body to read
        getattr(sdk, xform_name(operation))(**parameters)
    return _as_bytes(seen[0])


def _as_bytes(request: AWSPreparedRequest) -> bytes:
    url = urlsplit(request.url)
    headers = {"Host": url.netloc, "Accept-Encoding": "identity", **dict(request.headers.items())}
    lines = [
        f"{request.method} {url.path} HTTP/1.1",
        *(f"{name}: {_text(each)}" for name, each in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + bytes(request.body)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def main(endpoint: str, function: str, seconds: float) -> None:
    """Invoke one after the other with boto3; p50 and p99 in milliseconds."""
    invoker = client(endpoint)
    latencies: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        answer = invoker.invoke(FunctionName=function, Payload=PAYLOAD)["Payload"].read()
        latencies.append(1000 * (time.perf_counter() - began))
        if json.loads(answer) != json.loads(PAYLOAD):
            raise SystemExit(f"a wrong answer: {answer[:400]!r}")
    latencies.sort()
    print(
        json.dumps(
            {"p50": quantile(latencies, 0.5), "p99": quantile(latencies, 0.99), "answers": len(latencies)}
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
