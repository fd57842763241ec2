"""Who asks, as signed requests say."""

import pytest

from runtime.api.identity import Identities
from runtime.model import Scope

DEFAULT = Scope("123456789012", "us-east-1")


def identity_of(credential: str | None, *, query: bool = False) -> tuple[Scope, str | None]:
    identities = Identities(DEFAULT.account, DEFAULT.region)
    if credential is None:
        found = identities.of({}, {})
    elif query:
        found = identities.of({}, {"X-Amz-Credential": credential})
    else:
        header = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0"
        found = identities.of({"Authorization": header}, {})
    return found.scope, found.service


@pytest.mark.parametrize("query", [False, True])
@pytest.mark.parametrize(
    ("credential", "expected"),
    [
        ("test/20260101/eu-west-1/lambda/aws4_request", (Scope(DEFAULT.account, "eu-west-1"), "lambda")),
        ("000000000001/20260101/eu-west-1/sts/aws4_request", (Scope("000000000001", "eu-west-1"), "sts")),
        ("0000000000012/20260101/us-east-1/lambda/aws4_request", (DEFAULT, "lambda")),
        ("test/20260101/../lambda/aws4_request", (DEFAULT, "lambda")),
        ("test/20260101//lambda/aws4_request", (DEFAULT, "lambda")),
        ("test", (DEFAULT, None)),
        ("", (DEFAULT, None)),
    ],
)
def test_credential_scope(credential: str, expected: tuple[Scope, str | None], query: bool) -> None:
    """Account from a twelve-digit key, region from the scope; a region that could be a path is not taken."""
    assert identity_of(credential, query=query) == expected


def test_unsigned_requests_are_the_defaults() -> None:
    """No signature is needed, and one of another kind says nothing."""
    assert identity_of(None) == (DEFAULT, None)
    assert Identities(*("1" * 12, "r")).of({"Authorization": "Basic x"}, {}).scope == Scope("1" * 12, "r")
