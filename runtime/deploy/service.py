"""Lambda's REST API as `berth deploy` speaks it: botocore's client, without a look at the caller's AWS configuration.

Berth checks no signatures, so no secret is sent to it: the access key is the account's number, as the server reads it.
"""

import os
import time
from collections.abc import Iterator, Mapping
from functools import cache
from http.client import HTTPException
from typing import Any
from urllib.request import ProxyHandler, build_opener

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from botocore.session import Session

from runtime.deploy.errors import TemplateError
from runtime.zips import MAX_UNZIPPED

MISSING = "ResourceNotFoundException"
_LONGEST = 600.0
"""Seconds that a function may take to be ready; the first of a runtime builds its image."""
_PAUSE = 0.1
_DOWNLOAD_LIMIT = 120.0
_STRANGER = "what answers there is not Berth"


class ServiceError(Exception):
    """What the API refused, as `Code: text`."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        super().__init__(f"{code}: {text}")


class Unreachable(Exception):
    """There is no answer, or none of Lambda's."""


def lambda_client(url: str, account: str, region: str, **options: Any) -> Any:
    """The SDK's client of one Berth's Lambda; options are those of botocore's `Config`."""
    return _session().create_client(
        "lambda",
        region_name=region,
        endpoint_url=url,
        aws_access_key_id=account,
        aws_secret_access_key="berth",  # noqa: S106 -- opens nothing
        config=Config(proxies={}, read_timeout=120, **options),
    )


@cache
def _session() -> Any:
    """One for all clients: it keeps Lambda's model, whose reading takes most of the time that a client takes."""
    nothing = (None, None, os.devnull, None)
    return Session({"profile": (None, None, None, None), "config_file": nothing, "credentials_file": nothing})


class Service:
    """One Berth's Lambda, of one account and region."""

    def __init__(self, url: str, account: str, region: str) -> None:
        self._client = lambda_client(
            url,
            account,
            region,
            parameter_validation=False,  # Berth checks, and its words are AWS's
            retries={"mode": "standard", "total_max_attempts": 3},
        )

    def call(self, operation: str, /, **members: Any) -> dict[str, Any]:
        """One operation, by its name in snake case."""
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**members)
        except ClientError as error:
            _check_sender(error.response)
            told = error.response.get("Error", {})
            raise ServiceError(
                told.get("Code", "Unknown"), told.get("Message") or "no reason is given"
            ) from None
        except ResponseParserError:
            raise Unreachable(_STRANGER) from None
        except BotoCoreError as error:
            raise Unreachable(str(error)) from None
        _check_sender(answer)
        return answer

    def find(self, operation: str, /, **members: Any) -> dict[str, Any] | None:
        """The answer, or None where there is no such thing."""
        try:
            return self.call(operation, **members)
        except ServiceError as error:
            if error.code == MISSING:
                return None
            raise

    def listed(self, operation: str, key: str, /, **members: Any) -> Iterator[Mapping[str, Any]]:
        """All items of a list, page by page."""
        marker: str | None = None
        while True:
            page = self.call(operation, **members, **({"Marker": marker} if marker else {}))
            yield from page[key]
            marker = page.get("NextMarker")
            if not marker:
                return

    def download(self, url: str) -> bytes:
        """What a link of one of the answers leads to; TemplateError if nothing."""
        try:
            with build_opener(ProxyHandler({})).open(url, timeout=_DOWNLOAD_LIMIT) as answer:
                content: bytes = answer.read(MAX_UNZIPPED + 1)
        except (OSError, HTTPException, ValueError) as error:
            raise TemplateError(f"cannot fetch a package: {error}") from None
        return content

    def settled(self, function: str, qualifier: str | None = None) -> dict[str, Any]:
        """The configuration of a function, or of a version, once nothing is under way; TemplateError if it failed."""
        members = {"FunctionName": function} | ({"Qualifier": qualifier} if qualifier else {})
        deadline = time.monotonic() + _LONGEST
        while True:
            told = self.call("get_function_configuration", **members)
            if told.get("State") != "Pending" and told.get("LastUpdateStatus") != "InProgress":
                return told
            if time.monotonic() > deadline:
                raise TemplateError(f"{function} is still not ready after {_LONGEST:.0f} s")
            time.sleep(_PAUSE)


def _check_sender(response: Mapping[str, Any]) -> None:
    """Lambda numbers its answers, errors included; botocore takes anything for one."""
    if not response.get("ResponseMetadata", {}).get("RequestId"):
        raise Unreachable(_STRANGER)


def failure(told: Mapping[str, Any]) -> str | None:
    """Why a function cannot run, if it cannot."""
    if told.get("State") == "Failed":
        return f"{told.get('StateReasonCode', 'Failed')}: {told.get('StateReason', 'no reason is given')}"
    if told.get("LastUpdateStatus") == "Failed":
        code = told.get("LastUpdateStatusReasonCode", "Failed")
        return f"{code}: {told.get('LastUpdateStatusReason', 'no reason is given')}"
    return None
