"""Identifiers of functions and layers, in all forms that AWS takes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.api.protocol import load_service
from runtime.errors import LambdaError
from runtime.model import Scope
from runtime.names import (
    FunctionName,
    LayerName,
    function_arn,
    names_alias,
    parse_function,
    parse_layer_arn,
    resolve_function,
    resolve_layer,
    runtime_version,
)

HERE = Scope("123456789012", "us-east-1")
ARN = "arn:aws:lambda:us-east-1:123456789012:function:fn"
LAYER = "arn:aws:lambda:us-east-1:123456789012:layer:lib"
PATTERN = re.compile(load_service().shape_for("NamespacedFunctionName").metadata["pattern"], re.ASCII)

names = st.from_regex(r"[a-zA-Z0-9_-]{2,20}", fullmatch=True).filter(
    lambda name: name != "function" and not re.fullmatch(r"\d{12}", name)
)
ALIAS_NAME = re.compile(load_service().shape_for("Alias").metadata["pattern"], re.ASCII)
alias_names = st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True).filter(lambda name: not name.isdigit())
numbers = st.integers(1, 10**6).map(str)
qualifiers = st.none() | st.just("$LATEST") | numbers | alias_names


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("fn", FunctionName("fn")),
        ("fn:prod", FunctionName("fn", "prod")),
        ("function:fn", FunctionName("fn")),
        ("function:fn:$LATEST", FunctionName("fn", "$LATEST")),
        ("123456789012:function:fn", FunctionName("fn", None, "123456789012")),
        ("123456789012:function:fn:7", FunctionName("fn", "7", "123456789012")),
        ("123456789012:fn", FunctionName("fn", None, "123456789012")),
        ("us-east-1:123456789012:function:fn", FunctionName("fn", None, "123456789012", "us-east-1")),
        (ARN, FunctionName("fn", None, "123456789012", "us-east-1")),
        (f"{ARN}:prod", FunctionName("fn", "prod", "123456789012", "us-east-1")),
        ("my-func-1:live", FunctionName("my-func-1", "live")),
        ("arn:aws:lambda:us-east-1:123456789012:layer:fn", None),
        ("arn:aws:lambda:us-east-1::function:fn", None),
        ("arn:aws:lambda", None),
        ("a:b:c", None),
        ("fn:", None),
        (f"{ARN}:a:b", None),
        ("", None),
    ],
)
def test_forms(identifier: str, expected: FunctionName | None) -> None:
    """Every documented form is taken apart; anything else is none of them."""
    assert parse_function(identifier) == expected


@given(names, qualifiers)
def test_every_form_of_one_function_means_the_same(name: str, qualifier: str | None) -> None:
    """Name, partial ARN and full ARN, qualified alike, lead to the same function."""
    arn = function_arn(HERE, name, qualifier)
    assert PATTERN.fullmatch(arn)
    partial = arn.removeprefix("arn:aws:lambda:us-east-1:")
    forms = [arn, partial, partial.removeprefix(f"{HERE.account}:"), arn.split(":function:")[1]]
    expected = FunctionName(name, qualifier, HERE.account, HERE.region)
    assert [resolve_function(form, None, HERE) for form in forms] == [expected] * 4


@given(names, qualifiers, qualifiers)
def test_a_qualifier_may_be_said_twice(name: str, first: str | None, second: str | None) -> None:
    """In the name and beside it: one of them is enough, both must be the same."""
    identifier = function_arn(HERE, name, first)
    if None not in (first, second) and first != second:
        with pytest.raises(LambdaError, match="The derived qualifier from the function name does not match"):
            resolve_function(identifier, second, HERE)
    else:
        assert resolve_function(identifier, second, HERE).qualifier == (first or second)


@given(alias_names)
def test_alias_names(name: str) -> None:
    """Whatever the model lets an alias be called is told from numbers and `$LATEST`."""
    assert ALIAS_NAME.fullmatch(name)
    assert names_alias(name)


@given(numbers | st.just("$LATEST"))
def test_versions_are_no_aliases(version: str) -> None:
    """Numbers and `$LATEST` are versions, and no alias can be called so."""
    assert not names_alias(version)
    assert not ALIAS_NAME.fullmatch(version)


@given(st.text(max_size=60) | st.from_regex(PATTERN, fullmatch=True))
def test_parsing_never_fails_otherwise(identifier: str) -> None:
    """Any text is either an identifier or not one."""
    found = parse_function(identifier)
    assert found is None or (found.name and ":" not in found.name)


def test_qualifiers_must_agree() -> None:
    """A qualifier in the name and one in the query are fine together only if equal."""
    assert resolve_function("fn:1", "1", HERE).qualifier == "1"
    with pytest.raises(
        LambdaError, match="The derived qualifier from the function name does not match"
    ) as error:
        resolve_function("fn:1", "2", HERE)
    assert error.value.status == 400


def test_other_region_is_out_of_reach() -> None:
    """A function's ARN from another region is a 404 that names both regions."""
    with pytest.raises(LambdaError) as error:
        resolve_function(ARN, None, Scope(HERE.account, "eu-west-1"))
    assert error.value.status == 404
    assert error.value.message == "Functions from 'us-east-1' are not reachable in this region ('eu-west-1')"


def test_other_account_is_denied() -> None:
    """A function's ARN of another account is a 403."""
    with pytest.raises(LambdaError) as error:
        resolve_function(ARN, None, Scope("000000000001", HERE.region))
    assert (error.value.status, error.value.code) == (403, "AccessDeniedException")


def test_nonsense_is_not_found() -> None:
    """What the pattern lets through and is no identifier leads to no function."""
    with pytest.raises(LambdaError, match="Function not found"):
        resolve_function("a:b:c", None, HERE)


@pytest.mark.parametrize(
    ("arn", "expected"),
    [
        (LAYER, LayerName(HERE, "lib")),
        (f"{LAYER}:12", LayerName(HERE, "lib", 12)),
        (f"{LAYER}:x", None),
        (f"{LAYER}:1:2", None),
        (ARN, None),
        ("arn:aws:lambda:::awslayer:x", None),
        ("arn:aws:lambda:us-east-1:12:layer:lib", None),
        ("lib", None),
    ],
)
def test_layer_arns(arn: str, expected: LayerName | None) -> None:
    """Layer ARNs with and without a version are taken apart."""
    assert parse_layer_arn(arn) == expected


def test_layers_by_name_or_arn() -> None:
    """A bare name is the caller's own layer; an ARN says whose; anything else does not exist."""
    assert resolve_layer("lib", HERE) == LayerName(HERE, "lib")
    assert resolve_layer(f"{LAYER}:2", Scope("000000000001", "eu-west-1")) == LayerName(HERE, "lib", 2)
    with pytest.raises(LambdaError, match=r"The resource you requested does not exist\."):
        resolve_layer("arn:aws:lambda:::awslayer:x", HERE)


@pytest.mark.parametrize(
    ("runtime", "shown"),
    [
        ("python3.11", "python:3.11.v1"),
        ("nodejs22.x", "nodejs:22.v1"),
        ("provided.al2", "provided:al2.v1"),
        ("provided.al2023", "provided:al2023.v1"),
        ("java21", "java:21.v1"),
    ],
)
def test_runtimes_in_logs(runtime: str, shown: str) -> None:
    """A family and a version, as AWS writes them."""
    assert runtime_version(runtime) == shown
