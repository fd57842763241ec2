"""What is wanted against what the API tells."""

from typing import Any

import pytest

from runtime.deploy.differences import (
    alias_differs,
    changed_members,
    code_differs,
    create_members,
    same_function,
)
from runtime.deploy.wanted import DEFAULTS, AliasWanted, FunctionWanted, Source

WANTED = FunctionWanted(
    "f", DEFAULTS | {"Runtime": "python3.11", "Handler": "a.b", "Role": "r"}, Source((), "."), {}, None
)
TOLD: dict[str, Any] = {
    # As GetFunction has it for a function that says nothing.
    "FunctionName": "f",
    "Runtime": "python3.11",
    "Role": "r",
    "Handler": "a.b",
    "CodeSha256": "x",
    "Description": "",
    "Timeout": 3,
    "MemorySize": 128,
    "Architectures": ["x86_64"],
    "EphemeralStorage": {"Size": 512},
    "TracingConfig": {"Mode": "PassThrough"},
    "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
    "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"},
}


def wanted(**members: Any) -> FunctionWanted:
    return FunctionWanted("f", WANTED.configuration | members, WANTED.source, {}, None)


def test_defaults_are_what_the_api_tells() -> None:
    """A function that says nothing is created with nothing said, and is then as wanted."""
    assert create_members(WANTED) == {"Runtime": "python3.11", "Handler": "a.b", "Role": "r"}
    assert changed_members(WANTED, TOLD) == {}
    assert not code_differs(WANTED, "x", TOLD)


@pytest.mark.parametrize(
    ("member", "value", "shown"),
    [
        ("Timeout", 4, 4),
        ("Environment", {"Variables": {"A": "1"}}, {"Variables": {"A": "1"}}),
        ("Layers", ["arn:1", "arn:2"], [{"Arn": "arn:1", "CodeSize": 1}, {"Arn": "arn:2", "CodeSize": 1}]),
        (
            "SnapStart",
            {"ApplyOn": "PublishedVersions"},
            {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"},
        ),
        ("KMSKeyArn", "arn:k", "arn:k"),
        ("DeadLetterConfig", {"TargetArn": "q"}, {"TargetArn": "q"}),
        ("LoggingConfig", {"LogFormat": "Text", "LogGroup": "g"}, {"LogFormat": "Text", "LogGroup": "g"}),
        (
            "LoggingConfig",
            {"LogFormat": "JSON", "SystemLogLevel": "WARN"},
            {
                "LogFormat": "JSON",
                "LogGroup": "/aws/lambda/f",
                "ApplicationLogLevel": "INFO",
                "SystemLogLevel": "WARN",
            },
        ),
    ],
)
def test_each_member_is_compared(member: str, value: Any, shown: Any) -> None:
    """It is sent when it differs, not sent when it is as told, and taken back when the template drops it."""
    assert changed_members(wanted(**{member: value}), TOLD) == {member: value}
    assert changed_members(wanted(**{member: value}), TOLD | {member: shown}) == {}
    assert changed_members(WANTED, TOLD | {member: shown}) == {member: DEFAULTS[member]}


def test_code_is_bytes_and_architecture() -> None:
    """Both are changed by UpdateFunctionCode, and neither is a member of the configuration's update."""
    assert code_differs(WANTED, "y", TOLD)
    assert code_differs(wanted(Architectures=["arm64"]), "x", TOLD)
    assert changed_members(wanted(Architectures=["arm64"]), TOLD) == {}


@pytest.mark.parametrize("change", [{"CodeSha256": "y"}, {"Timeout": 9}, {"Description": "d"}])
def test_versions_are_compared(change: dict[str, Any]) -> None:
    """A version is what `$LATEST` is if code and configuration are; a description may be passed over."""
    assert same_function(TOLD, TOLD | {"Version": "1", "RevisionId": "r"}, but=frozenset())
    assert not same_function(TOLD, TOLD | change, but=frozenset())
    assert same_function(TOLD, TOLD | change, but=frozenset({"Description"})) is ("Description" in change)


@pytest.mark.parametrize(
    ("told", "differs"),
    [
        ({"FunctionVersion": "2", "RoutingConfig": {"AdditionalVersionWeights": {"1": 0.1}}}, False),
        (
            {
                "FunctionVersion": "2",
                "Description": "x",
                "RoutingConfig": {"AdditionalVersionWeights": {"1": 0.1}},
            },
            True,
        ),
        ({"FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {"1": 0.1}}}, True),
        ({"FunctionVersion": "2", "RoutingConfig": {"AdditionalVersionWeights": {"1": 0.2}}}, True),
        ({"FunctionVersion": "2"}, True),
    ],
)
def test_aliases_are_compared(told: dict[str, Any], differs: bool) -> None:
    """By version, weights and description."""
    assert alias_differs(AliasWanted("f", "live", "2", "", {"1": 0.1}), told) is differs
