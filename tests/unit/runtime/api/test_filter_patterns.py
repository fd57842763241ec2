import json
from typing import Any

import pytest

from runtime.api.filter_patterns import check_filters
from runtime.errors import LambdaError


def criteria(*patterns: str) -> dict[str, Any]:
    return {"Filters": [{"Pattern": pattern} for pattern in patterns]}


@pytest.mark.parametrize(
    "pattern",
    [
        {"body": {"a": ["x", 1, 1.5, True, None, ""]}},
        {"body": ["text"]},
        {"a": [{"prefix": "x"}], "b": [{"suffix": "x"}], "c": [{"equals-ignore-case": "x"}]},
        {"a": [{"prefix": {"equals-ignore-case": "x"}}], "b": [{"wildcard": "a*b"}]},
        {"a": [{"anything-but": ["x", 1]}], "b": [{"anything-but": "x"}], "c": [{"anything-but": 1}]},
        {"a": [{"anything-but": {"prefix": "x"}}], "b": [{"anything-but": {"suffix": ["x", "y"]}}]},
        {"a": [{"numeric": [">", 10, "<=", 20]}], "b": [{"numeric": ["=", 1.5]}]},
        {"a": [{"exists": True}], "b": [{"exists": False}]},
        {"$or": [{"a": ["x"]}, {"b": {"c": ["y"]}}]},
        {"$or": ["a field of this name"]},
        {"dynamodb": {"NewImage": {"id": {"S": ["x"]}}}},
    ],
)
def test_well_formed(pattern: dict[str, Any]) -> None:
    """Every operator of event filters is known."""
    check_filters(criteria(json.dumps(pattern)))


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "{",
        "[]",
        '"x"',
        "{}",
        '{"a": "x"}',
        '{"a": 1}',
        '{"a": []}',
        '{"a": {}}',
        '{"a": [[]]}',
        '{"a": [{}]}',
        '{"a": [{"unknown": 1}]}',
        '{"a": [{"prefix": 1}]}',
        '{"a": [{"prefix": {"suffix": "x"}}]}',
        '{"a": [{"prefix": "x", "suffix": "y"}]}',
        '{"a": [{"exists": "yes"}]}',
        '{"a": [{"numeric": []}]}',
        '{"a": [{"numeric": [">"]}]}',
        '{"a": [{"numeric": ["!", 1]}]}',
        '{"a": [{"numeric": [">", "1"]}]}',
        '{"a": [{"numeric": [">", true]}]}',
        '{"a": [{"numeric": [[], 1]}]}',
        '{"a": [{"anything-but": []}]}',
        '{"a": [{"anything-but": [null]}]}',
        '{"a": [{"anything-but": {"exists": true}}]}',
        '{"a": [{"wildcard": 1}]}',
        '{"$or": [{"a": ["x"]}]}',
        '{"$or": [{"a": "x"}, {"b": ["y"]}]}',
        '{"$or": {}}',
        "{" + '"a": {' * 40 + '"b": ["x"]' + "}" * 41,
    ],
)
def test_malformed(pattern: str) -> None:
    """What is no pattern is refused in AWS's words."""
    with pytest.raises(LambdaError) as error:
        check_filters(criteria('{"a": ["x"]}', pattern))
    assert (error.value.code, error.value.message) == (
        "InvalidParameterValueException",
        "Invalid filter pattern definition.",
    )


def test_number_of_filters() -> None:
    """Five at most; a filter without a pattern lets everything through."""
    check_filters({})
    check_filters({"Filters": [{}]})
    check_filters(criteria(*['{"a": ["x"]}'] * 5))
    with pytest.raises(LambdaError, match="at most 5"):
        check_filters(criteria(*['{"a": ["x"]}'] * 6))
