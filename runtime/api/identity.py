"""Who asks, and of which service: read off the credential scope of a signed request.

Signatures are not checked: Berth has no secrets to check them with. An access key of twelve digits names the account.
Functions are another matter: they have sessions that Berth made, and each request must bring its session's token.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from runtime.errors import LambdaError
from runtime.model import Scope
from runtime.sessions import Sessions

_ACCOUNT = re.compile(r"[0-9]{12}")
_REGION = re.compile(r"[a-z0-9-]{1,50}")
"""Regions become part of paths and ARNs, so nothing else gets in."""
_MARK = "Credential="


@dataclass(frozen=True, slots=True)
class Identity:
    scope: Scope
    service: str | None = None
    access_key: str | None = None


class Identifier(Protocol):
    """Tells who sends a request."""

    def of(self, headers: Mapping[str, str], query: Mapping[str, str]) -> Identity: ...


class Identities:
    """From requests to identities, with the account and region of those that do not say.

    `account_of` knows the accounts of functions' access keys.
    """

    def __init__(
        self, account_id: str, region: str, account_of: Callable[[str], str | None] = lambda _: None
    ) -> None:
        self._anonymous = Identity(Scope(account_id, region))
        self._account_of = account_of
        self._read = lru_cache(maxsize=1024)(self._parse)

    def of(self, headers: Mapping[str, str], query: Mapping[str, str]) -> Identity:
        credential = _credential(headers.get("Authorization"))
        if credential is None and query:
            credential = query.get("X-Amz-Credential")
        return self._anonymous if credential is None else self._read(credential)

    def _parse(self, credential: str) -> Identity:
        """`<access key>/<date>/<region>/<service>/aws4_request`."""
        default = self._anonymous.scope
        key, region, service = _parts(credential)
        account = key if _ACCOUNT.fullmatch(key) else self._account_of(key) or default.account
        return Identity(Scope(account, region or default.region), service, key)


class SessionIdentities:
    """From requests of functions to identities: the account is the function's own, whatever the request says."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def of(self, headers: Mapping[str, str], query: Mapping[str, str]) -> Identity:
        """Raises AccessDeniedException for a request without the token of a living session."""
        credential = _credential(headers.get("Authorization")) or query.get("X-Amz-Credential") or ""
        token = headers.get(_TOKEN) or query.get(_TOKEN) or ""
        key, region, service = _parts(credential)
        session = self._sessions.proven(key, token)
        if session is None:
            raise LambdaError("AccessDeniedException", _NO_SESSION)
        return Identity(Scope(session.scope.account, region or session.scope.region), service, key)


_TOKEN = "X-Amz-Security-Token"  # noqa: S105 -- a header's name
_NO_SESSION = (
    "The security token included in the request is invalid: here Berth answers functions that use the credentials "
    "of their environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN)."
)


def _parts(credential: str) -> tuple[str, str | None, str | None]:
    """Access key, region and service; None for what is not said, or cannot be."""
    key, *rest = credential.split("/")
    region = rest[1] if len(rest) > 1 and _REGION.fullmatch(rest[1]) else None
    return key, region, rest[2] if len(rest) > 2 else None


def _credential(authorization: str | None) -> str | None:
    if authorization is None:
        return None
    start = authorization.find(_MARK)
    if start < 0:
        return None
    return authorization[start + len(_MARK) :].partition(",")[0].strip()
