"""Who asks, and of which service: read off the credential scope of a signed request.

Signatures are not checked: Berth has no secrets to check them with. An access key of twelve digits names the account.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from runtime.model import Scope

_ACCOUNT = re.compile(r"[0-9]{12}")
_REGION = re.compile(r"[a-z0-9-]{1,50}")
"""Regions become part of paths and ARNs, so nothing else gets in."""
_MARK = "Credential="


@dataclass(frozen=True, slots=True)
class Identity:
    scope: Scope
    service: str | None = None
    access_key: str | None = None


class Identities:
    """From requests to identities, with the account and region of those that do not say."""

    def __init__(self, account_id: str, region: str) -> None:
        self._anonymous = Identity(Scope(account_id, region))
        self._read = lru_cache(maxsize=1024)(self._parse)

    def of(self, headers: Mapping[str, str], query: Mapping[str, str]) -> Identity:
        credential = _credential(headers.get("Authorization"))
        if credential is None and query:
            credential = query.get("X-Amz-Credential")
        return self._anonymous if credential is None else self._read(credential)

    def _parse(self, credential: str) -> Identity:
        """`<access key>/<date>/<region>/<service>/aws4_request`."""
        default = self._anonymous.scope
        key, *rest = credential.split("/")
        region = rest[1] if len(rest) > 1 and _REGION.fullmatch(rest[1]) else default.region
        account = key if _ACCOUNT.fullmatch(key) else default.account
        return Identity(Scope(account, region), rest[2] if len(rest) > 2 else None, key)


def _credential(authorization: str | None) -> str | None:
    if authorization is None:
        return None
    start = authorization.find(_MARK)
    if start < 0:
        return None
    return authorization[start + len(_MARK) :].partition(",")[0].strip()
