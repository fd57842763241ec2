"""What aliases may lead to."""

from typing import Any

import pytest

from runtime.api.alias_rules import check_alias
from runtime.errors import LambdaError
from runtime.model import LATEST, Alias, Code, FunctionConfig, FunctionVersion, Scope
from runtime.store.catalog import Catalog, FunctionPut

SCOPE = Scope("123456789012", "us-east-1")
ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"
QUEUE: dict[str, Any] = {"DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:123456789012:q"}}


def version(number: str, *, role: str = "r", **declared: Any) -> FunctionPut:
    return FunctionPut(
        FunctionVersion(
            scope=SCOPE,
            name="f",
            version=number,
            config=FunctionConfig(role=role, declared=declared),
            code=Code("0" * 64, 1, 1),
            revision_id="r",
            last_modified="",
        )
    )


CATALOG = Catalog().evolve(
    [
        version(LATEST),
        version("1"),
        version("2"),
        version("3", role="other"),
        version("4", **QUEUE),
        version("5", **QUEUE),
    ]
)


def alias(target: str, function: str = "f", **weights: float) -> Alias:
    named = {name.removeprefix("v"): weight for name, weight in weights.items()}
    return Alias(scope=SCOPE, function=function, name="live", version=target, weights=named, revision_id="r")


@pytest.mark.parametrize(
    "accepted",
    [
        alias("1"),
        alias(LATEST),
        alias("1", v2=0.5),
        alias("1", v2=0.0),
        alias("2", v1=1.0),
        alias("4", v5=0.1),
    ],
)
def test_accepted(accepted: Alias) -> None:
    """One version, `$LATEST` included, or two published ones that fit together."""
    check_alias(CATALOG, accepted)


@pytest.mark.parametrize(
    ("refused", "status", "text"),
    [
        (alias("9"), 404, f"Function not found: {ARN}:9"),
        (alias("$LATEST.PUBLISHED"), 404, f"Function not found: {ARN}:$LATEST.PUBLISHED"),
        (alias("1", "g"), 404, f"Function not found: {ARN[:-1]}g:1"),
        (alias("1", v9=0.5), 404, f"Function not found: {ARN}:9"),
        (alias("9", v1=0.5, v2=0.5), 404, f"Function not found: {ARN}:9"),
        (
            alias("1", v2=0.1, v3=0.1),
            400,
            "Number of items in AdditionalVersionWeights cannot be greater than 1",
        ),
        (
            alias("1", v1=0.1, v2=0.1),
            400,
            "Number of items in AdditionalVersionWeights cannot be greater than 1",
        ),
        (
            alias("1", v1=0.1),
            400,
            "Invalid function version 1. Function version 1 is already included in routing configuration.",
        ),
        (
            alias(LATEST, v1=0.1),
            400,
            "$LATEST is not supported for an alias pointing to more than 1 version",
        ),
        (alias("1", v3=0.1), 400, "Specified versions must be associated with the same execution role"),
        (
            alias("1", v4=0.1),
            400,
            "Specified versions must have the same dead-letter queue configuration",
        ),
    ],
)
def test_refused(refused: Alias, status: int, text: str) -> None:
    """Each rule has AWS's status and text."""
    with pytest.raises(LambdaError) as caught:
        check_alias(CATALOG, refused)
    assert (caught.value.status, caught.value.message) == (status, text)


def test_one_refusal_has_no_type() -> None:
    """Recorded on AWS: the text about `$LATEST` comes without the member `Type`."""
    with pytest.raises(LambdaError) as caught:
        check_alias(CATALOG, alias(LATEST, v1=0.1))
    assert caught.value.type is None
